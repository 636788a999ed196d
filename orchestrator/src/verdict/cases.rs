//! Findings about single cases: arch-only, trait-bound, regression, flake, fixed.
//!
//! Deaths of the kernel and hangs are told by [`super::deaths`]; here they count as silence, so
//! that one case can be both killed on one port and plainly wrong on another.

use super::chance::{self, Count, Pattern};
use super::tally::{Row, Table};
use super::traits::Explainer;
use super::{company, words};
use crate::model::{Finding, FindingKind, News, Outcome, PortTally, Side, Verdict};

/// A conjunction of more traits than this separates almost any set of ports from the others: it
/// is mentioned, but no failure is called bound to it.
const TELLING: usize = 2;

/// What the baseline says about a failure in one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It did not show it.
    New,
    /// It shows it as well.
    Known,
    /// It has nothing to say.
    Unknown,
}

/// Adds the findings of a suite's cases.
pub fn judge(table: &Table<'_>, explainer: &Explainer, verdict: &mut Verdict) {
    for row in table.rows() {
        verdict.findings.extend(fixed(table, &row));
        let counts: Vec<Count> = row.candidate.iter().map(|t| t.living()).collect();
        match chance::pattern(counts.iter().copied()) {
            Pattern::Nowhere => {}
            Pattern::Scattered => {
                let finding = flake(table, explainer, &row, &counts);
                verdict.findings.push(finding);
            }
            Pattern::Everywhere => {
                let finding = steady(table, explainer, &row, &counts);
                verdict.findings.push(finding);
            }
            Pattern::Split { .. } => {
                let findings = divided(table, explainer, &row, &counts);
                verdict.findings.extend(findings);
            }
        }
    }
}

/// What the baseline says of a column where the candidate's count is `now`.
pub fn before(table: &Table<'_>, row: &Row<'_>, column: usize, now: Count) -> Before {
    let tally = &row.baseline[column];
    let then = tally.count();
    if then.bad > 0 {
        // A failure that was rare and is the rule now is news.
        return if chance::is_worse(now, then) {
            Before::New
        } else {
            Before::Known
        };
    }
    if then.total > 0 {
        return Before::New;
    }
    if table.complete(Side::Baseline, column) && tally.of(Outcome::Missed) == 0 {
        Before::New
    } else {
        Before::Unknown
    }
}

/// One word for several columns: one that is new makes the whole new.
pub fn news_of(table: &Table<'_>, befores: impl IntoIterator<Item = Before>) -> News {
    if !table.has(Side::Baseline) {
        return News::NoBaseline;
    }
    let mut news = News::Known;
    for before in befores {
        match before {
            Before::New => return News::New,
            Before::Unknown => news = News::NoBaseline,
            Before::Known => {}
        }
    }
    news
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
    counts: &[Count],
) -> Vec<Finding> {
    let known = |i: usize| counts[i].all_bad() && before(table, row, i, counts[i]) == Before::Known;
    let known: Vec<bool> = (0..counts.len()).map(known).collect();
    let failing = |i: usize| counts[i].all_bad();
    let one_news =
        (0..counts.len()).filter(|i| failing(*i)).all(|i| known[i]) || !known.contains(&true);
    let splits = explainer.splits(failing, |i| counts[i].all_good());
    if one_news || splits.first().is_some_and(|s| s.all_of.len() == 1) {
        return vec![steady(table, explainer, row, counts)];
    }
    let part = |want: bool| -> Vec<Count> {
        let keep = |i: usize| !failing(i) || known[i] == want;
        let count = |i: usize| if keep(i) { counts[i] } else { Count::default() };
        (0..counts.len()).map(count).collect()
    };
    let one = |want: bool| {
        let mut finding = steady(table, explainer, row, &part(want));
        let others = (0..counts.len()).filter(|i| failing(*i) && known[*i] != want);
        let others: Vec<&str> = others.map(|i| table.columns[i].label.as_str()).collect();
        let others = words::list(&others, usize::MAX);
        finding.evidence.push(if want {
            format!("It fails on {others} too, which is new and told apart.")
        } else {
            format!("It fails on {others} too, as it did before.")
        });
        finding
    };
    vec![one(false), one(true)]
}

