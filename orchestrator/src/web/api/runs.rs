//! Runs, and what is in them.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::model::{CellId, RunId};
use crate::store::StoreError;
use crate::store::index::{CellRow, FindingRow, RunRow};
use crate::store::queue::Job;
use crate::store::runs::cell_dir_name;
use crate::web::App;
use crate::web::console;
use crate::web::problem::Problem;

use super::exports::{Form, converted, stored};
use super::take::{MOST, Page, PathOf, QueryOf, Wanted};

/// `/runs`: newest first.
pub async fn list(
    State(app): State<App>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<RunRow>, Problem> {
    let limit = wanted.limit()?;
    let rows = app.index.runs(wanted.cursor.as_deref(), limit + 1).await?;
    Ok(Page::of(rows, limit, |r| r.run.clone()))
}

/// A run that is known, by its whole name. Only what the index read from a directory's listing is
/// ever made a path again.
pub async fn known(app: &App, run: &str) -> Result<RunRow, Problem> {
    let row = app.index.run(run).await?;
    row.ok_or_else(|| Problem::absent(format!("run {run}")))
}

/// `/runs/RUN`
pub async fn one(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
) -> Result<Json<RunRow>, Problem> {
    known(&app, &run).await.map(Json)
}

/// `/runs/RUN/cells`
pub async fn cells(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<CellRow>, Problem> {
    let limit = wanted.limit()?;
    let after = wanted.number()?;
    let row = known(&app, &run).await?;
    let rows = app.index.cells_of(&row.run, after, limit + 1).await?;
    Ok(Page::of(rows, limit, |c| c.cursor.to_string()))
}

/// `/runs/RUN/findings`
pub async fn findings(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<FindingRow>, Problem> {
    let limit = wanted.limit()?;
    let after = wanted.number()?;
    let row = known(&app, &run).await?;
    let rows = app.index.findings_in(&row.run, after, limit + 1).await?;
    Ok(Page::of(rows, limit, |f| f.number.to_string()))
}

/// `/runs/RUN/searches`
pub async fn searches(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
) -> Result<Page<Job>, Problem> {
    let row = known(&app, &run).await?;
    let jobs = app.queue.searches_of(&row.run).await?;
    let all = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
    Ok(Page::of(jobs, all, |j| j.id.to_string()))
}

/// Formats of a run's report.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Json,
    Junit,
    Tap,
}

/// The format that is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    #[serde(default)]
    format: Format,
}

/// `/runs/RUN/report`
pub async fn report(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
    QueryOf(wish): QueryOf<Wish>,
) -> Result<Response, Problem> {
    let row = known(&app, &run).await?;
    let text = stored(&app, &row).await?;
    match wish.format {
        Format::Json => Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response()),
        Format::Junit => converted(&row.run, text, Form::Junit).await,
        Format::Tap => converted(&row.run, text, Form::Tap).await,
    }
}

/// A file of a run, if it is there.
pub async fn file(path: PathBuf) -> Result<Option<String>, Problem> {
    match tokio::fs::read_to_string(&path).await {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", &path, e).into()),
    }
}

/// The cell of a run that a part of an address names: slashes stand there as `+`.
pub async fn cell_named(app: &App, run: &str, name: &str) -> Result<CellId, Problem> {
    row_named(app, run, name).await.map(|c| c.cell)
}

/// The same with what the index knows of it.
pub async fn row_named(app: &App, run: &str, name: &str) -> Result<CellRow, Problem> {
    let mut after = None;
    loop {
        let cells = app.index.cells_of(run, after, MOST).await?;
        let Some(last) = cells.last() else {
            return Err(Problem::absent(format!("cell {name} in run {run}")));
        };
        after = Some(last.cursor);
        if let Some(found) = cells.into_iter().find(|c| cell_dir_name(&c.cell) == name) {
            return Ok(found);
        }
    }
}

/// `/runs/RUN/cells/CELL/consoles/GUEST`: what the guest said, cleaned, as text.
pub async fn console(
    State(app): State<App>,
    PathOf((run, cell, guest)): PathOf<(String, String, u32)>,
) -> Result<Response, Problem> {
    let row = known(&app, &run).await?;
    let cell = cell_named(&app, &row.run, &cell).await?;
    let lines = console::lines(&app, &row.run, &cell, guest).await?;
    let mut text = String::new();
    for line in &lines {
        text.push_str(&line.text);
        text.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// `/revisions/REVISION/runs`: newest first. The revision's whole name.
pub async fn of_revision(
    State(app): State<App>,
    PathOf(revision): PathOf<String>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<RunRow>, Problem> {
    let limit = wanted.limit()?;
    let before = wanted.cursor.clone().map(RunId);
    let rows = app
        .index
        .runs_of(&revision, before.as_ref(), limit + 1)
        .await?;
    Ok(Page::of(rows, limit, |r| r.run.clone()))
}
