//! A run as a table: one row an attempt, in one line of JSON or of CSV.
//!
//! Both sides are written and every attempt, also those that do not count: whoever reads this does
//! the counting. JSON has texts as they were recorded; CSV is what people open in a spreadsheet, so
//! its texts are cleaned, and one that such a program would take for a formula gets an apostrophe.

use std::time::Duration;

use serde::Serialize;

use super::RunReport;
use crate::host::text::line;
use crate::model::{Attempt, CaseId, CellId, Outcome, Purpose, Side};

/// Characters of a text in CSV.
const LINE: usize = 2000;

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row<'a> {
    /// The run.
    pub run: &'a str,
    /// The suite.
    pub suite: &'a str,
    /// The port.
    pub port: &'a str,
    /// The kernel variant.
    pub variant: &'a str,
    /// Baseline or candidate.
    pub side: Side,
    /// The case.
    pub case: &'a CaseId,
    /// Which pass, from 1.
    pub pass: u32,
    /// Why it was made.
    pub purpose: Purpose,
    /// In which guest of the cell, from 1.
    pub guest: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Why. Untrusted text.
    pub reason: Option<&'a str>,
    /// How long it took by the guest's clock, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Whether it counts: its guest was to be trusted.
    pub counted: bool,
}

impl<'a> Row<'a> {
    /// Of an attempt in a cell.
    pub fn of(run: &'a str, cell: &'a CellId, attempt: &'a Attempt) -> Self {
        let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Self {
            run,
            suite: &cell.suite,
            port: cell.port.as_str(),
            variant: &cell.variant,
            side: cell.side,
            case: &attempt.case,
            pass: attempt.pass,
            purpose: attempt.purpose,
            guest: attempt.guest,
            outcome: attempt.outcome,
            reason: attempt.reason.as_deref(),
            duration_ms: attempt.duration.map(ms),
            counted: attempt.counts(),
        }
    }
}

fn rows(report: &RunReport) -> impl Iterator<Item = Row<'_>> {
    let cells = report.cells.iter();
    cells.flat_map(|cell| {
        let attempts = cell.attempts.iter();
        attempts.map(|a| Row::of(&report.run.0, &cell.id, a))
    })
}

/// JSON lines.
///
/// # Errors
/// Only where the JSON writer fails.
pub fn jsonl(report: &RunReport) -> serde_json::Result<String> {
    let mut out = String::new();
    for row in rows(report) {
        out.push_str(&serde_json::to_string(&row)?);
        out.push('\n');
    }
    Ok(out)
}

/// A text that a spreadsheet shows and does not compute.
fn cell(text: &str) -> String {
    let text = line(text.as_bytes(), LINE);
    match text.starts_with(['=', '+', '-', '@']) {
        true => format!("'{text}"),
        false => text,
    }
}

/// CSV with a line of names.
///
/// # Errors
/// Only where the CSV writer fails.
pub fn csv(report: &RunReport) -> csv::Result<String> {
    let mut out = csv::Writer::from_writer(Vec::new());
    out.write_record([
        "run",
        "suite",
        "port",
        "variant",
        "side",
        "case",
        "pass",
        "purpose",
        "guest",
        "outcome",
        "reason",
        "duration_ms",
        "counted",
    ])?;
    for row in rows(report) {
        out.write_record([
            row.run,
            &cell(row.suite),
            &cell(row.port),
            &cell(row.variant),
            &row.side.to_string(),
            &cell(&row.case.to_string()),
            &row.pass.to_string(),
            row.purpose.word(),
            &row.guest.to_string(),
            row.outcome.word(),
            &cell(row.reason.unwrap_or("")),
            &row.duration_ms.map_or(String::new(), |ms| ms.to_string()),
            &row.counted.to_string(),
        ])?;
    }
    let bytes = out.into_inner().map_err(|e| e.into_error())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn every_attempt_has_its_line() {
        let report = sample::troubled();
        let all: usize = report.cells.iter().map(|c| c.attempts.len()).sum();
        let (json, csv) = (jsonl(&report).unwrap(), csv(&report).unwrap());
        assert_eq!((json.lines().count(), csv.lines().count()), (all, all + 1));
        insta::assert_snapshot!(json.lines().find(|l| l.contains("\"failed\"")).unwrap());
        let bad = csv.lines().find(|l| l.contains(",failed,")).unwrap();
        insta::assert_snapshot!(format!("{}\n{bad}", csv.lines().next().unwrap()));
    }

    #[test]
    fn a_guests_words_are_one_field_and_no_formula() {
        let mut report = sample::troubled();
        let cell = report.cells.iter_mut().find(|c| !c.attempts.is_empty());
        let attempt = &mut cell.unwrap().attempts[0];
        attempt.reason = Some("=HYPERLINK(\"x\"),\n\u{1b}[31m,2".into());
        let text = csv(&report).unwrap();
        let all = csv::Reader::from_reader(text.as_bytes())
            .into_records()
            .collect::<csv::Result<Vec<_>>>()
            .unwrap();
        assert_eq!(&all[0][10], "'=HYPERLINK(\"x\"), ,2");
    }
}
