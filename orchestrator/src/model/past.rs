//! What earlier runs of a matrix showed of a finding.

use serde::{Deserialize, Serialize};

use super::ids::RunId;

/// A run in which something was seen, as far as a reader wants to go there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// The run.
    pub run: RunId,
    /// When it began.
    pub started: jiff::Timestamp,
    /// What was tested: a tree, a tree and a series, or a commit; none where the run did not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

/// What earlier runs showed of a case or of a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenBefore {
    /// Earlier runs that could have shown it.
    pub runs: u32,
    /// Of them, those that did.
    pub showing: u32,
    /// Bad attempts; of a crash: how often it came.
    pub bad: u32,
    /// Attempts that said anything; of a crash: the same as `bad`.
    pub total: u32,
    /// The oldest that showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Sighting>,
    /// The newest that showed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Sighting>,
}
