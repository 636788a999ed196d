//! `/runs`, `/runs/RUN`: a run with its findings first, its cells, and the cases that tell something.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse};
use serde::Deserialize;

use crate::model::RunId;
use crate::report::html::nonce;
use crate::web::App;
use crate::web::api::runs::{file, known};
use crate::web::api::take::{PathOf, QueryOf};
use crate::web::problem::Problem;

use super::finished::Told;
use super::views::{self, CellView, FindingLine, JobView, RunView};
use super::{Answer, show};

const RUNS: u32 = 50;

/// Cells of a run that its page lists.
const CELLS: u32 = 500;

/// Where a list goes on.
#[derive(Debug, Default, Deserialize)]
pub struct Before {
    before: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/runs.html")]
struct List {
    runs: Vec<RunView>,
    next: String,
}

/// `/runs`
pub async fn list(State(app): State<App>, QueryOf(from): QueryOf<Before>) -> Answer {
    let rows = app.index.runs(from.before.as_deref(), RUNS + 1).await?;
    let more = rows.len() > RUNS as usize;
    let runs: Vec<RunView> = rows.iter().take(RUNS as usize).map(views::run).collect();
    let next = runs.last().filter(|_| more).map(|r| r.run.clone());
    Ok(show(&List {
        next: next.unwrap_or_default(),
        runs,
    }))
}

/// A cell of the table of suites and ports.
pub struct Square {
    pub cell: Option<CellView>,
}

/// One suite's cells by port and side.
pub struct Table {
    pub suite: String,
    pub ports: Vec<String>,
    pub rows: Vec<(String, Vec<Square>)>,
}

#[derive(Template)]
#[template(path = "pages/run.html")]
struct Page {
    run: RunView,
    revisions: Vec<(String, String, String)>,
    told: Option<Arc<Told>>,
    known: Vec<FindingLine>,
    /// Searches for the commits that brought findings.
    searches: Vec<JobView>,
    tables: Vec<Table>,
    has_report: bool,
}

/// `/runs/RUN`
pub async fn page(State(app): State<App>, PathOf(run): PathOf<String>) -> Answer {
    let row = known(&app, &run).await?;
    let cells = app.index.cells_of(&row.run, None, CELLS).await?;
    let known = app.index.findings_in(&row.run, None, 200).await?;
    let searches = app.queue.searches_of(&row.run).await?;
    let (parse, name) = (app.clone(), row.run.clone());
    let told = tokio::task::spawn_blocking(move || parse.0.finished.of(&parse.runs, &name)).await;
    let mut revisions: Vec<(String, String, String)> = cells
        .iter()
        .filter_map(|c| {
            let revision = c.revision.as_deref()?;
            let link = format!("/revisions/{}", views::encoded(revision));
            Some((views::name(&c.cell.suite), views::short(revision), link))
        })
        .collect();
    revisions.sort();
    revisions.dedup();
    let has_report = app.runs.join(&row.run).join("report.html").is_file();
    let page = Page {
        tables: tables(cells.iter().map(|c| views::cell(c, &app.runs)).collect()),
        run: views::run(&row),
        revisions,
        told: told.ok().flatten(),
        searches: searches.iter().map(|j| views::job(j, &app.runs)).collect(),
        known: known.iter().map(views::finding).collect(),
        has_report,
    };
    Ok(show(&page))
}

/// By suite: one row for each variant and side, one column for each port.
fn tables(cells: Vec<CellView>) -> Vec<Table> {
    let mut suites: Vec<Table> = Vec::new();
    for cell in cells {
        let at = suites.iter().position(|t| t.suite == cell.suite);
        let at = at.unwrap_or_else(|| {
            suites.push(Table {
                suite: cell.suite.clone(),
                ports: Vec::new(),
                rows: Vec::new(),
            });
            suites.len() - 1
        });
        let table = &mut suites[at];
        let column = table.ports.iter().position(|p| *p == cell.port);
        let column = column.unwrap_or_else(|| {
            table.ports.push(cell.port.clone());
            table.ports.len() - 1
        });
        let name = format!("{} {}", cell.variant, cell.side);
        let line = table.rows.iter().position(|(n, _)| *n == name);
        let line = line.unwrap_or_else(|| {
            table.rows.push((name, Vec::new()));
            table.rows.len() - 1
        });
        let squares = &mut table.rows[line].1;
        while squares.len() <= column {
            squares.push(Square { cell: None });
        }
        squares[column].cell = Some(cell);
    }
    for table in &mut suites {
        let width = table.ports.len();
        for (_, squares) in &mut table.rows {
            squares.resize_with(width, || Square { cell: None });
        }
    }
    suites
}

/// `/runs/RUN/report`: the page that the run wrote, with a policy for the styles and the script that
/// it has within.
pub async fn report(State(app): State<App>, PathOf(run): PathOf<String>) -> Answer {
    let row = known(&app, &run).await?;
    let text = file(app.runs.join(&row.run).join("report.html")).await?;
    let text = text.ok_or_else(|| Problem::absent(format!("report of run {run} yet")))?;
    let nonce = nonce(&RunId(row.run));
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = Html(text).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}
