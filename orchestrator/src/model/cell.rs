//! Cells: one point of the matrix, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::crash::Crash;
use super::ids::{CaseId, Key, PortName};
use super::outcome::{Attempt, StageResult};

/// Which of the two trees that a run compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What the run is compared with.
    Baseline,
    /// The revision under test.
    Candidate,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Baseline => "baseline",
            Self::Candidate => "candidate",
        })
    }
}

/// One point of a matrix: suite × port × variant, on one side of the comparison.
/// Its text form is `suite/port/variant/side`; none of the parts contains a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId {
    /// The suite's name in the matrix.
    pub suite: String,
    /// The port.
    pub port: PortName,
    /// The kernel variant's name in the matrix.
    pub variant: String,
    /// Baseline or candidate.
    pub side: Side,
}

impl CellId {
    /// The name of the cell's column in tables: the port, with the variant where a suite has
    /// `several` of them.
    pub fn column(&self, several: bool) -> PortName {
        if several {
            PortName(format!("{}+{}", self.port, self.variant))
        } else {
            self.port.clone()
        }
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{}/{}/{}/{}",
            self.suite, self.port, self.variant, self.side
        ))
    }
}

impl FromStr for CellId {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = s.split('/').collect();
        let [suite, port, variant, side] = parts[..] else {
            return Err(format!(
                "'{s}' is not a cell: expected SUITE/PORT/VARIANT/SIDE"
            ));
        };
        let side = match side {
            "baseline" => Side::Baseline,
            "candidate" => Side::Candidate,
            other => {
                return Err(format!(
                    "'{other}' is not a side: expected baseline or candidate"
                ));
            }
        };
        Ok(Self {
            suite: suite.to_owned(),
            port: port.into(),
            variant: variant.to_owned(),
            side,
        })
    }
}

impl Serialize for CellId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CellId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// How one guest's life ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum GuestEnd {
    /// fallout ended it, its work done.
    Done,
    /// The kernel died or hung.
    Crashed,
    /// The emulator ended, or never started, without a word from the kernel.
    EmulatorExited {
        /// Exit status or signal, and the end of the emulator's own messages.
        detail: String,
    },
    /// The guest did not come up in time.
    BootFailed {
        /// What was waited for, and the last screen.
        detail: String,
    },
    /// The run was interrupted.
    Interrupted,
}

/// A guest that lives and is not what it was: a full disk, a changed clock, a dead daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What is wrong with it, for people. Bounded.
    pub what: String,
    /// The case after which it was so, where only one could have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub culprit: Option<CaseId>,
}

/// How a guest came up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "how")]
pub enum CameUp {
    /// Its kernel was booted.
    #[default]
    Booted,
    /// A guest that had been saved right after its boot was restored.
    Restored {
        /// How long that boot had taken.
        boot: Duration,
    },
}

/// One guest of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuestRecord {
    /// Which guest of the cell, from 1.
    pub number: u32,
    /// What the booted kernel says it is (`uname -srvm`). Untrusted text, bounded.
    #[serde(default)]
    pub kernel: String,
    /// From the emulator's start to the agent's first word, however the guest came up.
    #[serde(default)]
    pub boot: Duration,
    /// Booted or restored.
    #[serde(default)]
    pub came_up: CameUp,
    /// From the emulator's start to its end.
    #[serde(default)]
    pub wall: Duration,
    /// The emulator's CPU time, user and system.
    #[serde(default)]
    pub cpu: Duration,
    /// How it ended.
    pub end: GuestEnd,
    /// The crash, if it ended by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Crash>,
    /// What was found wrong with it while it lived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<Damage>,
    /// The console's file, relative to the cell's directory.
    pub console: String,
    /// The emulator's command line, word by word.
    #[serde(default)]
    pub command: Vec<String>,
}

/// Everything that came of a cell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Which cell.
    pub id: CellId,
    /// The hash of everything that the result depends on.
    pub key: Key,
    /// How its stages ended.
    pub stage: StageResult,
    /// For anything but `complete`: what happened, for people. Bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Every attempt, in the order in which they ended.
    pub attempts: Vec<Attempt>,
    /// Every guest that was started.
    pub guests: Vec<GuestRecord>,
    /// What it was made of: package and tool versions, hashes.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// True where the result came from the cache.
    #[serde(default)]
    pub cached: bool,
}
