//! Tests of the parser of Kyua's console lines.

use proptest::prelude::*;

use super::*;
use crate::suite::Runner;
use crate::suite::tps::tests::{in_pieces, soup};

fn parse(bytes: &[u8]) -> Vec<SuiteEvent> {
    in_pieces(Runner::Kyua.parser(), bytes, &[bytes.len().max(1)])
}

fn id(case: &str) -> CaseId {
    CaseId::new("sub/t_x", case)
}

fn started(case: &str) -> SuiteEvent {
    SuiteEvent::CaseStarted {
        case: id(case),
        at: None,
    }
}

fn ended(case: &str, outcome: Outcome, reason: Option<&str>, ms: u64) -> SuiteEvent {
    SuiteEvent::CaseEnded {
        case: id(case),
        outcome,
        reason: reason.map(str::to_owned),
        duration: Some(Duration::from_millis(ms)),
        output: None,
    }
}

#[test]
fn every_kind_of_line() {
    let events = parse(
        b"sub/t_x:ok  ->  passed  [0.123s]\n\
          sub/t_x:bad  ->  failed: a  ->  b [x]  [1.000s]\n\
          sub/t_x:skip  ->  skipped: Requires root privileges  [0.000s]\n\
          sub/t_x:exp  ->  expected_failure: PR 12: late  [12.040s]\n\
          sub/t_x:sig  ->  broken: Premature exit; test case received signal 11  [0.002s]\n\
          sub/t_x:slow  ->  broken: Test case body timed out  [300.012s]\n\
          sub/t_x:late  ->  broken: Test case cleanup timed out  [60.000s]\n\
          \n\
          Results file id is root.20261123-1\n\
          Results saved to /var/results.db\n\
          \n\
          3/7 passed (4 failed)\n",
    );
    let expected = vec![
        started("ok"),
        ended("ok", Outcome::Passed, None, 123),
        started("bad"),
        ended("bad", Outcome::Failed, Some("a  ->  b [x]"), 1000),
        started("skip"),
        ended(
            "skip",
            Outcome::Skipped,
            Some("Requires root privileges"),
            0,
        ),
        started("exp"),
        ended("exp", Outcome::ExpectedFailure, Some("PR 12: late"), 12_040),
        started("sig"),
        ended(
            "sig",
            Outcome::Broken,
            Some("Premature exit; test case received signal 11"),
            2,
        ),
        started("slow"),
        ended(
            "slow",
            Outcome::Hung,
            Some("Test case body timed out"),
            300_012,
        ),
        started("late"),
        ended(
            "late",
            Outcome::Hung,
            Some("Test case cleanup timed out"),
            60_000,
        ),
        SuiteEvent::Info {
            key: "kyua.results_id".into(),
            value: "root.20261123-1".into(),
        },
        SuiteEvent::Info {
            key: "kyua.results_file".into(),
            value: "/var/results.db".into(),
        },
        SuiteEvent::Summary {
            passed: 3,
            total: 7,
            failed: 4,
        },
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_case_begins_with_half_a_line() {
    let mut parser = Runner::Kyua.parser();
    assert_eq!(parser.feed(b"sub/t_x:on"), []);
    assert_eq!(parser.feed(b"e  ->"), []);
    assert_eq!(parser.feed(b"  "), [started("one")]);
    assert_eq!(parser.open_case(), Some(&id("one")));
    assert_eq!(parser.feed(b"passed  [0.0"), []);
    assert_eq!(
        parser.feed(b"10s]\nsub/t_x:two  ->  "),
        [ended("one", Outcome::Passed, None, 10), started("two")]
    );
    assert_eq!(parser.finish(), []);
    assert_eq!(parser.take_open(), Some((id("two"), None)));
}

#[test]
fn a_warning_between_start_and_result_is_no_harm() {
    let events = parse(
        b"kyua: W: odd locale\n\
          sub/t_x:one  ->  kyua: W: cannot remove a directory\n\
          passed  [0.010s]\n\
          sub/t_x:two  ->  \n\
          sub/t_x:three  ->  passed  [0.020s]\n",
    );
    let expected = vec![
        SuiteEvent::Note("kyua: W: odd locale".into()),
        started("one"),
        SuiteEvent::Note("kyua: W: cannot remove a directory".into()),
        ended("one", Outcome::Passed, None, 10),
        started("two"),
        SuiteEvent::CaseLost { case: id("two") },
        started("three"),
        ended("three", Outcome::Passed, None, 20),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_reason_without_end_still_gives_an_outcome() {
    let mut bytes = b"sub/t_x:one  ->  failed: ".to_vec();
    bytes.resize(100_000, b'x');
    bytes.extend_from_slice(b"  [0.010s]\nsub/t_x:two  ->  passed  [0.020s]\n");
    let events = in_pieces(Runner::Kyua.parser(), &bytes, &[777]);
    assert!(matches!(
        &events[1],
        SuiteEvent::CaseEnded { outcome: Outcome::Failed, reason: Some(r), duration: None, .. }
            if r.len() == REASON_MAX_BYTES
    ));
    assert_eq!(
        events.last(),
        Some(&ended("two", Outcome::Passed, None, 20))
    );
}

#[test]
fn real_output_of_kyua() {
    let events = parse(include_bytes!(
        "../../tests/fixtures/suite/kyua-0.14.console"
    ));
    let shown: Vec<String> = events
        .iter()
        .filter_map(|event| match event {
            SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                ..
            } => Some(format!(
                "{} {} {}",
                case,
                outcome.word(),
                reason.as_deref().unwrap_or("-")
            )),
            SuiteEvent::CaseStarted { .. } => None,
            other => Some(format!("{other:?}")),
        })
        .collect();
    insta::assert_snapshot!(shown.join("\n"));
}

/// The line that Kyua would print for an attempt.
fn render(case: &CaseId, outcome: Outcome, reason: &Option<String>, ms: u64) -> String {
    let word = match outcome {
        Outcome::Hung => "broken",
        other => other.word(),
    };
    let reason = reason.as_ref().map_or(String::new(), |r| format!(": {r}"));
    format!(
        "{case}  ->  {word}{reason}  [{}.{:03}s]\n",
        ms / 1000,
        ms % 1000
    )
}

fn attempts() -> impl Strategy<Value = (CaseId, Outcome, Option<String>, u64)> {
    let reason = "[!-~]([ -~]{0,20}[!-~])?";
    let result = prop_oneof![
        Just((Outcome::Passed, None)),
        reason.prop_map(|r| (Outcome::Failed, Some(r))),
        reason.prop_map(|r| (Outcome::Skipped, Some(r))),
        reason.prop_map(|r| (Outcome::Broken, Some(r))),
        reason.prop_map(|r| (Outcome::ExpectedFailure, Some(r))),
        Just((Outcome::Hung, Some("Test case body timed out".to_owned()))),
    ];
    (
        "[a-z/_+.-]{1,12}",
        "[A-Za-z0-9_]{1,12}",
        result,
        0u64..4_000_000,
    )
        .prop_map(|(program, case, (outcome, reason), ms)| {
            (CaseId::new(program, case), outcome, reason, ms)
        })
}

const WORDS: &[&str] = &[
    "a/b:c  ->  ",
    "d:e",
    "  ->  ",
    "  ->",
    "  ",
    "passed",
    "failed: x",
    "  [0.100s]\n",
    "  [1.5s]\n",
    "broken: Test case timed out",
    "\r",
    "1/2 passed (1 failed)\n",
    "Results saved to /x\n",
    "kyua: W: x\n",
];

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(list in proptest::collection::vec(attempts(), 0..12)) {
        let text: String = list.iter().map(|(c, o, r, ms)| render(c, *o, r, *ms)).collect();
        let expected: Vec<SuiteEvent> = list
            .into_iter()
            .flat_map(|(case, outcome, reason, ms)| {
                [
                    SuiteEvent::CaseStarted { case: case.clone(), at: None },
                    SuiteEvent::CaseEnded {
                        case,
                        outcome,
                        reason,
                        duration: Some(Duration::from_millis(ms)),
                        output: None,
                    },
                ]
            })
            .collect();
        prop_assert_eq!(parse(text.as_bytes()), expected);
    }

    #[test]
    fn any_split_gives_the_same_events(
        bytes in soup(WORDS),
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let whole = parse(&bytes);
        prop_assert_eq!(in_pieces(Runner::Kyua.parser(), &bytes, &sizes), whole.clone());
        prop_assert_eq!(in_pieces(Runner::Kyua.parser(), &bytes, &[1]), whole);
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        parse(&bytes);
    }
}
