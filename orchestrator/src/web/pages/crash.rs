//! `/panics`: kernels that died or hung, by signature, with the evidence of the newest.

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use crate::model::CrashKind;
use crate::report::html::dead::{self, SectionView};
use crate::store::index::{CrashCause, CrashGroup, CrashRow};
use crate::store::runs::RunDir;
use crate::web::App;
use crate::web::api::cases::spot;
use crate::web::api::take::{PathOf, QueryOf};
use crate::web::problem::Problem;

use super::views::{self, When};
use super::{Answer, show};

const GROUPS: u32 = 200;
const CRASHES: u32 = 50;
const CAUSES: u32 = 50;

/// A signature with its crashes.
struct Group {
    word: &'static str,
    class: &'static str,
    signature: String,
    title: String,
    count: u64,
    ports: Vec<String>,
    causes: u64,
    last_run: String,
}

fn group(row: &CrashGroup) -> Group {
    Group {
        word: row.kind.word(),
        class: match row.kind {
            CrashKind::Panic => "crashed",
            CrashKind::Hang => "hung",
            CrashKind::Gone => "crashed",
        },
        signature: views::name(&row.signature),
        title: views::clean(&row.title, 300),
        count: row.count,
        ports: row.ports.iter().map(|p| views::name(p.as_str())).collect(),
        causes: row.causes,
        last_run: views::name(&row.last_run),
    }
}

#[derive(Template)]
#[template(path = "pages/panics.html")]
struct List {
    groups: Vec<Group>,
}

/// `/panics`
pub async fn list(State(app): State<App>) -> Answer {
    let rows = app.index.crash_groups(None, GROUPS).await?;
    let groups = rows.iter().map(group).collect();
    Ok(show(&List { groups }))
}

/// What it was blamed on.
struct Cause {
    suite: String,
    blamed: String,
    blamed_link: String,
    count: u64,
    ports: String,
    first_run: String,
    first: When,
    last_run: String,
    last: When,
}

fn cause(row: &CrashCause) -> Cause {
    let blamed = row.blamed.as_ref();
    let ports: Vec<&str> = row.ports.iter().map(|p| p.as_str()).collect();
    Cause {
        suite: views::name(&row.suite),
        blamed: blamed.map_or(String::new(), |c| views::name(&c.to_string())),
        blamed_link: blamed.map(views::case_link).unwrap_or_default(),
        count: row.count,
        ports: views::name(&ports.join(", ")),
        first_run: views::name(&row.first_run),
        first: views::when(row.first),
        last_run: views::name(&row.last_run),
        last: views::when(row.last),
    }
}

struct One {
    run: String,
    started: When,
    cell: String,
    guest: u32,
    console: String,
    blamed: String,
    blamed_link: String,
}

fn one(row: &CrashRow) -> One {
    let blamed = row.blamed.as_ref();
    One {
        run: views::name(&row.run),
        started: views::when(row.started),
        cell: views::name(&row.cell.to_string()),
        guest: row.guest,
        console: views::console_link(&row.run, &row.cell, row.guest),
        blamed: blamed.map_or(String::new(), |c| views::name(&c.to_string())),
        blamed_link: blamed.map(views::case_link).unwrap_or_default(),
    }
}

/// What the newest crash of a group left behind.
#[derive(Default)]
struct Evidence {
    run: String,
    excerpt: Vec<String>,
    particulars: String,
    sections: Vec<SectionView>,
}

#[derive(Template)]
#[template(path = "pages/panic.html")]
struct Page {
    group: Group,
    causes: Vec<Cause>,
    crashes: Vec<One>,
    evidence: Evidence,
    next: String,
}

/// Where the list goes on.
#[derive(Debug, Default, Deserialize)]
pub struct After {
    after: Option<String>,
}

/// `/panics/SIGNATURE`
pub async fn page(
    State(app): State<App>,
    PathOf(signature): PathOf<String>,
    QueryOf(from): QueryOf<After>,
) -> Answer {
    let after = spot(from.after.as_deref())?;
    let found = app.index.crash_groups(Some(&signature), 1).await?;
    let absent = || Problem::absent(format!("crash with the signature {signature}"));
    let group = group(found.first().ok_or_else(absent)?);
    let causes = app.index.crash_causes(&signature, CAUSES).await?;
    let rows = app.index.crashes(&signature, after, CRASHES + 1).await?;
    let more = rows.len() > CRASHES as usize;
    let shown = &rows[..rows.len().min(CRASHES as usize)];
    let next = shown.last().filter(|_| more);
    let newest: Vec<CrashRow> = shown.iter().take(5).cloned().collect();
    let runs = app.runs.clone();
    let evidence =
        tokio::task::spawn_blocking(move || newest.iter().find_map(|row| evidence(&runs, row)));
    let page = Page {
        next: next.map_or(String::new(), |last| {
            format!(
                "/panics/{}?after={}",
                views::encoded(&signature),
                last.cursor
            )
        }),
        causes: causes.iter().map(cause).collect(),
        crashes: shown.iter().map(one).collect(),
        evidence: evidence.await.ok().flatten().unwrap_or_default(),
        group,
    };
    Ok(show(&page))
}

/// From the cell's result, which has what the log does not: what was asked afterwards. Blocks.
fn evidence(runs: &std::path::Path, row: &CrashRow) -> Option<Evidence> {
    let dir = RunDir {
        path: runs.join(&row.run),
    };
    let result = dir.cell(&row.cell).ok()??;
    let guest = result.guests.iter().find(|g| g.number == row.guest)?;
    let crash = guest.crash.as_ref()?;
    Some(Evidence {
        run: views::name(&row.run),
        excerpt: dead::excerpt(crash),
        particulars: dead::particulars(crash),
        sections: dead::sections(crash),
    })
}
