//! Failures that somebody answers for: what a registry of them says of a verdict and of a history. Pure.
//!
//! An entry complains once its day is over, and once its case does not fail any more.

use jiff::civil::Date;
use serde::Serialize;

use super::chance::Count;
use super::flakes::{Chapter, Flake, each};
use crate::model::known::{KnownFlake, Registry};
use crate::model::outcome::Sense;
use crate::model::{CellResult, FindingKind, News, Side, Verdict};

/// So many passes in a row make a known flake look mended.
pub const MENDED: u32 = 20;

/// Who answers for an entry and why, as one word of a sentence.
pub fn name(entry: &KnownFlake) -> String {
    let link = entry.link.as_ref();
    let link = link.map_or(String::new(), |link| format!(", {link}"));
    format!("{} ({}{link})", entry.reason, entry.owner)
}

/// Marks what a registry knows, and complains of entries whose time is over or whose case no
/// longer fails. Only flakes become known: a case that always fails is news, whoever owns it.
pub fn apply(verdict: &mut Verdict, cells: &[CellResult], registry: &Registry, today: Date) {
    for entry in &registry.flakes {
        let until = entry.until;
        let name = name(entry);
        let mut failed = false;
        for finding in &mut verdict.findings {
            let about = finding
                .case
                .as_ref()
                .is_some_and(|c| entry.is_about(&finding.suite, c));
            if !about || finding.kind == FindingKind::Fixed {
                continue;
            }
            failed = true;
            let ports = finding.failing.iter().map(|t| port_of(t.port.as_str()));
            let covered = ports.clone().all(|p| entry.covers(p));
            let line = match (finding.kind == FindingKind::Flake, covered, today <= until) {
                (true, true, true) => {
                    finding.news = News::Known;
                    format!("Known until {until}: {name}.")
                }
                (true, true, false) => {
                    format!("It was known until {until}, which is over: {name}.")
                }
                (true, false, _) => {
                    let others: Vec<&str> = ports.filter(|p| !entry.covers(p)).collect();
                    format!("Known elsewhere, not on {}: {name}.", others.join(", "))
                }
                (false, _, _) => {
                    format!("It is known to fail now and then, but this is more: {name}.")
                }
            };
            finding.evidence.push(line);
        }
        let seen = seen(cells, entry);
        if !failed && seen.bad == 0 && seen.total >= MENDED {
            verdict.notes.push(format!(
                "Known flake {}: it passed {} times of {}. If it is mended, take it out of the registry: {name}.",
                entry.case, seen.total, seen.total
            ));
        } else if today > until && !failed {
            verdict.notes.push(format!(
                "Known flake {}: its time was over on {until}: {name}.",
                entry.case
            ));
        }
    }
}

/// A column's label is the port, with a variant behind `+`.
fn port_of(label: &str) -> &str {
    label.split('+').next().unwrap_or(label)
}

fn seen(cells: &[CellResult], entry: &KnownFlake) -> Count {
    let mut sum = Count::default();
    let cells = cells.iter().filter(|c| c.id.side == Side::Candidate);
    for cell in cells.filter(|c| entry.covers(c.id.port.as_str())) {
        for attempt in cell.attempts.iter().filter(|a| a.counts()) {
            let sense = attempt.outcome.sense();
            if sense != Sense::Silent && entry.is_about(&cell.id.suite, &attempt.case) {
                sum = sum.plus(Count {
                    bad: u32::from(sense == Sense::Bad),
                    total: 1,
                });
            }
        }
    }
    sum
}

/// How an entry stands over a history.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Standing {
    /// The entry's case, as it is written.
    pub case: String,
    /// Who answers for it, and why it is so.
    pub name: String,
    /// The last day on which it is no news.
    pub until: Date,
    /// Bad attempts.
    pub bad: u32,
    /// Attempts that said something.
    pub total: u32,
    /// Attempts since the last bad one; all, where there was none.
    pub passes_since: u32,
    /// Its day is over.
    pub over: bool,
    /// It passed so often that it may be mended.
    pub mended: bool,
}

impl Standing {
    /// What is wrong with the entry, if anything.
    pub fn complaint(&self) -> Option<String> {
        let Self {
            case, name, until, ..
        } = self;
        if self.mended {
            let passes = self.passes_since;
            let since = if self.bad == 0 {
                "without a failure".to_owned()
            } else {
                format!("since the last of its {} failures", self.bad)
            };
            return Some(format!(
                "{case}: it passed {passes} times {since}. If it is mended, take it out of the \
                 registry: {name}"
            ));
        }
        self.over
            .then(|| format!("{case}: its time was over on {until}: {name}"))
    }
}

/// How the entries of a registry stand, in their order.
pub fn standings(registry: &Registry, history: &[Chapter<'_>], today: Date) -> Vec<Standing> {
    let mut counts = vec![(Count::default(), 0_u32); registry.flakes.len()];
    each(history, |look| {
        let id = &look.cell.id;
        for (entry, (count, since)) in registry.flakes.iter().zip(&mut counts) {
            let about = entry.is_about(&id.suite, &look.before.attempt().case);
            if !about || !entry.covers(id.port.as_str()) {
                continue;
            }
            let bad = u32::from(look.bad);
            *count = count.plus(Count { bad, total: 1 });
            *since = if look.bad { 0 } else { *since + 1 };
        }
    });
    let entries = registry.flakes.iter().zip(counts);
    let standing = |(entry, (count, since)): (&KnownFlake, (Count, u32))| Standing {
        case: entry.case.clone(),
        name: name(entry),
        until: entry.until,
        bad: count.bad,
        total: count.total,
        passes_since: since,
        over: today > entry.until,
        mended: since >= MENDED,
    };
    entries.map(standing).collect()
}

/// The entry that covers a flake wherever it came and went, on a day that is not over.
pub fn answers_for<'a>(
    registry: &'a Registry,
    flake: &Flake,
    today: Date,
) -> Option<&'a KnownFlake> {
    let ports = || {
        let bad = flake.cells.iter().filter(|(_, rate)| rate.bad > 0);
        // SUITE/PORT/VARIANT/SIDE
        bad.filter_map(|(cell, _)| cell.split('/').nth(1))
    };
    registry.flakes.iter().find(|entry| {
        today <= entry.until
            && entry.is_about(&flake.suite, &flake.case)
            && ports().all(|port| entry.covers(port))
    })
}

#[cfg(test)]
#[path = "known_tests.rs"]
mod tests;
