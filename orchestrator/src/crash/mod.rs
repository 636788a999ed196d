//! Recognition of dead kernels on a console: pure.
//!
//! ```text
//! bytes -> Recogniser: is one of a few words in them at all? (most bytes end here)
//!            -> lines as a terminal shows them -> rules: what does this line mean?
//!
//!              complaint               confirmed, or `Kernel panic`
//!   Watching ───────────▶ Complaining ─────────────────────────────▶ Dead
//!       │ ▲                    │                                       ▲
//!       │ └────────────────────┘ trace over: a note                    │
//!       │        suspicion                          confirmation       │
//!       └──────────────────────▶ Suspecting ───────────────────────────┘
//!                                    │ nothing of that kind within some lines: forgotten
//! ```
//!
//! A Linux kernel says itself that it is dead, in a line with a time stamp, which the output of a
//! test does not have by accident. A stamp that is older than what the console has shown belongs to
//! an old log that somebody prints. BSD kernels write `panic: …`, which a test program may write as
//! well; so that is a suspicion, and the dialogue of a debugger, a traceback or a dump right after
//! it is the confirmation.
//!
//! Not decidable from the console alone, and taken for a death: a complete BSD panic with its
//! traceback, or a Linux panic with a stamp of the future, printed by a test or written to
//! `/dev/kmsg`. It does not drive a debugger, does not symbolise, and blames nobody.

mod frames;
mod lines;
mod report;
mod rules;
pub mod symbols;
mod title;
mod woven;

use aho_corasick::AhoCorasick;

use crate::host::text;
use crate::model::Crash;
use crate::model::watch::ConsoleWatch;

use report::Report;
use rules::{Cause, Meaning, Place};
use symbols::Symbols;

/// Bytes of the console that are kept for the lines before a crash.
const TAIL_BYTES: usize = 24 * 1024;
/// Lines kept before the line that tells.
const LINES_BEFORE: usize = 25;
/// Lines in which text of two CPUs is looked for.
const WOVEN_LINES: usize = 6;
/// Complaints kept.
const NOTES: usize = 50;
/// A suspicion is dropped when it has not been confirmed within so many lines.
const PATIENCE_LINES: usize = 12;
/// CPUs write their stamps not quite in order, in seconds.
const DISORDER_SECONDS: f64 = 2.0;

#[derive(Debug)]
enum State {
    Watching,
    Complaining(Report),
    Suspecting {
        report: Report,
        lines_left: usize,
        /// It arose in the middle of a line.
        inside: bool,
    },
    Dead(Report),
}

/// Reads a console and tells when the kernel is dead.
pub struct Recogniser {
    words: AhoCorasick,
    /// The end of what was read, for evidence.
    tail: Vec<u8>,
    /// An unfinished line.
    partial: Vec<u8>,
    state: State,
    /// The latest stamp that was seen, in seconds.
    clock: f64,
    notes: Vec<String>,
    symbols: Symbols,
}

impl std::fmt::Debug for Recogniser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recogniser")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Default for Recogniser {
    fn default() -> Self {
        Self::new()
    }
}

impl Recogniser {
    /// A recogniser at the beginning of a console.
    ///
    /// # Panics
    /// Never: the words are constants that the automaton accepts, as a test shows.
    pub fn new() -> Self {
        let words = AhoCorasick::new(rules::WORDS).unwrap_or_else(|_| unreachable!());
        Self {
            words,
            tail: Vec::new(),
            partial: Vec::new(),
            state: State::Watching,
            clock: 0.0,
            notes: Vec::new(),
            symbols: Symbols::default(),
        }
    }

    /// The same with the names of the kernel's functions, for one that writes addresses alone.
    #[must_use]
    pub fn with_symbols(self, symbols: Symbols) -> Self {
        Self { symbols, ..self }
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        if bytes.len() >= TAIL_BYTES {
            self.tail.clear();
            self.tail
                .extend_from_slice(&bytes[bytes.len() - TAIL_BYTES..]);
            return;
        }
        self.tail.extend_from_slice(bytes);
        if self.tail.len() > 2 * TAIL_BYTES {
            self.tail.drain(..self.tail.len() - TAIL_BYTES);
        }
    }

