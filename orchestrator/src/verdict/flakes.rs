//! Cases that come and go: how often, where, and what it goes with. Pure.
//!
//! Attempts of many runs are taken together, each once: a result out of the cache is no new
//! evidence. What a failure goes with is told only where luck hardly explains it, after all the
//! things that were looked at have been counted in. It does not know why; `fallout polluter` and
//! `fallout bisect` ask further.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde::Serialize;

use super::chance::{Count, more_by_luck};
use crate::model::known::Registry;
use crate::model::outcome::Sense;
use crate::model::{Attempt, CaseId, CellResult, FindingKind, News, Purpose, Side, Verdict};

/// What is told is shown by luck in fewer than one of so many cases.
const DOUBT: f64 = 0.01;
/// So many passes in a row make a known flake look mended.
pub const MENDED: u32 = 20;

/// A run's part of the history.
#[derive(Debug, Clone, Copy)]
pub struct Chapter<'a> {
    /// When it began: the hour of the day, UTC.
    pub hour: u8,
    /// Its cells.
    pub cells: &'a [CellResult],
}

/// A rate with its interval (Wilson, 95%), all from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Bad attempts.
    pub bad: u32,
    /// Attempts that say anything.
    pub total: u32,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
}

impl Rate {
    /// The rate of a count.
    pub fn of(count: Count) -> Self {
        const Z: f64 = 1.96;
        let (n, p) = (
            f64::from(count.total.max(1)),
            f64::from(count.bad) / f64::from(count.total.max(1)),
        );
        let middle = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
        let none = count.total == 0;
        Self {
            bad: count.bad,
            total: count.total,
            low: if none { 0.0 } else { (middle - half).max(0.0) },
            high: if none { 1.0 } else { (middle + half).min(1.0) },
        }
    }
}

/// Something that a failure goes with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GoesWith {
    /// What: `port s390x`, `right after a_test:b`, `later passes`.
    pub what: String,
    /// There.
    pub there: Rate,
    /// Elsewhere.
    pub elsewhere: Rate,
}

/// A case that comes and goes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Flake {
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: CaseId,
    /// Over all cells in which it came and went or could have.
    pub rate: Rate,
    /// By cell.
    pub cells: Vec<(String, Rate)>,
    /// What it goes with, the surest first.
    pub goes_with: Vec<GoesWith>,
}

/// One attempt with its circumstances.
struct Sight {
    cell: String,
    bad: bool,
    facts: Vec<String>,
}

/// The cases that failed in some attempts of a cell and passed in others, the most frequent first.
/// Sides are told apart: a patch that makes a case fail makes no flake.
pub fn flakes(history: &[Chapter<'_>]) -> Vec<Flake> {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut again = BTreeSet::new();
    let mut sights: BTreeMap<(&str, &CaseId), Vec<Sight>> = BTreeMap::new();
    for chapter in history {
        for cell in chapter.cells {
            // What was taken from the cache is in the run that made it, or was made before.
            let new = seen.insert(&cell.key.0);
            let known = !cell.key.0.is_empty() && cell.cached && !new;
            // What a verdict had asked for was added to the cache, run by run.
            let mut first = |a: &'_ Attempt| match a.purpose {
                Purpose::Adaptive => {
                    let case = (a.case.program.clone(), a.case.case.clone());
                    again.insert((cell.key.0.as_str(), a.guest, a.pass, case))
                }
                _ => !known,
            };
            enter(cell, chapter.hour, &mut first, &mut sights);
        }
    }
    let mut found: Vec<Flake> = sights
        .into_iter()
        .filter_map(|((suite, case), sights)| flake(suite, case, &sights))
        .collect();
    found.sort_by(|a, b| b.rate.bad.cmp(&a.rate.bad).then(a.case.cmp(&b.case)));
    found
}

