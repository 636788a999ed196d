//! The machine-readable form of a run, and the form in which a finished run is stored.
//!
//! The document is [`RunReport`] as serde writes it, preceded by a summary that saves scripts the
//! counting. Its promises: `format` is 1; keys are only ever added within a format; outcomes and
//! stages are written by their words (`expected_failure`, `build_failed`); a cell's `id` is
//! `SUITE/PORT/VARIANT/SIDE` and a case `PROGRAM:CASE`; times are RFC 3339; durations are
//! `{"secs": whole seconds, "nanos": the rest}`. Text that came out of a guest is written as it
//! was recorded: whoever shows it must clean it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{FORMAT, RunReport, grid};
use crate::model::{FindingKind, News};

/// Why a stored report cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not this document.
    #[error("this is not a run's report: {0}")]
    Malformed(#[source] serde_json::Error),
    /// A form that this program does not know.
    #[error(
        "the report has format {found}, this program reads format {FORMAT}: use the version of \
         fallout that wrote it"
    )]
    Format {
        /// The version that was found.
        found: u64,
    },
    /// It cannot be written.
    #[error("the report cannot be written as JSON: {0}")]
    Unwritable(#[source] serde_json::Error),
}

/// Counts that a script asks for first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// True where the baseline knows everything that was found.
    pub clean: bool,
    /// Findings by kind: `{"trait_bound": {"new": 4, "known": 0, "no_baseline": 0}}`.
    pub findings: BTreeMap<FindingKind, BTreeMap<News, u32>>,
    /// Cells that say nothing through no fault of what was tested.
    pub host_faults: usize,
    /// By suite and column, the candidate's cases by state.
    pub cases: BTreeMap<String, BTreeMap<String, BTreeMap<&'static str, u32>>>,
}

/// Counts a run.
pub fn summary(report: &RunReport) -> Summary {
    let mut findings: BTreeMap<FindingKind, BTreeMap<News, u32>> = BTreeMap::new();
    for finding in &report.verdict.findings {
        let kinds = findings.entry(finding.kind).or_default();
        *kinds.entry(finding.news).or_default() += 1;
    }
    let mut cases = BTreeMap::new();
    for grid in grid::grids(report) {
        let column = |i: usize| {
            let counts = grid.counts(i).into_iter().map(|(s, n)| (s.word(), n));
            (grid.columns[i].0.clone(), counts.collect())
        };
        let columns = (0..grid.columns.len()).map(column).collect();
        cases.insert(grid.suite.to_owned(), columns);
    }
    Summary {
        clean: report.verdict.is_clean(),
        findings,
        host_faults: report.verdict.host_faults.len(),
        cases,
    }
}

/// Writes a report. The same report gives the same bytes.
pub fn write(report: &RunReport) -> Result<String, JsonError> {
    #[derive(Serialize)]
    struct Document<'a> {
        format: u32,
        summary: Summary,
        report: &'a RunReport,
    }
    let document = Document {
        format: FORMAT,
        summary: summary(report),
        report,
    };
    serde_json::to_string(&document).map_err(JsonError::Unwritable)
}

/// Reads what [`write`] wrote. The summary is not read: it is counted anew.
pub fn read(text: &str) -> Result<RunReport, JsonError> {
    #[derive(serde::Deserialize)]
    struct Head {
        format: u64,
    }
    #[derive(serde::Deserialize)]
    struct Body {
        report: RunReport,
    }
    // The version first, so that another form is told as what it is.
    let head: Head = serde_json::from_str(text).map_err(JsonError::Malformed)?;
    if head.format != u64::from(FORMAT) {
        return Err(JsonError::Format { found: head.format });
    }
    let body: Body = serde_json::from_str(text).map_err(JsonError::Malformed)?;
    Ok(body.report)
}

/// The report of the run in a directory; none where it has none yet: it is under way, or was killed.
/// An error has the file's name.
pub fn of_run(dir: &Path) -> Result<Option<RunReport>, String> {
    let path = dir.join("report.json");
    let told = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => read(&text).map(Some).map_err(|e| told(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(told(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_runs_report_is_there_or_not_yet_or_not_readable() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(of_run(dir.path()), Ok(None));
        let report = sample::troubled();
        let file = dir.path().join("report.json");
        std::fs::write(&file, write(&report).unwrap()).unwrap();
        assert_eq!(of_run(dir.path()), Ok(Some(report)));
        std::fs::write(&file, "{").unwrap();
        let error = of_run(dir.path()).unwrap_err();
        assert!(error.starts_with(&file.display().to_string()), "{error}");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let report = sample::troubled();
        let text = write(&report).unwrap();
        assert_eq!(read(&text).unwrap(), report);
    }

    #[test]
    fn another_format_is_told_as_such() {
        let message = read(r#"{"format": 7, "report": 0}"#)
            .unwrap_err()
            .to_string();
        assert!(message.contains("format 7"), "{message}");
        assert!(matches!(read("[]"), Err(JsonError::Malformed(_))));
    }

    #[test]
    fn the_summary_counts_cases_once_whatever_the_passes() {
        let summary = summary(&sample::run());
        insta::assert_snapshot!(serde_json::to_string(&summary.findings).unwrap(), @r###"{"panic":{"new":1},"hang":{"new":1},"arch_only":{"no_baseline":1},"trait_bound":{"new":4},"flake":{"unclear":1},"fixed":{"new":1}}"###);
        insta::assert_snapshot!(
            serde_json::to_string(&summary.cases["portable"]["s390x"]).unwrap(), @r###"
    {"failed":2,"passed":26}
    "###
        );
    }
}
