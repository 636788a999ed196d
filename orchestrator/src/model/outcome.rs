//! Outcomes of attempts and results of stages.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ids::CaseId;

/// How one execution of a case ended. Total: an absent result is a value ([`Outcome::Missed`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The case says that all is well.
    Passed,
    /// The case says that something is wrong.
    Failed,
    /// The case says that it does not apply here.
    Skipped,
    /// A failure that the case announced.
    ExpectedFailure,
    /// A death that the case announced.
    ExpectedDeath,
    /// An exit status that the case announced.
    ExpectedExit,
    /// A signal that the case announced.
    ExpectedSignal,
    /// A time-out that the case announced.
    ExpectedTimeout,
    /// The test program misbehaved: wrong result file, killed by a signal, failed clean-up.
    Broken,
    /// The kernel died, or the guest was gone, while the case ran.
    Crashed,
    /// The case, or the whole guest, did not come back in time.
    Hung,
    /// The case never ran, for a reason that is not its own.
    Missed,
}

/// The three answers that comparison needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sense {
    /// Good: passed, or failed as announced.
    Good,
    /// Bad: failed, broken, crashed, hung.
    Bad,
    /// Says nothing about the system under test: skipped, missed.
    Silent,
}

impl Outcome {
    /// All outcomes, in the order in which tables show them.
    pub const ALL: [Self; 12] = [
        Self::Passed,
        Self::Failed,
        Self::Skipped,
        Self::ExpectedFailure,
        Self::ExpectedDeath,
        Self::ExpectedExit,
        Self::ExpectedSignal,
        Self::ExpectedTimeout,
        Self::Broken,
        Self::Crashed,
        Self::Hung,
        Self::Missed,
    ];

    /// Whether this speaks for or against the system under test.
    pub fn sense(self) -> Sense {
        match self {
            Self::Passed
            | Self::ExpectedFailure
            | Self::ExpectedDeath
            | Self::ExpectedExit
            | Self::ExpectedSignal
            | Self::ExpectedTimeout => Sense::Good,
            Self::Failed | Self::Broken | Self::Crashed | Self::Hung => Sense::Bad,
            Self::Skipped | Self::Missed => Sense::Silent,
        }
    }

    /// The word used in files and to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::ExpectedFailure => "expected_failure",
            Self::ExpectedDeath => "expected_death",
            Self::ExpectedExit => "expected_exit",
            Self::ExpectedSignal => "expected_signal",
            Self::ExpectedTimeout => "expected_timeout",
            Self::Broken => "broken",
            Self::Crashed => "crashed",
            Self::Hung => "hung",
            Self::Missed => "missed",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Why a case was executed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// It belongs to a pass over the suite.
    #[default]
    Pass,
    /// It had failed and was executed again in a fresh guest.
    Repeat,
    /// It was suspected of its guest's death and was executed alone in a fresh guest.
    Confirm,
    /// The verdict did not know what to say of it and asked for more; alone in a fresh guest.
    Adaptive,
    /// Somebody asked for exactly this: a search, a measurement. Not part of a cell's result.
    Probe,
}

impl Purpose {
    /// The word used in files and to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Repeat => "repeat",
            Self::Confirm => "confirm",
            Self::Adaptive => "adaptive",
            Self::Probe => "probe",
        }
    }

    fn is_pass(&self) -> bool {
        *self == Self::Pass
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// One execution of a case in one guest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Which case.
    pub case: CaseId,
    /// Which pass over the suite, from 1; of a repeat or a confirmation, the how-manieth.
    pub pass: u32,
    /// Why it was made.
    #[serde(default, skip_serializing_if = "Purpose::is_pass")]
    pub purpose: Purpose,
    /// Which guest of the cell, from 1. Unique within the cell, also where several live at once.
    pub guest: u32,
    /// Why its guest was not to be trusted when it ran, where that is so: then it does not count,
    /// and the case was run again. For people, bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubtful: Option<String>,
    /// The byte with which it found new memory filled; none where memory was as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u8>,
    /// How it ended.
    pub outcome: Outcome,
    /// The reason that the case, the runner or fallout gave. Untrusted text, bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long it took, by the guest's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Duration>,
    /// The end of the case's own output. Untrusted text, bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

impl Attempt {
    /// Whether it says anything: an attempt in a damaged guest is kept, shown and not counted.
    pub fn counts(&self) -> bool {
        self.doubtful.is_none()
    }
}

/// How a cell's stages ended; never plain red.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageResult {
    /// Every stage was done; the outcomes speak.
    Complete,
    /// The system under test did not build.
    BuildFailed,
    /// The set lists and the installed files differ.
    SetsMismatch,
    /// No bootable image could be made.
    ImageFailed,
    /// The guest did not come up.
    BootFailed,
    /// Guest after guest died, and no case ended in between.
    CrashLoop,
    /// The guest runs another kernel than the one ordered. Whatever it would say is about another
    /// system than the one under test: a fault of who made or started the guest.
    WrongKernel,
    /// The emulator ended by itself.
    EmulatorExited,
    /// The cell's own time limit was over.
    TimedOut,
    /// The host could not do its part: no space, no memory, a missing program.
    HostFailed,
    /// The user ended the run before this cell was done.
    Interrupted,
}

impl StageResult {
    /// The word used in files and to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::BuildFailed => "build_failed",
            Self::SetsMismatch => "sets_mismatch",
            Self::ImageFailed => "image_failed",
            Self::BootFailed => "boot_failed",
            Self::CrashLoop => "crash_loop",
            Self::WrongKernel => "wrong_kernel",
            Self::EmulatorExited => "emulator_exited",
            Self::TimedOut => "timed_out",
            Self::HostFailed => "host_failed",
            Self::Interrupted => "interrupted",
        }
    }

    /// True where the fault is the host's or the emulator's: such a result never reaches the
    /// verdict as a fault of the system under test.
    pub fn is_host_fault(self) -> bool {
        matches!(
            self,
            Self::ImageFailed
                | Self::WrongKernel
                | Self::EmulatorExited
                | Self::HostFailed
                | Self::Interrupted
        )
    }
}

impl fmt::Display for StageResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_of_older_runs_load() {
        let old = r#"{"case":"t:c","pass":2,"guest":1,"outcome":"failed"}"#;
        let attempt: Attempt = serde_json::from_str(old).unwrap();
        assert_eq!((attempt.purpose, attempt.counts()), (Purpose::Pass, true));
        assert_eq!(serde_json::to_string(&attempt).unwrap(), old);
    }

    #[test]
    fn words_are_the_serialised_form() {
        for outcome in Outcome::ALL {
            let json = serde_json::to_string(&outcome).unwrap();
            assert_eq!(json, format!("\"{}\"", outcome.word()));
        }
    }
}
