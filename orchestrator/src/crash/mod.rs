//! Recognition of dead kernels on a console: pure.
//!
//! ```text
//! bytes -> Recogniser: is one of a few words in them at all? (most bytes end here)
//!            -> clean lines -> rules: harmless | complaint | suspicion | confirmation | dead
//!            -> Crash { title that is stable, excerpt }
//! ```
//!
//! A Linux kernel says itself that it is dead, in a line of a form that a test's output does not
//! have by accident. BSD kernels write `panic: …`, which a test program may write as well; so that
//! is a suspicion, and the dialogue of a debugger, a traceback or a dump right after it is the
//! confirmation. It does not drive a debugger, does not symbolise, and blames nobody.

mod rules;
mod title;

use aho_corasick::AhoCorasick;

use crate::host::text;
use crate::model::watch::ConsoleWatch;
use crate::model::{Crash, CrashKind};

use rules::Meaning;

/// Bytes of the console that are kept for the lines before a crash.
const TAIL_BYTES: usize = 24 * 1024;
/// Lines kept before and after the line that tells.
const LINES_BEFORE: usize = 25;
const LINES_AFTER: usize = 60;
/// A longer line is cut: no kernel writes such lines.
const LINE_BYTES: usize = 4096;
const LINE_CHARS: usize = 400;
/// Complaints kept.
const NOTES: usize = 50;
/// A suspicion is dropped when it has not been confirmed within so many lines.
const PATIENCE_LINES: usize = 12;

#[derive(Debug)]
struct Suspicion {
    title: String,
    lines_left: usize,
}

/// Reads a console and tells when the kernel is dead.
pub struct Recogniser {
    words: AhoCorasick,
    /// The end of what was read, for evidence.
    tail: Vec<u8>,
    /// An unfinished line.
    partial: Vec<u8>,
    suspicion: Option<Suspicion>,
    /// The last complaint that names a cause: a panic that says only "fatal exception" is titled by it.
    complaint: Option<String>,
    notes: Vec<String>,
    crash: Option<Crash>,
    lines_after: usize,
}

impl std::fmt::Debug for Recogniser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recogniser")
            .field("crash", &self.crash)
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
            suspicion: None,
            complaint: None,
            notes: Vec::new(),
            crash: None,
            lines_after: 0,
        }
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
        let busy = self.crash.is_some() || self.suspicion.is_some();
        if !busy && !self.words.is_match(block) {
            self.keep_tail(block);
            return;
        }
        for raw in block.split_inclusive(|&b| b == b'\n') {
            self.keep_tail(raw);
            let watched = self.crash.is_some() || self.suspicion.is_some();
            if watched || self.words.is_match(raw) {
                self.line(raw);
            }
        }
    }

    fn line(&mut self, raw: &[u8]) {
        let clean = text::line(&raw[..raw.len().min(LINE_BYTES)], LINE_CHARS);
        if clean.is_empty() {
            return;
        }
        if let Some(crash) = &mut self.crash {
            if self.lines_after < LINES_AFTER {
                self.lines_after += 1;
                title::refine(&mut crash.title, &clean);
                crash.excerpt.push(clean);
            }
            return;
        }
        match rules::meaning(&clean) {
            Meaning::Harmless => {}
            Meaning::Complaint(what) => {
                let what = title::stable(&what);
                if self.notes.len() < NOTES && !self.notes.contains(&what) {
                    self.notes.push(what.clone());
                }
                self.complaint.get_or_insert(what);
                return;
            }
            Meaning::Where(function) => {
                if let Some(complaint) = &mut self.complaint
                    && !complaint.contains(" in ")
                {
                    *complaint = format!("{complaint} in {function}");
                }
            }
            Meaning::Suspicion(what) => {
                self.suspicion = Some(Suspicion {
                    title: title::stable(&what),
                    lines_left: PATIENCE_LINES,
                });
                return;
            }
            Meaning::Confirmation => {
                if let Some(suspicion) = self.suspicion.take() {
                    self.dead(suspicion.title);
                    if let Some(crash) = &mut self.crash {
                        title::refine(&mut crash.title, &clean);
                    }
                }
                return;
            }
            Meaning::Dead(what) => {
                let own = title::stable(&what);
                let told = match self.complaint.take() {
                    Some(cause) if rules::is_generic(&what) => cause,
                    _ => own,
                };
                self.dead(told);
                return;
            }
        }
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.lines_left -= 1;
            if suspicion.lines_left == 0 {
                self.suspicion = None;
            }
        }
    }

    fn dead(&mut self, title: String) {
        self.crash = Some(Crash {
            excerpt: text::tail(&self.tail, LINES_BEFORE, LINE_CHARS),
            ..Crash::new(CrashKind::Panic, title)
        });
    }
}

impl ConsoleWatch for Recogniser {
    fn feed(&mut self, bytes: &[u8]) {
        let Some(end) = bytes.iter().rposition(|&b| b == b'\n') else {
            self.partial.extend_from_slice(bytes);
            if self.partial.len() > LINE_BYTES {
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
        if self.crash.is_none()
            && let Some(suspicion) = self.suspicion.take()
        {
            self.dead(suspicion.title);
        }
    }

    fn is_dead(&self) -> bool {
        self.crash.is_some()
    }

    fn crash(&self) -> Option<Crash> {
        self.crash.clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn last_lines(&self) -> Vec<String> {
        let mut tail = self.tail.clone();
        tail.extend_from_slice(&self.partial);
        text::tail(&tail, LINES_BEFORE, LINE_CHARS)
    }
}

#[cfg(test)]
mod tests;
