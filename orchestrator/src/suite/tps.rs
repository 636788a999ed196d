//! TPS 3, the stream that `atf-run` and our own `run-suite` print.
//!
//! ```text
//! Content-Type: application/X-atf-tps; version="3"
//!
//! info: NAME, VALUE
//! tps-count: N
//! tp-start: TIME, PROGRAM, NCASES
//! tc-start: TIME, CASE
//! tc-so:a line of standard output
//! tc-se:a line of standard error
//! tc-end: TIME, CASE, STATE[, REASON]
//! tp-end: TIME, PROGRAM[, REASON]
//! ```
//!
//! `TIME` is `SECONDS.MICROSECONDS`, and `atf-run` does not pad the microseconds: `7.42` is 7 s and
//! 42 µs. The manual page atf-formats(5) is wrong in places; this follows the programs.
//!
//! TPS has no word for a case that broke or hung, only `failed`. Two conventions mend that:
//! `run-suite` puts [`BROKEN_PREFIX`] or [`HUNG_PREFIX`] before the reason, and the reasons that
//! `atf-run` itself gives for such cases are known here.
//!
//! Lines of any other form (a kernel's message, a program's stray word) become notes. What a foreign
//! line destroyed is not guessed: a case whose end never came is reported as lost.

use std::time::Duration;

use super::event::{Stream, SuiteEvent};
use super::text::{Line, Lines, NAME_MAX_BYTES, REASON_MAX_BYTES, Tail, clean, number};
use crate::model::{CaseId, Outcome};

/// Before the reason of a case that misbehaved, in what `run-suite` prints.
pub const BROKEN_PREFIX: &str = "fallout/broken: ";
/// Before the reason of a case that did not end in time, in what `run-suite` prints.
pub const HUNG_PREFIX: &str = "fallout/hung: ";

/// Beginnings of the reasons that `atf-run` gives when the program misbehaved.
const ATF_RUN_BROKEN: [&str; 6] = [
    "Test program received signal ",
    "Test case exited normally but failed to create the results file",
    "Test case exited successfully but reported failure",
    "Test case exited as passed but reported an error",
    "Test case exited as skipped but reported an error",
    "Test case returned an error in expected_failure mode",
];
const ATF_RUN_HUNG: &str = "Test case timed out after ";

/// The incremental parser of TPS 3.
#[derive(Debug, Default)]
pub struct TpsParser {
    lines: Lines,
    state: State,
}

#[derive(Debug, Default)]
struct State {
    program: Option<String>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    case: CaseId,
    at: Option<Duration>,
    output: Tail,
}

impl TpsParser {
    /// Takes the next bytes, split anywhere; adds what they say to `events`.
    pub fn feed_into(&mut self, chunk: &[u8], events: &mut Vec<SuiteEvent>) {
        let state = &mut self.state;
        self.lines.feed(chunk, |line| state.line(line, events));
    }

    /// The stream is over. An open case stays open.
    pub fn finish(&mut self) -> Vec<SuiteEvent> {
        let mut events = Vec::new();
        let state = &mut self.state;
        self.lines.finish(|line| state.line(line, &mut events));
        events
    }

    /// The case that has begun and not ended.
    pub fn open_case(&self) -> Option<&CaseId> {
        self.state.open.as_ref().map(|open| &open.case)
    }

    /// Takes the open case with the end of its output.
    pub fn take_open(&mut self) -> Option<(CaseId, Option<String>)> {
        let open = self.state.open.take()?;
        Some((open.case, open.output.into_text()))
    }
}

impl State {
    fn line(&mut self, line: Line<'_>, events: &mut Vec<SuiteEvent>) {
        if self.known_line(line.bytes, events).is_none() {
            events.push(SuiteEvent::Note(clean(line.bytes, REASON_MAX_BYTES)));
        }
    }