    /// Reads whole lines. The fast path is one search for any of the words.
    fn lines(&mut self, block: &[u8]) {
        let mut rest = block;
        while !rest.is_empty() {
            let watching = matches!(self.state, State::Watching);
            let quiet = match watching.then(|| self.words.find(rest)).flatten() {
                // Up to the beginning of the line that has the word.
                Some(found) => rest[..found.start()]
                    .iter()
                    .rposition(|&b| b == b'\n')
                    .map_or(0, |at| at + 1),
                None if watching => rest.len(),
                None => 0,
            };
            if quiet > 0 {
                self.pass(&rest[..quiet]);
                rest = &rest[quiet..];
                continue;
            }
            let end = rest.iter().position(|&b| b == b'\n');
            let (raw, behind) = rest.split_at(end.map_or(rest.len(), |at| at + 1));
            for line in lines::split(raw) {
                self.line(line);
            }
            self.keep_tail(raw);
            rest = behind;
        }
    }

    /// Lines that mean nothing: only the clock is read off them.
    fn pass(&mut self, block: &[u8]) {
        for line in block.split(|&b| b == b'\n') {
            if let Some(stamp) = lines::leading_stamp(line) {
                self.clock = self.clock.max(stamp);
            }
        }
        self.keep_tail(block);
    }

    fn line(&mut self, raw: &[u8]) {
        let clean = lines::clean(raw);
        if clean.is_empty() {
            return;
        }
        let message = lines::message(&clean);
        if let Some(stamp) = message.stamp {
            if stamp + DISORDER_SECONDS < self.clock {
                // An old log that somebody prints.
                return;
            }
            self.clock = self.clock.max(stamp);
        }
        if let State::Dead(report) = &mut self.state {
            report.push(clean);
            return;
        }
        let inner = rules::inner_panic(message.text);
        let meaning = match (rules::meaning(message), inner) {
            (Meaning::Harmless, Some(inner)) => rules::meaning(lines::Message {
                text: inner,
                ..message
            }),
            (meaning, _) => meaning,
        };
        let inside = message.inside || inner.is_some();
        match meaning {
            Meaning::Harmless => self.harmless(clean),
            Meaning::TraceEnds => {
                self.harmless(clean.clone());
                if let State::Complaining(report) = &mut self.state {
                    report.trace_ends();
                }
                self.look_for_woven(&clean, false);
            }
            Meaning::Complaint(cause) => self.complaint(cause, clean),
            Meaning::Suspicion(cause) => self.suspicion(cause, clean, inside),
            Meaning::Confirmation { strong } => self.confirmation(strong, clean),
            Meaning::Dead(cause) => self.dead(cause, clean),
        }
    }

    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Watching)
    }

    fn before(&self) -> Vec<String> {
        // Whole lines only: the one that is being read is not in the tail yet.
        let mut lines: Vec<String> = lines::split(&self.tail)
            .rev()
            .take(LINES_BEFORE)
            .map(lines::clean)
            .collect();
        lines.reverse();
        lines
    }

    fn harmless(&mut self, line: String) {
        match &mut self.state {
            State::Complaining(report) => {
                if !report.push(line) {
                    self.give_up();
                }
            }
            State::Suspecting {
                report, lines_left, ..
            } => {
                report.push(line);
                *lines_left -= 1;
                if *lines_left == 0 {
                    self.state = State::Watching;
                }
            }
            State::Watching | State::Dead(_) => {}
        }
    }

    /// A complaint that nobody died of becomes a note.
    fn give_up(&mut self) {
        if let State::Complaining(report) = self.take() {
            self.note(report.title());
        }
    }

    fn note(&mut self, title: String) {
        if self.notes.len() < NOTES && !self.notes.contains(&title) {
            self.notes.push(title);
        }
    }

    fn complaint(&mut self, cause: Cause, line: String) {
        if let State::Complaining(report) = &mut self.state
            && report.joins(&cause, &line)
        {
            return;
        }
        self.give_up();
        self.state = State::Complaining(Report::new(cause, line, self.before()));
    }

    fn suspicion(&mut self, cause: Cause, line: String, inside: bool) {
        if let State::Suspecting {
            report,
            inside: earlier,
            ..
        } = &mut self.state
        {
            if *earlier == inside && report.joins(&cause, &line) {
                return;
            }
            // Whoever says it in a line of its own says it for certain.
            if inside && !*earlier {
                return self.harmless(line);
            }
        }
        self.give_up();
        self.state = State::Suspecting {
            report: Report::new(cause, line, self.before()),
            lines_left: PATIENCE_LINES,
            inside,
        };
    }

    fn confirmation(&mut self, strong: bool, line: String) {
        match self.take() {
            State::Suspecting {
                mut report, inside, ..
            } if strong || !inside => {
                report.dies(None, line);
                self.state = State::Dead(report);
            }
            other => {
                self.state = other;
                self.harmless(line.clone());
                self.look_for_woven(&line, strong);
            }
        }
    }

    fn dead(&mut self, cause: Option<Cause>, line: String) {
        let report = match (self.take(), cause) {
            (State::Complaining(mut report), None) => {
                report.dies(None, line);
                report
            }
            (State::Complaining(mut report), Some(cause)) => {
                self.note(report.title());
                report.dies(Some(cause), line);
                report
            }
            (_, cause) => {
                let text = lines::message(&line).text;
                let text = rules::panic_text(text).unwrap_or(text);
                let cause = cause.unwrap_or_else(|| rules::unexplained(text));
                let mut report = Report::new(cause, line, self.before());
                report.is_dead();
                report
            }
        };
        self.state = State::Dead(report);
    }

    fn look_for_woven(&mut self, line: &str, stopped: bool) {
        if matches!(self.state, State::Dead(_) | State::Suspecting { .. }) {
            return;
        }
        let before = self.before();
        let near = &before[before.len().saturating_sub(WOVEN_LINES)..];
        if let Some(title) = woven::find(near, stopped) {
            let cause = Cause {
                title: title.to_owned(),
                place: Place::Trace,
                weak: false,
            };
            let mut report = Report::new(cause, line.to_owned(), before);
            report.is_dead();
            self.state = State::Dead(report);
        }
    }
}

