//! One report of a kernel: the line that told, and what followed it.

use crate::model::{Crash, CrashKind};

use super::lines;
use super::rules::Cause;
use super::title;

/// Lines of a complaint that are kept, the first of them being the one that told.
const COMPLAINT_LINES: usize = 130;
/// Some machines write out their stack before they panic: so many lines more a report is open.
const SKIPPED_LINES: usize = 600;
/// Lines that are kept after a kernel is known to be dead, whatever stood before them.
const LINES_AFTER: usize = 60;
/// A further complaint within so many lines belongs to the same event.
const CHAIN_LINES: usize = 8;

/// The lines of a report, and what it is about.
#[derive(Debug)]
pub struct Report {
    cause: Cause,
    /// Index of the line that told the cause.
    told_at: usize,
    /// Lines before the report, for the reader.
    before: Vec<String>,
    lines: Vec<String>,
    /// A trace has ended in it: what comes next is another event, or the panic.
    ended: bool,
    /// Lines that had no room.
    skipped: usize,
    /// How many lines it had when the kernel was known to be dead.
    dead_at: Option<usize>,
}

impl Report {
    /// A report that begins with `line`; `before` is what the console had shown by then.
    pub fn new(cause: Cause, line: String, before: Vec<String>) -> Self {
        Self {
            cause,
            told_at: 0,
            before,
            lines: vec![line],
            ended: false,
            skipped: 0,
            dead_at: None,
        }
    }

    /// Takes the next line. False once so much has followed that no panic can be its consequence.
    pub fn push(&mut self, line: String) -> bool {
        let room = match self.dead_at {
            Some(at) => at + LINES_AFTER,
            None => COMPLAINT_LINES,
        };
        if self.lines.len() < room {
            self.lines.push(line);
            return true;
        }
        self.skipped += 1;
        self.dead_at.is_some() || self.skipped < SKIPPED_LINES
    }

    /// Another complaint: true where it belongs to this report, which then may have a better name.
    pub fn joins(&mut self, cause: &Cause, line: &str) -> bool {
        let near = self.lines.len() - self.told_at <= CHAIN_LINES;
        if self.ended || !(near || cause.weak) {
            return false;
        }
        let unnamed = self.cause.weak && !cause.weak;
        self.lines.push(line.to_owned());
        if unnamed {
            self.cause = cause.clone();
            self.told_at = self.lines.len() - 1;
        }
        true
    }

    /// A trace of this report has ended.
    pub fn trace_ends(&mut self) {
        self.ended = true;
    }

    /// The kernel is dead; by a cause of its own where there is one.
    pub fn dies(&mut self, cause: Option<Cause>, line: String) {
        self.lines.push(line);
        if let Some(cause) = cause {
            self.cause = cause;
            self.told_at = self.lines.len() - 1;
        }
        self.dead_at = Some(self.lines.len());
    }

    /// The kernel is dead by what the report is about already.
    pub fn is_dead(&mut self) {
        self.dead_at = Some(self.lines.len());
    }

    /// The title as far as the lines tell it.
    pub fn title(&self) -> String {
        let texts: Vec<&str> = self.lines[self.told_at..]
            .iter()
            .map(|line| lines::message(line).text)
            .collect();
        title::of(&self.cause, &texts)
    }

    /// The whole of it.
    pub fn crash(&self) -> Crash {
        Crash {
            told_at: Some(self.before.len() + self.told_at),
            excerpt: self.before.iter().chain(&self.lines).cloned().collect(),
            ..Crash::new(CrashKind::Panic, self.title())
        }
    }
}
