//! Pages for people: rendered here, readable without JavaScript, on a phone and in the dark.
//!
//! A page is a template in `web/templates/pages/` and a struct of plain strings that were cleaned
//! here; the template escapes them. Styles are the report's (`report/templates/run.css`) and a few of
//! their own. The one script only fetches a page again when something has changed.
//!
//! Pages ask the index; what only a run's report has (the grid) is parsed once and kept for the runs
//! that were looked at last.

mod assets;
mod bench;
mod case;
mod console;
mod crash;
mod diff;
mod finished;
mod now;
mod places;
mod plot;
mod queue;
mod run;
mod signoffs;
mod views;

pub use diff::compared;
pub use finished::Finished;

use askama::Template;
use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use tracing::error;

use super::App;
use super::problem::Problem;

/// The routes of all pages and of what they are made of.
pub(super) fn router() -> Router<App> {
    Router::new()
        .route("/", get(now::page))
        .route("/runs", get(run::list))
        .route("/runs/{run}", get(run::page))
        .route("/runs/{run}/report", get(run::report))
        .route(
            "/runs/{run}/cells/{cell}/console/{guest}",
            get(console::page),
        )
        .route("/cases", get(case::list))
        .route("/case", get(case::page))
        .route("/flakes", get(case::flakes))
        .route("/panics", get(crash::list))
        .route("/panics/{signature}", get(crash::page))
        .route("/diff", get(diff::page))
        .route("/bench", get(bench::list))
        .route("/bench/{id}", get(bench::page))
        .route("/ports", get(places::ports))
        .route("/ports/{port}", get(places::port))
        .route("/revisions", get(places::revisions))
        .route("/revisions/{revision}", get(places::revision))
        .route("/queue", get(queue::page))
        .route("/signoffs", get(signoffs::list))
        .route("/signoffs/{id}", get(signoffs::page))
        .route("/signoffs/{id}/report", get(signoffs::report))
        .route("/assets/{name}", get(assets::serve))
}

/// A problem, told as a page.
pub struct Trouble(Problem);

impl<T: Into<Problem>> From<T> for Trouble {
    fn from(problem: T) -> Self {
        Self(problem.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        trouble(self.0)
    }
}

/// What a page's handler returns.
type Answer = Result<Response, Trouble>;

#[derive(Template)]
#[template(path = "pages/trouble.html")]
struct TroublePage {
    status: u16,
    title: &'static str,
    detail: String,
}

/// A problem as a page.
pub fn trouble(problem: Problem) -> Response {
    let page = TroublePage {
        status: problem.status.as_u16(),
        title: problem.status.canonical_reason().unwrap_or("Problem"),
        detail: views::clean(&problem.detail, 400),
    };
    (problem.status, show(&page)).into_response()
}

/// A page. Templates do not fail on any content; where one does, that is a fault of ours.
fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(why) => {
            error!(%why, "a page could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
