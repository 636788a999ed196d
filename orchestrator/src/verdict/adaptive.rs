//! Which cells to ask again about which cases: the turns of [`super::repeats`] over a whole run.
//!
//! ```text
//! cells -> open cases --next--> wants (a round: one step for each case) --record--> counts
//!             ^                                                                      |
//!             `-- decided, dear, bound to company, shut: no want any more <----------'
//! ```
//!
//! Cases take turns, so that one that cannot be decided does not eat the others' share. A place is
//! shut for a case where it says nothing or takes its guest along: that is told already, and more of
//! it would be no rate. A case that fails among others and hardly alone is asked no further: its
//! attempts alone are another experiment, and `fallout polluter` is the one to ask.
//!
//! It runs nothing and keeps no clock.

use std::collections::{BTreeMap, HashMap};

use super::VerdictInput;
use super::chance::Count;
use super::decide::depends_on_company;
use super::repeats::{self, Step};
use super::tally::{self, Row, Tally};
use super::traits::Explainer;
use super::weigh::Counts;
use crate::model::outcome::Sense;
use crate::model::spent::{Bought, Stand};
use crate::model::{CaseId, CellId, FindingKind, Outcome, Side, Verdict};

/// What an attempt in a cell costs, in any unit; none where it cannot be made.
pub type Price<'a> = &'a dyn Fn(&CellId) -> Option<f64>;

/// A case that is wanted again, alone in fresh guests of a cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Want {
    /// Where.
    pub cell: CellId,
    /// Which.
    pub case: CaseId,
    /// How often.
    pub times: u32,
    open: usize,
    baseline: bool,
    column: usize,
}

/// By side (the revision under test, the baseline), by column.
type BySide<T> = [Vec<T>; 2];

struct Suite {
    name: String,
    explainer: Explainer,
    price: BySide<Option<f64>>,
}

/// A case that shows a failure.
struct Open {
    suite: usize,
    case: CaseId,
    /// Attempts in passes.
    among: BySide<Count>,
    /// Attempts alone.
    alone: BySide<Count>,
    shut: BySide<bool>,
    asked: u32,
}

impl Open {
    fn counts(&self) -> BySide<Count> {
        [0, 1].map(|side| {
            let both = self.among[side].iter().zip(&self.alone[side]);
            both.map(|(a, b)| a.plus(*b)).collect()
        })
    }

    /// As the judge sees it: by the columns of the revision under test that show a failure.
    fn needs_company(&self) -> bool {
        let columns = self.among[0].iter().zip(&self.alone[0]);
        let failing = columns.filter(|(a, b)| a.bad + b.bad > 0);
        let (among, alone) = failing.fold(Default::default(), |(x, y): (Count, Count), (a, b)| {
            (x.plus(*a), y.plus(*b))
        });
        depends_on_company(among, alone)
    }
}

/// All that is open in a run, and what may still be spent on it.
pub struct Campaign {
    suites: Vec<Suite>,
    open: Vec<Open>,
    places: HashMap<(String, CaseId), usize>,
    left: u64,
}

