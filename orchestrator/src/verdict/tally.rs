//! Attempts, counted by suite, case, column and side.
//!
//! A column is a port, or a port with a variant where a suite runs on several variants. Rows are
//! handed out one at a time, because a night's matrix has half a million attempts and a table of
//! all counters would be larger than what it counts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::VerdictInput;
use super::chance::Count;
use crate::model::outcome::Sense;
use crate::model::{
    Attempt, CaseId, CellResult, Outcome, PortName, PortTally, Purpose, Side, StageResult,
};

/// The longest reason that a finding carries, in characters.
const REASON_CHARS: usize = 400;

/// One place where a suite runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// `s390x`, or `amd64+DIAGNOSTIC` where the suite has several variants.
    pub label: PortName,
    /// The port.
    pub port: PortName,
    /// The variant.
    pub variant: String,
}

/// Attempts of one case in one column on one side.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally<'a> {
    counts: [u32; Outcome::ALL.len()],
    /// Those of `counts` that were made outside the passes, alone in a fresh guest.
    alone: Count,
    first_bad: Option<&'a Attempt>,
    first_missed: Option<&'a Attempt>,
}

impl<'a> Tally<'a> {
    fn add(&mut self, attempt: &'a Attempt) {
        let slot = &mut self.counts[attempt.outcome as usize];
        *slot = slot.saturating_add(1);
        let bad = attempt.outcome.sense() == Sense::Bad;
        if attempt.purpose != Purpose::Pass && (bad || attempt.outcome.sense() == Sense::Good) {
            let one = Count {
                bad: u32::from(bad),
                total: 1,
            };
            self.alone = self.alone.plus(one);
        }
        if attempt.outcome.sense() == Sense::Bad && self.first_bad.is_none() {
            self.first_bad = Some(attempt);
        }
        if attempt.outcome == Outcome::Missed && self.first_missed.is_none() {
            self.first_missed = Some(attempt);
        }
    }

    /// Attempts with this outcome.
    pub fn of(&self, outcome: Outcome) -> u32 {
        self.counts[outcome as usize]
    }

    fn sum(&self, sense: Sense) -> u32 {
        let of_sense = |o: &Outcome| o.sense() == sense;
        let counts = Outcome::ALL.into_iter().filter(of_sense);
        counts.fold(0, |n, o| n.saturating_add(self.of(o)))
    }

    /// Attempts that failed as announced.
    pub fn expected(&self) -> u32 {
        [
            Outcome::ExpectedFailure,
            Outcome::ExpectedDeath,
            Outcome::ExpectedExit,
            Outcome::ExpectedSignal,
            Outcome::ExpectedTimeout,
        ]
        .into_iter()
        .fold(0, |n, o| n.saturating_add(self.of(o)))
    }

