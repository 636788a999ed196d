//! Tests of the TPS parser.

use proptest::prelude::*;

use super::*;
use crate::suite::{Runner, SuiteParser};

fn parse(bytes: &[u8]) -> Vec<SuiteEvent> {
    let mut parser = TpsParser::default();
    let mut events = Vec::new();
    parser.feed_into(bytes, &mut events);
    events.extend(parser.finish());
    events
}

fn id(case: &str) -> CaseId {
    CaseId::new("sub/t_x", case)
}

#[test]
fn a_whole_stream() {
    let events = parse(
        b"Content-Type: application/X-atf-tps; version=\"3\"\n\n\
          info: uname.machine, s390x\ntps-count: 1\n\
          tp-start: 10.5, sub/t_x, 2\n\
          tc-start: 10.999999, one\ntc-so:a\ntc-se:b\ntc-end: 11.000001, one, passed\n\
          tc-start: 12.0, two\ntc-end: 13.5, two, failed, 1 != 2, really\n\
          tp-end: 14.0, sub/t_x\n",
    );
    let expected = vec![
        SuiteEvent::Info {
            key: "uname.machine".into(),
            value: "s390x".into(),
        },
        SuiteEvent::Count(1),
        SuiteEvent::ProgramStarted {
            program: "sub/t_x".into(),
            cases: 2,
        },
        SuiteEvent::CaseStarted {
            case: id("one"),
            at: Some(Duration::from_micros(10_999_999)),
        },
        SuiteEvent::Output {
            stream: Stream::Stdout,
            line: "a".into(),
        },
        SuiteEvent::Output {
            stream: Stream::Stderr,
            line: "b".into(),
        },
        SuiteEvent::CaseEnded {
            case: id("one"),
            outcome: Outcome::Passed,
            reason: None,
            duration: Some(Duration::from_micros(2)),
            output: Some("a\nb\n".into()),
        },
        SuiteEvent::CaseStarted {
            case: id("two"),
            at: Some(Duration::from_secs(12)),
        },
        SuiteEvent::CaseEnded {
            case: id("two"),
            outcome: Outcome::Failed,
            reason: Some("1 != 2, really".into()),
            // Five microseconds, not half a second: atf-run does not pad.
            duration: Some(Duration::from_micros(1_000_005)),
            output: None,
        },
        SuiteEvent::ProgramEnded {
            program: "sub/t_x".into(),
            reason: None,
        },
    ];
    assert_eq!(events, expected);
}

#[test]
fn the_reason_tells_broken_and_hung_from_failed() {
    for (reason, outcome, shown) in [
        (
            "fallout/broken: Premature exit",
            Outcome::Broken,
            "Premature exit",
        ),
        (
            "fallout/hung: Test case body timed out",
            Outcome::Hung,
            "Test case body timed out",
        ),
        (
            "Test case timed out after 300 seconds",
            Outcome::Hung,
            "Test case timed out after 300 seconds",
        ),
        (
            "Test program received signal 11 (core dumped)",
            Outcome::Broken,
            "Test program received signal 11 (core dumped)",
        ),
        ("the test timed out", Outcome::Failed, "the test timed out"),
    ] {
        assert_eq!(
            refine(Outcome::Failed, Some(reason.to_owned())),
            (outcome, Some(shown.to_owned()))
        );
        // Only a failure is looked at twice.
        assert_eq!(
            refine(Outcome::Skipped, Some(reason.to_owned())).0,
            Outcome::Skipped
        );
    }
}

#[test]
fn a_dead_guest_leaves_its_suspect_open() {
    let mut parser = Runner::Sh.parser();
    parser.feed(b"tp-start: 1.0, sub/t_x, 2\ntc-start: 1.1, one\ntc-so:last words\ntc-so:cut o");
    assert_eq!(parser.open_case(), Some(&id("one")));
    parser.finish();
    assert_eq!(
        parser.take_open(),
        Some((id("one"), Some("last words\ncut o\n".to_owned())))
    );
    assert_eq!(parser.open_case(), None);
}

#[test]
fn kernel_messages_become_notes_and_what_they_destroyed_is_lost() {
    let events = parse(
        b"tp-start: 1.0, sub/t_x, 3\r\n\
          tc-start: 1.1, one\r\n\
          [   12.3] BUG: soft lockup\r\n\
          tc-end: 1.2, one, pa[   13.0] wd0: error\r\n\
          tc-start: 1.3, two\r\ntc-end: 1.4, two, passed\r\n\
          tc-end: 1.9, three, skipped, no such device\r\n",
    );
    let notes = events
        .iter()
        .filter(|e| matches!(e, SuiteEvent::Note(_)))
        .count();
    assert_eq!(notes, 2);
    assert!(events.contains(&SuiteEvent::CaseLost { case: id("one") }));
    // The end of a case whose start was lost still counts.
    assert_eq!(
        events.last(),
        Some(&SuiteEvent::CaseEnded {
            case: id("three"),
            outcome: Outcome::Skipped,
            reason: Some("no such device".into()),
            duration: None,
            output: None,
        })
    );
}