impl std::fmt::Debug for Campaign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Campaign")
            .field("open", &self.open.len())
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl Campaign {
    /// From what the passes showed; `most` attempts may be made.
    pub fn new(input: &VerdictInput<'_>, most: u64, price: Price<'_>) -> Self {
        let mut campaign = Self {
            suites: Vec::new(),
            open: Vec::new(),
            places: HashMap::new(),
            left: most,
        };
        for table in tally::tables(input) {
            let explainer = Explainer::new(&table, input);
            let prices = [Side::Candidate, Side::Baseline].map(|side| {
                let of = |column: &tally::Column| {
                    price(&CellId {
                        suite: table.suite.to_owned(),
                        port: column.port.clone(),
                        variant: column.variant.clone(),
                        side,
                    })
                };
                table.columns.iter().map(of).collect()
            });
            let suite = campaign.suites.len();
            let rows = table.rows().filter(Row::shows_failure);
            campaign
                .open
                .extend(rows.filter_map(|row| open(suite, &row)));
            campaign.suites.push(Suite {
                name: table.suite.to_owned(),
                explainer,
                price: prices,
            });
        }
        let places = campaign.open.iter().enumerate();
        campaign.places = places
            .map(|(i, o)| ((campaign.suites[o.suite].name.clone(), o.case.clone()), i))
            .collect();
        campaign
    }

    /// Takes note of attempts of a case that are in the counts and were made by an earlier process.
    pub fn spent_before(&mut self, suite: &str, case: &CaseId, attempts: u32) {
        self.left = self.left.saturating_sub(u64::from(attempts));
        if let Some(i) = self.places.get(&(suite.to_owned(), case.clone())) {
            self.open[*i].asked = self.open[*i].asked.saturating_add(attempts);
        }
    }

    /// A round. Empty where nothing is left to ask, or nothing to spend.
    pub fn wants(&mut self) -> Vec<Want> {
        let mut wants = Vec::new();
        for (i, step) in repeats::round(self.open.len(), |i| self.step(i)) {
            if self.left == 0 {
                break;
            }
            let times = step.times.min(u32::try_from(self.left).unwrap_or(u32::MAX));
            self.left -= u64::from(times);
            let open = &mut self.open[i];
            open.asked = open.asked.saturating_add(times);
            let suite = &self.suites[open.suite];
            let Some((port, variant)) = suite.explainer.places.get(step.column) else {
                continue;
            };
            wants.push(Want {
                cell: CellId {
                    suite: suite.name.clone(),
                    port: port.clone(),
                    variant: variant.clone(),
                    side: if step.baseline {
                        Side::Baseline
                    } else {
                        Side::Candidate
                    },
                },
                case: open.case.clone(),
                times,
                open: i,
                baseline: step.baseline,
                column: step.column,
            });
        }
        wants
    }

    fn step(&self, i: usize) -> Option<Step> {
        let open = &self.open[i];
        if open.asked >= repeats::CAP || open.needs_company() {
            return None;
        }
        let suite = &self.suites[open.suite];
        let price = |baseline: bool, column: usize| {
            let side = usize::from(baseline);
            let shut = open.shut[side].get(column).copied().unwrap_or(true);
            (!shut).then(|| suite.price[side].get(column).copied().flatten())?
        };
        let [candidate, baseline] = open.counts();
        let counts = Counts {
            candidate: &candidate,
            baseline: &baseline,
        };
        repeats::step(&suite.explainer.scales, counts, &price)
    }

    /// Enters how one attempt of a want ended; none where it says nothing and will not. The place is
    /// shut for the case where it says nothing, or where the guest died.
    pub fn record(&mut self, want: &Want, outcome: Option<Outcome>) {
        let Some(open) = self.open.get_mut(want.open) else {
            return;
        };
        let side = usize::from(want.baseline);
        let bad = match outcome.map(|o| (o, o.sense())) {
            Some((Outcome::Crashed | Outcome::Hung, _)) | Some((_, Sense::Silent)) | None => {
                if let Some(shut) = open.shut[side].get_mut(want.column) {
                    *shut = true;
                }
                return;
            }
            Some((_, sense)) => sense == Sense::Bad,
        };
        if let Some(count) = open.alone[side].get_mut(want.column) {
            repeats::add(count, bad);
        }
    }

    /// One attempt of a want was not made.
    pub fn give_back(&mut self, want: &Want) {
        self.left = self.left.saturating_add(1);
        if let Some(open) = self.open.get_mut(want.open) {
            open.asked = open.asked.saturating_sub(1);
        }
    }

    /// One attempt of a want is made after all; false where none is left.
    pub fn take(&mut self, want: &Want) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        if let Some(open) = self.open.get_mut(want.open) {
            open.asked = open.asked.saturating_add(1);
        }
        true
    }

    /// Nothing more can be asked in a cell, of any case.
    pub fn close(&mut self, cell: &CellId) {
        let side = usize::from(cell.side == Side::Baseline);
        for suite in self.suites.iter_mut().filter(|s| s.name == cell.suite) {
            let places = suite.explainer.places.iter();
            let here =
                |(port, variant): &(_, String)| *port == cell.port && *variant == cell.variant;
            if let Some(column) = places.clone().position(here) {
                suite.price[side][column] = None;
            }
        }
    }

    /// Attempts that may still be made.
    pub fn left(&self) -> u64 {
        self.left
    }
}

/// A row of which the revision under test shows a failure that is no death.
fn open(suite: usize, row: &Row<'_>) -> Option<Open> {
    let sides = [&row.candidate, &row.baseline];
    let by_side = |of: &dyn Fn(&Tally<'_>) -> Count| sides.map(|s| s.iter().map(of).collect());
    let among: BySide<Count> = by_side(&|t| t.living_among());
    let living: BySide<Count> = by_side(&|t| t.living());
    if living[0].iter().all(|c| c.bad == 0) {
        return None;
    }
    let less = |(a, b): (&Count, &Count)| Count {
        bad: a.bad.saturating_sub(b.bad),
        total: a.total.saturating_sub(b.total),
    };
    let alone = [0, 1].map(|i| living[i].iter().zip(&among[i]).map(less).collect());
    let speaks = |t: &Tally<'_>| t.count().total > 0 && t.dead() == 0;
    Some(Open {
        suite,
        case: row.case.clone(),
        shut: sides.map(|s| s.iter().map(|t| !speaks(t)).collect()),
        among,
        alone,
        asked: 0,
    })
}

/// What attempts bought: what is said of each case without and with them. `spent` is by suite and
/// case.
pub fn bought(
    before: &Verdict,
    after: &Verdict,
    spent: &BTreeMap<(String, CaseId), Count>,
) -> Vec<Bought> {
    let stand = |verdict: &Verdict, suite: &str, case: &CaseId| {
        let told = |f: &&crate::model::Finding| f.suite == suite && f.case.as_ref() == Some(case);
        let rates = |k| {
            !matches!(
                k,
                FindingKind::Panic
                    | FindingKind::Hang
                    | FindingKind::Gone
                    | FindingKind::Fixed
                    | FindingKind::Missed
            )
        };
        let stands = verdict.findings.iter().filter(told);
        let stands: Vec<Stand> = stands.map(Stand::of).filter(|s| rates(s.kind)).collect();
        // What is still open of it is what matters.
        let open = stands.iter().find(|s| s.is_open());
        open.or(stands.first()).copied()
    };
    spent
        .iter()
        .map(|((suite, case), count)| Bought {
            suite: suite.clone(),
            case: case.clone(),
            attempts: count.total,
            bad: count.bad,
            before: stand(before, suite, case),
            after: stand(after, suite, case),
        })
        .collect()
}

#[cfg(test)]
#[path = "adaptive_tests.rs"]
mod tests;
