//! What the baseline says of a case, in a word and in lines, and what it is called.

use std::collections::BTreeMap;

use super::chance::{self, Count};
use super::decide::round;
use super::tally::{Row, Table};
use super::words;
use crate::model::{News, NewsEvidence, Outcome, RunId, Side, Sighting, Verdict};

/// "New" or "known" is said where its posterior is at least this.
pub const SURE: f64 = 0.95;

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

/// The word that the weighing supports, and how strongly. `seen` is what the columns show, `then`
/// the baseline's attempts there; the weighing decides where there are any. A failure is known only
/// where the baseline failed somewhere (`shown`): that it could have is no knowledge.
pub fn weighed(
    seen: News,
    then: Count,
    shown: bool,
    weighed: Option<(f64, f64)>,
) -> (News, Option<NewsEvidence>) {
    let Some((posterior, log10_bayes_factor)) = weighed.filter(|_| then.total > 0) else {
        return (seen, None);
    };
    let evidence = NewsEvidence {
        posterior: round(posterior),
        log10_bayes_factor: round(log10_bayes_factor),
    };
    let news = match seen {
        News::NoBaseline => News::NoBaseline,
        _ if posterior >= SURE => News::New,
        _ if shown && posterior <= 1.0 - SURE => News::Known,
        _ => News::Unclear,
    };
    (news, Some(evidence))
}

/// Lines on what the baseline showed, where the sentence's one word says too little.
pub fn lines(table: &Table<'_>, row: &Row<'_>, counts: &[Count]) -> Vec<String> {
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

/// A baseline that has a name: another commit, or what another run tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `the last good run 3f6d2b1e9a07 (2026-11-24)`.
    pub name: String,
}

impl Named {
    /// A run; `why` says why this one, and is empty where it was named.
    pub fn run(id: &str, started: jiff::Timestamp, why: &str) -> Self {
        let run = super::history::sighting(&Sighting {
            run: RunId(id.to_owned()),
            started,
            revision: None,
        });
        let name = match why {
            "" => run,
            why => format!("{why} {}", run.trim_start_matches("run ")),
        };
        Self { name }
    }

    /// A commit that was run beside the one under test; `why` says why this one: `the parent`.
    pub fn commit(commit: &str, why: &str) -> Self {
        Self {
            name: format!("{why} {commit}"),
        }
    }
}

/// Puts the baselines' names into the findings' sentences; by suite, those without one stay.
pub fn name(verdict: &mut Verdict, names: &BTreeMap<String, Named>) {
    for finding in &mut verdict.findings {
        let Some(Named { name }) = names.get(&finding.suite) else {
            continue;
        };
        let closing = match finding.news {
            News::New => format!("New since {name}."),
            News::Known => format!("Not new: it is in {name} too."),
            News::Unclear => format!("Whether it is new since {name} is not yet known."),
            News::NoBaseline => format!("There is nothing of it in {name}."),
        };
        if let Some(head) = finding.sentence.strip_suffix(words::news(finding.news)) {
            finding.sentence = format!("{head}{closing}");
        } else if finding.sentence.contains("in the baseline") {
            let named = format!("in {name}");
            finding.sentence = finding.sentence.replacen("in the baseline", &named, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Finding, FindingKind};

    #[test]
    fn a_baseline_that_has_a_name_is_called_by_it() {
        let started = "2026-11-24T10:00:00Z".parse().unwrap();
        let id = "019a9f3c-5d20-7c11-8a52-3f6d2b1e9a07";
        let named = Named::run(id, started, "the last good run");
        let names = BTreeMap::from([("s".to_owned(), named)]);
        let finding = |kind, news, suite, text: &str| {
            Finding::new(
                kind,
                news,
                suite,
                None,
                format!("{text}{}", words::news(news)),
            )
        };
        let mut verdict = Verdict {
            findings: [News::New, News::Known, News::Unclear, News::NoBaseline]
                .map(|news| finding(FindingKind::Regression, news, "s", "It fails. "))
                .to_vec(),
            ..Verdict::default()
        };
        verdict.findings.push(finding(
            FindingKind::Regression,
            News::New,
            "t",
            "It fails. ",
        ));
        name(&mut verdict, &names);
        let told: Vec<&str> = verdict
            .findings
            .iter()
            .map(|f| f.sentence.as_str())
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        It fails. New since the last good run 3f6d2b1e9a07 (2026-11-24).
        It fails. Not new: it is in the last good run 3f6d2b1e9a07 (2026-11-24) too.
        It fails. Whether it is new since the last good run 3f6d2b1e9a07 (2026-11-24) is not yet known.
        It fails. There is nothing of it in the last good run 3f6d2b1e9a07 (2026-11-24).
        It fails. New since the baseline.
        "#);
        let plain = Named::run(id, started, "");
        assert_eq!(plain.name, "run 3f6d2b1e9a07 (2026-11-24)");
        let tested = Named::run(id, started, "the parent 0f3a1b2c3d4e, tested by run");
        let parent = "the parent 0f3a1b2c3d4e";
        assert_eq!(
            tested.name,
            format!("{parent}, tested by run 3f6d2b1e9a07 (2026-11-24)")
        );
        assert_eq!(Named::commit("0f3a1b2c3d4e", "the parent").name, parent);
    }
}
