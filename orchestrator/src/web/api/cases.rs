//! What is known over all runs: cases, kernels that died, ports.

use axum::extract::State;
use serde::Deserialize;

use crate::model::CaseId;
use crate::store::index::{
    CaseRow, CellRow, CrashGroup, CrashRow, FindingRow, FlakeRow, HistoryRow, PortRow, RateRow,
    Spot,
};
use crate::web::App;
use crate::web::problem::Problem;

use super::take::{Page, PathOf, QueryOf, Wanted, limit};

/// Which cases.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    #[serde(default)]
    prefix: String,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `/cases`: in order, those whose program begins with `prefix`.
pub async fn list(
    State(app): State<App>,
    QueryOf(which): QueryOf<Which>,
) -> Result<Page<CaseRow>, Problem> {
    let limit = limit(which.limit)?;
    let after = which.cursor.as_deref().map(case_of).transpose()?;
    let rows = app
        .index
        .cases(&which.prefix, after.as_ref(), limit + 1)
        .await?;
    Ok(Page::of(rows, limit, |c| c.case.to_string()))
}

fn case_of(text: &str) -> Result<CaseId, Problem> {
    text.parse()
        .map_err(|e: crate::model::ids::BadCaseId| Problem::bad(e.to_string()))
}

/// A spot in a list of attempts or crashes.
pub fn spot(cursor: Option<&str>) -> Result<Option<Spot>, Problem> {
    cursor
        .map(|c| {
            c.parse()
                .map_err(|e: String| Problem::bad(format!("cursor: {e}")))
        })
        .transpose()
}

/// One case, perhaps on one port.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    case: String,
    port: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

/// `/cases/history`: attempts, those of the newest cells first.
pub async fn history(
    State(app): State<App>,
    QueryOf(about): QueryOf<About>,
) -> Result<Page<HistoryRow>, Problem> {
    let limit = limit(about.limit)?;
    let (case, after) = (case_of(&about.case)?, spot(about.cursor.as_deref())?);
    let port = about.port.as_deref();
    let rows = app.index.history(&case, port, after, limit + 1).await?;
    let rows = rows.ok_or_else(|| Problem::absent(format!("case {case} in any run")))?;
    Ok(Page::of(rows, limit, |r| r.cursor.to_string()))
}

/// One case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    case: String,
}

/// `/cases/rates`: by suite and port, over the newest attempts.
pub async fn rates(
    State(app): State<App>,
    QueryOf(about): QueryOf<Case>,
) -> Result<Page<RateRow>, Problem> {
    Ok(Page::whole(app.index.rates(&case_of(&about.case)?).await?))
}

/// `/cases/findings`: the newest.
pub async fn findings(
    State(app): State<App>,
    QueryOf(about): QueryOf<Case>,
) -> Result<Page<FindingRow>, Problem> {
    let rows = app.index.findings_of(&case_of(&about.case)?, 100).await?;
    Ok(Page::whole(rows))
}

/// How many.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Most {
    limit: Option<u32>,
}

/// `/flakes`: the cases that most often went both ways within a cell.
pub async fn flakes(
    State(app): State<App>,
    QueryOf(most): QueryOf<Most>,
) -> Result<Page<FlakeRow>, Problem> {
    Ok(Page::whole(app.index.flakes(limit(most.limit)?).await?))
}

/// `/panics`: by signature, the most frequent first.
pub async fn panics(
    State(app): State<App>,
    QueryOf(most): QueryOf<Most>,
) -> Result<Page<CrashGroup>, Problem> {
    let rows = app.index.crash_groups(None, limit(most.limit)?).await?;
    Ok(Page::whole(rows))
}

/// `/panics/SIGNATURE`: newest first.
pub async fn panic(
    State(app): State<App>,
    PathOf(signature): PathOf<String>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<CrashRow>, Problem> {
    let limit = wanted.limit()?;
    let after = spot(wanted.cursor.as_deref())?;
    let rows = app.index.crashes(&signature, after, limit + 1).await?;
    if rows.is_empty() && after.is_none() {
        return Err(Problem::absent(format!(
            "crash with the signature {signature}"
        )));
    }
    Ok(Page::of(rows, limit, |r| r.cursor.to_string()))
}

/// `/ports`
pub async fn ports(State(app): State<App>) -> Result<Page<PortRow>, Problem> {
    Ok(Page::whole(app.index.ports().await?))
}

/// `/ports/PORT/cells`: newest first.
pub async fn port_cells(
    State(app): State<App>,
    PathOf(port): PathOf<String>,
    QueryOf(wanted): QueryOf<Wanted>,
) -> Result<Page<CellRow>, Problem> {
    let limit = wanted.limit()?;
    let rows = app
        .index
        .cells_on(&port, wanted.number()?, limit + 1)
        .await?;
    Ok(Page::of(rows, limit, |c| c.cursor.to_string()))
}
