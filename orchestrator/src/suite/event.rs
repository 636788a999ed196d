//! What a suite's stream says, whichever runner wrote it.

use std::time::Duration;

use crate::model::{CaseId, Outcome};

/// Which of a case's two outputs a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One thing that a suite's stream says. All text is clean (no control characters) and bounded.
#[derive(Debug, Clone, PartialEq)]
pub enum SuiteEvent {
    /// A fact about the run: `info` of TPS; `kyua.results_id` and `kyua.results_file` of Kyua.
    Info {
        /// Its name.
        key: String,
        /// Its value.
        value: String,
    },
    /// How many programs will be run, as far as the runner knows.
    Count(u64),
    /// A program begins.
    ProgramStarted {
        /// Relative to the suite's root.
        program: String,
        /// How many of its cases will run.
        cases: u64,
    },
    /// A case begins.
    CaseStarted {
        /// Which.
        case: CaseId,
        /// The guest's clock, since the epoch, where the stream has it.
        at: Option<Duration>,
    },
    /// A line of the case's own output.
    Output {
        /// Standard output or standard error.
        stream: Stream,
        /// The line, without its end.
        line: String,
    },
    /// A case ended.
    CaseEnded {
        /// Which.
        case: CaseId,
        /// How.
        outcome: Outcome,
        /// Why, in the case's or the runner's words.
        reason: Option<String>,
        /// How long it took by the guest's clock, where the stream tells.
        duration: Option<Duration>,
        /// The end of its output, where the stream carries it.
        output: Option<String>,
    },
    /// The stream went on without the end of a case that had begun: its result was lost, and
    /// nothing is known about it.
    CaseLost {
        /// Which.
        case: CaseId,
    },
    /// A program ended.
    ProgramEnded {
        /// Relative to the suite's root.
        program: String,
        /// Why it could not be run, if it could not.
        reason: Option<String>,
    },
    /// The runner's own account at its end: the stream is whole.
    Summary {
        /// Cases with a good end (Kyua counts skipped ones in).
        passed: u64,
        /// Cases with a bad end.
        failed: u64,
        /// Cases run.
        total: u64,
    },
    /// A line that is not of the format: a warning of the runner, a kernel's message.
    Note(String),
}
