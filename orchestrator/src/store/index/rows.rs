//! The shapes of what the index answers: data, no queries.

use crate::model::{
    CaseId, CellId, CrashKind, FindingKind, News, Outcome, PortName, Side, StageResult,
};

/// How far a run is, as its log tells.
///
/// ```text
/// running -> finished
///    ^  `--> interrupted --resume--.
///    `-----------------------------'
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// Its log has no end: it runs, or its process was killed.
    Running,
    /// It came to its verdict.
    Finished,
    /// It was ended early, in order.
    Interrupted,
}

impl RunPhase {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Running => 0,
            Self::Finished => 1,
            Self::Interrupted => 2,
        }
    }

    pub(super) fn of(number: i64) -> Self {
        match number {
            1 => Self::Finished,
            2 => Self::Interrupted,
            _ => Self::Running,
        }
    }

    /// The word shown to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Where a page of attempts or crashes ended: the cell's number in this index, and the position
/// within it. Its text form is `CELL.POSITION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// The cell's number.
    pub cell: i64,
    /// The position within the cell.
    pub seq: i64,
}

impl Spot {
    /// Before everything: lists go from new to old.
    pub const TOP: Self = Self {
        cell: i64::MAX,
        seq: i64::MAX,
    };
}

impl std::fmt::Display for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.cell, self.seq)
    }
}

impl std::str::FromStr for Spot {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        let parse = |(cell, seq): (&str, &str)| {
            let (cell, seq) = (cell.parse().ok()?, seq.parse().ok()?);
            Some(Self { cell, seq })
        };
        s.split_once('.')
            .and_then(parse)
            .ok_or_else(|| format!("'{s}' is not a place in a list: expected CELL.POSITION"))
    }
}

impl serde::Serialize for Spot {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RunRow {
    /// Its identity, which is also the cursor.
    pub run: String,
    /// The matrix's name.
    pub matrix: String,
    /// When it began.
    pub started: jiff::Timestamp,
    /// When it ended.
    pub ended: Option<jiff::Timestamp>,
    /// How far it is.
    pub phase: RunPhase,
    /// Number of findings.
    pub findings: u64,
    /// Cells of the run.
    pub cells: u64,
    /// Of them, those that are done.
    pub cells_done: u64,
}

/// What one cell of an earlier run showed of a case or a crash.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRow {
    /// The run.
    pub run: String,
    /// When it began.
    pub started: jiff::Timestamp,
    /// The suite.
    pub suite: String,
    /// The port.
    pub port: PortName,
    /// The kernel variant.
    pub variant: String,
    /// Which side.
    pub side: Side,
    /// What the run tested, where it knew.
    pub revision: Option<String>,
    /// Attempts that ended badly; of a crash: how often it came.
    pub bad: u32,
    /// Attempts that said anything and count.
    pub total: u32,
    /// Of a crash: the case that it was blamed on.
    pub blamed: Option<CaseId>,
}

/// One attempt in a case's history.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct HistoryRow {
    /// The run in which it was executed.
    pub run: String,
    /// When that run began.
    pub started: jiff::Timestamp,
    /// The suite.
    pub suite: String,
    /// The port.
    pub port: PortName,
    /// The kernel variant.
    pub variant: String,
    /// Baseline or candidate.
    pub side: Side,
    /// What was tested, where the run knew.
    pub revision: Option<String>,
    /// Which pass, from 1.
    pub pass: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took by the guest's clock, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Why. Untrusted text.
    pub reason: Option<String>,
    /// Whether it counts: its guest was to be trusted.
    pub counted: bool,
    /// Where the next page begins: after this.
    pub cursor: Spot,
}

/// How a case does on one port, over its newest attempts.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RateRow {
    /// The suite.
    pub suite: String,
    /// The port.
    pub port: PortName,
    /// Attempts that said anything.
    pub attempts: u64,
    /// Of them, those that ended badly.
    pub bad: u64,
    /// Cells in which it was executed.
    pub cells: u64,
    /// Of them, those where it went both ways: same kernel, same program.
    pub mixed: u64,
    /// Mean time by the guest's clock, in milliseconds.
    pub mean_ms: Option<f64>,
}

