//! Findings: the sentences of a verdict, with what they rest on.

use serde::{Deserialize, Serialize};

use super::crash::Crash;
use super::ids::{CaseId, PortName};

/// What a finding says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The kernel died.
    Panic,
    /// A case or a guest did not come back.
    Hang,
    /// Fails on one port, passes on the others.
    ArchOnly,
    /// Fails where a trait holds, passes where it does not.
    TraitBound,
    /// Fails on several ports and no trait tells why those.
    Regression,
    /// Fails now and then under the same conditions.
    Flake,
    /// The system under test did not build, boot or keep to its set lists.
    Stage,
    /// Cases that never ran.
    Missed,
    /// Failed on the baseline, passes now.
    Fixed,
}

/// How a finding stands against the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum News {
    /// The baseline does not show it.
    New,
    /// The baseline shows it too.
    Known,
    /// There is no baseline for this suite.
    NoBaseline,
}

/// Attempts of one case on one port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortTally {
    /// The port (and variant, where there are several: `amd64+DIAGNOSTIC`).
    pub port: PortName,
    /// Attempts that ended badly.
    pub bad: u32,
    /// Attempts that said anything.
    pub total: u32,
    /// The commonest bad outcome's word, or the good one where none is bad.
    pub outcome: String,
    /// The reason of the first bad attempt. Untrusted text, bounded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A conjunction of traits that holds on every failing port and on no passing one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraitSplit {
    /// Trait and value, all of which must hold: `[("endian", "big")]`.
    pub all_of: Vec<(String, String)>,
}

/// One sentence of the verdict, then its evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it says.
    pub kind: FindingKind,
    /// Against the baseline.
    pub news: News,
    /// The suite.
    pub suite: String,
    /// The case, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub case: Option<CaseId>,
    /// The sentence.
    pub sentence: String,
    /// Ports where it fails.
    #[serde(default)]
    pub failing: Vec<PortTally>,
    /// Ports where it passes.
    #[serde(default)]
    pub passing: Vec<PortTally>,
    /// Ports that say nothing: skipped, missed, not built.
    #[serde(default)]
    pub silent: Vec<PortTally>,
    /// What separates failing from passing ports, shortest first; several are rivals.
    #[serde(default)]
    pub splits: Vec<TraitSplit>,
    /// The kernel's last words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash: Option<Crash>,
    /// Further lines for people.
    #[serde(default)]
    pub evidence: Vec<String>,
}

/// The verdict of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Findings about the system under test, the gravest first.
    pub findings: Vec<Finding>,
    /// Faults of the host or the emulator: cells that say nothing, and why.
    pub host_faults: Vec<String>,
    /// What is worth a line and is no finding: new and vanished cases, gaps in the baseline.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Verdict {
    /// True where the baseline knows everything that was found.
    pub fn is_clean(&self) -> bool {
        self.findings
            .iter()
            .all(|f| f.news == News::Known || f.kind == FindingKind::Fixed)
    }
}
