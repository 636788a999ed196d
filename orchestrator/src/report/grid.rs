//! Attempts as tables show them: case × column, both sides, each mark with a state.
//!
//! The verdict has its own counting; this one only serves the eye, and every format that draws a
//! table shares it.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::RunReport;
use crate::model::outcome::Sense;
use crate::model::{Attempt, CaseId, CellId, CellResult, Outcome, PortName, Side};

/// What all attempts of a case in one column come to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// No attempt of any kind.
    #[default]
    Absent,
    /// Every attempt passed.
    Passed,
    /// Every attempt was good, none better than `expected_*`.
    Expected,
    /// Did not apply.
    Skipped,
    /// Never ran.
    Missed,
    /// Good and bad attempts.
    Mixed,
    /// Every attempt failed.
    Failed,
    /// Every attempt was bad and the test program misbehaved.
    Broken,
    /// At least one did not come back.
    Hung,
    /// At least one killed the kernel.
    Crashed,
}

impl State {
    /// All states, in the order in which tables show them.
    pub const ALL: [Self; 10] = [
        Self::Passed,
        Self::Expected,
        Self::Mixed,
        Self::Failed,
        Self::Broken,
        Self::Hung,
        Self::Crashed,
        Self::Skipped,
        Self::Missed,
        Self::Absent,
    ];

    /// The word for files and people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Passed => "passed",
            Self::Expected => "expected",
            Self::Skipped => "skipped",
            Self::Missed => "missed",
            Self::Mixed => "flaky",
            Self::Failed => "failed",
            Self::Broken => "broken",
            Self::Hung => "hung",
            Self::Crashed => "crashed",
        }
    }

    /// One character that tells it without colour.
    pub fn glyph(self) -> char {
        match self {
            Self::Absent => ' ',
            Self::Passed => '✓',
            Self::Expected => 'x',
            Self::Skipped => '-',
            Self::Missed => '?',
            Self::Mixed => '~',
            Self::Failed => 'F',
            Self::Broken => 'B',
            Self::Hung => 'H',
            Self::Crashed => 'P',
        }
    }

    /// True where something went wrong.
    pub fn is_bad(self) -> bool {
        matches!(
            self,
            Self::Mixed | Self::Failed | Self::Broken | Self::Hung | Self::Crashed
        )
    }

    /// True where all is well.
    pub fn is_good(self) -> bool {
        matches!(self, Self::Passed | Self::Expected)
    }
}

/// Attempts by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark([u16; Outcome::ALL.len()]);

impl Mark {
    fn add(&mut self, outcome: Outcome) {
        let slot = &mut self.0[outcome as usize];
        *slot = slot.saturating_add(1);
    }

    /// Attempts with this outcome.
    pub fn of(&self, outcome: Outcome) -> u32 {
        u32::from(self.0[outcome as usize])
    }

    fn sum(&self, sense: Sense) -> u32 {
        let outcomes = Outcome::ALL.into_iter().filter(|o| o.sense() == sense);
        outcomes.map(|o| self.of(o)).sum()
    }

    /// Bad attempts.
    pub fn bad(&self) -> u32 {
        self.sum(Sense::Bad)
    }

    /// Attempts that said anything.
    pub fn total(&self) -> u32 {
        self.sum(Sense::Bad) + self.sum(Sense::Good)
    }

    /// What they come to. Total: every mixture has a state.
    pub fn state(&self) -> State {
        let (good, bad) = (self.sum(Sense::Good), self.sum(Sense::Bad));
        if self.of(Outcome::Crashed) > 0 {
            State::Crashed
        } else if self.of(Outcome::Hung) > 0 {
            State::Hung
        } else if bad > 0 && good > 0 {
            State::Mixed
        } else if self.of(Outcome::Broken) > 0 {
            State::Broken
        } else if bad > 0 {
            State::Failed
        } else if self.of(Outcome::Passed) > 0 {
            State::Passed
        } else if good > 0 {
            State::Expected
        } else if self.of(Outcome::Skipped) > 0 {
            State::Skipped
        } else if self.of(Outcome::Missed) > 0 {
            State::Missed
        } else {
            State::Absent
        }
    }
}

/// One place of the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// What the baseline showed.
    pub baseline: Mark,
    /// What the revision under test showed.
    pub candidate: Mark,
}

impl Place {
    /// True where both sides spoke and did not say the same.
    pub fn differs(&self) -> bool {
        let (then, now) = (self.baseline.state(), self.candidate.state());
        then != State::Absent && now != State::Absent && then != now
    }
}

/// One suite's grid.
#[derive(Debug, Clone)]
pub struct Grid<'a> {
    /// The suite.
    pub suite: &'a str,
    /// The columns' names: ports, or ports with variants.
    pub columns: Vec<PortName>,
    /// By column: the cells, baseline first.
    pub cells: Vec<Vec<&'a CellResult>>,
    /// The cases, sorted, with one place a column.
    pub rows: Vec<(&'a CaseId, Vec<Place>)>,
    /// True where the suite ran on the baseline too.
    pub has_baseline: bool,
}

impl<'a> Grid<'a> {
    /// Where a column stands.
    pub fn column(&self, name: &PortName) -> Option<usize> {
        self.columns.iter().position(|c| c == name)
    }

    /// The candidate's cells of a column.
    pub fn candidates(&self, column: usize) -> impl Iterator<Item = &'a CellResult> + '_ {
        let cells = self.cells[column].iter().copied();
        cells.filter(|c| c.id.side == Side::Candidate)
    }

    /// The candidate's cases of a column, by state.
    pub fn counts(&self, column: usize) -> BTreeMap<State, u32> {
        let mut counts = BTreeMap::new();
        for (_, places) in &self.rows {
            *counts.entry(places[column].candidate.state()).or_default() += 1;
        }
        counts
    }
}