/// A case that goes both ways within a cell.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FlakeRow {
    /// The case.
    pub case: CaseId,
    /// The suite.
    pub suite: String,
    /// Cells in which it went both ways.
    pub cells: u64,
    /// Bad attempts in them.
    pub bad: u64,
    /// All attempts in them that said anything.
    pub total: u64,
}

/// Crashes with one signature.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CrashGroup {
    /// Panic or hang.
    pub kind: CrashKind,
    /// What they have in common; it names the group.
    pub signature: String,
    /// The title of the newest. Untrusted text.
    pub title: String,
    /// How many.
    pub count: u64,
    /// Ports on which it was seen.
    pub ports: Vec<PortName>,
    /// How many causes it has: cases that it was blamed on, and none.
    pub causes: u64,
    /// The newest run that saw it.
    pub last_run: String,
}

/// What a crash was blamed on, over all runs.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CrashCause {
    /// The suite.
    pub suite: String,
    /// The case; none where the kernel died while none ran.
    pub blamed: Option<CaseId>,
    /// How often.
    pub count: u64,
    /// Where.
    pub ports: Vec<PortName>,
    /// The first run that saw it so.
    pub first_run: String,
    /// When that run began.
    pub first: jiff::Timestamp,
    /// The newest run that saw it so.
    pub last_run: String,
    /// When that run began.
    pub last: jiff::Timestamp,
}

/// One crash.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CrashRow {
    /// The run.
    pub run: String,
    /// When that run began.
    pub started: jiff::Timestamp,
    /// The cell.
    pub cell: CellId,
    /// Which guest of the cell.
    pub guest: u32,
    /// The crash's title. Untrusted text.
    pub title: String,
    /// The case that ran.
    pub blamed: Option<CaseId>,
    /// Where the next page begins: after this.
    pub cursor: Spot,
}

/// How a port does.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PortRow {
    /// The port.
    pub port: PortName,
    /// The newest cells that ended there.
    pub cells: u64,
    /// Of them, those that came to their outcomes.
    pub complete: u64,
    /// Of them, those that the host or the emulator broke.
    pub host_faults: u64,
    /// Kernels that died or hung in them.
    pub crashes: u64,
    /// Mean time from the emulator's start to the guest's first word, in milliseconds.
    pub boot_ms: Option<f64>,
    /// Results other than `complete`, with their number.
    pub stages: Vec<(StageResult, u64)>,
}

/// A finding of some run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FindingRow {
    /// The run.
    pub run: String,
    /// What it says.
    pub kind: Option<FindingKind>,
    /// Against the baseline.
    pub news: Option<News>,
    /// The suite.
    pub suite: String,
    /// The case, where it is about one.
    pub case: Option<CaseId>,
    /// The sentence. Untrusted text is in it.
    pub sentence: String,
    /// Its position in the run, from 0, which is also the cursor of lists.
    pub number: u64,
}

/// A case in a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CaseRow {
    /// The case.
    pub case: CaseId,
}

/// A cell of some run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CellRow {
    /// Its number in this index, which is also the cursor of lists.
    pub cursor: i64,
    /// The run.
    pub run: String,
    /// When that run began.
    pub started: jiff::Timestamp,
    /// Which cell.
    pub cell: CellId,
    /// What was tested, where the run knew.
    pub revision: Option<String>,
    /// How its stages ended; none while it runs.
    pub stage: Option<StageResult>,
    /// Whether it came from the cache.
    pub cached: bool,
    /// Attempts that count and ended well.
    pub good: u64,
    /// Attempts that count and ended badly.
    pub bad: u64,
    /// Attempts that count and said nothing: skipped, never ran.
    pub silent: u64,
    /// Guests whose kernel died or hung.
    pub crashes: u64,
}
