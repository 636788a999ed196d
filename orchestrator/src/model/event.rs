//! The one interface between what runs and what shows it.
//!
//! Every stage emits events; terminal, files, database and web only consume them. What is worth
//! keeping is written to disk before it is acknowledged; [`Event::is_transient`] tells which is not.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cell::{CameUp, CellId, GuestRecord};
use super::crash::Crash;
use super::ids::{CaseId, Key, PortName, RunId};
use super::outcome::{Attempt, Purpose, StageResult};

/// The kinds of job in a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Makes a port's image.
    Image,
    /// Builds the system under test for a port.
    Build,
    /// Builds a kernel for a port.
    Kernel,
    /// Boots guests and runs a suite.
    Cell,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum Event {
    /// A run began.
    RunStarted {
        /// Which.
        run: RunId,
        /// The matrix's name.
        matrix: String,
        /// The cells, in the matrix's order.
        cells: Vec<CellId>,
    },
    /// A job waits for others or for the machine.
    JobQueued {
        /// The job's name within the run: `image sparc64`, `cell portable/s390x/stock/candidate`.
        job: String,
        /// Its kind.
        kind: JobKind,
        /// Its key, where that is known before it runs.
        key: Option<Key>,
    },
    /// A job began.
    JobStarted {
        /// The job.
        job: String,
    },
    /// What a job does now. Not kept.
    JobProgress {
        /// The job.
        job: String,
        /// A few words: `download 12 of 40`, `compile kernel`.
        doing: String,
        /// Done of total, where that is known.
        done: Option<(u64, u64)>,
    },
    /// A job ended.
    JobFinished {
        /// The job.
        job: String,
        /// Whether it came from the cache.
        cached: bool,
        /// `complete`, or what went wrong.
        result: StageResult,
        /// For people, when it went wrong.
        detail: Option<String>,
        /// How long it took.
        took: Duration,
    },
    /// An emulator was started for a cell.
    GuestStarted {
        /// The cell.
        cell: CellId,
        /// Which guest of the cell, from 1.
        guest: u32,
        /// The emulator's process id.
        pid: u32,
    },
    /// The guest answers.
    GuestReady {
        /// The cell.
        cell: CellId,
        /// Which guest.
        guest: u32,
        /// What the kernel says it is.
        kernel: String,
        /// From the emulator's start.
        boot: Duration,
        /// Booted or restored.
        #[serde(default)]
        came_up: CameUp,
    },
    /// A guest's life is over.
    GuestEnded {
        /// The cell.
        cell: CellId,
        /// Everything about it.
        guest: Box<GuestRecord>,
    },
    /// A guest was found damaged: what ran in it after that does not count.
    GuestDoubted {
        /// The cell.
        cell: CellId,
        /// Which guest.
        guest: u32,
        /// What was found, for people.
        why: String,
        /// The attempts that do not count, by purpose, pass and case.
        attempts: Vec<(Purpose, u32, CaseId)>,
    },
    /// The suite's cases are known.
    SuiteListed {
        /// The cell.
        cell: CellId,
        /// Attempts to be made in this cell, all passes together.
        attempts: u64,
    },
    /// A case began.
    CaseStarted {
        /// The cell.
        cell: CellId,
        /// The case.
        case: CaseId,
    },
    /// A case ended.
    AttemptDone {
        /// The cell.
        cell: CellId,
        /// How.
        attempt: Attempt,
    },
    /// The guest's kernel died or hung.
    GuestCrashed {
        /// The cell.
        cell: CellId,
        /// Which guest.
        guest: u32,
        /// What is known.
        crash: Crash,
    },
    /// A cell is done.
    CellFinished {
        /// The cell.
        cell: CellId,
        /// How its stages ended.
        stage: StageResult,
        /// Whether it came from the cache.
        cached: bool,
    },
    /// A word for the user that belongs to no job.
    Notice {
        /// The port it is about, if it is about one.
        port: Option<PortName>,
        /// The text.
        text: String,
    },
    /// The run is over.
    RunFinished {
        /// Number of findings.
        findings: u64,
        /// True where the user ended it.
        interrupted: bool,
    },
}

impl Event {
    /// True for what only moves a progress bar.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::JobProgress { .. })
    }
}

/// An event as it is kept: when, and which one of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Position in the run's log, from 0, without gaps.
    pub seq: u64,
    /// When it was recorded.
    pub at: jiff::Timestamp,
    /// What happened.
    pub what: Event,
}
