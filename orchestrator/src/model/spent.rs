//! What a run spent on attempts beyond its passes, and what that bought.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::finding::{Finding, FindingKind, News};
use super::ids::CaseId;

/// Why no further attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpentEnd {
    /// Nothing is left that an attempt is worth its price for.
    NothingLeft,
    /// The attempts of the budget are spent.
    Attempts,
    /// The time of the budget is over.
    Time,
    /// The user ended the run.
    Interrupted,
}

impl SpentEnd {
    /// In words that end a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Self::NothingLeft => "nothing was left to ask",
            Self::Attempts => "the attempts were spent",
            Self::Time => "the time was over",
            Self::Interrupted => "the run was interrupted",
        }
    }
}

/// What is said of a case: the kind of its finding, and how that stands against the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// What it is.
    pub kind: FindingKind,
    /// Whether it is new.
    pub news: News,
}

impl Stand {
    /// Of a finding.
    pub fn of(finding: &Finding) -> Self {
        Self {
            kind: finding.kind,
            news: finding.news,
        }
    }

    /// Whether an answer is still missing. Whether a flake is new takes more attempts than that is
    /// worth.
    pub fn is_open(self) -> bool {
        match self.kind {
            FindingKind::Undecided => true,
            FindingKind::Flake => false,
            _ => self.news == News::Unclear,
        }
    }
}

/// One case on which attempts were spent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bought {
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: CaseId,
    /// Attempts, both sides and all ports together.
    pub attempts: u32,
    /// Of them, those that ended badly.
    pub bad: u32,
    /// What was said of it without them; none where there was no finding.
    pub before: Option<Stand>,
    /// What is said with them.
    pub after: Option<Stand>,
}

impl Bought {
    /// An answer was missing, and is there now.
    pub fn is_decided(&self) -> bool {
        self.before.is_some_and(Stand::is_open) && !self.is_open()
    }

    /// An answer is still missing.
    pub fn is_open(&self) -> bool {
        self.after.is_some_and(Stand::is_open)
    }
}

/// What adaptive repeats came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spent {
    /// The budget in attempts, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_attempts: Option<u32>,
    /// The budget in time, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_time: Option<Duration>,
    /// Attempts that were made.
    pub attempts: u32,
    /// How long that took.
    pub took: Duration,
    /// Why it ended.
    pub end: SpentEnd,
    /// The cases, sorted by suite and name.
    pub cases: Vec<Bought>,
}
