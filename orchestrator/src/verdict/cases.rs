//! Findings about single cases: arch-only, trait-bound, regression, flake, undecided, fixed.
//!
//! Deaths of the kernel and hangs are told by [`super::deaths`]; here they count as silence, so
//! that one case can be both killed on one port and plainly wrong on another. What is said rests
//! on [`super::decide`]; here it is put into a finding.

use super::before::{self, Before, before, news_of};
use super::chance::Count;
use super::decide::{Decision, decide, depends_on_company};
use super::tally::{Row, Table, Tally};
use super::traits::Explainer;
use super::weigh::{Class, Counts};
use super::{company, next, words};
use crate::model::{Finding, FindingKind, News, Outcome, PortTally, Side, Verdict};

/// A conjunction of more traits than this separates almost any set of ports from the others: it
/// is mentioned, but no failure is called bound to it.
const TELLING: usize = 2;

/// Adds the findings of a suite's cases.
pub fn judge(
    table: &Table<'_>,
    explainer: &Explainer,
    known: &next::Known<'_>,
    verdict: &mut Verdict,
) {
    for row in table.rows() {
        // Nearly every row of nearly every run.
        if !row.shows_failure() {
            continue;
        }
        verdict.findings.extend(fixed(table, &row));
        let (now, then, alone) = counts(&row);
        if now.iter().all(|c| c.bad == 0) {
            continue;
        }
        let mut findings = divided(table, explainer, &row, &now, &then);
        for finding in &mut findings {
            finding.next = next::cell(explainer, known, &row, finding);
            finding
                .evidence
                .extend(finding.next.iter().map(words::next));
            finding.evidence.extend(alone.clone());
        }
        verdict.findings.extend(findings);
    }
}

/// What is weighed: by column, both sides. Where a case fails among others and hardly when it is
/// alone, the attempts alone are another experiment: they are told in a line and not weighed.
pub fn counts(row: &Row<'_>) -> (Vec<Count>, Vec<Count>, Option<String>) {
    let fails = |t: &&Tally<'_>| t.count().bad > 0;
    let (mut among, mut alone) = (Count::default(), Count::default());
    for tally in row.candidate.iter().filter(fails) {
        (among, alone) = (among.plus(tally.among()), alone.plus(tally.alone()));
    }
    let then: Vec<Count> = row.baseline.iter().map(Tally::living).collect();
    if depends_on_company(among, alone) {
        let line = format!(
            "It depends on its company: among the others it failed in {} of {} attempts, alone in \
             a fresh guest in {} of {}.",
            among.bad, among.total, alone.bad, alone.total
        );
        let now = row.candidate.iter().map(|t| t.living_among()).collect();
        return (now, then, Some(line));
    }
    let now = row.candidate.iter().map(Tally::living).collect();
    (now, then, None)
}

/// The tallies of the columns whose count fulfils a condition.
pub fn select(
    table: &Table<'_>,
    row: &Row<'_>,
    counts: &[Count],
    which: impl Fn(Count) -> bool,
) -> Vec<PortTally> {
    let chosen = (0..counts.len()).filter(|i| which(counts[*i]));
    chosen
        .map(|i| row.candidate[i].port_tally(&table.columns[i], counts[i]))
        .collect()
}

