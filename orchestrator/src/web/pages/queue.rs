//! `/queue`: what waits and runs, and what became of the rest.

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use crate::web::App;
use crate::web::api::take::{QueryOf, number};

use super::views::{self, JobView};
use super::{Answer, show};

const JOBS: u32 = 50;

/// Where the list goes on.
#[derive(Debug, Default, Deserialize)]
pub struct Before {
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/queue.html")]
struct Page {
    open: Vec<JobView>,
    over: Vec<JobView>,
    next: String,
}

/// The page.
pub async fn page(State(app): State<App>, QueryOf(from): QueryOf<Before>) -> Answer {
    let before = number(from.before.as_deref())?;
    // What is open is asked first: a job that ends in between is shown as open, not nowhere.
    let open = match before {
        None => app.queue.open_jobs(200).await?,
        Some(_) => Vec::new(),
    };
    let rows = app.queue.list(before, JOBS + 1).await?;
    let shown_open = |id: i64| open.iter().any(|j| j.id == id);
    let more = rows.len() > JOBS as usize;
    let shown = &rows[..rows.len().min(JOBS as usize)];
    Ok(show(&Page {
        open: open.iter().map(|j| views::job(j, &app.runs)).collect(),
        over: shown
            .iter()
            .filter(|j| j.state.is_over() && !shown_open(j.id))
            .map(|j| views::job(j, &app.runs))
            .collect(),
        next: shown
            .last()
            .filter(|_| more)
            .map_or(String::new(), |j| format!("/queue?before={}", j.id)),
    }))
}
