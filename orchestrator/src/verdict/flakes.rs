//! Cases that come and go: how often, where, and what it goes with. Pure.
//!
//! Attempts of many runs are taken together, each once: a result out of the cache is no new
//! evidence. What a failure goes with is told only where luck hardly explains it, after all the
//! things that were looked at have been counted in; what parts the attempts alike is one thing. It does
//! not know why; `fallout polluter` and `fallout bisect` ask further.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::chance::{Count, more_by_luck};
use super::circumstances::{self, Before, Boots};
use crate::model::outcome::Sense;
use crate::model::{CaseId, CellId, CellResult, Purpose};

/// What is told is shown by luck in fewer than one of so many cases.
const DOUBT: f64 = 0.01;

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
    /// What else was so in the very same attempts, and only in them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alike: Vec<String>,
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

/// An attempt that says something, at its first appearance.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// Its cell.
    pub cell: &'a CellResult,
    /// When its run began.
    pub hour: u8,
    /// The attempt, and what ran before it.
    pub before: Before<'a>,
    /// Whether it ended badly.
    pub bad: bool,
}

impl Look<'_> {
    fn count(&self) -> Count {
        Count {
            bad: u32::from(self.bad),
            total: 1,
        }
    }
}

/// Shows every attempt of a history that says something, each once, oldest first.
pub fn each<'a>(history: &[Chapter<'a>], mut show: impl FnMut(Look<'a>)) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut again = BTreeSet::new();
    for chapter in history {
        for cell in chapter.cells {
            // What was taken from the cache is in the run that made it, or was made before.
            let new = seen.insert(&cell.key.0);
            let known = !cell.key.0.is_empty() && cell.cached && !new;
            for (at, attempt) in cell.attempts.iter().enumerate() {
                let sense = attempt.outcome.sense();
                if sense == Sense::Silent || !attempt.counts() {
                    continue;
                }
                // What a verdict had asked for was added to the cache, run by run.
                let first = match attempt.purpose {
                    Purpose::Adaptive => again.insert((
                        cell.key.0.as_str(),
                        attempt.guest,
                        attempt.pass,
                        &attempt.case,
                    )),
                    _ => !known,
                };
                if first {
                    let attempts = &cell.attempts;
                    show(Look {
                        cell,
                        hour: chapter.hour,
                        before: Before { attempts, at },
                        bad: sense == Sense::Bad,
                    });
                }
            }
        }
    }
}

/// The cases that failed in some attempts of a cell and passed in others, the most frequent first.
/// Sides are told apart: a patch that makes a case fail makes no flake.
pub fn flakes(history: &[Chapter<'_>]) -> Vec<Flake> {
    let mut counts: BTreeMap<(&str, &CaseId), BTreeMap<&CellId, Count>> = BTreeMap::new();
    each(history, |look| {
        let id = &look.cell.id;
        let case = (id.suite.as_str(), &look.before.attempt().case);
        let cell = counts.entry(case).or_default().entry(id).or_default();
        *cell = cell.plus(look.count());
    });
    counts.retain(|_, cells| cells.values().any(|c| c.mixed()));
    // Circumstances are looked at for these alone: a night has millions of attempts.
    let mut looks: BTreeMap<(&str, &CaseId), Vec<Look<'_>>> = BTreeMap::new();
    each(history, |look| {
        let case = (look.cell.id.suite.as_str(), &look.before.attempt().case);
        if counts.contains_key(&case) {
            looks.entry(case).or_default().push(look);
        }
    });
    let boots = Boots::of(history.iter().flat_map(|c| c.cells));
    let told = |((suite, case), cells): ((&str, &CaseId), BTreeMap<&CellId, Count>)| {
        let all = cells.values().fold(Count::default(), |sum, c| sum.plus(*c));
        let looks = looks.get(&(suite, case)).map_or(&[][..], Vec::as_slice);
        Flake {
            suite: suite.to_owned(),
            case: case.clone(),
            rate: Rate::of(all),
            cells: cells
                .into_iter()
                .map(|(cell, c)| (cell.to_string(), Rate::of(c)))
                .collect(),
            goes_with: goes_with(looks, all, &boots),
        }
    };
    let mut found: Vec<Flake> = counts.into_iter().map(told).collect();
    found.sort_by(|a, b| b.rate.bad.cmp(&a.rate.bad).then(a.case.cmp(&b.case)));
    found
}

fn goes_with(looks: &[Look<'_>], all: Count, boots: &Boots) -> Vec<GoesWith> {
    let mut facts: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for (i, look) in looks.iter().enumerate() {
        for fact in circumstances::of(look.cell, look.before, look.hour, boots) {
            facts
                .entry(fact)
                .or_insert_with(|| vec![false; looks.len()])[i] = true;
        }
    }
    // What parts the attempts in the same way is one thing with several names.
    let mut splits: BTreeMap<Vec<bool>, Vec<String>> = BTreeMap::new();
    for (fact, split) in facts {
        splits.entry(split).or_default().push(fact);
    }
    let before: Vec<Before<'_>> = looks.iter().map(|l| l.before).collect();
    for (cases, split) in circumstances::company(&before) {
        let names = cases.iter().map(|case| format!("after {case}"));
        splits.entry(split).or_default().extend(names);
    }
    splits.retain(|split, _| split.iter().any(|there| !there));
    let looked_at = splits.len() as f64;
    let mut found: Vec<(f64, GoesWith)> = Vec::new();
    for (split, names) in splits {
        let there = looks.iter().zip(&split).filter(|(_, there)| **there);
        let there = there.fold(Count::default(), |sum, (l, _)| sum.plus(l.count()));
        let elsewhere = Count {
            bad: all.bad - there.bad,
            total: all.total - there.total,
        };
        // Each thing that is looked at is one more chance to be fooled.
        let luck = more_by_luck(there, elsewhere) * looked_at;
        let mut names = names.into_iter();
        let Some(what) = names.next().filter(|_| luck < DOUBT) else {
            continue;
        };
        let with = GoesWith {
            what,
            alike: names.collect(),
            there: Rate::of(there),
            elsewhere: Rate::of(elsewhere),
        };
        found.push((luck, with));
    }
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found.into_iter().map(|(_, with)| with).collect()
}

#[cfg(test)]
#[path = "flakes_tests.rs"]
pub(crate) mod tests;
