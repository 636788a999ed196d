//! Whether the daemon is alive and ready, and its counters.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::problem::Problem;

/// `/healthz`: the process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// `/readyz`: the queue answers and the index has caught up with the runs.
pub async fn ready(State(app): State<App>) -> Response {
    let queue = app.queue.depth().await.is_ok();
    let index = app.is_ready();
    let status = if queue && index {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = json!({"ready": queue && index, "queue": queue, "index": index});
    (status, Json(body)).into_response()
}

/// `/metrics`
pub async fn metrics(State(app): State<App>) -> Result<Response, Problem> {
    let jobs = app.queue.states().await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = app.metrics().text(&jobs, app.is_ready());
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
