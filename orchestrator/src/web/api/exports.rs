//! A run in the forms that other programs take, and its attempts page by page.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;

use crate::model::CellId;
use crate::report::diff::RunDiff;
use crate::report::rows::Row;
use crate::report::{self, RunReport};
use crate::store::StoreError;
use crate::store::benches::{self, Bench};
use crate::store::index::{RunRow, Spot};
use crate::store::runs::RunDir;
use crate::web::App;
use crate::web::console;
use crate::web::pages::compared;
use crate::web::problem::Problem;

use super::runs::{cell_named, file, known};
use super::take::{MOST, Page, PathOf, QueryOf, Wanted, limit};

/// The report of a run that has ended, as it is stored.
pub async fn stored(app: &App, row: &RunRow) -> Result<String, Problem> {
    let path = app.runs.join(&row.run).join("report.json");
    let early = || {
        Problem::absent(format!(
            "report of run {} yet: it is under way, or was killed",
            row.run
        ))
    };
    file(path).await?.ok_or_else(early)
}

/// Forms of a run.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// JUnit XML.
    Junit,
    /// Test Anything Protocol 14.
    Tap,
    /// One JSON object an attempt.
    Jsonl,
    /// One line an attempt.
    Csv,
    /// KCIDB 5.0.
    Kcidb,
}

impl Form {
    fn kind(self) -> &'static str {
        match self {
            Self::Junit => "application/xml",
            Self::Tap => "text/plain; charset=utf-8",
            Self::Jsonl => "application/jsonl",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Kcidb => "application/json",
        }
    }

    fn write(self, report: &RunReport) -> Result<String, String> {
        let said = |e: &dyn std::fmt::Display| e.to_string();
        match self {
            Self::Junit => report::junit::write(report).map_err(|e| said(&e)),
            Self::Tap => Ok(report::tap::write(report)),
            Self::Jsonl => report::rows::jsonl(report).map_err(|e| said(&e)),
            Self::Csv => report::rows::csv(report).map_err(|e| said(&e)),
            Self::Kcidb => Ok(report::kcidb::write(report, "fallout")),
        }
    }
}

/// Writes a stored report in another form; a large one takes a while, beside everything else.
pub async fn converted(run: &str, text: String, form: Form) -> Result<Response, Problem> {
    let done = tokio::task::spawn_blocking(move || {
        let report = report::json::read(&text).map_err(|e| e.to_string())?;
        form.write(&report)
    });
    let text = done.await.unwrap_or_else(|e| Err(e.to_string()));
    let text = text.map_err(|why| {
        tracing::error!(run, why, "a report could not be written in another form");
        Problem::absent(format!("report of run {run} that this version can read"))
    })?;
    Ok(([(header::CONTENT_TYPE, form.kind())], text).into_response())
}

/// `/runs/RUN/export/FORM`
pub async fn export(
    State(app): State<App>,
    PathOf((run, form)): PathOf<(String, Form)>,
) -> Result<Response, Problem> {
    let row = known(&app, &run).await?;
    let text = stored(&app, &row).await?;
    converted(&row.run, text, form).await
}

/// Which attempts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    limit: Option<u32>,
    cursor: Option<String>,
    cell: Option<String>,
}

