use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::model::{Crash, CrashKind, PortTally, RunId};
use crate::verdict::{VerdictInput, judge, properties};

fn at(day: u32, revision: &str) -> Sighting {
    Sighting {
        run: RunId(format!("01900000-0000-7000-8000-0000000000{day:02}")),
        started: format!("2026-11-{day:02}T10:00:00Z").parse().unwrap(),
        revision: Some(revision.to_owned()),
    }
}

fn c(bad: u32, total: u32) -> Count {
    Count { bad, total }
}

fn finding(kind: FindingKind, news: News, ports: &[(&str, u32, u32)]) -> Verdict {
    let case = CaseId::new("t", "c");
    let sentence = format!("`t:c` fails now and then. {}", words::news(news));
    let tally = |(port, bad, total): &(&str, u32, u32)| PortTally {
        port: (*port).into(),
        bad: *bad,
        total: *total,
        outcome: "failed".into(),
        reason: None,
    };
    let (failing, passing): (Vec<_>, Vec<_>) = ports.iter().partition(|(_, bad, _)| *bad > 0);
    let failing = failing.iter().map(tally).collect();
    let passing = passing.iter().map(tally).collect();
    Verdict {
        findings: vec![Finding {
            failing,
            passing,
            ..Finding::new(kind, news, "s", Some(case), sentence)
        }],
        ..Verdict::default()
    }
}

/// A past of one port: day, revision, side, count.
fn past(runs: &[(u32, &str, Side, Count)]) -> Past {
    let mut past = Past::default();
    let place = past.place(&"north".into(), "stock");
    for (day, revision, side, count) in runs {
        let entry = Entry {
            look: past.look(at(*day, revision)),
            place,
            side: *side,
            count: *count,
        };
        past.extend("s", &CaseId::new("t", "c"), [entry]);
    }
    past
}

fn told(verdict: &Verdict) -> String {
    let f = &verdict.findings[0];
    format!("{:?} {}\n{}", f.news, f.sentence, f.evidence.join("\n"))
}

fn tested(revision: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("s".to_owned(), revision.to_owned())])
}

use Side::{Baseline, Candidate};

