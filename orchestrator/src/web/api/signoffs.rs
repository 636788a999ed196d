//! Sign-offs, as they were decided and signed.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::model::SignOff;
use crate::store::{StoreError, signoffs};
use crate::web::App;
use crate::web::problem::Problem;

use super::take::{Page, PathOf, QueryOf, Wanted};

/// A sign-off in a list.
#[derive(Debug, Clone, Serialize)]
pub struct Head {
    /// Its identity, which is also the cursor of lists.
    pub id: String,
    /// The policy's name.
    pub policy: String,
    /// What was asked about.
    pub asked: String,
    /// What that is.
    pub revision: String,
    /// When it was decided.
    pub at: jiff::Timestamp,
    /// Whether it may be released.
    pub go: bool,
    /// For people: `go`, or how many lines stand against it.
    pub headline: String,
}

impl From<SignOff> for Head {
    fn from(one: SignOff) -> Self {
        Self {
            headline: crate::report::signoff::headline(&one),
            id: one.id,
            policy: one.policy,
            asked: one.asked,
            revision: one.revision,
            at: one.at,
            go: one.go,
        }
    }
}

/// Where they are: beside the runs.
fn dir(app: &App) -> PathBuf {
    app.runs.with_file_name("signoffs")
}

/// Reads on a thread that may wait for the disk.
async fn reading<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let read = tokio::task::spawn_blocking(read).await;
    let gone = |_| Problem::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, "try again");
    Ok(read.map_err(gone)??)
}

/// The newest, those before one where it is given.
pub async fn heads(app: &App, before: Option<String>, most: u32) -> Result<Vec<Head>, Problem> {
    let dir = dir(app);
    reading(move || {
        let ids = signoffs::list(&dir)?.into_iter();
        let older = ids.filter(|id| before.as_ref().is_none_or(|b| id < b));
        let some = older.take(most as usize);
        // One that cannot be read is passed by here; asked for by its name, it is told.
        let read = some.filter_map(|id| signoffs::get(&dir, &id).ok().flatten());
        Ok(read.map(Head::from).collect())
    })
    .await
}

/// A file of one; a name from outside is only ever compared with what is there.
pub async fn file(app: &App, id: &str, name: String) -> Result<Vec<u8>, Problem> {
    let (dir, wanted) = (dir(app), id.to_owned());
    let shown = name.clone();
    let found = reading(move || {
        let known = signoffs::list(&dir)?.contains(&wanted);
        if !known {
            return Ok(None);
        }
        signoffs::file(&dir, &wanted, &name)
    });
    let found = found.await?;
    found.ok_or_else(|| Problem::absent(format!("{shown} of a sign-off {id}")))
}

/// One, read.
pub async fn one_of(app: &App, id: &str) -> Result<SignOff, Problem> {
    let bytes = file(app, id, signoffs::JSON.to_owned()).await?;
    Ok(signoffs::read(&bytes, &dir(app).join(id))?)
}

/// `/signoffs`: newest first.
pub async fn list(
    State(app): State<App>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<Head>, Problem> {
    let limit = wanted.limit()?;
    let rows = heads(&app, wanted.cursor, limit + 1).await?;
    Ok(Page::of(rows, limit, |h| h.id.clone()))
}

/// `/signoffs/ID`: byte for byte what was signed.
pub async fn one(State(app): State<App>, PathOf(id): PathOf<String>) -> Result<Response, Problem> {
    let bytes = file(&app, &id, signoffs::JSON.to_owned()).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// `/signoffs/ID/signature`: that of the JSON.
pub async fn signature(
    State(app): State<App>,
    PathOf(id): PathOf<String>,
) -> Result<Response, Problem> {
    let name = format!("{}{}", signoffs::JSON, signoffs::SIGNATURE);
    let bytes = file(&app, &id, name).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], bytes).into_response())
}
