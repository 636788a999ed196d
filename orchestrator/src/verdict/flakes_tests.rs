use super::*;
use crate::model::{Attempt, Finding, Key, Outcome, PortTally, StageResult};

fn cell(port: &str, key: &str, outcomes: &[bool]) -> CellResult {
    let attempt = |(i, bad): (usize, &bool), case: &str| Attempt {
        case: CaseId::new("t", case),
        pass: i as u32 + 1,
        purpose: Default::default(),
        guest: 1,
        doubtful: None,
        outcome: if *bad {
            Outcome::Failed
        } else {
            Outcome::Passed
        },
        reason: None,
        duration: None,
        output: None,
    };
    CellResult {
        id: format!("s/{port}/stock/candidate").parse().unwrap(),
        key: Key(key.to_owned()),
        stage: StageResult::Complete,
        detail: None,
        attempts: outcomes
            .iter()
            .enumerate()
            .flat_map(|p| [attempt((p.0, &false), "steady"), attempt(p, "now_and_then")])
            .collect(),
        guests: Vec::new(),
        versions: Default::default(),
        cached: false,
    }
}

#[test]
fn a_flake_is_counted_once_and_told_with_its_port() {
    let on = |n: usize, every: usize| (0..n).map(|i| i % every == 0).collect::<Vec<_>>();
    let first = [
        cell("amd64", "k1", &on(40, 100_000)[1..]),
        cell("s390x", "k2", &on(40, 2)),
    ];
    let mut again = first.clone();
    again.iter_mut().for_each(|c| c.cached = true);
    let history = [
        Chapter {
            hour: 3,
            cells: &first,
        },
        Chapter {
            hour: 15,
            cells: &again,
        },
    ];
    let found = flakes(&history);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].case, CaseId::new("t", "now_and_then"));
    assert_eq!((found[0].rate.bad, found[0].rate.total), (20, 79));
    let with: Vec<&str> = found[0].goes_with.iter().map(|g| g.what.as_str()).collect();
    assert_eq!(with, ["port s390x"]);
}

#[test]
fn intervals_hold_the_rate_and_stay_within_bounds() {
    for (bad, total) in [(0, 0), (0, 5), (5, 5), (1, 3), (20, 79)] {
        let rate = Rate::of(Count { bad, total });
        assert!((0.0..=1.0).contains(&rate.low) && (0.0..=1.0).contains(&rate.high));
        let p = f64::from(bad) / f64::from(total.max(1));
        assert!(rate.low <= p + 1e-9 && p <= rate.high + 1e-9, "{rate:?}");
    }
}

fn finding(kind: FindingKind, port: &str) -> Finding {
    Finding {
        kind,
        news: News::New,
        suite: "s".to_owned(),
        case: Some(CaseId::new("t", "now_and_then")),
        sentence: "it fails".to_owned(),
        failing: vec![PortTally {
            port: port.into(),
            bad: 1,
            total: 3,
            outcome: "failed".to_owned(),
            reason: None,
        }],
        passing: Vec::new(),
        silent: Vec::new(),
        splits: Vec::new(),
        certainty: None,
        news_evidence: None,
        next: None,
        seen_before: None,
        crash: None,
        evidence: Vec::new(),
    }
}

fn judged(finding: Option<Finding>, cells: &[CellResult], today: &str) -> Verdict {
    let registry: Registry = serde_yaml::from_str(
        "{format: 1, flakes: [{case: 't:now*', ports: [amd64], owner: ann, reason: a race, \
         link: 'PR 1', until: 2027-01-31}]}",
    )
    .unwrap();
    let mut verdict = Verdict {
        findings: finding.into_iter().collect(),
        ..Verdict::default()
    };
    apply(&mut verdict, cells, &registry, today.parse().unwrap());
    verdict
}

#[test]
fn a_known_flake_is_no_news_until_its_day() {
    let flaky = || Some(finding(FindingKind::Flake, "amd64+DIAGNOSTIC"));
    let verdict = judged(flaky(), &[], "2027-01-31");
    assert!(verdict.is_clean());
    assert_eq!(
        verdict.findings[0].evidence,
        ["Known until 2027-01-31: a race (ann, PR 1)."]
    );
    let verdict = judged(flaky(), &[], "2027-02-01");
    assert!(!verdict.is_clean());
    assert!(verdict.findings[0].evidence[0].contains("which is over"));
}

#[test]
fn what_is_more_than_known_stays_news() {
    let elsewhere = judged(
        Some(finding(FindingKind::Flake, "s390x")),
        &[],
        "2027-01-01",
    );
    assert!(!elsewhere.is_clean());
    assert!(elsewhere.findings[0].evidence[0].contains("not on s390x"));
    let always = judged(
        Some(finding(FindingKind::ArchOnly, "amd64")),
        &[],
        "2027-01-01",
    );
    assert!(!always.is_clean());
    assert!(always.findings[0].evidence[0].contains("this is more"));
}

#[test]
fn an_entry_for_what_passes_complains() {
    let mended = judged(None, &[cell("amd64", "k", &[false; 20])], "2027-01-01");
    assert!(
        mended.notes[0].contains("passed 20 times"),
        "{:?}",
        mended.notes
    );
    let few = judged(None, &[cell("amd64", "k", &[false; 3])], "2027-01-01");
    assert!(few.notes.is_empty());
    let over = judged(None, &[], "2028-01-01");
    assert!(over.notes[0].contains("over on 2027-01-31"));
}