    /// None where the line is not of the format, or does not fit where it stands.
    fn known_line(&mut self, line: &[u8], events: &mut Vec<SuiteEvent>) -> Option<()> {
        if let Some(rest) = line.strip_prefix(b"tc-") {
            if let Some(text) = rest.strip_prefix(b"so:") {
                return self.output(Stream::Stdout, text, events);
            }
            if let Some(text) = rest.strip_prefix(b"se:") {
                return self.output(Stream::Stderr, text, events);
            }
            if let Some(fields) = rest.strip_prefix(b"start: ") {
                return self.case_start(fields, events);
            }
            return self.case_end(rest.strip_prefix(b"end: ")?, events);
        }
        if let Some(rest) = line.strip_prefix(b"tp-") {
            if let Some(fields) = rest.strip_prefix(b"start: ") {
                return self.program_start(fields, events);
            }
            return self.program_end(rest.strip_prefix(b"end: ")?, events);
        }
        if let Some(fields) = line.strip_prefix(b"info: ") {
            let (key, value) = split(fields)?;
            events.push(SuiteEvent::Info {
                key: clean(key, NAME_MAX_BYTES),
                value: clean(value, REASON_MAX_BYTES),
            });
            return Some(());
        }
        if let Some(count) = line.strip_prefix(b"tps-count: ") {
            events.push(SuiteEvent::Count(number(count)?));
            return Some(());
        }
        let blank = line.is_empty();
        (blank || line == br#"Content-Type: application/X-atf-tps; version="3""#).then_some(())
    }

    fn output(&mut self, stream: Stream, text: &[u8], events: &mut Vec<SuiteEvent>) -> Option<()> {
        let open = self.open.as_mut()?;
        let line = clean(text, text.len());
        open.output.push(&line);
        events.push(SuiteEvent::Output { stream, line });
        Some(())
    }

    fn program_start(&mut self, fields: &[u8], events: &mut Vec<SuiteEvent>) -> Option<()> {
        let (at, rest) = split(fields)?;
        time(at)?;
        // The name may hold ", "; the number after it cannot.
        let comma = rest.windows(2).rposition(|w| w == b", ")?;
        let cases = number(&rest[comma + 2..])?;
        let program = name(&rest[..comma])?;
        self.lose_open(events);
        self.program = Some(program.clone());
        events.push(SuiteEvent::ProgramStarted { program, cases });
        Some(())
    }

    fn program_end(&mut self, fields: &[u8], events: &mut Vec<SuiteEvent>) -> Option<()> {
        let (at, rest) = split(fields)?;
        time(at)?;
        let current = self.program.as_ref()?;
        let (program, reason) = match split(rest) {
            // The name of the program that runs is known, so its own commas do no harm.
            _ if clean(rest, NAME_MAX_BYTES) == *current => (current.clone(), None),
            Some((program, reason)) => (name(program)?, reason_of(reason)),
            None => (name(rest)?, None),
        };
        self.lose_open(events);
        self.program = None;
        events.push(SuiteEvent::ProgramEnded { program, reason });
        Some(())
    }

    fn case_start(&mut self, fields: &[u8], events: &mut Vec<SuiteEvent>) -> Option<()> {
        let (at, case) = split(fields)?;
        let at = Some(time(at)?);
        let case = CaseId::new(self.program.as_ref()?.as_str(), case_name(case)?);
        self.lose_open(events);
        self.open = Some(Open {
            case: case.clone(),
            at,
            output: Tail::default(),
        });
        events.push(SuiteEvent::CaseStarted { case, at });
        Some(())
    }

    fn case_end(&mut self, fields: &[u8], events: &mut Vec<SuiteEvent>) -> Option<()> {
        let (at, rest) = split(fields)?;
        let at = time(at)?;
        let (case, rest) = split(rest)?;
        let (state, reason) = match split(rest) {
            Some((state, reason)) => (state, reason_of(reason)),
            None => (rest, None),
        };
        let outcome = outcome(state)?;
        let (outcome, reason) = refine(outcome, reason);
        let program = self.program.as_ref()?;
        let case = case_name(case)?;
        let ended = match self.open.take() {
            Some(open) if open.case.case == case => SuiteEvent::CaseEnded {
                duration: open.at.and_then(|start| at.checked_sub(start)),
                case: open.case,
                outcome,
                reason,
                output: open.output.into_text(),
            },
            other => {
                // Its start was lost; what was open has lost its end.
                if let Some(open) = other {
                    events.push(SuiteEvent::CaseLost { case: open.case });
                }
                SuiteEvent::CaseEnded {
                    case: CaseId::new(program.as_str(), case),
                    outcome,
                    reason,
                    duration: None,
                    output: None,
                }
            }
        };
        events.push(ended);
        Some(())
    }

    fn lose_open(&mut self, events: &mut Vec<SuiteEvent>) {
        if let Some(open) = self.open.take() {
            events.push(SuiteEvent::CaseLost { case: open.case });
        }
    }
}

/// `A, B` to `A` and `B`.
fn split(fields: &[u8]) -> Option<(&[u8], &[u8])> {
    let comma = fields.iter().position(|&b| b == b',')?;
    let rest = fields[comma + 1..].strip_prefix(b" ")?;
    Some((&fields[..comma], rest))
}

/// `SECONDS.MICROSECONDS`; the microseconds are a number, not a decimal fraction.
fn time(text: &[u8]) -> Option<Duration> {
    let dot = text.iter().position(|&b| b == b'.')?;
    let micros = number(&text[dot + 1..]).filter(|&us| us < 1_000_000)?;
    Some(Duration::from_secs(number(&text[..dot])?) + Duration::from_micros(micros))
}

fn name(text: &[u8]) -> Option<String> {
    Some(clean(text, NAME_MAX_BYTES)).filter(|name| !name.is_empty())
}

/// A colon would make `program:case` ambiguous, and means a part of a case to ATF.
fn case_name(text: &[u8]) -> Option<String> {
    name(text).filter(|name| !name.contains(':'))
}

fn reason_of(text: &[u8]) -> Option<String> {
    Some(clean(text, REASON_MAX_BYTES)).filter(|reason| !reason.is_empty())
}

fn outcome(state: &[u8]) -> Option<Outcome> {
    Some(match state {
        b"passed" => Outcome::Passed,
        b"failed" => Outcome::Failed,
        b"skipped" => Outcome::Skipped,
        b"expected_failure" => Outcome::ExpectedFailure,
        b"expected_death" => Outcome::ExpectedDeath,
        b"expected_exit" => Outcome::ExpectedExit,
        b"expected_signal" => Outcome::ExpectedSignal,
        b"expected_timeout" => Outcome::ExpectedTimeout,
        _ => return None,
    })
}

/// Tells broken and hung from failed, by the reason.
fn refine(outcome: Outcome, reason: Option<String>) -> (Outcome, Option<String>) {
    let (Outcome::Failed, Some(text)) = (outcome, &reason) else {
        return (outcome, reason);
    };
    if let Some(rest) = text.strip_prefix(BROKEN_PREFIX) {
        return (Outcome::Broken, Some(rest.to_owned()));
    }
    if let Some(rest) = text.strip_prefix(HUNG_PREFIX) {
        return (Outcome::Hung, Some(rest.to_owned()));
    }
    if text.starts_with(ATF_RUN_HUNG) {
        return (Outcome::Hung, reason);
    }
    if ATF_RUN_BROKEN.iter().any(|known| text.starts_with(known)) {
        return (Outcome::Broken, reason);
    }
    (outcome, reason)
}

#[cfg(test)]
#[path = "tps_tests.rs"]
pub(crate) mod tests;
