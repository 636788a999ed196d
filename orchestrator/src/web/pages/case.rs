//! `/cases`, `/case`, `/flakes`: a case over all runs, by port and revision.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect};
use serde::Deserialize;

use crate::model::outcome::Sense;
use crate::model::{CaseId, Outcome};
use crate::store::index::HistoryRow;
use crate::web::App;
use crate::web::api::cases::spot;
use crate::web::api::take::QueryOf;
use crate::web::problem::Problem;

use super::views::{self, FindingLine, When};
use super::{Answer, show};

const CASES: u32 = 200;
const ATTEMPTS: u32 = 100;

/// Cells that a port's strip shows, the newest.
const STRIP: usize = 40;

/// Attempts that strips are made of.
const STRIPPED: u32 = 1000;

/// What is looked for.
#[derive(Debug, Default, Deserialize)]
pub struct Search {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
}

#[derive(Template)]
#[template(path = "pages/cases.html")]
struct List {
    prefix: String,
    programs: Vec<(String, Vec<(String, String)>)>,
    count: usize,
    next: String,
}

/// `/cases`. A whole case is gone to at once.
pub async fn list(State(app): State<App>, QueryOf(search): QueryOf<Search>) -> Answer {
    let prefix = search.prefix.trim();
    if let Ok(case) = prefix.parse::<CaseId>()
        && app.index.history(&case, None, None, 1).await?.is_some()
    {
        return Ok(Redirect::to(&views::case_link(&case)).into_response());
    }
    let after: Option<CaseId> = search.after.and_then(|a| a.parse().ok());
    let rows = app.index.cases(prefix, after.as_ref(), CASES + 1).await?;
    let more = rows.len() > CASES as usize;
    let mut programs: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let shown = &rows[..rows.len().min(CASES as usize)];
    for row in shown {
        let program = views::name(&row.case.program);
        if programs.last().is_none_or(|(p, _)| *p != program) {
            programs.push((program, Vec::new()));
        }
        if let Some((_, cases)) = programs.last_mut() {
            cases.push((views::name(&row.case.case), views::case_link(&row.case)));
        }
    }
    let next = shown.last().filter(|_| more).map(|last| {
        let (prefix, after) = (views::encoded(prefix), last.case.to_string());
        format!("/cases?prefix={prefix}&after={}", views::encoded(&after))
    });
    Ok(show(&List {
        prefix: views::name(prefix),
        programs,
        count: shown.len(),
        next: next.unwrap_or_default(),
    }))
}

/// Which case.
#[derive(Debug, Deserialize)]
pub struct Which {
    case: String,
    port: Option<String>,
    after: Option<String>,
}

struct Rate {
    suite: String,
    port: String,
    link: String,
    attempts: u64,
    bad: u64,
    percent: String,
    class: &'static str,
    mixed: String,
    mean: String,
    strip: Vec<Mark>,
}

/// One cell's attempts of the case, as one mark.
struct Mark {
    glyph: char,
    class: &'static str,
    run: String,
    label: String,
}

struct AttemptView {
    run: String,
    started: When,
    place: String,
    side: String,
    revision: String,
    revision_link: String,
    pass: u32,
    outcome: &'static str,
    class: &'static str,
    took: String,
    reason: String,
    counted: bool,
}

#[derive(Template)]
#[template(path = "pages/case.html")]
struct Page {
    case: String,
    port: String,
    link: String,
    program_link: String,
    findings: Vec<FindingLine>,
    rates: Vec<Rate>,
    attempts: Vec<AttemptView>,
    next: String,
}

fn class_of(outcome: Outcome) -> &'static str {
    match (outcome, outcome.sense()) {
        (Outcome::Crashed, _) => "crashed",
        (Outcome::Hung, _) => "hung",
        (_, Sense::Good) => "passed",
        (_, Sense::Bad) => "failed",
        (_, Sense::Silent) => "missed",
    }
}

