//! Findings from outcomes: pure.
//!
//! ```text
//! cells -> tally (suite × case × column, both sides)
//!            -> deaths   panics and hangs, blamed on a case
//!            -> cases    arch-only, trait-bound, regression, flake, undecided, fixed
//!            -> stages   what did not build or boot, what never ran, host faults
//!       priors: what is believed before   weigh: what the attempts make of it
//!       decide: what is said of that      traits: what separates   next: what to run
//!       before: the baseline              words: the sentences
//!       changes: every case against it    history: what earlier runs showed
//!       repeats: what to run again        adaptive: that over a run, in turns
//!       flakes: over many runs            circumstances: of one attempt
//!       known: who answers for a flake    sim: a world to measure all this in
//! ```
//!
//! Comparison is total: absent, skipped, missed and doubtful are values, and no input makes it
//! panic. Whether a failure is bound to ports is decided by comparing posterior probabilities
//! ([`weigh`]), never by a count; `docs/verdict.md` has the model at length.

pub mod adaptive;
pub mod before;
pub mod bench;
pub mod bisect;
mod bits;
mod cases;
pub mod chance;
mod changes;
mod circumstances;
mod company;
mod deaths;
mod decide;
pub mod dice;
pub mod flakes;
pub mod history;
pub mod known;
mod next;
pub mod polluter;
pub mod priors;
pub mod repeats;
pub mod sim;
mod stages;
pub mod suspect;
mod tally;
mod traits;
pub mod weigh;
mod words;

#[cfg(test)]
mod monotone_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::{CellResult, Finding, FindingKind, News, PortName, Traits, Verdict};

pub use circumstances::EMULATOR;
pub use next::Known;

/// What a verdict rests on.
#[derive(Debug, Clone, Copy)]
pub struct VerdictInput<'a> {
    /// The traits of every port that has a cell. A port that is not here has none.
    pub ports: &'a BTreeMap<PortName, Traits>,
    /// The traits of kernel variants, by the variant's name in the matrix.
    pub variants: &'a BTreeMap<String, Traits>,
    /// Both sides of every suite, in any order.
    pub cells: &'a [CellResult],
    /// What could be run besides, and what that would cost.
    pub known: Known<'a>,
}

/// Judges a run. The gravest findings come first, new ones before known ones; the same input in
/// another order gives the same verdict.
pub fn judge(input: &VerdictInput<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for table in tally::tables(input) {
        let explainer = traits::Explainer::new(&table, input);
        deaths::judge(&table, &explainer, &mut verdict);
        cases::judge(&table, &explainer, &input.known, &mut verdict);
        changes::judge(&table, &mut verdict);
        stages::judge(&table, &explainer, &mut verdict);
        stages::missed(&table, &mut verdict);
        stages::notes(&table, &mut verdict);
    }
    deaths::group(&mut verdict.findings);
    stages::merge(&mut verdict.findings);
    verdict.findings.sort_by(|a, b| rank(a).cmp(&rank(b)));
    verdict
}

/// The order in which a maintainer wants to read.
fn rank(finding: &Finding) -> impl Ord + use<'_> {
    let kind = match finding.kind {
        FindingKind::Panic => 0,
        FindingKind::Gone => 1,
        FindingKind::Hang => 2,
        FindingKind::Stage => 3,
        FindingKind::Regression => 4,
        FindingKind::TraitBound => 5,
        FindingKind::ArchOnly => 6,
        FindingKind::Undecided => 7,
        FindingKind::Flake => 8,
        FindingKind::Missed => 9,
        FindingKind::Fixed => 10,
    };
    (
        finding.kind == FindingKind::Fixed,
        finding.news == News::Known,
        kind,
        &finding.suite,
        &finding.case,
        &finding.sentence,
    )
}
