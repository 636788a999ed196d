//! The console lines of `kyua test`.
//!
//! ```text
//! sub/t_prog:case  ->  passed  [0.023s]
//! sub/t_prog:other  ->  failed: 1 != 2  [0.021s]
//!
//! Results file id is …
//! Results saved to /path/results.db
//!
//! 1/2 passed (1 failed)
//! ```
//!
//! With `parallelism=1` Kyua prints `program:case  ->  ` when a case begins and flushes it, terminal
//! or not: this part of a line is the case's start. The rest of the line is *not* flushed; through
//! anything but a terminal it comes together with the next case's start, or at Kyua's end. A case
//! that has a result may therefore look open for as long as the next one has not begun, and after
//! the guest's death the open case is the suspect either way. With more parallelism a line is
//! printed whole when a case ends.
//!
//! Kyua has one word, `expected_failure`, for all of ATF's `expected_*`; what kind it was is lost.
//! A time-out is a `broken` with a certain reason, and becomes [`Outcome::Hung`] here.

use std::time::Duration;

use super::event::SuiteEvent;
use super::text::{Line, Lines, NAME_MAX_BYTES, REASON_MAX_BYTES, clean, number};
use crate::model::{CaseId, Outcome};

const ARROW: &[u8] = b"  ->  ";

/// The incremental parser of `kyua test`'s output.
#[derive(Debug, Default)]
pub struct KyuaParser {
    lines: Lines,
    state: State,
    /// How much of the line without an end has been searched for the arrow.
    searched: usize,
}

#[derive(Debug, Default)]
struct State {
    open: Option<CaseId>,
    /// Where the arrow ends in the line without an end, once the case's start has been told.
    announced: Option<usize>,
}

impl KyuaParser {
    /// Takes the next bytes, split anywhere; adds what they say to `events`.
    pub fn feed_into(&mut self, chunk: &[u8], events: &mut Vec<SuiteEvent>) {
        let state = &mut self.state;
        let searched = &mut self.searched;
        self.lines.feed(chunk, |line| {
            state.line(line, events);
            *searched = 0;
        });
        let partial = self.lines.partial();
        if state.announced.is_none()
            && let Some((case, end)) = start_of_case(partial, self.searched)
        {
            state.begin(case, events);
            state.announced = Some(end);
        }
        self.searched = partial.len();
    }

    /// The stream is over. An open case stays open.
    pub fn finish(&mut self) -> Vec<SuiteEvent> {
        let mut events = Vec::new();
        let state = &mut self.state;
        self.lines.finish(|line| state.line(line, &mut events));
        self.searched = 0;
        events
    }

    /// The case that has begun and has no result yet.
    pub fn open_case(&self) -> Option<&CaseId> {
        self.state.open.as_ref()
    }

    /// Takes the open case.
    pub fn take_open(&mut self) -> Option<CaseId> {
        self.state.open.take()
    }
}

impl State {
    fn begin(&mut self, case: CaseId, events: &mut Vec<SuiteEvent>) {
        if let Some(case) = self.open.take() {
            events.push(SuiteEvent::CaseLost { case });
        }
        self.open = Some(case.clone());
        events.push(SuiteEvent::CaseStarted { case, at: None });
    }

    fn line(&mut self, line: Line<'_>, events: &mut Vec<SuiteEvent>) {
        let arrow_end = self.announced.take().or_else(|| {
            let (case, end) = start_of_case(line.bytes, 0)?;
            self.begin(case, events);
            Some(end)
        });
        let rest = &line.bytes[arrow_end.unwrap_or(0)..];
        if rest.is_empty() {
            return;
        }
        // A warning of Kyua's may stand between a start and its result; the result is then a line
        // of its own.
        if self.open.is_some()
            && let Some((outcome, reason, duration)) = result(rest, line.cut)
            && let Some(case) = self.open.take()
        {
            events.push(SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                duration,
                output: None,
            });
            return;
        }
        events.push(match arrow_end {
            None => closing_line(rest),
            Some(_) => SuiteEvent::Note(clean(rest, REASON_MAX_BYTES)),
        });
    }
}