impl ConsoleWatch for Recogniser {
    fn feed(&mut self, bytes: &[u8]) {
        let Some(end) = bytes.iter().rposition(|&b| b == b'\n') else {
            self.partial.extend_from_slice(bytes);
            if self.partial.len() > lines::LINE_BYTES {
                let line = std::mem::take(&mut self.partial);
                self.lines(&line);
            }
            return;
        };
        let (whole, rest) = bytes.split_at(end + 1);
        if self.partial.is_empty() {
            self.lines(whole);
        } else {
            // Only the first line is joined with what was left over; the rest is not copied.
            let first = whole
                .iter()
                .position(|&b| b == b'\n')
                .map_or(whole.len(), |i| i + 1);
            let mut line = std::mem::take(&mut self.partial);
            line.extend_from_slice(&whole[..first]);
            self.lines(&line);
            if first < whole.len() {
                self.lines(&whole[first..]);
            }
        }
        self.partial.extend_from_slice(rest);
    }

    fn finish(&mut self) {
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.lines(&line);
        }
        // A console that ends right after `panic: …` has nobody left to confirm it.
        match self.take() {
            State::Suspecting {
                mut report,
                inside: false,
                ..
            } => {
                report.is_dead();
                self.state = State::Dead(report);
            }
            State::Suspecting { .. } => {}
            other => {
                self.state = other;
                self.look_for_woven("", false);
            }
        }
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead(_))
    }

    fn crash(&self) -> Option<Crash> {
        match &self.state {
            State::Dead(report) => {
                let mut crash = report.crash();
                self.symbols.annotate(&mut crash.excerpt);
                Some(crash)
            }
            _ => None,
        }
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = self.notes.clone();
        if let State::Complaining(report) = &self.state {
            let title = report.title();
            if notes.len() < NOTES && !notes.contains(&title) {
                notes.push(title);
            }
        }
        notes
    }

    fn last_lines(&self) -> Vec<String> {
        let mut tail = self.tail.clone();
        tail.extend_from_slice(&self.partial);
        text::tail(&tail, LINES_BEFORE, lines::LINE_CHARS)
    }
}

#[cfg(test)]
mod tests;
