//! `/diff?from=RUN&to=RUN`: what changed between two runs; without `from`, which to compare with.

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use crate::report::diff::{self, Change, RunDiff, Way};
use crate::report::html::words::parts;
use crate::report::{RunReport, json};
use crate::web::App;
use crate::web::api::exports::stored;
use crate::web::api::runs::known;
use crate::web::api::take::QueryOf;
use crate::web::problem::Problem;

use super::views::{self, RunView};
use super::{Answer, show};

/// Runs that are offered, of those that are looked through.
const OFFERED: usize = 30;
const LOOKED_AT: u32 = 300;

/// Changed cases that the page lists.
const CHANGES: usize = 1000;

/// Sentences that it lists of each kind.
const SENTENCES: usize = 200;

/// Which two.
#[derive(Debug, Deserialize)]
pub struct Which {
    from: Option<String>,
    to: String,
}

#[derive(Template)]
#[template(path = "pages/diff_choose.html")]
struct Choose {
    to: RunView,
    runs: Vec<RunView>,
}

type Sentence = Vec<(bool, String)>;

struct CaseLine {
    suite: String,
    case: String,
    link: String,
    port: String,
    from: &'static str,
    to: &'static str,
}

struct Group {
    id: &'static str,
    title: &'static str,
    class: &'static str,
    cases: Vec<CaseLine>,
    count: usize,
}

#[derive(Template)]
#[template(path = "pages/diff.html")]
struct Page {
    from: RunView,
    to: RunView,
    turned: String,
    came: Vec<Sentence>,
    gone: Vec<Sentence>,
    came_count: usize,
    gone_count: usize,
    stayed: usize,
    same: bool,
    groups: Vec<Group>,
    only_from: Vec<String>,
    only_to: Vec<String>,
}

/// The difference of two stored reports.
pub async fn compared(app: &App, from: &str, to: &str) -> Result<RunDiff, Problem> {
    let (from, to) = (known(app, from).await?, known(app, to).await?);
    let texts = (stored(app, &from).await?, stored(app, &to).await?);
    let unfit = Problem::absent("report of both runs that this version can read");
    let done = tokio::task::spawn_blocking(move || {
        let read = |text: &str| -> Option<RunReport> { json::read(text).ok() };
        Some(diff::diff(&read(&texts.0)?, &read(&texts.1)?))
    });
    done.await.ok().flatten().ok_or(unfit)
}

/// The page.
pub async fn page(State(app): State<App>, QueryOf(which): QueryOf<Which>) -> Answer {
    let to = known(&app, &which.to).await?;
    let Some(from) = which.from else {
        let all = app.index.runs(None, LOOKED_AT).await?;
        let others = all.iter().filter(|r| r.run != to.run && r.ended.is_some());
        // Those of the same matrix tell most.
        let (same, rest): (Vec<_>, Vec<_>) = others.partition(|r| r.matrix == to.matrix);
        let runs = same.into_iter().chain(rest).take(OFFERED);
        return Ok(show(&Choose {
            runs: runs.map(views::run).collect(),
            to: views::run(&to),
        }));
    };
    let from = known(&app, &from).await?;
    let diff = compared(&app, &from.run, &to.run).await?;
    let sentences = |all: &[String]| all.iter().take(SENTENCES).map(|s| parts(s)).collect();
    Ok(show(&Page {
        turned: format!("/diff?from={}&to={}", to.run, from.run),
        came: sentences(&diff.came),
        gone: sentences(&diff.gone),
        came_count: diff.came.len(),
        gone_count: diff.gone.len(),
        stayed: diff.stayed,
        same: diff.changes.is_empty() && diff.came.is_empty() && diff.gone.is_empty(),
        groups: [
            ("worse", "Worse", "failed", Way::Worse),
            ("better", "Better", "passed", Way::Better),
            ("other", "Other changes", "missed", Way::Other),
        ]
        .into_iter()
        .map(|(id, title, class, way)| group(&diff, id, title, class, way))
        .collect(),
        only_from: diff.only_from.iter().map(|n| views::name(n)).collect(),
        only_to: diff.only_to.iter().map(|n| views::name(n)).collect(),
        from: views::run(&from),
        to: views::run(&to),
    }))
}

fn group(
    diff: &RunDiff,
    id: &'static str,
    title: &'static str,
    class: &'static str,
    way: Way,
) -> Group {
    let all: Vec<&Change> = diff.changes.iter().filter(|c| c.way() == way).collect();
    let line = |c: &&Change| CaseLine {
        suite: views::name(&c.suite),
        case: views::name(&c.case.to_string()),
        link: views::case_link(&c.case),
        port: views::name(c.port.as_str()),
        from: c.from.word(),
        to: c.to.word(),
    };
    Group {
        id,
        title,
        class,
        count: all.len(),
        cases: all.iter().take(CHANGES).map(line).collect(),
    }
}
