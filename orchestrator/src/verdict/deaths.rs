//! Panics, hangs and guests that are gone: one finding for each case and title, blamed on the case, with the ports
//! where the same case passes.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::before::{self, Before};
use super::chance::Count;
use super::decide::decide;
use super::tally::Table;
use super::traits::Explainer;
use super::weigh::Counts;
use super::words;
use crate::model::{
    CaseId, Crash, CrashKind, Finding, FindingKind, Outcome, PortTally, Side, Verdict,
};

/// The case that is blamed, how it ended, and the title of the crash.
type Identity<'a> = (Option<&'a CaseId>, CrashKind, &'a str);

#[derive(Debug)]
struct Death<'a> {
    /// By column: how often.
    times: Vec<u32>,
    crash: Option<&'a Crash>,
}

/// Adds the panics and hangs of a suite.
pub fn judge(table: &Table<'_>, explainer: &Explainer, verdict: &mut Verdict) {
    let then = collect(table, Side::Baseline);
    for (identity, death) in collect(table, Side::Candidate) {
        let earlier = then.get(&identity);
        verdict
            .findings
            .push(finding(table, explainer, identity, &death, earlier));
    }
}

fn collect<'a>(table: &Table<'a>, side: Side) -> BTreeMap<Identity<'a>, Death<'a>> {
    let mut deaths: BTreeMap<Identity<'a>, Death<'a>> = BTreeMap::new();
    let mut record = |identity, column: usize, crash| {
        let death = deaths.entry(identity).or_insert_with(|| Death {
            times: vec![0; table.columns.len()],
            crash: None,
        });
        death.times[column] = death.times[column].saturating_add(1);
        death.crash = death.crash.or(crash);
    };
    for (column, cell) in table.cells.iter().filter(|(_, c)| c.id.side == side) {
        let crashes = cell
            .guests
            .iter()
            .filter_map(|g| Some((g.number, g.crash.as_ref()?)));
        let crashes: HashMap<u32, &Crash> = crashes.collect();
        let mut told: HashSet<u32> = HashSet::new();
        for attempt in cell.attempts.iter().filter(|a| a.counts()) {
            let (kind, plain) = match attempt.outcome {
                Outcome::Crashed => (CrashKind::Panic, "the kernel died without a message"),
                Outcome::Hung => (CrashKind::Hang, "no answer in time"),
                _ => continue,
            };
            let crash = crashes.get(&attempt.guest).copied();
            match crash.filter(|c| c.blamed.as_ref().is_none_or(|b| *b == attempt.case)) {
                Some(crash) => {
                    told.insert(attempt.guest);
                    let identity = (Some(&attempt.case), crash.kind, crash.title.as_str());
                    record(identity, *column, Some(crash));
                }
                None => record((Some(&attempt.case), kind, plain), *column, None),
            }
        }
        for guest in &cell.guests {
            if let Some(crash) = guest
                .crash
                .as_ref()
                .filter(|_| !told.contains(&guest.number))
            {
                let identity = (crash.blamed.as_ref(), crash.kind, crash.title.as_str());
                record(identity, *column, Some(crash));
            }
        }
    }
    deaths
}

