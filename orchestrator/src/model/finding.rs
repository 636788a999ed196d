//! Findings: the sentences of a verdict, with what they rest on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::crash::Crash;
use super::ids::{CaseId, PortName};
use super::past::SeenBefore;

/// What a finding says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// The kernel died.
    Panic,
    /// A case or a guest did not come back.
    Hang,
    /// The guest turned itself off, or its agent was lost: the kernel complained of nothing.
    Gone,
    /// Fails on one port, passes on the others.
    ArchOnly,
    /// Fails where a trait holds, passes where it does not.
    TraitBound,
    /// Fails on several ports and no trait tells why those.
    Regression,
    /// Failed, and the attempts do not yet tell a flake from a failure that is bound to something.
    Undecided,
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
    /// The attempts do not yet tell whether the baseline has it too.
    Unclear,
    /// There is no baseline for this suite.
    NoBaseline,
}

/// An answer that may wait for more attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The attempts say so.
    Yes,
    /// The attempts say that it is not so.
    No,
    /// They do not tell.
    NotYetKnown,
}

/// How sure the verdict is of a finding's kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certainty {
    /// Whether it is a failure of one port (or of one kernel variant of one port) alone.
    pub arch_only: Answer,
    /// The posterior probability of that, 0 to 1.
    pub arch_only_posterior: f64,
    /// The posterior probability of the finding's kind, 0 to 1. For an undecided finding: of the
    /// likeliest one.
    pub posterior: f64,
    /// Every explanation that has at least 1 %, the likeliest first, in words, with its posterior.
    pub explanations: Vec<(String, f64)>,
}

/// How strongly the attempts speak for a finding being new since the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NewsEvidence {
    /// The posterior probability that the baseline does not have it, 0 to 1.
    pub posterior: f64,
    /// The Bayes factor of "new" against "known", as its decimal logarithm: 2 is 100 to 1 for new,
    /// -2 is 100 to 1 for known.
    pub log10_bayes_factor: f64,
}

/// A cell that was not run and would tell rival explanations apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NextCell {
    /// Where to run the case.
    pub port: PortName,
    /// With which kernel variant.
    pub variant: String,
    /// What a failure there would speak for.
    pub if_it_fails: Vec<TraitSplit>,
    /// What a pass there would speak for.
    pub if_it_passes: Vec<TraitSplit>,
    /// How much it tells, in bits: 1 halves the rivals.
    pub bits: f64,
    /// What it costs, where cells like it were run before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Duration>,
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
    /// How sure the kind is. None where it does not rest on attempts, and in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certainty: Option<Certainty>,
    /// How sure the news is. None without a baseline, and in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub news_evidence: Option<NewsEvidence>,
    /// The cheapest cell that would tell the rivals in `splits` apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextCell>,
    /// What earlier runs of the matrix showed of it. None where none was asked, and in old reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_before: Option<SeenBefore>,
}

impl Finding {
    /// A finding that says no more than its sentence.
    pub fn new(
        kind: FindingKind,
        news: News,
        suite: &str,
        case: Option<CaseId>,
        sentence: String,
    ) -> Self {
        Self {
            kind,
            news,
            suite: suite.to_owned(),
            case,
            sentence,
            failing: Vec::new(),
            passing: Vec::new(),
            silent: Vec::new(),
            splits: Vec::new(),
            crash: None,
            evidence: Vec::new(),
            certainty: None,
            news_evidence: None,
            next: None,
            seen_before: None,
        }
    }

    /// What it is about, the same in every run that shows it: a kernel's last words, a case, or which
    /// ports do not get that far. Its kind is no part of the first two: that may change as more is known.
    pub fn about(&self) -> String {
        let crash = self.crash.as_ref().map(|c| c.signature.clone());
        let crash = crash.filter(|signature| !signature.is_empty());
        let case = || self.case.as_ref().map(ToString::to_string);
        crash.or_else(case).unwrap_or_else(|| {
            let ports: Vec<&str> = self.failing.iter().map(|t| t.port.as_str()).collect();
            let kind = serde_json::to_value(self.kind).unwrap_or_default();
            format!("{} {}", kind.as_str().unwrap_or_default(), ports.join(" "))
        })
    }
}

/// How a case stands against the baseline. Total: every case that both sides could have run has
/// exactly one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// Fails, and did not on the baseline.
    NewFailure,
    /// Passes, and failed on the baseline.
    Fixed,
    /// Fails on both sides.
    StillFailing,
    /// Sometimes fails, and the attempts do not tell whether the baseline does too.
    Unclear,
    /// Skipped, and spoke on the baseline.
    NewlySkipped,
    /// Speaks, and was skipped on the baseline.
    NoLongerSkipped,
    /// On the baseline, and not here.
    Vanished,
    /// Here, and not on the baseline.
    NewCase,
    /// Fails as announced, and passed on the baseline.
    NewlyExpected,
    /// A failure was announced on the baseline, and none came.
    UnexpectedlyPassing,
    /// One side has no attempt that counts: missed, doubtful, or the cell broke.
    Incomparable,
}

/// One case that is not what it was, or is still bad.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseChange {
    /// The suite.
    pub suite: String,
    /// The case.
    pub case: CaseId,
    /// What changed.
    pub change: ChangeKind,
    /// In these columns.
    pub ports: Vec<PortName>,
    /// The posterior probability of the change, 0 to 1; 1 for what is seen and not inferred.
    pub posterior: f64,
    /// The Bayes factor of "it changed" against "it did not", as its decimal logarithm; none for
    /// what is seen and not inferred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log10_bayes_factor: Option<f64>,
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
    /// Every case that is not what it was on the baseline, or is still bad, sorted by suite and
    /// case. Empty without a baseline, and in old reports.
    #[serde(default)]
    pub changes: Vec<CaseChange>,
}

impl Verdict {
    /// True where the baseline knows everything that was found.
    pub fn is_clean(&self) -> bool {
        self.findings
            .iter()
            .all(|f| f.news == News::Known || f.kind == FindingKind::Fixed)
    }
}
