//! Every case against the baseline: what changed, and how sure that is.
//!
//! Total: each column where both sides could have run a case gives one value. What is seen (skipped,
//! absent, announced) is certain; what is inferred from attempts that fail or pass is weighed as one
//! rate on both sides against a rate for each. Findings tell the same of what is bound to ports; this
//! is the list behind them, and has what is no finding besides.

use std::collections::BTreeMap;

use super::before::SURE;
use super::chance::Count;
use super::decide::round;
use super::priors::{self, ln_sum, rates};
use super::tally::{Row, Table, Tally};
use super::words;
use crate::model::{CaseChange, ChangeKind, Outcome, Side, Verdict};

/// Cases that a line names before it counts the rest.
const NAMED: usize = 5;

/// What ATF says where an announced failure did not come.
const NONE_CAME: &str = "expecting a failure but";

/// Adds the changes of a suite, where it has both sides.
pub fn judge(table: &Table<'_>, verdict: &mut Verdict) {
    if !table.has(Side::Baseline) || !table.has(Side::Candidate) {
        return;
    }
    let both = |i: usize| table.complete(Side::Baseline, i) && table.complete(Side::Candidate, i);
    let both: Vec<bool> = (0..table.columns.len()).map(both).collect();
    let from = verdict.changes.len();
    for row in table.rows() {
        if !row.is_plain() {
            of_case(table, &row, &both, &mut verdict.changes);
        }
    }
    notes(table.suite, from, verdict);
}

fn of_case(table: &Table<'_>, row: &Row<'_>, both: &[bool], changes: &mut Vec<CaseChange>) {
    let mut groups: BTreeMap<ChangeKind, Vec<usize>> = BTreeMap::new();
    for column in (0..both.len()).filter(|i| both[*i]) {
        if let Some(change) = seen(&row.candidate[column], &row.baseline[column]) {
            groups.entry(change).or_default().push(column);
        }
    }
    for (seen, columns) in groups {
        let sum = |side: &[Tally<'_>]| {
            let counts = columns.iter().map(|i| side[*i].count());
            counts.fold(Count::default(), Count::plus)
        };
        let (now, then) = (sum(&row.candidate), sum(&row.baseline));
        let (change, posterior, log10_bayes_factor) = match seen {
            ChangeKind::NewFailure | ChangeKind::Fixed | ChangeKind::StillFailing => {
                let (posterior, factor) = changed(now, then);
                let (change, posterior) = named(seen, now, then, posterior);
                (change, posterior, Some(factor))
            }
            other => (other, 1.0, None),
        };
        changes.push(CaseChange {
            suite: table.suite.to_owned(),
            case: row.case.clone(),
            change,
            ports: columns
                .iter()
                .map(|i| table.columns[*i].label.clone())
                .collect(),
            posterior: round(posterior),
            log10_bayes_factor: log10_bayes_factor.map(round),
        });
    }
}

/// What one column shows; none where nothing changed and nothing is bad.
fn seen(now: &Tally<'_>, then: &Tally<'_>) -> Option<ChangeKind> {
    match (then.is_absent(), now.is_absent()) {
        (true, true) => return None,
        (true, false) => return Some(ChangeKind::NewCase),
        (false, true) => return Some(ChangeKind::Vanished),
        (false, false) => {}
    }
    let (count, before) = (now.count(), then.count());
    let skipped = |t: &Tally<'_>| t.of(Outcome::Skipped) > 0;
    match (before.total > 0, count.total > 0) {
        (false, false) => return None,
        (true, false) if skipped(now) => return Some(ChangeKind::NewlySkipped),
        (false, true) if skipped(then) => return Some(ChangeKind::NoLongerSkipped),
        (true, false) | (false, true) => return Some(ChangeKind::Incomparable),
        (true, true) => {}
    }
    if then.expected() > 0 && now.expected() == 0 {
        let none_came = || now.first_reason().is_some_and(|r| r.contains(NONE_CAME));
        if count.bad == 0 || none_came() {
            return Some(ChangeKind::UnexpectedlyPassing);
        }
    }
    match (count.bad > 0, before.bad > 0) {
        (true, false) => Some(ChangeKind::NewFailure),
        (false, true) => Some(ChangeKind::Fixed),
        (true, true) => Some(ChangeKind::StillFailing),
        (false, false) if now.expected() > 0 && then.expected() == 0 => {
            Some(ChangeKind::NewlyExpected)
        }
        (false, false) => None,
    }
}