#[test]
fn a_flake_of_earlier_trees_is_no_news() {
    let flake = || {
        finding(
            FindingKind::Flake,
            News::Unclear,
            &[("north", 2, 6), ("south", 0, 6)],
        )
    };
    let mut verdict = flake();
    let known = past(&[
        (1, "aaa", Candidate, c(0, 6)),
        (2, "bbb+p1", Baseline, c(2, 6)),
    ]);
    apply(&mut verdict, &known, &tested("bbb+p2"));
    insta::assert_snapshot!(told(&verdict), @r#"
    Known `t:c` fails now and then. Earlier runs know it.
    Known from 1 of 2 earlier runs: 2 of 12 attempts; in run 000000000002 (2026-11-02, revision bbb+p1).
    "#);
    assert_eq!(verdict.findings[0].seen_before.as_ref().unwrap().showing, 1);

    // An earlier version of the series has it, no tree without it: news.
    let mut verdict = flake();
    let series = past(&[
        (1, "bbb+p1", Candidate, c(3, 6)),
        (1, "bbb+p1", Baseline, c(0, 6)),
    ]);
    apply(&mut verdict, &series, &tested("bbb+p2"));
    insta::assert_snapshot!(told(&verdict), @r#"
    Unclear `t:c` fails now and then. Whether it is new is not yet known.
    On other revisions it failed in 1 of 1 earlier run: 3 of 12 attempts; in run 000000000001 (2026-11-01, revision bbb+p1).
    "#);

    // Another run of the very same tree is no past.
    let mut verdict = flake();
    let same = past(&[(1, "ccc", Candidate, c(3, 6))]);
    apply(&mut verdict, &same, &tested("ccc"));
    assert_eq!(verdict, flake());

    // Once in 200 attempts is not what fails every third time.
    let mut verdict = flake();
    let seldom = past(&[(1, "aaa", Candidate, c(1, 200))]);
    apply(&mut verdict, &seldom, &tested("ccc"));
    assert_eq!(verdict.findings[0].news, News::Unclear);

    // What always failed and was mended did not come and go.
    let mut verdict = flake();
    let mended = past(&[
        (1, "aaa", Candidate, c(6, 6)),
        (2, "bbb", Candidate, c(0, 6)),
    ]);
    apply(&mut verdict, &mended, &tested("ccc"));
    assert_eq!(verdict.findings[0].news, News::Unclear);
}

#[test]
fn what_always_fails_stays_news_and_says_since_when() {
    let mut verdict = finding(
        FindingKind::ArchOnly,
        News::New,
        &[("north", 3, 3), ("south", 0, 3)],
    );
    let earlier = past(&[
        (3, "ddd", Candidate, c(3, 3)),
        (1, "aaa", Candidate, c(0, 3)),
        (2, "bbb", Candidate, c(3, 3)),
    ]);
    apply(&mut verdict, &earlier, &tested("eee"));
    insta::assert_snapshot!(told(&verdict), @r#"
    New `t:c` fails now and then. New since the baseline.
    On other revisions it failed in 2 of 3 earlier runs: 6 of 9 attempts; first in run 000000000002 (2026-11-02, revision bbb), last in run 000000000003 (2026-11-03, revision ddd).
    "#);
    // Elsewhere than where it fails is no past of it.
    let mut verdict = finding(FindingKind::ArchOnly, News::New, &[("south", 3, 3)]);
    apply(&mut verdict, &earlier, &tested("eee"));
    assert!(verdict.findings[0].evidence.is_empty());
}

#[test]
fn a_panic_is_known_by_its_signature() {
    let crash = Crash {
        signature: "0123456789ab".into(),
        ..Crash::new(CrashKind::Panic, "trap")
    };
    let verdict = || {
        let mut verdict = finding(FindingKind::Panic, News::New, &[("north", 1, 3)]);
        verdict.findings[0].crash = Some(crash.clone());
        verdict
    };
    let mut past = Past::default();
    let place = past.place(&"south".into(), "stock");
    // Blamed on the finding's own case once, on another one twice.
    let blamed = |day| Some(CaseId::new("t", if day == 4 { "c" } else { "other" }));
    for day in [4, 2, 9] {
        let look = past.look(at(day, "aaa+p"));
        past.died(
            "0123456789ab",
            Death {
                look,
                place,
                blamed: blamed(day),
            },
        );
    }
    let calm = past.look(at(5, "bbb"));
    assert_eq!(calm, 3);
    let mut seen = verdict();
    apply(&mut seen, &past, &tested("ccc"));
    insta::assert_snapshot!(told(&seen), @r#"
    New `t:c` fails now and then. New since the baseline.
    This crash was seen in 3 of 4 earlier runs, on south; first in run 000000000002 (2026-11-02, revision aaa+p), last in run 000000000009 (2026-11-09, revision aaa+p).
    Earlier runs had it under another cause: `t:other` (2 times, last in run 000000000009 (2026-11-09, revision aaa+p)).
    "#);
    let mut none = Past::default();
    none.look(at(1, "aaa"));
    let mut unseen = verdict();
    apply(&mut unseen, &none, &tested("ccc"));
    insta::assert_snapshot!(told(&unseen), @r#"
    New `t:c` fails now and then. New since the baseline.
    This crash was not seen in 1 earlier run.
    "#);
}

fn entries() -> impl Strategy<Value = Vec<(u8, u8, bool, u32, u32)>> {
    vec((0..6_u8, 0..6_u8, any::<bool>(), 0..5_u32, 0..5_u32), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the past: no finding comes or goes or changes its kind, only a flake's news may
    /// change, and only to known; the order in which the past is read does not matter.
    #[test]
    fn the_past_takes_nothing_away(cells in properties::cells(), seen in entries(), swap: bool) {
        let (ports, variants) = (BTreeMap::new(), BTreeMap::new());
        let before = judge(&VerdictInput {
            ports: &ports,
            variants: &variants,
            cells: &cells,
            known: Default::default(),
        });
        let fill = |seen: &[(u8, u8, bool, u32, u32)]| {
            let mut past = Past::default();
            let looks: Vec<u32> = (0..6).map(|d| past.look(at(d + 1, ["a", "b+p", "c"][d as usize % 3]))).collect();
            let names = ["north", "south", "east"];
            let places: Vec<u16> = (0..6).map(|p| past.place(&names[p % 3].into(), ["v0", "v1"][p % 2])).collect();
            for (look, place, side, bad, good) in seen {
                let entry = Entry {
                    // One number that nobody gave out: it is no reason to fall over.
                    look: if *look == 5 { 77 } else { looks[usize::from(*look)] },
                    place: places[usize::from(*place)],
                    side: if *side { Baseline } else { Candidate },
                    count: c(*bad, bad + good),
                };
                for suite in ["suite0", "suite1"] {
                    past.extend(suite, &CaseId::new("t", format!("c{}", place % 4)), [entry]);
                }
                past.died("x", Death { look: entry.look, place: entry.place, blamed: None });
            }
            past
        };
        let tested = BTreeMap::from([("suite0".to_owned(), "a".to_owned())]);
        let mut after = before.clone();
        apply(&mut after, &fill(&seen), &tested);
        prop_assert_eq!(before.findings.len(), after.findings.len());
        for (b, a) in before.findings.iter().zip(&after.findings) {
            prop_assert_eq!((b.kind, &b.case, &b.failing), (a.kind, &a.case, &a.failing));
            let known = a.kind == FindingKind::Flake && a.news == News::Known;
            prop_assert!(b.news == a.news || known);
            prop_assert!(a.evidence.len() <= b.evidence.len() + 2);
        }
        let mut other = seen.clone();
        if swap { other.reverse() } else { other.sort_unstable() }
        let mut again = before.clone();
        apply(&mut again, &fill(&other), &tested);
        prop_assert_eq!(after, again);
    }
}