#[test]
fn names_that_are_none_are_notes() {
    let events = parse(b"tp-start: 1.0, t, 1\ntc-start: 1.1, a:b\ntc-start: 1.1, \x1b[1m\n");
    assert!(events[1..].iter().all(|e| matches!(e, SuiteEvent::Note(_))));
    assert_eq!(events.len(), 3);
}

#[test]
fn results_without_a_program_are_notes() {
    let events = parse(b"tc-start: 1.1, one\ntc-so:x\ntc-end: 1.2, one, passed\ntp-end: 1.3, t\n");
    assert!(
        events.iter().all(|e| matches!(e, SuiteEvent::Note(_))),
        "{events:?}"
    );
}

#[test]
fn real_output_of_atf_run() {
    let events = parse(include_bytes!(
        "../../tests/fixtures/suite/atf-run-0.19.tps"
    ));
    let ended: Vec<String> = events
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
            SuiteEvent::Note(text) => Some(format!("NOTE {text}")),
            SuiteEvent::CaseLost { case } => Some(format!("LOST {case}")),
            _ => None,
        })
        .collect();
    insta::assert_snapshot!(ended.join("\n"));
}

/// A stream as a runner would print it, from what it should say.
fn render(events: &[SuiteEvent]) -> Vec<u8> {
    use std::fmt::Write as _;
    let time = |d: Duration| format!("{}.{}", d.as_secs(), d.subsec_micros());
    let mut text = String::from("Content-Type: application/X-atf-tps; version=\"3\"\n\n");
    let mut now = Duration::ZERO;
    for event in events {
        match event {
            SuiteEvent::Info { key, value } => writeln!(text, "info: {key}, {value}"),
            SuiteEvent::Count(n) => writeln!(text, "tps-count: {n}"),
            SuiteEvent::ProgramStarted { program, cases } => {
                writeln!(text, "tp-start: {}, {program}, {cases}", time(now))
            }
            SuiteEvent::CaseStarted { case, at } => {
                now = at.unwrap();
                writeln!(text, "tc-start: {}, {}", time(now), case.case)
            }
            SuiteEvent::Output { stream, line } => {
                let tag = match stream {
                    Stream::Stdout => "so",
                    Stream::Stderr => "se",
                };
                writeln!(text, "tc-{tag}:{line}")
            }
            SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                duration,
                ..
            } => {
                now += duration.unwrap();
                let (word, prefix) = match outcome {
                    Outcome::Broken => ("failed", BROKEN_PREFIX),
                    Outcome::Hung => ("failed", HUNG_PREFIX),
                    other => (other.word(), ""),
                };
                let reason = match reason {
                    Some(reason) => format!(", {prefix}{reason}"),
                    None => String::new(),
                };
                writeln!(text, "tc-end: {}, {}, {word}{reason}", time(now), case.case)
            }
            SuiteEvent::ProgramEnded { program, reason } => {
                let reason = reason.as_ref().map_or(String::new(), |r| format!(", {r}"));
                writeln!(text, "tp-end: {}, {program}{reason}", time(now))
            }
            SuiteEvent::Note(note) => writeln!(text, "{note}"),
            SuiteEvent::CaseLost { .. } | SuiteEvent::Summary { .. } => unreachable!(),
        }
        .unwrap();
    }
    text.into_bytes()
}

fn outcomes() -> impl Strategy<Value = (Outcome, Option<String>)> {
    let word = "[a-zA-Z0-9!=][a-zA-Z0-9 ,:!=]{0,20}";
    prop_oneof![
        Just((Outcome::Passed, None)),
        word.prop_map(|r| (Outcome::Failed, Some(r))),
        word.prop_map(|r| (Outcome::Broken, Some(r))),
        word.prop_map(|r| (Outcome::Hung, Some(r))),
        word.prop_map(|r| (Outcome::Skipped, Some(r))),
        word.prop_map(|r| (Outcome::ExpectedFailure, Some(r))),
        word.prop_map(|r| (Outcome::ExpectedDeath, Some(r))),
        word.prop_map(|r| (Outcome::ExpectedExit, Some(r))),
        word.prop_map(|r| (Outcome::ExpectedSignal, Some(r))),
        word.prop_map(|r| (Outcome::ExpectedTimeout, Some(r))),
    ]
}

