//! Findings from outcomes: pure.
//!
//! ```text
//! cells -> tally (suite × case × column, both sides)
//!            -> deaths   panics and hangs, blamed on a case
//!            -> cases    arch-only, trait-bound, regression, flake, fixed
//!            -> stages   what did not build or boot, what never ran, host faults
//!       chance: what luck can do   traits: what separates   words: the sentences
//! ```
//!
//! Comparison is total: absent, skipped and missed are values, and no input makes it panic. What
//! repetition can and cannot tell stands in [`chance`] alone, so that a better statistical model
//! replaces one file. It does not bisect, does not look for the polluting test and does not weigh
//! benchmarks; it says only what the attempts at hand support.

pub mod bench;
pub mod bisect;
mod bits;
mod cases;
pub mod chance;
mod company;
mod deaths;
pub mod dice;
pub mod flakes;
pub mod polluter;
mod stages;
pub mod suspect;
mod tally;
mod traits;
mod words;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::model::{CellResult, Finding, FindingKind, News, PortName, Traits, Verdict};

/// What a verdict rests on.
#[derive(Debug, Clone, Copy)]
pub struct VerdictInput<'a> {
    /// The traits of every port that has a cell. A port that is not here has none.
    pub ports: &'a BTreeMap<PortName, Traits>,
    /// The traits of kernel variants, by the variant's name in the matrix.
    pub variants: &'a BTreeMap<String, Traits>,
    /// Both sides of every suite, in any order.
    pub cells: &'a [CellResult],
}

/// Judges a run. The gravest findings come first, new ones before known ones; the same input in
/// another order gives the same verdict.
pub fn judge(input: &VerdictInput<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for table in tally::tables(input) {
        let explainer = traits::Explainer::new(&table, input);
        deaths::judge(&table, &explainer, &mut verdict);
        cases::judge(&table, &explainer, &mut verdict);
        stages::judge(&table, &explainer, &mut verdict);
        stages::missed(&table, &mut verdict);
        stages::notes(&table, &mut verdict);
    }
    stages::merge(&mut verdict.findings);
    verdict.findings.sort_by(|a, b| rank(a).cmp(&rank(b)));
    verdict
}

/// The order in which a maintainer wants to read.
fn rank(finding: &Finding) -> impl Ord + use<'_> {
    let kind = match finding.kind {
        FindingKind::Panic => 0,
        FindingKind::Hang => 1,
        FindingKind::Stage => 2,
        FindingKind::Regression => 3,
        FindingKind::TraitBound => 4,
        FindingKind::ArchOnly => 5,
        FindingKind::Flake => 6,
        FindingKind::Missed => 7,
        FindingKind::Fixed => 8,
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