    /// The reason of the first bad attempt.
    pub fn first_reason(&self) -> Option<&'a str> {
        self.first_bad.and_then(|a| a.reason.as_deref())
    }

    /// Attempts that the kernel or the guest did not survive.
    pub fn dead(&self) -> u32 {
        self.of(Outcome::Crashed)
            .saturating_add(self.of(Outcome::Hung))
    }

    /// Bad of all that spoke, deaths included.
    pub fn count(&self) -> Count {
        let bad = self.sum(Sense::Bad);
        Count {
            bad,
            total: bad.saturating_add(self.sum(Sense::Good)),
        }
    }

    /// Bad of all that spoke, deaths left out; nothing where there were only deaths.
    pub fn living(&self) -> Count {
        let Count { bad, total } = self.count();
        let (bad, dead) = (bad.saturating_sub(self.dead()), self.dead());
        if bad == 0 && dead > 0 {
            return Count::default();
        }
        Count {
            bad,
            total: total.saturating_sub(dead),
        }
    }

    /// Of [`Self::count`]: what was made alone in a fresh guest, after a failure or a death.
    pub fn alone(&self) -> Count {
        self.alone
    }

    /// Of [`Self::count`]: what belongs to passes over the suite.
    pub fn among(&self) -> Count {
        let Count { bad, total } = self.count();
        Count {
            bad: bad.saturating_sub(self.alone.bad),
            total: total.saturating_sub(self.alone.total),
        }
    }

    /// [`Self::living`] without what was made alone.
    pub fn living_among(&self) -> Count {
        let (living, among) = (self.living(), self.among());
        Count {
            bad: living.bad.min(among.bad),
            total: living.total.min(among.total),
        }
    }

    /// True where there was no attempt of any kind, not even a missed one.
    pub fn is_absent(&self) -> bool {
        self.counts.iter().all(|n| *n == 0)
    }

    /// True where no other outcome was seen.
    pub fn is_all(&self, outcome: Outcome) -> bool {
        let others = Outcome::ALL.into_iter().filter(|o| *o != outcome);
        others.into_iter().all(|o| self.of(o) == 0)
    }

    /// Why the first missed attempt never ran.
    pub fn missed_reason(&self) -> Option<&'a str> {
        self.first_missed.and_then(|a| a.reason.as_deref())
    }

    /// The finding's line for this place.
    pub fn port_tally(&self, column: &Column, count: Count) -> PortTally {
        let commonest = |sense| {
            let of_sense = Outcome::ALL.into_iter().filter(|o| o.sense() == sense);
            let mut best: Option<Outcome> = None;
            for o in of_sense.filter(|o| self.of(*o) > 0) {
                if best.is_none_or(|b| self.of(o) > self.of(b)) {
                    best = Some(o);
                }
            }
            best.map(Outcome::word)
        };
        let outcome = if count.bad > 0 {
            commonest(Sense::Bad)
        } else {
            commonest(Sense::Good).or_else(|| commonest(Sense::Silent))
        };
        PortTally {
            port: column.label.clone(),
            bad: count.bad,
            total: count.total,
            outcome: outcome.unwrap_or("absent").to_owned(),
            reason: self
                .first_bad
                .filter(|_| count.bad > 0)
                .and_then(Attempt::said)
                .map(|r| r.chars().take(REASON_CHARS).collect()),
        }
    }
}

/// One case with its counts in every column.
#[derive(Debug)]
pub struct Row<'a> {
    /// The case.
    pub case: &'a CaseId,
    /// By column: what the baseline showed.
    pub baseline: Vec<Tally<'a>>,
    /// By column: what the revision under test showed.
    pub candidate: Vec<Tally<'a>>,
    /// The attempts that these were counted from.
    pub entries: &'a [Entry<'a>],
}

impl Row<'_> {
    /// True where any attempt on either side was bad.
    pub fn shows_failure(&self) -> bool {
        let bad = |e: &Entry<'_>| e.attempt.outcome.sense() == Sense::Bad;
        self.entries.iter().any(bad)
    }
}

impl Row<'_> {
    /// True where every column has the same passes and nothing else on both sides: nearly every
    /// row of nearly every run.
    pub fn is_plain(&self) -> bool {
        let plain = |t: &Tally<'_>| t.of(Outcome::Passed) > 0 && t.is_all(Outcome::Passed);
        self.candidate.iter().chain(&self.baseline).all(plain)
    }
}

/// One attempt, with where it was made.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    case: u32,
    /// The column's number.
    pub column: u32,
    /// Which side.
    pub side: Side,
    /// Position within its cell's attempts.
    pub position: u32,
    /// The cell.
    pub cell: &'a CellResult,
    /// The attempt.
    pub attempt: &'a Attempt,
}

/// Everything about one suite.
#[derive(Debug)]
pub struct Table<'a> {
    /// The suite's name.
    pub suite: &'a str,
    /// Where it ran, sorted by port and variant.
    pub columns: Vec<Column>,
    /// The cells, with their columns.
    pub cells: Vec<(usize, &'a CellResult)>,
    cases: Vec<&'a CaseId>,
    entries: Vec<Entry<'a>>,
}

/// One table for each suite, sorted by name.
pub fn tables<'a>(input: &VerdictInput<'a>) -> Vec<Table<'a>> {
    let mut suites: BTreeMap<&str, Vec<&'a CellResult>> = BTreeMap::new();
    for cell in input.cells {
        suites.entry(&cell.id.suite).or_default().push(cell);
    }
    suites
        .into_iter()
        .map(|(s, cells)| table(s, cells))
        .collect()
}

