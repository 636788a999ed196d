//! What a trigger hands on: a change of a repository, and how the run of it is to be queued.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CaseId, CellId};

/// A reference of a repository that now names another commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// The repository's name in the settings.
    pub repository: String,
    /// The full reference: `refs/heads/main`.
    pub reference: String,
    /// The commit before, where there was one.
    pub old: Option<String>,
    /// The commit now.
    pub new: String,
}

/// What goes first when several runs wait. The order of the variants is the order of urgency.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// What runs when nothing else does.
    Nightly,
    /// A series that somebody wants looked at.
    Try,
    /// A commit that is in already.
    #[default]
    Push,
    /// A branch waits for the answer.
    Signoff,
}

impl Priority {
    /// The word used in settings and to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Nightly => "nightly",
            Self::Try => "try",
            Self::Push => "push",
            Self::Signoff => "signoff",
        }
    }
}

/// What becomes of older changes of the same reference when a new one comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// Every change has a run of its own.
    Each,
    /// Changes that still wait become one: the newest commit is run for all of them.
    #[default]
    Batch,
    /// Like `batch`, and the run of an older one that is under way is cancelled.
    Supersede,
}

/// How far a queued run is.
///
/// ```text
/// queued --take--> running --verdict--> done
///    |                |  |---trouble--> failed
///    |                |  `--stop, kill--> running (adopted by the next start)
///    |             cancel
///    |                v
///    `--cancel---> cancelling --guests ended--> cancelled
///       (a queued one is cancelled at once)
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It waits.
    Queued,
    /// It runs, or will be gone on with.
    Running,
    /// It runs and is being ended.
    Cancelling,
    /// It came to a verdict.
    Done,
    /// It could not be carried out.
    Failed,
    /// Somebody, or a newer change, ended it.
    Cancelled,
}

impl JobState {
    /// Every state, in the order of their stored numbers: new ones go to the end.
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Cancelling,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word shown to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether this state may be followed by another.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Queued, Self::Running | Self::Cancelled)
                | (Self::Running, Self::Cancelling | Self::Done | Self::Failed)
                | (
                    Self::Cancelling,
                    Self::Cancelled | Self::Done | Self::Failed
                )
        )
    }

    /// Nothing follows.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

/// What a job runs, beside the change: as the settings said when it was queued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// The matrix file, absolute.
    pub matrix: PathBuf,
    /// Only these ports; all where empty.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Only these suites; all where empty.
    #[serde(default)]
    pub suites: Vec<String>,
    /// The directory of the repository that is the suites' source tree: `.` or `src`.
    pub source_dir: String,
    /// New findings whose commit is looked for, at most; 0 for none.
    #[serde(default, skip_serializing_if = "nothing")]
    pub bisect: u32,
    /// The finding that is looked for: the job is a search, not a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<Search>,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn nothing(n: &u32) -> bool {
    *n == 0
}

/// A finding of a run that answers for several commits: which of them brought it?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Search {
    /// The run that found it.
    pub run: String,
    /// The cell in whose guests it is tried.
    pub cell: CellId,
    /// The case; none where the cell did not build.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseId>,
    /// What the finding is about, the same across runs.
    pub about: String,
    /// The finding's sentence in that run's verdict. Untrusted text, bounded.
    pub sentence: String,
}

impl Search {
    /// The failure as people are told of it.
    pub fn what(&self) -> String {
        match &self.case {
            Some(case) => format!("{case} on {}", self.cell.port),
            None => format!("the build of {} for {}", self.cell.suite, self.cell.port),
        }
    }
}

/// A job to be queued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// The change.
    pub change: ChangeSet,
    /// The name of the rule that chose it.
    pub choice: String,
    /// What is run.
    pub spec: JobSpec,
    /// How urgent it is.
    pub priority: Priority,
    /// What becomes of older ones.
    pub policy: Policy,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_over_and_everything_else_can_end() {
        for state in JobState::ALL {
            let goes_on = JobState::ALL.iter().any(|next| state.may_become(*next));
            assert_eq!(goes_on, !state.is_over(), "{state:?}");
            assert!(!state.may_become(state));
        }
    }

    #[test]
    fn priorities_stand_in_the_order_of_urgency() {
        use Priority::{Nightly, Push, Signoff, Try};
        assert!(Signoff > Push && Push > Try && Try > Nightly);
    }
}
