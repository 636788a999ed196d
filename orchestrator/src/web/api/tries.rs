//! Patch series that somebody wants looked at before they are in.

use axum::extract::State;
use axum::response::Response;
use tracing::info;

use crate::store::queue::Scope;
use crate::web::App;
use crate::web::auth::Caller;
use crate::web::desk::Series;
use crate::web::hooks::answer;
use crate::web::problem::Problem;

use super::take::BodyOf;

/// The largest body, in bytes: a series of some hundred patches.
pub const BYTES: usize = 4 << 20;

/// `POST /try`: 202 once series and job are on the disk; 200 where the same series on the same base
/// was here before; 422 with patch, file and hunk where it does not apply.
pub async fn take(
    State(app): State<App>,
    caller: Caller,
    BodyOf(series): BodyOf<Series>,
) -> Result<Response, Problem> {
    caller.must(Scope::Try, &series.repository)?;
    let taken = app.desk.attempt(&series, caller.name()).await?;
    info!(
        who = caller.name(),
        rule = series.rule,
        base = series.base,
        ?taken,
        "a series to try"
    );
    app.changed.notify_one();
    Ok(answer(taken))
}