/// A failure on which every column is of one mind.
fn steady(table: &Table<'_>, explainer: &Explainer, row: &Row<'_>, counts: &[Count]) -> Finding {
    let failing = select(table, row, counts, Count::all_bad);
    let passing = select(table, row, counts, Count::all_good);
    let splits = explainer.splits(|i| counts[i].all_bad(), |i| counts[i].all_good());
    let beyond_luck =
        chance::pattern(counts.iter().copied()) == Pattern::Split { beyond_luck: true };
    let kind = if !beyond_luck {
        FindingKind::Regression
    } else if on_one_port(table, counts) {
        FindingKind::ArchOnly
    } else if splits.first().is_some_and(|s| s.all_of.len() <= TELLING) {
        FindingKind::TraitBound
    } else {
        FindingKind::Regression
    };
    let news = news_of(
        table,
        (0..counts.len())
            .filter(|i| counts[*i].bad > 0)
            .map(|i| before(table, row, i, counts[i])),
    );
    let (verb, why) = (verb(&failing), words::rivals(&splits));
    let (on, bad, passes) = (
        words::ports(&failing),
        words::bad_of(&failing),
        words::passes(&passing),
    );
    let case = row.case;
    let body = match kind {
        FindingKind::ArchOnly if why.is_empty() => {
            format!("`{case}` {verb} on {on} only ({bad}){passes}.")
        }
        FindingKind::ArchOnly => {
            format!("`{case}` {verb} on {on} only ({bad}){passes}; what sets {on} apart: {why}.")
        }
        FindingKind::TraitBound => format!("`{case}` {verb} on {on} ({bad}){passes}: {why}."),
        _ if passing.is_empty() && failing.len() == 1 => {
            format!("`{case}` {verb} on {on} ({bad}), the only port that ran it.")
        }
        _ if passing.is_empty() => {
            format!("`{case}` {verb} on every port that ran it: {on} ({bad}).")
        }
        _ if beyond_luck && why.is_empty() => {
            format!("`{case}` {verb} on {on} ({bad}){passes}; no trait separates them.")
        }
        _ if beyond_luck => format!(
            "`{case}` {verb} on {on} ({bad}){passes}; no trait separates them, only a \
             combination would: {why}."
        ),
        _ if why.is_empty() => {
            format!("`{case}` {verb} on {on} ({bad}){passes}; so few attempts may split by luck.")
        }
        _ => format!(
            "`{case}` {verb} on {on} ({bad}){passes}. Perhaps {why}, but so few attempts may split by luck: run more passes."
        ),
    };
    Finding {
        kind,
        news,
        suite: table.suite.to_owned(),
        case: Some(case.clone()),
        sentence: format!("{body} {}", words::news(news)),
        silent: select(table, row, counts, |c| c.total == 0),
        failing,
        passing,
        splits,
        crash: None,
        evidence: then_lines(table, row, counts),
    }
}

/// All failures are on one port, and no column of that port passes.
fn on_one_port(table: &Table<'_>, counts: &[Count]) -> bool {
    let mut bad = (0..counts.len()).filter(|i| counts[*i].bad > 0);
    let Some(first) = bad.next() else {
        return false;
    };
    let port = &table.columns[first].port;
    bad.all(|i| table.columns[i].port == *port)
        && (0..counts.len()).all(|i| !counts[i].all_good() || table.columns[i].port != *port)
}

fn verb(failing: &[PortTally]) -> &'static str {
    let broken = Outcome::Broken.word();
    if !failing.is_empty() && failing.iter().all(|t| t.outcome == broken) {
        "breaks"
    } else {
        "fails"
    }
}

/// A failure that comes and goes under the same conditions.
fn flake(table: &Table<'_>, explainer: &Explainer, row: &Row<'_>, counts: &[Count]) -> Finding {
    let failing = select(table, row, counts, |c| c.bad > 0);
    let passing = select(table, row, counts, Count::all_good);
    let (there, elsewhere) = (words::sum(&failing), words::sum(&passing));
    let all = there.plus(elsewhere);
    let mut splits = explainer.splits(|i| counts[i].bad > 0, |i| counts[i].all_good());
    let remarkable = chance::more_by_luck(there, elsewhere) < chance::LUCK;
    splits.retain(|s| remarkable && s.all_of.len() == 1);
    let then = row
        .baseline
        .iter()
        .map(|t| t.count())
        .fold(Count::default(), Count::plus);
    let (news, closing) = flake_news(table, row, all, then);
    let where_ = format!(
        "on {} of {}",
        failing.len(),
        words::count(failing.len() + passing.len(), "port")
    );
    let why = match (passing.is_empty(), splits.is_empty()) {
        (true, _) => String::new(),
        (false, true) => "; no trait separates them".to_owned(),
        (false, false) => format!("; where it fails: {}", words::rivals(&splits)),
    };
    let mut evidence = company::lines(row);
    if then.bad > 0 {
        evidence.push(format!(
            "In the baseline it failed in {} of {} attempts.",
            then.bad, then.total
        ));
    }
    Finding {
        kind: FindingKind::Flake,
        news,
        suite: table.suite.to_owned(),
        case: Some(row.case.clone()),
        sentence: format!(
            "`{}` fails now and then: in {} of {} attempts, {where_}{why}. {closing}",
            row.case, all.bad, all.total
        ),
        silent: select(table, row, counts, |c| c.total == 0),
        failing,
        passing,
        splits,
        crash: None,
        evidence,
    }
}

