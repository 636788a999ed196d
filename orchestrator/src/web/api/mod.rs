//! `/api/v1`: what pages show, for programs, and the few things that may be asked for.
//!
//! The document at `/api/v1/openapi.json` is kept by hand beside this file (`openapi.yaml`): a test
//! holds its addresses and methods against [`ROUTES`], from which the router is made, and every
//! answer against its schemas. Fields are only ever added within `v1`.

pub(super) mod cases;
pub(super) mod exports;
mod queue;
pub(super) mod runs;
pub(super) mod signoffs;
pub(super) mod take;
mod tries;

use std::sync::OnceLock;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};

use super::App;
use super::live;
use super::problem::Problem;

/// The document, as people write it.
const DOCUMENT: &str = include_str!("openapi.yaml");

/// An address with its methods, as the document names them.
pub(super) type Route = (
    &'static str,
    &'static [&'static str],
    fn() -> MethodRouter<App>,
);

/// Every address of the API.
pub(super) const ROUTES: &[Route] = &[
    ("/runs", &["get"], || get(runs::list)),
    ("/runs/{run}", &["get"], || get(runs::one)),
    ("/runs/{run}/cells", &["get"], || get(runs::cells)),
    ("/runs/{run}/findings", &["get"], || get(runs::findings)),
    ("/runs/{run}/searches", &["get"], || get(runs::searches)),
    ("/runs/{run}/report", &["get"], || get(runs::report)),
    ("/runs/{run}/export/{form}", &["get"], || {
        get(exports::export)
    }),
    ("/runs/{run}/diff", &["get"], || get(exports::diff)),
    ("/runs/{run}/results", &["get"], || get(exports::results)),
    ("/runs/{run}/events", &["get"], || get(live::run)),
    (
        "/runs/{run}/cells/{cell}/consoles/{guest}",
        &["get"],
        || get(runs::console),
    ),
    (
        "/runs/{run}/cells/{cell}/consoles/{guest}/cast",
        &["get"],
        || get(exports::cast),
    ),
    ("/revisions/{revision}/runs", &["get"], || {
        get(runs::of_revision)
    }),
    ("/cases", &["get"], || get(cases::list)),
    ("/cases/history", &["get"], || get(cases::history)),
    ("/cases/rates", &["get"], || get(cases::rates)),
    ("/cases/findings", &["get"], || get(cases::findings)),
    ("/flakes", &["get"], || get(cases::flakes)),
    ("/panics", &["get"], || get(cases::panics)),
    ("/panics/{signature}", &["get"], || get(cases::panic)),
    ("/ports", &["get"], || get(cases::ports)),
    ("/ports/{port}/cells", &["get"], || get(cases::port_cells)),
    ("/benches", &["get"], || get(exports::benches)),
    ("/benches/{bench}", &["get"], || get(exports::bench)),
    ("/queue", &["get", "post"], || {
        get(queue::list).post(queue::order)
    }),
    ("/queue/{job}", &["get"], || get(queue::one)),
    ("/queue/{job}/cancel", &["post"], || post(queue::cancel)),
    ("/signoffs", &["get"], || get(signoffs::list)),
    ("/signoffs/{signoff}", &["get"], || get(signoffs::one)),
    ("/signoffs/{signoff}/signature", &["get"], || {
        get(signoffs::signature)
    }),
    ("/try", &["post"], || {
        post(tries::take).layer(DefaultBodyLimit::max(tries::BYTES))
    }),
    ("/events", &["get"], || get(live::all)),
    ("/openapi.json", &["get"], || get(document)),
];

/// The routes under `/api/v1`.
pub(super) fn router() -> Router<App> {
    ROUTES
        .iter()
        .fold(Router::new(), |router, (path, _, handler)| {
            router.route(&format!("/api/v1{path}"), handler())
        })
}

/// The document as JSON.
pub(super) fn openapi() -> Result<serde_json::Value, serde_yaml::Error> {
    serde_yaml::from_str(DOCUMENT)
}

async fn document(State(_): State<App>) -> Result<Response, Problem> {
    static TEXT: OnceLock<Option<String>> = OnceLock::new();
    let text = TEXT.get_or_init(|| openapi().ok().map(|d| d.to_string()));
    // The test reads the document too: what is embedded can be read.
    let text = text.as_deref().unwrap_or("{}");
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}
