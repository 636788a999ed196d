//! `/`: what runs, what waits, what was found last, and how the machine is loaded.

use askama::Template;
use axum::extract::State;

use crate::host::machine;
use crate::model::JobState;
use crate::web::App;

use super::views::{self, FindingLine, JobView, RunView};
use super::{Answer, show};

#[derive(Template)]
#[template(path = "pages/now.html")]
struct Page {
    live: Vec<RunView>,
    jobs: Vec<JobView>,
    waiting: usize,
    last: Vec<RunView>,
    findings: Vec<FindingLine>,
    load: Vec<(&'static str, String)>,
}

/// The page.
pub async fn page(State(app): State<App>) -> Answer {
    let newest = app.index.runs(None, 40).await?;
    let open = app.queue.open_jobs(50).await?;
    let (live, over): (Vec<_>, Vec<_>) = newest.iter().partition(|r| r.ended.is_none());
    let mut findings = Vec::new();
    for run in over.iter().filter(|r| r.findings > 0).take(3) {
        let rows = app.index.findings_in(&run.run, None, 5).await?;
        findings.extend(rows.iter().map(views::finding));
    }
    let load = tokio::task::spawn_blocking(machine::load).await;
    let page = Page {
        live: live.into_iter().map(views::run).collect(),
        waiting: open.iter().filter(|j| j.state == JobState::Queued).count(),
        jobs: open
            .iter()
            .take(12)
            .map(|j| views::job(j, &app.runs))
            .collect(),
        last: over.into_iter().take(10).map(views::run).collect(),
        findings,
        load: load.unwrap_or_default(),
    };
    Ok(show(&page))
}