/// Splits a failure into what the baseline knows and what is new, unless one trait explains all.
fn divided(
    table: &Table<'_>,
    explainer: &Explainer,
    row: &Row<'_>,
    now: &[Count],
    then: &[Count],
) -> Vec<Finding> {
    let whole = |now: &[Count], then: &[Count]| -> Option<Finding> {
        let labels: Vec<&str> = table.columns.iter().map(|c| c.label.as_str()).collect();
        let counts = Counts {
            candidate: now,
            baseline: then,
        };
        let decision = decide(explainer, counts, &labels)?;
        Some(match decision.kind {
            FindingKind::Flake => flake(table, row, now, then, decision),
            _ => steady(table, row, now, then, decision),
        })
    };
    let failing = |i: usize| now[i].all_bad();
    let known: Vec<bool> = (0..now.len())
        .map(|i| failing(i) && then[i].all_bad() && before(table, row, i, now[i]) == Before::Known)
        .collect();
    let one_news = now.iter().any(|c| c.mixed())
        || (0..now.len()).filter(|i| failing(*i)).all(|i| known[i])
        || !known.contains(&true);
    let splits = explainer.splits(failing, |i| now[i].all_good());
    if one_news {
        return whole(now, then).into_iter().collect();
    }
    if splits.first().is_some_and(|s| s.all_of.len() == 1) {
        // What it was bound to before is bound to the same now: the old part says nothing of where
        // the new one fails.
        let then: Vec<Count> = (0..then.len())
            .map(|i| if known[i] { Count::default() } else { then[i] })
            .collect();
        return whole(now, &then).into_iter().collect();
    }
    let part = |side: &[Count], want: bool| -> Vec<Count> {
        let keep = |i: usize| !failing(i) || known[i] == want;
        let count = |i: usize| if keep(i) { side[i] } else { Count::default() };
        (0..side.len()).map(count).collect()
    };
    let one = |want: bool| {
        let mut finding = whole(&part(now, want), &part(then, want))?;
        let others = (0..now.len()).filter(|i| failing(*i) && known[*i] != want);
        let others: Vec<&str> = others.map(|i| table.columns[i].label.as_str()).collect();
        let others = words::list(&others, usize::MAX);
        finding.evidence.push(if want {
            format!("It fails on {others} too, which is new and told apart.")
        } else {
            format!("It fails on {others} too, as it did before.")
        });
        Some(finding)
    };
    [one(false), one(true)].into_iter().flatten().collect()
}

/// The word and the strength of a finding's news.
fn news(
    table: &Table<'_>,
    row: &Row<'_>,
    now: &[Count],
    then: &[Count],
    decision: &Decision,
) -> (News, Option<crate::model::NewsEvidence>) {
    let bad = || (0..now.len()).filter(|i| now[*i].bad > 0);
    let seen = news_of(table, bad().map(|i| before(table, row, i, now[i])));
    let there = bad().map(|i| then[i]).fold(Count::default(), Count::plus);
    let shown = then.iter().any(|c| c.bad > 0);
    before::weighed(seen, there, shown, decision.news)
}

/// A failure that is no flake, or not yet known to be one.
fn steady(
    table: &Table<'_>,
    row: &Row<'_>,
    now: &[Count],
    then: &[Count],
    decision: Decision,
) -> Finding {
    let failing = select(table, row, now, |c| c.bad > 0);
    let passing = select(table, row, now, Count::all_good);
    let (news, news_evidence) = news(table, row, now, then, &decision);
    let splits = match decision.class {
        Class::OnePort | Class::Trait => decision.splits.clone(),
        _ => Vec::new(),
    };
    let verb = verb(&failing);
    let (on, bad, passes) = (
        words::places(&failing, &passing),
        words::bad_of(&failing),
        words::passes(&passing),
    );
    let case = row.case;
    let told: Vec<_> = splits
        .iter()
        .filter(|s| s.all_of.len() <= TELLING)
        .cloned()
        .collect();
    let why = words::rivals(&told);
    let body = match decision.kind {
        FindingKind::ArchOnly if why.is_empty() => {
            format!("`{case}` {verb} on {on} only ({bad}){passes}.")
        }
        FindingKind::ArchOnly => {
            format!("`{case}` {verb} on {on} only ({bad}){passes}; what sets {on} apart: {why}.")
        }
        FindingKind::TraitBound => format!("`{case}` {verb} on {on} ({bad}){passes}: {why}."),
        FindingKind::Undecided => format!(
            "`{case}` {verb} on {on} ({bad}){passes}; not yet known whether it is {}.",
            words::either(&decision.certainty.explanations)
        ),
        _ if passing.is_empty() && failing.len() == 1 => {
            format!("`{case}` {verb} on {on} ({bad}), the only port that ran it.")
        }
        _ if passing.is_empty() => {
            format!("`{case}` {verb} on every port that ran it: {on} ({bad}).")
        }
        _ if passing.len() == 1 && failing.len() > 2 => format!(
            "`{case}` {verb} everywhere but on {} ({bad}){passes}.",
            words::ports(&passing)
        ),
        _ => format!("`{case}` {verb} on {on} ({bad}){passes}; no trait separates them."),
    };
    let mut evidence = before::lines(table, row, now);
    evidence.extend(words::sure(&decision.certainty, news_evidence.as_ref()));
    Finding {
        silent: select(table, row, now, |c| c.total == 0),
        failing,
        passing,
        splits,
        evidence,
        certainty: Some(decision.certainty),
        news_evidence,
        ..Finding::new(
            decision.kind,
            news,
            table.suite,
            Some(case.clone()),
            format!("{body} {}", words::news(news)),
        )
    }
}