prop_compose! {
    fn program_events()(
        program in "[a-z]{1,8}(/t_[a-z, ]{0,6}[a-z])?",
        reason in proptest::option::of("[a-z][a-z ,]{0,12}"),
        cases in proptest::collection::vec(
            ("[a-zA-Z0-9_]{1,12}", outcomes(), 0u64..2_000_000_000, 0u64..9_000_000,
             proptest::collection::vec((any::<bool>(), "[ -~]{0,30}"), 0..4)), 0..5),
        note in proptest::option::of("note [a-z ]{0,20}"),
    ) -> Vec<SuiteEvent> {
        // A program whose name holds ", " cannot be told from its reason: the format's own limit.
        let reason = reason.filter(|_| !program.contains(','));
        let mut events = vec![SuiteEvent::ProgramStarted {
            program: program.clone(),
            cases: cases.len() as u64,
        }];
        for (name, (outcome, why), at, took, lines) in cases {
            let case = CaseId::new(program.as_str(), name);
            events.push(SuiteEvent::CaseStarted {
                case: case.clone(),
                at: Some(Duration::from_micros(at)),
            });
            let mut output = String::new();
            for (err, line) in lines {
                output.push_str(&line);
                output.push('\n');
                let stream = if err { Stream::Stderr } else { Stream::Stdout };
                events.push(SuiteEvent::Output { stream, line });
            }
            events.push(SuiteEvent::CaseEnded {
                case,
                outcome,
                reason: why,
                duration: Some(Duration::from_micros(took)),
                output: (!output.is_empty()).then_some(output),
            });
        }
        events.extend(note.map(SuiteEvent::Note));
        events.push(SuiteEvent::ProgramEnded { program, reason });
        events
    }
}

/// Feeds the bytes in pieces whose sizes repeat.
pub(crate) fn in_pieces(mut parser: SuiteParser, bytes: &[u8], sizes: &[usize]) -> Vec<SuiteEvent> {
    let mut events = Vec::new();
    let mut rest = bytes;
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at((*size).min(rest.len()));
        parser.feed_into(head, &mut events);
        rest = tail;
    }
    events.extend(parser.finish());
    events
}

/// Lines that look like the format, in any order, with damage.
pub(crate) fn soup(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => proptest::sample::select(words).prop_map(|w| w.as_bytes().to_vec()),
        2 => Just(b"\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

const WORDS: &[&str] = &[
    "tp-start: 1.2, a/b, 3\n",
    "tp-end: 1.9, a/b\n",
    "tc-start: 1.3, c\n",
    "tc-start: 1.",
    "3, d\n",
    "tc-end: 1.4, c, passed\n",
    "tc-end: 1.5, d, failed, x, y\n",
    "tc-so:",
    "tc-se:hi\n",
    "tc-",
    "\r",
    "info: a, b\n",
    "tps-count: 3\n",
    "tps-count: x\n",
    ", ",
    "1.0",
    "99999999999999999999.9",
];

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(programs in proptest::collection::vec(program_events(), 0..4)) {
        let mut events = vec![SuiteEvent::Count(programs.len() as u64)];
        events.extend(programs.concat());
        prop_assert_eq!(parse(&render(&events)), events);
    }

    #[test]
    fn any_split_gives_the_same_events(
        bytes in soup(WORDS),
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        let whole = parse(&bytes);
        prop_assert_eq!(in_pieces(Runner::Sh.parser(), &bytes, &sizes), whole.clone());
        prop_assert_eq!(in_pieces(Runner::Sh.parser(), &bytes, &[1]), whole);
    }

    #[test]
    fn arbitrary_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        parse(&bytes);
    }

    #[test]
    fn every_case_that_begins_ends_or_is_lost_or_is_open(bytes in soup(WORDS)) {
        let mut parser = Runner::Sh.parser();
        let mut events = parser.feed(&bytes);
        events.extend(parser.finish());
        let mut open = None;
        for event in events {
            match event {
                SuiteEvent::CaseStarted { case, .. } => {
                    prop_assert_eq!(open.replace(case), None);
                }
                SuiteEvent::CaseEnded { case, duration, .. } => {
                    let was = open.take();
                    prop_assert!(was.is_none() || was == Some(case));
                    prop_assert!(duration.is_none() || was.is_some());
                }
                SuiteEvent::CaseLost { case } => prop_assert_eq!(open.take(), Some(case)),
                _ => {}
            }
        }
        prop_assert_eq!(parser.open_case(), open.as_ref());
    }
}
