//! The queue: what waits and runs, orders, and cancelling.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use tracing::info;

use crate::store::queue::{Job, Scope};
use crate::web::App;
use crate::web::auth::Caller;
use crate::web::desk::Order;
use crate::web::hooks::answer;
use crate::web::problem::Problem;

use super::take::{BodyOf, Page, PathOf, QueryOf, Wanted};

/// The longest key by which a sender marks an order as the same, in bytes.
const KEY_BYTES: usize = 200;

/// `/queue`: newest first.
pub async fn list(
    State(app): State<App>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<Job>, Problem> {
    let limit = wanted.limit()?;
    let rows = app.queue.list(wanted.number()?, limit + 1).await?;
    Ok(Page::of(rows, limit, |j| j.id.to_string()))
}

async fn known(app: &App, job: i64) -> Result<Job, Problem> {
    let found = app.queue.get(job).await?;
    found.ok_or_else(|| Problem::absent(format!("job {job}")))
}

/// `/queue/JOB`
pub async fn one(State(app): State<App>, PathOf(job): PathOf<i64>) -> Result<Json<Job>, Problem> {
    known(&app, job).await.map(Json)
}

/// `POST /queue`: 202 once the job is on the disk. With `Idempotency-Key`, the same order a second
/// time queues nothing.
pub async fn order(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    BodyOf(order): BodyOf<Order>,
) -> Result<Response, Problem> {
    caller.must(Scope::Submit, &order.repository)?;
    let key = match headers.get("idempotency-key") {
        None => uuid::Uuid::now_v7().to_string(),
        Some(key) => key
            .to_str()
            .ok()
            .filter(|k| !k.is_empty() && k.len() <= KEY_BYTES)
            .map(str::to_owned)
            .ok_or_else(|| {
                Problem::bad(format!(
                    "Idempotency-Key: expected 1 to {KEY_BYTES} characters"
                ))
            })?,
    };
    let delivery = format!("order {} {key}", caller.name());
    let taken = app.desk.order(&order, &delivery).await?;
    info!(who = caller.name(), rule = order.rule, ?taken, "an order");
    app.changed.notify_one();
    Ok(answer(taken))
}

/// `POST /queue/JOB/cancel`: at once where it waits; where it runs, its guests are ended.
pub async fn cancel(
    State(app): State<App>,
    caller: Caller,
    PathOf(job): PathOf<i64>,
) -> Result<Json<Job>, Problem> {
    let found = known(&app, job).await?;
    caller.must(Scope::Cancel, &found.change.repository)?;
    app.queue.cancel(job, caller.name()).await?;
    info!(who = caller.name(), job, "cancelled");
    app.changed.notify_one();
    known(&app, job).await.map(Json)
}
