use super::*;
use crate::model::{CaseId, Finding, PortTally};
use crate::verdict::flakes::tests::cell;

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

#[test]
fn entries_complain_over_a_history() {
    let registry: Registry = serde_yaml::from_str(
        "{format: 1, flakes: [{case: 't:now*', owner: ann, reason: a race, until: 2027-01-31}, \
         {case: 't:steady', owner: bob, reason: was one, until: 2027-01-31}, \
         {case: 't:gone', owner: eve, reason: who knows, until: 2026-01-31}]}",
    )
    .unwrap();
    let mut outcomes = vec![true; 3];
    outcomes.extend([false; 18]);
    let cells = [
        cell("amd64", "k1", &outcomes),
        cell("s390x", "k2", &[true, false]),
    ];
    let (hour, cells) = (3, &cells[..]);
    let today = "2026-12-01".parse().unwrap();
    let standings = standings(&registry, &[Chapter { hour, cells }], today);
    let told: Vec<String> = standings.iter().filter_map(Standing::complaint).collect();
    insta::assert_snapshot!(told.join("\n"), @r"
    t:steady: it passed 23 times without a failure. If it is mended, take it out of the registry: was one (bob)
    t:gone: its time was over on 2026-01-31: who knows (eve)
    ");
    assert_eq!((standings[0].bad, standings[0].passes_since), (4, 1));
    let flakes = super::super::flakes::flakes(&[Chapter { hour, cells }]);
    assert_eq!(
        answers_for(&registry, &flakes[0], today).unwrap().owner,
        "ann"
    );
    let later = "2027-02-01".parse().unwrap();
    assert!(answers_for(&registry, &flakes[0], later).is_none());
}
