//! `/runs/RUN/cells/CELL/console/GUEST`: a recorded console, with a number on each line to link to,
//! and a search.

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use crate::store::index::RunPhase;
use crate::web::App;
use crate::web::api::runs::{known, row_named};
use crate::web::api::take::{PathOf, QueryOf};
use crate::web::console;

use super::views;
use super::{Answer, show};

/// Lines of a page.
const LINES: usize = 2000;

/// Lines that a search shows.
const HITS: usize = 500;

/// What is shown of it.
#[derive(Debug, Default, Deserialize)]
pub struct Part {
    /// The first line, from 1.
    from: Option<usize>,
    /// Only lines with this text, whatever its case.
    #[serde(default)]
    find: String,
}

/// Lines of a guest that lives: its newest, fetched again as they come.
const NEWEST: usize = 300;

struct Line {
    number: usize,
    text: String,
    time: String,
    link: String,
}

#[derive(Template)]
#[template(path = "pages/console.html")]
struct Page {
    run: String,
    cell: String,
    guest: u32,
    guests: Vec<(u32, String)>,
    lines: Vec<Line>,
    count: usize,
    find: String,
    hits: usize,
    first: usize,
    before: String,
    next: String,
    raw: String,
    cast: String,
    link: String,
    live: bool,
    timed: bool,
}

/// The page.
pub async fn page(
    State(app): State<App>,
    PathOf((run, name, guest)): PathOf<(String, String, u32)>,
    QueryOf(part): QueryOf<Part>,
) -> Answer {
    let row = known(&app, &run).await?;
    let found = row_named(&app, &row.run, &name).await?;
    let cell = found.cell;
    let guests = console::recorded(&app, &row.run, &cell).await;
    let all = console::lines(&app, &row.run, &cell, guest).await?;
    let link = views::console_link(&row.run, &cell, guest);
    let find = part.find.trim().to_lowercase();
    // Whoever asks for nothing in particular wants the end while it grows.
    let growing = row.phase == RunPhase::Running && found.stage.is_none();
    let live = growing && part.from.is_none() && find.is_empty();
    let newest = (all.len() + 1).saturating_sub(NEWEST);
    let from = part.from.unwrap_or(if live { newest } else { 1 });
    let first = from.clamp(1, all.len().max(1));
    // The page that a line is on begins at a fixed place, so that links to it stay good.
    let page_of = |number: usize| (number - 1) / LINES * LINES + 1;
    let to = |number: usize| match page_of(number) {
        1 => format!("{link}#L{number}"),
        from => format!("{link}?from={from}#L{number}"),
    };
    let numbered = all.iter().enumerate().map(|(i, text)| (i + 1, text));
    let mut hits = 0;
    let lines: Vec<Line> = if find.is_empty() {
        let page = numbered.skip(first - 1).take(LINES);
        page.map(|(number, line)| Line {
            number,
            text: line.text.clone(),
            time: line.at_ms.map(time).unwrap_or_default(),
            link: format!("#L{number}"),
        })
        .collect()
    } else {
        let mut found = Vec::new();
        for (number, line) in numbered.filter(|(_, l)| l.text.to_lowercase().contains(&find)) {
            hits += 1;
            if found.len() < HITS {
                found.push(Line {
                    number,
                    text: line.text.clone(),
                    time: line.at_ms.map(time).unwrap_or_default(),
                    link: to(number),
                });
            }
        }
        found
    };
    let last = lines.last().map_or(0, |l| l.number);
    let whole = find.is_empty();
    let dir = views::encoded(&crate::store::runs::cell_dir_name(&cell));
    let page = Page {
        cell: views::name(&cell.to_string()),
        guest,
        guests: guests
            .into_iter()
            .map(|g| (g, views::console_link(&row.run, &cell, g)))
            .collect(),
        count: all.len(),
        find: views::name(part.find.trim()),
        hits,
        first,
        before: match whole && first > 1 {
            true => format!("{link}?from={}", first.saturating_sub(LINES).max(1)),
            false => String::new(),
        },
        next: match whole && last < all.len() {
            true => format!("{link}?from={}", last + 1),
            false => String::new(),
        },
        lines,
        raw: format!("/api/v1/runs/{}/cells/{dir}/consoles/{guest}", row.run),
        cast: format!("/api/v1/runs/{}/cells/{dir}/consoles/{guest}/cast", row.run),
        run: views::name(&row.run),
        timed: all.iter().any(|l| l.at_ms.is_some()),
        live,
        link,
    };
    Ok(show(&page))
}

/// Minutes, seconds and tenths after the emulator's start.
fn time(ms: u64) -> String {
    format!("{}:{:02}.{}", ms / 60_000, ms / 1000 % 60, ms / 100 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!(time(0), "0:00.0");
        assert_eq!(time(3_725_990), "62:05.9");
    }
}