fn enter<'a>(
    cell: &'a CellResult,
    hour: u8,
    first: &mut dyn FnMut(&Attempt) -> bool,
    sights: &mut BTreeMap<(&'a str, &'a CaseId), Vec<Sight>>,
) {
    let mut before: BTreeMap<u32, &CaseId> = BTreeMap::new();
    for attempt in &cell.attempts {
        let last = before.insert(attempt.guest, &attempt.case);
        let bad = match attempt.outcome.sense() {
            Sense::Silent => continue,
            _ if !attempt.counts() || !first(attempt) => continue,
            sense => sense == Sense::Bad,
        };
        let id = &cell.id;
        let quarter = hour / 6 * 6;
        let pass = if attempt.pass > 1 {
            "later passes"
        } else {
            "the first pass"
        };
        let guest = if attempt.guest > 1 {
            "later guests"
        } else {
            "the first guest"
        };
        let after = match last {
            Some(case) => format!("right after {case}"),
            None => "first in its guest".to_owned(),
        };
        let facts = vec![
            format!("port {}", id.port),
            format!("variant {}", id.variant),
            format!("the {}", id.side),
            pass.to_owned(),
            guest.to_owned(),
            after,
            format!("{quarter:02} to {:02} h UTC", quarter + 6),
        ];
        let sight = Sight {
            cell: id.to_string(),
            bad,
            facts,
        };
        sights
            .entry((&id.suite, &attempt.case))
            .or_default()
            .push(sight);
    }
}

fn count<'a>(sights: impl Iterator<Item = &'a Sight>) -> Count {
    sights.fold(Count::default(), |sum, s| {
        sum.plus(Count {
            bad: u32::from(s.bad),
            total: 1,
        })
    })
}

fn flake(suite: &str, case: &CaseId, sights: &[Sight]) -> Option<Flake> {
    let mut cells: BTreeMap<&str, Count> = BTreeMap::new();
    for sight in sights {
        let one = count(std::iter::once(sight));
        let sum = cells.entry(&sight.cell).or_default();
        *sum = sum.plus(one);
    }
    if !cells.values().any(|c| c.mixed()) {
        return None;
    }
    let all = count(sights.iter());
    let facts: BTreeSet<&String> = sights.iter().flat_map(|s| &s.facts).collect();
    let mut goes_with: Vec<(f64, GoesWith)> = facts
        .iter()
        .filter_map(|fact| {
            let there = count(sights.iter().filter(|s| s.facts.contains(fact)));
            let elsewhere = Count {
                bad: all.bad - there.bad,
                total: all.total - there.total,
            };
            if elsewhere.total == 0 {
                return None;
            }
            // Each thing that is looked at is one more chance to be fooled.
            let luck = more_by_luck(there, elsewhere) * facts.len() as f64;
            (luck < DOUBT).then(|| {
                let with = GoesWith {
                    what: (*fact).clone(),
                    there: Rate::of(there),
                    elsewhere: Rate::of(elsewhere),
                };
                (luck, with)
            })
        })
        .collect();
    goes_with.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(Flake {
        suite: suite.to_owned(),
        case: case.clone(),
        rate: Rate::of(all),
        cells: cells
            .into_iter()
            .map(|(cell, c)| (cell.to_owned(), Rate::of(c)))
            .collect(),
        goes_with: goes_with.into_iter().map(|(_, with)| with).collect(),
    })
}

/// Marks what a registry knows, and complains of entries whose time is over or whose case no
/// longer fails. Only flakes become known: a case that always fails is news, whoever owns it.
pub fn apply(verdict: &mut Verdict, cells: &[CellResult], registry: &Registry, today: Date) {
    for entry in &registry.flakes {
        let until = entry.until;
        let link = entry
            .link
            .as_ref()
            .map_or(String::new(), |l| format!(", {l}"));
        let name = format!("{} ({}{link})", entry.reason, entry.owner);
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

fn seen(cells: &[CellResult], entry: &crate::model::known::KnownFlake) -> Count {
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

#[cfg(test)]
#[path = "flakes_tests.rs"]
mod tests;
