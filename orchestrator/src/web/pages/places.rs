//! `/ports`, `/revisions`: how ports do, and everything about one commit.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use crate::model;
use crate::store::index::PortRow;
use crate::web::App;
use crate::web::api::take::{PathOf, QueryOf, number};
use crate::web::problem::Problem;

use super::plot;
use super::views::{self, CellView, FindingLine, JobView, RunView};
use super::{Answer, show};

const CELLS: u32 = 60;
const BOOTS: u32 = 60;
const RUNS: u32 = 20;

struct PortView {
    port: String,
    link: String,
    cells: u64,
    complete: u64,
    percent: u64,
    host_faults: u64,
    crashes: u64,
    boot: String,
    stages: Vec<(&'static str, u64)>,
}

fn port_view(row: &PortRow) -> PortView {
    PortView {
        port: views::name(row.port.as_str()),
        link: format!("/ports/{}", views::encoded(row.port.as_str())),
        cells: row.cells,
        complete: row.complete,
        percent: 100 * row.complete / row.cells.max(1),
        host_faults: row.host_faults,
        crashes: row.crashes,
        boot: row.boot_ms.map(views::ms_words).unwrap_or_default(),
        stages: row.stages.iter().map(|(s, n)| (s.word(), *n)).collect(),
    }
}

#[derive(Template)]
#[template(path = "pages/ports.html")]
struct Ports {
    ports: Vec<PortView>,
}

/// `/ports`
pub async fn ports(State(app): State<App>) -> Answer {
    let rows = app.index.ports().await?;
    let ports = rows.iter().map(port_view).collect();
    Ok(show(&Ports { ports }))
}

/// Where the list goes on.
#[derive(Debug, Default, Deserialize)]
pub struct Before {
    before: Option<String>,
}

/// What its manifest says.
struct Manifest {
    status: String,
    proved: bool,
    family: String,
    emulator: String,
    memory_mib: u32,
    traits: Vec<(String, String)>,
}

fn manifest_view(port: &model::Port) -> Manifest {
    let emulator = &port.emulator;
    let cpu = emulator.cpu.iter().map(|c| format!(", cpu {c}"));
    Manifest {
        status: views::clean(&port.status, 300),
        proved: port.status.starts_with("proved"),
        family: views::name(&port.family),
        emulator: format!(
            "{}, machine {}{}",
            views::name(&emulator.program),
            views::name(&emulator.machine),
            views::name(&cpu.collect::<String>())
        ),
        memory_mib: emulator.mem_mib,
        traits: port
            .traits
            .iter()
            .map(|(k, v)| (views::name(k), views::name(v)))
            .collect(),
    }
}

/// The least, the middle and the most of some times.
fn told(boots: &[u64]) -> String {
    let mut sorted = boots.to_vec();
    sorted.sort_unstable();
    let at = |i: usize| views::ms_words(sorted.get(i).copied().unwrap_or(0) as f64);
    match sorted.len() {
        0 => String::new(),
        n => format!("{} to {}, in the middle {}", at(0), at(n - 1), at(n / 2)),
    }
}

#[derive(Template)]
#[template(path = "pages/port.html")]
struct Port {
    port: PortView,
    manifest: Option<Manifest>,
    boots: String,
    boots_told: String,
    cells: Vec<CellView>,
    next: String,
}

/// `/ports/PORT`
pub async fn port(
    State(app): State<App>,
    PathOf(port): PathOf<String>,
    QueryOf(from): QueryOf<Before>,
) -> Answer {
    let before = number(from.before.as_deref())?;
    let row = app.index.port(&port).await?;
    let row = row.ok_or_else(|| Problem::absent(format!("port {port} in any run")))?;
    let cells = app.index.cells_on(&port, before, CELLS + 1).await?;
    let more = cells.len() > CELLS as usize;
    let shown = &cells[..cells.len().min(CELLS as usize)];
    let mut boots = app.index.boots(&port, BOOTS).await?;
    boots.reverse();
    let manifest = app.ports.iter().find(|p| p.port.as_str() == port);
    let port = port_view(&row);
    Ok(show(&Port {
        manifest: manifest.map(manifest_view),
        boots_told: told(&boots),
        boots: match boots.len() {
            0 => String::new(),
            n => {
                let values: Vec<f64> = boots.iter().map(|ms| *ms as f64).collect();
                plot::bars(
                    &values,
                    &format!("How long the newest {n} guests took to come up"),
                )
            }
        },
        next: shown.last().filter(|_| more).map_or(String::new(), |c| {
            format!("{}?before={}", port.link, c.cursor)
        }),
        cells: shown.iter().map(|c| views::cell(c, &app.runs)).collect(),
        port,
    }))
}

/// What is looked for.
#[derive(Debug, Default, Deserialize)]
pub struct Search {
    #[serde(default)]
    prefix: String,
}

#[derive(Template)]
#[template(path = "pages/revisions.html")]
struct Revisions {
    prefix: String,
    revisions: Vec<(String, String)>,
}

/// `/revisions`: by the beginning of their names. A single one is gone to at once.
pub async fn revisions(State(app): State<App>, QueryOf(search): QueryOf<Search>) -> Answer {
    let prefix = search.prefix.trim();
    let found = app.index.revisions(prefix, 100).await?;
    let link = |r: &String| format!("/revisions/{}", views::encoded(r));
    if let ([only], false) = (found.as_slice(), prefix.is_empty()) {
        return Ok(Redirect::to(&link(only)).into_response());
    }
    Ok(show(&Revisions {
        prefix: views::name(prefix),
        revisions: found.iter().map(|r| (views::name(r), link(r))).collect(),
    }))
}

#[derive(Template)]
#[template(path = "pages/revision.html")]
struct Revision {
    revision: String,
    jobs: Vec<JobView>,
    runs: Vec<(RunView, Vec<FindingLine>)>,
}

/// `/revisions/REVISION`: its jobs, its runs, and what they found.
pub async fn revision(State(app): State<App>, PathOf(revision): PathOf<String>) -> Answer {
    let jobs = app.queue.jobs_of(&revision, 50).await?;
    let rows = app.index.runs_of(&revision, None, RUNS).await?;
    if jobs.is_empty() && rows.is_empty() {
        let known = app.index.revisions(&revision, 2).await?;
        return match known.as_slice() {
            [only] => {
                let link = format!("/revisions/{}", views::encoded(only));
                Ok(Redirect::to(&link).into_response())
            }
            _ => Err(Problem::absent(format!("revision {revision} in any run or job")).into()),
        };
    }
    let mut runs = Vec::new();
    for row in &rows {
        let findings = app.index.findings_in(&row.run, None, 30).await?;
        runs.push((
            views::run(row),
            findings.iter().map(views::finding).collect(),
        ));
    }
    Ok(show(&Revision {
        revision: views::name(&revision),
        jobs: jobs.iter().map(|j| views::job(j, &app.runs)).collect(),
        runs,
    }))
}