/// `/runs/RUN/results`: the attempts of the cells that are done, in their order.
pub async fn results(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
    QueryOf(which): QueryOf<Which>,
) -> Result<Page<Value>, Problem> {
    let limit = limit(which.limit)?;
    let only: Option<CellId> = which
        .cell
        .map(|c| c.parse().map_err(Problem::bad))
        .transpose()?;
    let from: Option<Spot> = which
        .cursor
        .map(|c| {
            c.parse()
                .map_err(|why: String| Problem::bad(format!("cursor: {why}")))
        })
        .transpose()?;
    let row = known(&app, &run).await?;
    let dir = app.runs.join(&row.run);
    let want = limit as usize + 1;
    let mut found: Vec<(Spot, Value)> = Vec::new();
    // The cell in which the page before ended comes again.
    let mut after = from.map(|f| f.cell.saturating_sub(1));
    while found.len() < want {
        let cells = app.index.cells_of(&row.run, after, MOST).await?;
        let Some(last) = cells.last() else { break };
        after = Some(last.cursor);
        for cell in cells {
            if only.as_ref().is_some_and(|id| *id != cell.cell) {
                continue;
            }
            let skip = match from {
                Some(f) if f.cell == cell.cursor => usize::try_from(f.seq + 1).unwrap_or(0),
                _ => 0,
            };
            let left = want - found.len();
            let part = attempts(dir.clone(), row.run.clone(), cell.cell, skip, left).await?;
            found.extend(part.into_iter().map(|(seq, row)| {
                let spot = Spot {
                    cell: cell.cursor,
                    seq,
                };
                (spot, row)
            }));
            if found.len() >= want {
                break;
            }
        }
    }
    Ok(Page::of(found, limit, |(spot, _)| spot.to_string()).map(|(_, row)| row))
}

/// Some attempts of a cell with their positions; none of a cell that is not done.
async fn attempts(
    dir: PathBuf,
    run: String,
    id: CellId,
    skip: usize,
    most: usize,
) -> Result<Vec<(i64, Value)>, Problem> {
    let read = tokio::task::spawn_blocking(move || {
        let cell = RunDir { path: dir }.cell(&id)?;
        let rows = cell.iter().flat_map(|c| c.attempts.iter().enumerate());
        let rows = rows.skip(skip).take(most).map(|(i, attempt)| {
            let row = serde_json::to_value(Row::of(&run, &id, attempt));
            (
                i64::try_from(i).unwrap_or(i64::MAX),
                row.unwrap_or_default(),
            )
        });
        Ok::<_, StoreError>(rows.collect())
    });
    match read.await {
        Ok(rows) => Ok(rows?),
        Err(_) => Ok(Vec::new()),
    }
}

/// `/runs/RUN/cells/CELL/consoles/GUEST/cast`: a recorded console as asciicast v2.
pub async fn cast(
    State(app): State<App>,
    PathOf((run, cell, guest)): PathOf<(String, String, u32)>,
) -> Result<Response, Problem> {
    let row = known(&app, &run).await?;
    let cell = cell_named(&app, &row.run, &cell).await?;
    let recording = console::recording(&app, &row.run, &cell, guest).await?;
    let title = format!("{cell} guest {guest}");
    let text = tokio::task::spawn_blocking(move || {
        report::asciicast::write(&recording.bytes, &recording.marks, &title, None)
    });
    let text = text.await.unwrap_or_default();
    Ok(([(header::CONTENT_TYPE, "application/x-asciicast")], text).into_response())
}

/// The run that is compared with.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Against {
    from: String,
}

/// `/runs/RUN/diff`: what changed from another run to this one.
pub async fn diff(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
    QueryOf(against): QueryOf<Against>,
) -> Result<Json<RunDiff>, Problem> {
    compared(&app, &against.from, &run).await.map(Json)
}

/// `/benches`: the names of measurements, newest first.
pub async fn benches(
    State(app): State<App>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<Value>, Problem> {
    let limit = wanted.limit()?;
    let dir = app.benches();
    let read = tokio::task::spawn_blocking(move || {
        benches::list(&dir, wanted.cursor.as_deref(), limit as usize + 1)
    });
    let names = match read.await {
        Ok(names) => names?,
        Err(_) => Vec::new(),
    };
    let page = Page::of(names, limit, Clone::clone);
    Ok(page.map(|name| serde_json::json!({"bench": name})))
}

/// `/benches/BENCH`
pub async fn bench(
    State(app): State<App>,
    PathOf(bench): PathOf<String>,
) -> Result<Json<Bench>, Problem> {
    let (dir, name) = (app.benches(), bench.clone());
    let read = tokio::task::spawn_blocking(move || benches::get(&dir, &name));
    let found = match read.await {
        Ok(found) => found?,
        Err(_) => None,
    };
    let absent = || Problem::absent(format!("measurement {bench}"));
    found.map(Json).ok_or_else(absent)
}