fn flake_news(table: &Table<'_>, row: &Row<'_>, now: Count, then: Count) -> (News, String) {
    let plain = |news| (news, words::news(news).to_owned());
    if !table.has(Side::Baseline) {
        return plain(News::NoBaseline);
    }
    if then.total == 0 {
        let befores = (0..row.baseline.len()).map(|i| before(table, row, i, now));
        return plain(if befores.into_iter().any(|b| b == Before::New) {
            News::New
        } else {
            News::NoBaseline
        });
    }
    match (then.bad, chance::is_worse(now, then)) {
        (0, true) => plain(News::New),
        (0, false) => (
            News::New,
            format!(
                "The baseline did not show it (0 of {}), which may be luck.",
                then.total
            ),
        ),
        (_, true) => (News::New, "More often than in the baseline.".to_owned()),
        (_, false) => plain(News::Known),
    }
}

/// Lines on what the baseline showed, where the sentence's one word says too little.
fn then_lines(table: &Table<'_>, row: &Row<'_>, counts: &[Count]) -> Vec<String> {
    if !table.has(Side::Baseline) {
        return Vec::new();
    }
    let bad: Vec<usize> = (0..counts.len()).filter(|i| counts[*i].bad > 0).collect();
    let mut lines = Vec::new();
    if row.baseline.iter().all(|t| t.is_absent())
        && bad.iter().all(|i| table.complete(Side::Baseline, *i))
    {
        lines.push("The case is not in the baseline.".to_owned());
        return lines;
    }
    for i in &bad {
        let then = row.baseline[*i].count();
        if then.mixed() {
            lines.push(format!(
                "In the baseline it failed on {} in {} of {} attempts.",
                table.columns[*i].label, then.bad, then.total
            ));
        }
    }
    let known = bad.iter().filter(|i| row.baseline[**i].count().all_bad());
    let known: Vec<&str> = known.map(|i| table.columns[*i].label.as_str()).collect();
    if !known.is_empty() && known.len() < bad.len() {
        lines.push(format!(
            "The baseline fails on {} too.",
            words::list(&known, usize::MAX)
        ));
    }
    let unknown = bad
        .iter()
        .filter(|i| before(table, row, **i, counts[**i]) == Before::Unknown);
    let unknown: Vec<&str> = unknown.map(|i| table.columns[*i].label.as_str()).collect();
    if !unknown.is_empty() {
        lines.push(format!(
            "The baseline says nothing on {}.",
            words::list(&unknown, usize::MAX)
        ));
    }
    lines
}

/// A case that was always bad somewhere on the baseline and is always good there now.
fn fixed(table: &Table<'_>, row: &Row<'_>) -> Option<Finding> {
    let mended: Vec<usize> = (0..table.columns.len())
        .filter(|i| row.baseline[*i].count().all_bad() && row.candidate[*i].count().all_good())
        .collect();
    if mended.is_empty() {
        return None;
    }
    let tallies = |side: &[super::tally::Tally<'_>]| -> Vec<PortTally> {
        mended
            .iter()
            .map(|i| side[*i].port_tally(&table.columns[*i], side[*i].count()))
            .collect()
    };
    let (then, passing) = (tallies(&row.baseline), tallies(&row.candidate));
    let now = words::sum(&passing);
    let reasons = then.iter().filter_map(|t| {
        let reason = t.reason.as_deref()?;
        Some(format!("{} then: {}", t.port, words::quote(reason)))
    });
    Some(Finding {
        kind: FindingKind::Fixed,
        news: News::New,
        suite: table.suite.to_owned(),
        case: Some(row.case.clone()),
        sentence: format!(
            "`{}` failed in the baseline on {} ({}) and passes there now ({} of {}).",
            row.case,
            words::ports(&then),
            words::bad_of(&then),
            now.total - now.bad,
            now.total
        ),
        failing: Vec::new(),
        passing,
        silent: Vec::new(),
        splits: Vec::new(),
        crash: None,
        evidence: reasons.collect(),
    })
}
