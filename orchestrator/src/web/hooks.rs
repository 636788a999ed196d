//! `/webhooks/SOURCE`: what a forge reports. The answer comes once the jobs are on the disk.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::App;
use super::desk::{Refused, Taken};
use super::problem::Problem;

/// Takes one. 202 where jobs were queued, 200 where it asks for nothing or was here before.
pub async fn receive(
    State(app): State<App>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body?;
    let taken = app.desk.deliver(&source, &headers, &body).await;
    app.metrics().hook(match &taken {
        Ok(Taken::Queued(_)) => "queued",
        Ok(Taken::Known) => "known",
        Ok(Taken::Nothing) => "nothing",
        Err(Refused::Forged(_)) => "forged",
        Err(Refused::Trouble(_)) => "trouble",
        Err(Refused::Unknown(_) | Refused::Malformed(_)) => "refused",
    });
    let taken = taken?;
    if matches!(taken, Taken::Queued(_)) {
        app.changed.notify_one();
    }
    Ok(answer(taken))
}

/// What the sender hears of what was taken.
pub fn answer(taken: Taken) -> Response {
    match taken {
        Taken::Queued(jobs) => (
            StatusCode::ACCEPTED,
            Json(json!({"jobs": jobs, "known": false})),
        ),
        Taken::Known => (StatusCode::OK, Json(json!({"jobs": [], "known": true}))),
        Taken::Nothing => (StatusCode::OK, Json(json!({"jobs": [], "known": false}))),
    }
    .into_response()
}