/// The case that a line begins with, and where the arrow behind it ends. Only the first arrow
/// counts, so the answer does not depend on how much of the line is there yet.
fn start_of_case(line: &[u8], searched: usize) -> Option<(CaseId, usize)> {
    let from = searched.saturating_sub(ARROW.len() - 1);
    // Every other line is told by its missing '>', and that is quick to see.
    let mut end = from;
    loop {
        end += line.get(end..)?.iter().position(|&b| b == b'>')? + 3;
        let head = line.get(..end)?;
        if let Some(id) = head.strip_suffix(ARROW) {
            let first = end - ARROW.len();
            if line[..first].windows(ARROW.len()).any(|w| w == ARROW) {
                return None;
            }
            return Some((case_id(id)?, end));
        }
        end -= 2;
    }
}

/// `program:case`, split at the last colon. A word with blanks is a sentence, not a case.
fn case_id(id: &[u8]) -> Option<CaseId> {
    if id.len() > 2 * NAME_MAX_BYTES || id.iter().any(|b| b.is_ascii_whitespace()) {
        return None;
    }
    let colon = id.iter().rposition(|&b| b == b':')?;
    let program = clean(&id[..colon], NAME_MAX_BYTES);
    let case = clean(&id[colon + 1..], NAME_MAX_BYTES);
    (!program.is_empty() && !case.is_empty()).then(|| CaseId::new(program, case))
}

type CaseResult = (Outcome, Option<String>, Option<Duration>);

/// `WORD[: REASON]  [SECONDSs]`. A line that was cut has lost its duration.
fn result(text: &[u8], cut: bool) -> Option<CaseResult> {
    let (text, duration) = match (duration_at_end(text), cut) {
        (Some((head, duration)), false) => (head, Some(duration)),
        (None, false) => return None,
        (_, true) => (text, None),
    };
    let (word, reason) = match text.iter().position(|&b| b == b':') {
        Some(colon) => (
            &text[..colon],
            Some(clean(
                text[colon + 1..].strip_prefix(b" ")?,
                REASON_MAX_BYTES,
            )),
        ),
        None => (text, None),
    };
    let outcome = match word {
        b"passed" => Outcome::Passed,
        b"failed" => Outcome::Failed,
        b"skipped" => Outcome::Skipped,
        b"expected_failure" => Outcome::ExpectedFailure,
        b"broken" => broken_outcome(reason.as_deref()),
        _ => return None,
    };
    Some((outcome, reason, duration))
}

/// What Kyua calls broken is a time-out where the reason says so.
pub fn broken_outcome(reason: Option<&str>) -> Outcome {
    match reason {
        Some(text) if text.starts_with("Test case ") && text.ends_with(" timed out") => {
            Outcome::Hung
        }
        _ => Outcome::Broken,
    }
}

fn duration_at_end(text: &[u8]) -> Option<(&[u8], Duration)> {
    let inner = text.strip_suffix(b"s]")?;
    let bracket = inner.iter().rposition(|&b| b == b'[')?;
    let head = inner[..bracket].strip_suffix(b"  ")?;
    let digits = &inner[bracket + 1..];
    let dot = digits.iter().position(|&b| b == b'.')?;
    let (seconds, millis) = (number(&digits[..dot])?, &digits[dot + 1..]);
    if millis.len() != 3 {
        return None;
    }
    Some((
        head,
        Duration::from_secs(seconds) + Duration::from_millis(number(millis)?),
    ))
}

/// The lines after the last case; everything else is a note.
fn closing_line(line: &[u8]) -> SuiteEvent {
    let info = |key: &str, value: &[u8]| SuiteEvent::Info {
        key: key.to_owned(),
        value: clean(value, REASON_MAX_BYTES),
    };
    if let Some(id) = line.strip_prefix(b"Results file id is ") {
        return info("kyua.results_id", id);
    }
    if let Some(path) = line.strip_prefix(b"Results saved to ") {
        return info("kyua.results_file", path);
    }
    summary(line).unwrap_or_else(|| SuiteEvent::Note(clean(line, REASON_MAX_BYTES)))
}

/// `N/M passed (K failed)`.
fn summary(line: &[u8]) -> Option<SuiteEvent> {
    let text = line.strip_suffix(b" failed)")?;
    let slash = text.iter().position(|&b| b == b'/')?;
    let blank = text.iter().position(|&b| b == b' ')?;
    let failed = text[blank..].strip_prefix(b" passed (")?;
    Some(SuiteEvent::Summary {
        passed: number(&text[..slash])?,
        total: number(text.get(slash + 1..blank)?)?,
        failed: number(failed)?,
    })
}

#[cfg(test)]
#[path = "kyua_tests.rs"]
mod tests;