/// `/case?case=PROGRAM:CASE`
pub async fn page(State(app): State<App>, QueryOf(which): QueryOf<Which>) -> Answer {
    let case: CaseId = which
        .case
        .parse()
        .map_err(|e: crate::model::ids::BadCaseId| Problem::bad(e.to_string()))?;
    let after = spot(which.after.as_deref())?;
    let port = which.port.as_deref().filter(|p| !p.is_empty());
    // Older pages are about attempts: they have no strips.
    let stripped = if after.is_none() { STRIPPED } else { 0 };
    let (rows, recent, rates, findings) = tokio::try_join!(
        app.index.history(&case, port, after, ATTEMPTS + 1),
        app.index.history(&case, None, None, stripped),
        app.index.rates(&case),
        app.index.findings_of(&case, 10),
    )?;
    let rows = rows.ok_or_else(|| Problem::absent(format!("case {case} in any run")))?;
    let mut strips = strips(&recent.unwrap_or_default());
    let link = views::case_link(&case);
    let more = rows.len() > ATTEMPTS as usize;
    let shown = &rows[..rows.len().min(ATTEMPTS as usize)];
    let next = shown.last().filter(|_| more).map(|last| {
        let port = port.map_or(String::new(), |p| format!("&port={}", views::encoded(p)));
        format!("{link}{port}&after={}", last.cursor)
    });
    let page = Page {
        case: views::name(&case.to_string()),
        port: views::name(port.unwrap_or_default()),
        program_link: format!("/cases?prefix={}", views::encoded(&case.program)),
        findings: findings.iter().map(views::finding).collect(),
        rates: rates
            .iter()
            .map(|r| Rate {
                suite: views::name(&r.suite),
                port: views::name(r.port.as_str()),
                link: format!("{link}&port={}", views::encoded(r.port.as_str())),
                attempts: r.attempts,
                bad: r.bad,
                percent: match (r.bad, r.attempts) {
                    (_, 0) => "–".to_owned(),
                    (0, _) => "0 %".to_owned(),
                    (bad, n) => format!("{:.1} %", 100.0 * bad as f64 / n as f64),
                },
                class: match (r.bad, r.mixed) {
                    (0, _) => "passed",
                    (_, 0) => "failed",
                    _ => "flaky",
                },
                mixed: match r.mixed {
                    0 => String::new(),
                    n => format!("in {n} of {} cells", r.cells),
                },
                mean: r.mean_ms.map(views::ms_words).unwrap_or_default(),
                strip: strips
                    .remove(&(r.suite.clone(), r.port.0.clone()))
                    .unwrap_or_default(),
            })
            .collect(),
        attempts: shown.iter().map(attempt).collect(),
        next: next.unwrap_or_default(),
        link,
    };
    Ok(show(&page))
}

fn attempt(row: &HistoryRow) -> AttemptView {
    let revision = row.revision.as_deref().unwrap_or_default();
    AttemptView {
        run: views::name(&row.run),
        started: views::when(row.started),
        place: views::name(&format!("{}/{}/{}", row.suite, row.port, row.variant)),
        side: row.side.to_string(),
        revision: views::short(revision),
        revision_link: format!("/revisions/{}", views::encoded(revision)),
        pass: row.pass,
        outcome: row.outcome.word(),
        class: class_of(row.outcome),
        took: row
            .duration_ms
            .map_or(String::new(), |ms| views::ms_words(ms as f64)),
        reason: views::clean(row.reason.as_deref().unwrap_or_default(), 400),
        counted: row.counted,
    }
}

/// By suite and port: the newest cells as marks, oldest first.
fn strips(rows: &[HistoryRow]) -> BTreeMap<(String, String), Vec<Mark>> {
    let mut cells: BTreeMap<(String, String), Vec<Vec<&HistoryRow>>> = BTreeMap::new();
    for row in rows.iter().filter(|r| r.counted) {
        let strip = cells
            .entry((row.suite.clone(), row.port.0.clone()))
            .or_default();
        let shown = strip.len();
        match strip.last_mut() {
            Some(cell) if cell.iter().any(|c| c.cursor.cell == row.cursor.cell) => cell.push(row),
            _ if shown < STRIP => strip.push(vec![row]),
            _ => {}
        }
    }
    let marks = |strip: Vec<Vec<&HistoryRow>>| {
        let marks = strip.into_iter().rev();
        marks.filter_map(|cell| mark(&cell)).collect()
    };
    cells
        .into_iter()
        .map(|(k, strip)| (k, marks(strip)))
        .collect()
}

fn mark(cell: &[&HistoryRow]) -> Option<Mark> {
    let first = cell.first()?;
    let of = |sense| cell.iter().filter(|r| r.outcome.sense() == sense).count();
    let (good, bad) = (of(Sense::Good), of(Sense::Bad));
    let worst = cell
        .iter()
        .map(|r| r.outcome)
        .find(|o| o.sense() == Sense::Bad)
        .unwrap_or(first.outcome);
    let (glyph, class) = match (good, bad) {
        (_, 0) if good > 0 => ('✓', "passed"),
        (0, 0) => ('-', "missed"),
        (0, _) => match class_of(worst) {
            "crashed" => ('P', "crashed"),
            "hung" => ('H', "hung"),
            class => ('F', class),
        },
        _ => ('~', "flaky"),
    };
    Some(Mark {
        glyph,
        class,
        run: views::name(&first.run),
        label: format!(
            "{}, {}: {bad} of {} bad",
            first.started.strftime("%F %R"),
            first.side,
            good + bad
        ),
    })
}

struct FlakeView {
    case: String,
    link: String,
    suite: String,
    cells: u64,
    bad: u64,
    total: u64,
    percent: String,
}

#[derive(Template)]
#[template(path = "pages/flakes.html")]
struct Flakes {
    flakes: Vec<FlakeView>,
}

/// `/flakes`
pub async fn flakes(State(app): State<App>) -> Answer {
    let rows = app.index.flakes(200).await?;
    let flakes = rows.iter().map(|f| FlakeView {
        case: views::name(&f.case.to_string()),
        link: views::case_link(&f.case),
        suite: views::name(&f.suite),
        cells: f.cells,
        bad: f.bad,
        total: f.total,
        percent: format!("{:.0} %", 100.0 * f.bad as f64 / f.total.max(1) as f64),
    });
    Ok(show(&Flakes {
        flakes: flakes.collect(),
    }))
}
