//! A sign-off: may this revision be released, line by line, with what each line rests on.

use serde::{Deserialize, Serialize};

/// The version of the stored form.
pub const FORMAT: u32 = 1;

/// What a line of a sign-off says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Say {
    /// What the policy asks for was seen.
    Go,
    /// What the policy forbids was seen, or what it asks for was looked for and is not there.
    NoGo,
    /// It is no go, and somebody answers for it until a day.
    Waived,
    /// Nothing was seen that could tell. Never a go.
    Unknown,
}

impl Say {
    /// The word used in files and to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::NoGo => "no-go",
            Self::Waived => "waived",
            Self::Unknown => "unknown",
        }
    }

    /// Whether the line lets a revision pass.
    pub fn passes(self) -> bool {
        matches!(self, Self::Go | Self::Waived)
    }
}

/// Somebody who answers for a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The line's name: `freeze.syscalls`.
    pub line: String,
    /// Who answers for it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The last day on which it counts.
    pub until: jiff::civil::Date,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its name, by which a waiver names it: `variants.s390x.debug`.
    pub name: String,
    /// What the policy asks for, for people.
    pub asks: String,
    /// What it comes to.
    pub say: Say,
    /// Why, in one sentence.
    pub why: String,
    /// What it rests on, for people. May hold text that came out of a guest or a tree.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// The runs that it rests on.
    #[serde(default)]
    pub runs: Vec<String>,
    /// The waiver, where one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiver: Option<Waiver>,
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignOff {
    /// The version of this form: [`FORMAT`].
    pub format: u32,
    /// Its identity; sorts by time.
    pub id: String,
    /// The policy's name.
    pub policy: String,
    /// The hash of the policy's file.
    pub policy_hash: String,
    /// What was asked about: `release-12`.
    pub asked: String,
    /// What that is: a commit, or a source's hash.
    pub revision: String,
    /// What the branch is held against, where the policy freezes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch_point: Option<String>,
    /// When it was decided.
    pub at: jiff::Timestamp,
    /// Every line is a go or waived.
    pub go: bool,
    /// The lines, in the policy's order.
    pub lines: Vec<Line>,
    /// What is worth a word and decides nothing: waivers that are over or name no line.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl SignOff {
    /// The runs that any line rests on, each once.
    pub fn runs(&self) -> std::collections::BTreeSet<&str> {
        let runs = self.lines.iter().flat_map(|l| &l.runs);
        runs.map(String::as_str).collect()
    }

    /// How many lines say so.
    pub fn count(&self, say: Say) -> usize {
        self.lines.iter().filter(|l| l.say == say).count()
    }
}