/// The change that the attempts support, with its posterior.
fn named(seen: ChangeKind, now: Count, then: Count, changed: f64) -> (ChangeKind, f64) {
    let worse =
        u64::from(now.bad) * u64::from(then.total) > u64::from(then.bad) * u64::from(now.total);
    match seen {
        _ if changed >= SURE && worse => (ChangeKind::NewFailure, changed),
        _ if changed >= SURE && now.bad == 0 => (ChangeKind::Fixed, changed),
        ChangeKind::StillFailing => (ChangeKind::StillFailing, 1.0 - changed),
        // Bad on one side and, so far, good on the other.
        _ => (ChangeKind::Unclear, changed),
    }
}

/// The posterior that the two sides have two rates, and the Bayes factor for that as a decimal
/// logarithm.
pub fn changed(now: Count, then: Count) -> (f64, f64) {
    let rates = rates();
    let one = |count: Count| {
        let terms = [
            priors::STEADY.ln() + rates.steady.ln_chance(count),
            priors::FLAKY.ln() + rates.flaky.ln_chance(count),
            priors::BROKEN.ln() + rates.broken.ln_chance(count),
        ];
        ln_sum(terms.into_iter())
    };
    let bad = |count: Count| {
        let terms = rates
            .everywhere
            .iter()
            .map(|(w, rate)| w.ln() + rate.ln_chance(count));
        ln_sum(terms)
    };
    let same = one(now.plus(then));
    // Where it changed, one side is as any case and the other is bad: either may be.
    let ways = [bad(now) + one(then), one(now) + bad(then)];
    let apart = ln_sum(ways.into_iter()) - f64::ln(2.0);
    let prior = (priors::BOUND / (1.0 - priors::BOUND)).ln();
    let odds = apart - same + prior;
    (
        1.0 / (1.0 + (-odds).exp()),
        (apart - same) / std::f64::consts::LN_10,
    )
}

/// Lines on what is no finding and yet changed.
fn notes(suite: &str, from: usize, verdict: &mut Verdict) {
    let told = [
        (
            ChangeKind::NewlyExpected,
            "failing as announced now, not so in the baseline",
        ),
        (
            ChangeKind::UnexpectedlyPassing,
            "announced a failure in the baseline, and none came now",
        ),
        (
            ChangeKind::NoLongerSkipped,
            "skipped in the baseline, not so now",
        ),
    ];
    for (kind, what) in told {
        let cases: Vec<String> = verdict.changes[from..]
            .iter()
            .filter(|c| c.change == kind)
            .map(|c| c.case.to_string())
            .collect();
        if !cases.is_empty() {
            let count = words::count(cases.len(), "case");
            let names = words::list(&cases, NAMED);
            verdict
                .notes
                .push(format!("{count} of {suite} {what}: {names}."));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn c(bad: u32, total: u32) -> Count {
        Count { bad, total }
    }

    #[test]
    fn evidence_grows_with_attempts_and_luck_is_no_news() {
        let p = |now, then| changed(now, then).0;
        assert!(p(c(9, 9), c(0, 9)) > 0.999);
        assert!(p(c(9, 9), c(0, 9)) > p(c(3, 3), c(0, 3)));
        assert!(p(c(1, 1), c(0, 1)) < SURE);
        assert!(p(c(1, 9), c(0, 9)) < 0.1);
        assert!(p(c(5, 9), c(4, 9)) < 0.05);
        assert!(p(c(9, 9), c(9, 9)) < 0.05);
    }

    #[test]
    fn both_directions_weigh_the_same() {
        let (there, back) = (changed(c(4, 5), c(0, 6)), changed(c(0, 6), c(4, 5)));
        assert!((there.0 - back.0).abs() < 1e-12);
    }
}