/// The grids of a run, sorted by suite.
pub fn grids(report: &RunReport) -> Vec<Grid<'_>> {
    let mut suites: BTreeMap<&str, Vec<&CellResult>> = BTreeMap::new();
    for cell in &report.cells {
        suites.entry(&cell.id.suite).or_default().push(cell);
    }
    suites
        .into_iter()
        .map(|(s, cells)| grid(s, cells))
        .collect()
}

fn grid<'a>(suite: &'a str, mut cells: Vec<&'a CellResult>) -> Grid<'a> {
    cells.sort_by(|a, b| a.id.cmp(&b.id));
    let first = cells.first().map(|c| &c.id.variant);
    let several = cells.iter().any(|c| Some(&c.id.variant) != first);
    let mut columns: Vec<PortName> = cells.iter().map(|c| c.id.column(several)).collect();
    columns.sort();
    columns.dedup();
    let mut by_column = vec![Vec::new(); columns.len()];
    let mut rows: HashMap<&CaseId, Vec<Place>> = HashMap::new();
    for cell in &cells {
        let column = columns.binary_search(&cell.id.column(several)).unwrap_or(0);
        by_column[column].push(*cell);
        for attempt in cell.attempts.iter().filter(|a| a.counts()) {
            let places = rows
                .entry(&attempt.case)
                .or_insert_with(|| vec![Place::default(); columns.len()]);
            match cell.id.side {
                Side::Baseline => places[column].baseline.add(attempt.outcome),
                Side::Candidate => places[column].candidate.add(attempt.outcome),
            }
        }
    }
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by_key(|(case, _)| *case);
    Grid {
        suite,
        has_baseline: cells.iter().any(|c| c.id.side == Side::Baseline),
        columns,
        cells: by_column,
        rows,
    }
}

/// All attempts of one case in one cell, for formats that want one result a case.
#[derive(Debug, Clone)]
pub struct CaseAttempts<'a> {
    /// The case.
    pub case: &'a CaseId,
    /// Its attempts, in order.
    pub attempts: Vec<&'a Attempt>,
    mark: Mark,
}

impl<'a> CaseAttempts<'a> {
    /// What they come to.
    pub fn state(&self) -> State {
        self.mark.state()
    }

    /// The attempt that tells most: the first of the worst kind.
    pub fn telling(&self) -> Option<&'a Attempt> {
        let weight = |a: &&Attempt| match (a.outcome.sense(), a.outcome) {
            (_, Outcome::Crashed) => 5,
            (_, Outcome::Hung) => 4,
            (Sense::Bad, _) => 3,
            (_, Outcome::Passed) => 0,
            (Sense::Good, _) => 2,
            (Sense::Silent, _) => 1,
        };
        // `max_by_key` would take the last of equals.
        self.attempts.iter().rev().copied().max_by_key(weight)
    }

    /// Why the telling attempt ended as it did; empty where it does not say.
    pub fn reason(&self) -> String {
        self.telling().and_then(Attempt::said).unwrap_or_default()
    }

    /// A reason, with the rate where attempts disagree.
    pub fn message(&self, reason: &str) -> String {
        let (bad, total) = (self.mark.bad(), self.mark.total());
        if bad > 0 && bad < total {
            format!("bad in {bad} of {total} attempts: {reason}")
        } else {
            reason.to_owned()
        }
    }
}

/// The cells of the revision under test: formats that know no baseline show these alone.
pub fn tested(report: &RunReport) -> impl Iterator<Item = &CellResult> {
    report.cells.iter().filter(|c| c.id.side == Side::Candidate)
}

/// What such a format calls one of them.
pub fn tested_name(id: &CellId) -> String {
    format!("{}/{}/{}", id.suite, id.port, id.variant)
}

/// The cases of one cell, sorted.
pub fn by_case(cell: &CellResult) -> Vec<CaseAttempts<'_>> {
    let mut cases: BTreeMap<&CaseId, CaseAttempts<'_>> = BTreeMap::new();
    for attempt in cell.attempts.iter().filter(|a| a.counts()) {
        let entry = cases.entry(&attempt.case).or_insert_with(|| CaseAttempts {
            case: &attempt.case,
            attempts: Vec::new(),
            mark: Mark::default(),
        });
        entry.attempts.push(attempt);
        entry.mark.add(attempt.outcome);
    }
    cases.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_mixture_has_a_state() {
        let mark = |outcomes: &[Outcome]| {
            let mut mark = Mark::default();
            outcomes.iter().for_each(|o| mark.add(*o));
            mark.state()
        };
        use Outcome::*;
        assert_eq!(mark(&[]), State::Absent);
        assert_eq!(mark(&[Passed, ExpectedFailure, Skipped]), State::Passed);
        assert_eq!(mark(&[ExpectedDeath]), State::Expected);
        assert_eq!(mark(&[Passed, Broken]), State::Mixed);
        assert_eq!(mark(&[Failed, Broken]), State::Broken);
        assert_eq!(mark(&[Passed, Crashed]), State::Crashed);
        assert_eq!(mark(&[Missed, Skipped]), State::Skipped);
        assert_eq!(mark(&[Missed]), State::Missed);
    }

    #[test]
    fn the_sample_has_its_grid() {
        let report = sample::run();
        let grids = grids(&report);
        assert_eq!(grids.len(), 2);
        let portable = &grids[1];
        assert_eq!((portable.suite, portable.columns.len()), ("portable", 9));
        let i386 = portable.column(&"i386".into()).unwrap();
        assert_eq!(portable.counts(i386)[&State::Crashed], 1);
        assert_eq!(portable.counts(i386).values().sum::<u32>(), 28);
    }
}