fn finding(
    table: &Table<'_>,
    explainer: &Explainer,
    (case, crash_kind, title): Identity<'_>,
    death: &Death<'_>,
    earlier: Option<&Death<'_>>,
) -> Finding {
    let row = case.and_then(|c| table.row(c));
    let columns = 0..table.columns.len();
    let count = |i: usize| {
        row.as_ref()
            .map_or(Count::default(), |r| r.candidate[i].count())
    };
    let kind = match crash_kind {
        CrashKind::Panic => FindingKind::Panic,
        CrashKind::Hang => FindingKind::Hang,
        CrashKind::Gone => FindingKind::Gone,
    };
    let failing: Vec<usize> = columns.clone().filter(|i| death.times[*i] > 0).collect();
    let dead_tally = |i: &usize| {
        let times = death.times[*i];
        let guests = table
            .cells
            .iter()
            .filter(|(at, c)| at == i && c.id.side == Side::Candidate);
        let guests: usize = guests.map(|(_, c)| c.guests.len()).sum();
        let total = if row.is_some() {
            count(*i).total
        } else {
            guests as u32
        };
        PortTally {
            port: table.columns[*i].label.clone(),
            bad: times,
            total: total.max(times),
            outcome: crash_kind.outcome().word().to_owned(),
            reason: Some(words::quote(title)),
        }
    };
    let dead: Vec<PortTally> = failing.iter().map(dead_tally).collect();
    let tallies = |which: &dyn Fn(usize) -> bool| -> Vec<PortTally> {
        let Some(row) = row.as_ref() else {
            return Vec::new();
        };
        let chosen = columns
            .clone()
            .filter(|i| death.times[*i] == 0 && which(*i));
        chosen
            .map(|i| row.candidate[i].port_tally(&table.columns[i], count(i)))
            .collect()
    };
    let passing = tallies(&|i| count(i).all_good());
    let silent = tallies(&|i| count(i).total == 0);
    let splits = explainer.splits(
        |i| death.times[i] > 0,
        |i| death.times[i] == 0 && count(i).all_good(),
    );
    let before = |i: &usize| {
        if earlier.is_some_and(|e| e.times[*i] > 0) {
            return Before::Known;
        }
        match &row {
            // Another end than this one is no acquittal, and no sign that this is old.
            Some(row) if row.baseline[*i].count().bad > 0 => Before::New,
            Some(row) => before::before(table, row, *i, count(*i)),
            None if table.complete(Side::Baseline, *i) => Before::New,
            None => Before::Unknown,
        }
    };
    let seen = before::news_of(table, failing.iter().map(before));
    // Weighed is this end of this case against its passing; another bad end says nothing of it.
    let weigh = |side: Side, times: Option<&Vec<u32>>| -> Vec<Count> {
        let of = |i: usize| {
            let bad = times.map_or(0, |t| t[i]);
            let all = row.as_ref().map(|r| match side {
                Side::Candidate => r.candidate[i].count(),
                Side::Baseline => r.baseline[i].count(),
            });
            let all = all.unwrap_or_default();
            let good = all.total.saturating_sub(all.bad);
            Count {
                bad,
                total: bad.saturating_add(good),
            }
        };
        columns.clone().map(of).collect()
    };
    let now = weigh(Side::Candidate, Some(&death.times));
    let then = weigh(Side::Baseline, earlier.map(|e| &e.times));
    let labels: Vec<&str> = table.columns.iter().map(|c| c.label.as_str()).collect();
    let counts = Counts {
        candidate: &now,
        baseline: &then,
    };
    let decision = row
        .as_ref()
        .and_then(|_| decide(explainer, counts, &labels));
    let there = failing
        .iter()
        .map(|i| then[*i])
        .fold(Count::default(), Count::plus);
    let weighed = decision.as_ref().and_then(|d| d.news);
    let shown = then.iter().any(|c| c.bad > 0);
    let (news, news_evidence) = before::weighed(seen, there, shown, weighed);
    let (on, bad) = (words::places(&dead, &passing), words::bad_of(&dead));
    let title = words::quote(title);
    let what = match (kind, case) {
        (FindingKind::Panic, Some(case)) => {
            format!("The kernel dies in `{case}` on {on} ({bad}): {title}")
        }
        (FindingKind::Panic, None) => {
            format!("The kernel dies on {on} while no case runs: {title}")
        }
        (FindingKind::Gone, Some(case)) => {
            format!("The guest is gone in `{case}` on {on} ({bad}): {title}")
        }
        (FindingKind::Gone, None) => {
            format!("The guest is gone on {on} while no case runs: {title}")
        }
        (_, Some(case)) => format!("`{case}` hangs on {on} ({bad}): {title}"),
        (_, None) => format!("The guest falls silent on {on} while no case runs: {title}"),
    };
    let what = what.trim_end_matches(['.', ' ']).to_owned();
    let passes = match words::passes(&passing) {
        p if p.is_empty() => ".".to_owned(),
        p => format!("; it{}.", p.trim_start_matches(',')),
    };
    let why = match splits.as_slice() {
        splits if failing.len() > 1 && !splits.is_empty() => {
            format!(" Where: {}.", words::rivals(splits))
        }
        _ => String::new(),
    };
    let certainty = decision.map(|d| d.certainty);
    let sure = certainty
        .as_ref()
        .and_then(|c| words::sure(c, news_evidence.as_ref()));
    let sentence = format!("{what}{passes}{why} {}", words::news(news));
    Finding {
        failing: dead,
        passing,
        silent,
        splits,
        crash: death.crash.cloned(),
        evidence: sure.into_iter().collect(),
        certainty,
        news_evidence,
        ..Finding::new(kind, news, table.suite, case.cloned(), sentence)
    }
}

/// The same crash under several causes: each finding names the others.
pub fn group(findings: &mut [Finding]) {
    let mut by_signature: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (i, finding) in findings.iter().enumerate() {
        let crash = finding.crash.as_ref().filter(|c| !c.signature.is_empty());
        if let Some(crash) = crash {
            let group = by_signature.entry(crash.signature.clone()).or_default();
            group.push(i);
        }
    }
    for (signature, group) in by_signature {
        if group.len() < 2 {
            continue;
        }
        let names: Vec<String> = group
            .iter()
            .map(|i| {
                let cause = match &findings[*i].case {
                    Some(case) => format!("`{case}`"),
                    None => format!("no case of {}", findings[*i].suite),
                };
                format!("{cause} on {}", words::ports(&findings[*i].failing))
            })
            .collect();
        for (at, i) in group.iter().enumerate() {
            let mut others: Vec<&String> = names.iter().collect();
            others.remove(at);
            findings[*i].evidence.push(format!(
                "The same crash ({signature}) under another cause: {}.",
                words::list(&others, 6)
            ));
        }
    }
}