fn verb(failing: &[PortTally]) -> &'static str {
    let broken = Outcome::Broken.word();
    if failing.iter().any(|t| t.bad < t.total) {
        "fails now and then"
    } else if !failing.is_empty() && failing.iter().all(|t| t.outcome == broken) {
        "breaks"
    } else {
        "fails"
    }
}

/// A failure that comes and goes under the same conditions.
fn flake(
    table: &Table<'_>,
    row: &Row<'_>,
    now: &[Count],
    then: &[Count],
    decision: Decision,
) -> Finding {
    let failing = select(table, row, now, |c| c.bad > 0);
    let passing = select(table, row, now, Count::all_good);
    let all = words::sum(&failing).plus(words::sum(&passing));
    let before_all = then.iter().copied().fold(Count::default(), Count::plus);
    let (news, news_evidence, closing) = flake_news(table, row, all, before_all, decision.news);
    let where_ = format!(
        "on {} of {}",
        failing.len(),
        words::count(failing.len() + passing.len(), "port")
    );
    let why = if passing.is_empty() {
        ""
    } else {
        "; no trait separates them"
    };
    let mut evidence = company::lines(row);
    if before_all.bad > 0 {
        evidence.push(format!(
            "In the baseline it failed in {} of {} attempts.",
            before_all.bad, before_all.total
        ));
    }
    evidence.extend(words::sure(&decision.certainty, news_evidence.as_ref()));
    Finding {
        silent: select(table, row, now, |c| c.total == 0),
        failing,
        passing,
        evidence,
        certainty: Some(decision.certainty),
        news_evidence,
        ..Finding::new(
            FindingKind::Flake,
            news,
            table.suite,
            Some(row.case.clone()),
            format!(
                "`{}` fails now and then: in {} of {} attempts, {where_}{why}. {closing}",
                row.case, all.bad, all.total
            ),
        )
    }
}

fn flake_news(
    table: &Table<'_>,
    row: &Row<'_>,
    now: Count,
    then: Count,
    weighed: Option<(f64, f64)>,
) -> (News, Option<crate::model::NewsEvidence>, String) {
    let befores = (0..row.baseline.len()).map(|i| before(table, row, i, now));
    let seen = match () {
        () if !table.has(Side::Baseline) => News::NoBaseline,
        () if then.total > 0 => News::New,
        () if befores.into_iter().any(|b| b == Before::New) => News::New,
        () => News::NoBaseline,
    };
    let (news, evidence) = before::weighed(seen, then, then.bad > 0, weighed);
    let closing = match (news, then.bad) {
        (News::Unclear, 0) => format!(
            "The baseline did not show it (0 of {}), which may be luck.",
            then.total
        ),
        (News::New, 1..) => "More often than in the baseline.".to_owned(),
        _ => words::news(news).to_owned(),
    };
    (news, evidence, closing)
}

/// A case that was always bad somewhere on the baseline and is always good there now, if that is
/// not what a flake does.
fn fixed(table: &Table<'_>, row: &Row<'_>) -> Option<Finding> {
    let columns = 0..table.columns.len();
    let now: Vec<Count> = row.candidate.iter().map(|t| t.count()).collect();
    let then: Vec<Count> = row.baseline.iter().map(|t| t.count()).collect();
    let mended: Vec<usize> = columns
        .filter(|i| then[*i].all_bad() && now[*i].all_good())
        .collect();
    // Elsewhere it comes and goes.
    if mended.is_empty() || now.iter().chain(&then).any(|c| c.mixed()) {
        return None;
    }
    let tallies = |side: &[Tally<'_>]| -> Vec<PortTally> {
        mended
            .iter()
            .map(|i| side[*i].port_tally(&table.columns[*i], side[*i].count()))
            .collect()
    };
    let (before, passing) = (tallies(&row.baseline), tallies(&row.candidate));
    let passes = words::sum(&passing);
    let reasons = before.iter().filter_map(|t| {
        let reason = t.reason.as_deref()?;
        Some(format!("{} then: {}", t.port, words::quote(reason)))
    });
    Some(Finding {
        passing,
        evidence: reasons.collect(),
        ..Finding::new(
            FindingKind::Fixed,
            News::New,
            table.suite,
            Some(row.case.clone()),
            format!(
                "`{}` failed in the baseline on {} ({}) and passes there now ({} of {}).",
                row.case,
                words::ports(&before),
                words::bad_of(&before),
                passes.total - passes.bad,
                passes.total
            ),
        )
    })
}
