//! What people and machines read: one file per format.
//!
//! Every format is written from one value, [`RunReport`]: what the run was, what came of its
//! cells, and the verdict. Nothing here judges. Text that came out of a guest is cleaned by
//! [`crate::host::text`] before it is shown, whatever the format.

pub mod asciicast;
pub mod diff;
pub mod grid;
pub mod html;
pub mod json;
pub mod junit;
pub mod kcidb;
pub mod rows;
pub mod signoff;
mod spent;
pub mod tap;
pub mod terminal;

#[cfg(test)]
#[path = "../../tests/support/sample.rs"]
pub(crate) mod sample;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{CellResult, PortName, RunId, Spent, Traits, Verdict};

/// The version of the stored form of [`RunReport`] that this program writes and reads.
pub const FORMAT: u32 = 1;

/// One tree of the system under test, as a reader wants it named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// What the user called it: `examples/portable`, `main`, `posix-spawn v3`.
    pub name: String,
    /// What it is, beyond doubt: a commit, or a hash of a directory and its patches.
    pub id: String,
    /// The patches on top, in order, by their subject or file name.
    #[serde(default)]
    pub patches: Vec<String>,
}

/// Everything about one run that any report shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// The version of this form: [`FORMAT`].
    pub format: u32,
    /// The run.
    pub run: RunId,
    /// The matrix's name.
    pub matrix: String,
    /// What was tested.
    pub candidate: Source,
    /// What it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Source>,
    /// When it began.
    pub started: jiff::Timestamp,
    /// How long it took.
    pub took: Duration,
    /// True where the user ended it early.
    #[serde(default)]
    pub interrupted: bool,
    /// The ports' traits.
    pub ports: BTreeMap<PortName, Traits>,
    /// The kernel variants' traits, by the variant's name in the matrix.
    #[serde(default)]
    pub variants: BTreeMap<String, Traits>,
    /// Every cell, both sides.
    pub cells: Vec<CellResult>,
    /// What was found.
    pub verdict: Verdict,
    /// What attempts beyond the passes cost and bought, where the matrix allows any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spent: Option<Spent>,
}

/// A duration in the two largest units that matter: `0.4s`, `52s`, `4m 07s`, `2h 05m`.
pub fn duration_words(d: Duration) -> String {
    let s = d.as_secs();
    match s {
        0..10 => format!("{:.1}s", d.as_secs_f64()),
        10..60 => format!("{s}s"),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        _ => format!("{}h {:02}m", s / 3600, s / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_at_a_glance() {
        let words = |ms| duration_words(Duration::from_millis(ms));
        assert_eq!(words(440), "0.4s");
        assert_eq!(words(52_100), "52s");
        assert_eq!(words(247_000), "4m 07s");
        assert_eq!(words(7_500_000), "2h 05m");
    }
}
