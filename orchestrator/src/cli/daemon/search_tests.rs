use super::*;
use crate::model::{CaseId, PortTally};
use crate::report::sample;

/// A report whose findings are new.
fn report() -> RunReport {
    let mut report = sample::report(sample::cells(0));
    for finding in &mut report.verdict.findings {
        finding.news = News::New;
    }
    report
}

fn names(searches: &[Search]) -> Vec<String> {
    searches.iter().map(Search::what).collect()
}

#[test]
fn what_is_new_and_certain_is_looked_for_where_it_fails_most() {
    let report = report();
    let all = asked(&report, None, 100);
    let worthy = report.verdict.findings.iter().filter(|f| worth(f)).count();
    assert!(all.len() > 2 && all.len() <= worthy, "{:?}", names(&all));
    for search in &all {
        let cell = report.cells.iter().find(|c| c.id == search.cell).unwrap();
        assert_eq!(cell.id.side, Side::Candidate);
        assert!(Wanted::of(cell, search.case.as_ref()).is_some());
    }
    // No more than asked for, what is certain first.
    assert_eq!(names(&asked(&report, None, 2)), names(&all)[..2]);
    assert!(asked(&report, None, 0).is_empty());
    let first = all[0].about.clone();
    let mut doubtful = report.clone();
    let findings = &mut doubtful.verdict.findings;
    let of = findings.iter_mut().filter(|f| f.about() == first);
    of.for_each(|f| f.news = News::Unclear);
    assert_eq!(asked(&doubtful, None, 100).last().unwrap().about, first);
}

#[test]
fn what_the_run_before_showed_is_not_looked_for_again() {
    let now = report();
    let all = asked(&now, None, 100);
    let mut before = report();
    before
        .verdict
        .findings
        .retain(|f| f.about() == all[0].about);
    // That it is another kind by now does not matter.
    before.verdict.findings[0].kind = FindingKind::Flake;
    assert_eq!(names(&asked(&now, Some(&before), 100)), names(&all)[1..]);
    // It was mended there: it is back.
    before.verdict.findings[0].kind = FindingKind::Fixed;
    assert_eq!(names(&asked(&now, Some(&before), 100)), names(&all));
}

#[test]
fn what_the_baseline_has_and_what_comes_by_chance_is_left() {
    let mut report = report();
    for finding in &mut report.verdict.findings {
        finding.news = News::Known;
    }
    assert!(asked(&report, None, 100).is_empty());
    for finding in &mut report.verdict.findings {
        finding.news = News::New;
        finding.kind = FindingKind::Flake;
    }
    assert!(asked(&report, None, 100).is_empty());
}

#[test]
fn a_build_that_breaks_has_no_case() {
    let mut report = report();
    let cell = &mut report.cells[0];
    (cell.stage, cell.id.side) = (StageResult::BuildFailed, Side::Candidate);
    cell.detail = Some("a.c:7:1: error: unknown type name 'x'".to_owned());
    cell.attempts.clear();
    let id = cell.id.clone();
    let mut finding = Finding::new(
        FindingKind::Stage,
        News::New,
        &id.suite,
        Some(CaseId::new("a", "b")),
        "it does not build".to_owned(),
    );
    finding.failing = vec![PortTally {
        port: id.port.clone(),
        bad: 1,
        total: 1,
        outcome: "build failed".to_owned(),
        reason: None,
    }];
    report.verdict.findings = vec![finding];
    let all = asked(&report, None, 3);
    assert_eq!((all.len(), &all[0].cell, &all[0].case), (1, &id, &None));
    assert_eq!(
        all[0].what(),
        format!("the build of {} for {}", id.suite, id.port)
    );
}