fn table<'a>(suite: &'a str, mut cells: Vec<&'a CellResult>) -> Table<'a> {
    cells.sort_by(|a, b| a.id.cmp(&b.id));
    let variants: BTreeSet<&String> = cells.iter().map(|c| &c.id.variant).collect();
    let several = variants.len() > 1;
    let places: BTreeMap<(&PortName, &String), Column> = cells
        .iter()
        .map(|c| {
            let column = Column {
                label: c.id.column(several),
                port: c.id.port.clone(),
                variant: c.id.variant.clone(),
            };
            ((&c.id.port, &c.id.variant), column)
        })
        .collect();
    let number: HashMap<_, usize> = places.keys().enumerate().map(|(i, p)| (*p, i)).collect();
    let columns: Vec<Column> = places.into_values().collect();

    let mut ids: HashMap<&CaseId, u32> = HashMap::new();
    let mut cases: Vec<&CaseId> = Vec::new();
    let mut entries = Vec::with_capacity(cells.iter().map(|c| c.attempts.len()).sum());
    let mut placed = Vec::with_capacity(cells.len());
    for cell in cells {
        let column = number[&(&cell.id.port, &cell.id.variant)];
        placed.push((column, cell));
        let counting = |(_, attempt): &(usize, &Attempt)| attempt.counts();
        for (position, attempt) in cell.attempts.iter().enumerate().filter(counting) {
            let case = *ids.entry(&attempt.case).or_insert_with(|| {
                cases.push(&attempt.case);
                cases.len() as u32 - 1
            });
            entries.push(Entry {
                case,
                column: column as u32,
                side: cell.id.side,
                position: position as u32,
                cell,
                attempt,
            });
        }
    }
    let mut order: Vec<u32> = (0..cases.len() as u32).collect();
    order.sort_by_key(|i| cases[*i as usize]);
    let mut place = vec![0_u32; cases.len()];
    for (new, old) in order.iter().enumerate() {
        place[*old as usize] = new as u32;
    }
    for entry in &mut entries {
        entry.case = place[entry.case as usize];
    }
    // Stable: within a case the order of cells and of attempts stays.
    entries.sort_by_key(|e| e.case);
    cases.sort();
    Table {
        suite,
        columns,
        cells: placed,
        cases,
        entries,
    }
}

impl<'a> Table<'a> {
    /// The rows, sorted by case.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let rows = self.entries.chunk_by(|a, b| a.case == b.case);
        rows.map(|entries| self.count(self.cases[entries[0].case as usize], entries))
    }

    /// The row of one case, if it has an attempt on either side.
    pub fn row(&self, case: &CaseId) -> Option<Row<'_>> {
        let i = self.cases.binary_search(&case).ok()?;
        let start = self.entries.partition_point(|e| (e.case as usize) < i);
        let end = self.entries.partition_point(|e| e.case as usize <= i);
        Some(self.count(self.cases[i], &self.entries[start..end]))
    }

    fn count<'t>(&'t self, case: &'t CaseId, entries: &'t [Entry<'a>]) -> Row<'t> {
        let mut row = Row {
            case,
            baseline: vec![Tally::default(); self.columns.len()],
            candidate: vec![Tally::default(); self.columns.len()],
            entries,
        };
        for entry in entries {
            let side = match entry.side {
                Side::Baseline => &mut row.baseline,
                Side::Candidate => &mut row.candidate,
            };
            side[entry.column as usize].add(entry.attempt);
        }
        row
    }

    /// By column: whether an attempt there says anything, or a stage broke there.
    pub fn heard(&self) -> Vec<bool> {
        let mut heard = vec![false; self.columns.len()];
        for (column, cell) in &self.cells {
            heard[*column] |= cell.stage != StageResult::Complete;
        }
        for entry in &self.entries {
            let slot = &mut heard[entry.column as usize];
            *slot = *slot || entry.attempt.outcome.sense() != Sense::Silent;
        }
        if !heard.contains(&true) {
            heard.fill(true);
        }
        heard
    }

    /// True where the suite ran on this side at all.
    pub fn has(&self, side: Side) -> bool {
        self.cells.iter().any(|(_, c)| c.id.side == side)
    }

    /// True where a cell of this side and column went through all its stages.
    pub fn complete(&self, side: Side, column: usize) -> bool {
        self.cells
            .iter()
            .any(|(i, c)| *i == column && c.id.side == side && c.stage == StageResult::Complete)
    }
}
