//! KCIDB's form, schema 5.0: what KernelCI's database takes from other CI systems.
//!
//! The run is a checkout, each cell of the revision under test a build, each case a test. Their ids
//! are made of the run's name and the cell's, so that sending a run twice changes nothing. What the
//! schema has no field for stands in `misc`. A path there knows no other characters than letters,
//! digits, `_` and `-`: others become `_`, and the case's own name is in `misc`.

use std::time::Duration;

use serde_json::{Value, json};

use super::RunReport;
use super::grid::{CaseAttempts, State, by_case, tested, tested_name};
use crate::host::text::{line, tail};
use crate::model::{CellResult, StageResult};

/// The longest excerpt that the schema takes, in characters.
const EXCERPT: usize = 16_384;
const LINE: usize = 1000;
const LINES: usize = 100;

/// Writes a run. `origin` is the name under which the CI system is known there.
pub fn write(report: &RunReport, origin: &str) -> String {
    let checkout = format!("{origin}:{}", report.run);
    let mut builds = Vec::new();
    let mut tests = Vec::new();
    for cell in tested(report) {
        let build = format!("{checkout}/{}", tested_name(&cell.id));
        builds.push(build_of(cell, origin, &checkout, &build));
        for case in by_case(cell) {
            tests.push(test_of(&case, cell, origin, &build));
        }
    }
    let mut from = json!({
        "id": checkout,
        "origin": origin,
        "comment": line(report.candidate.name.as_bytes(), LINE),
        "start_time": report.started.to_string(),
        "valid": true,
        "misc": {"revision": report.candidate.id, "patches": report.candidate.patches,
            "matrix": report.matrix},
    });
    let id = &report.candidate.id;
    if [40, 64].contains(&id.len()) && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        from["git_commit_hash"] = Value::from(id.as_str());
    }
    json!({
        "version": {"major": 5, "minor": 0},
        "checkouts": [from],
        "builds": builds,
        "tests": tests,
    })
    .to_string()
}

fn word(text: &str) -> String {
    let fit = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let word: String = text.chars().map(|c| if fit(c) { c } else { '_' }).collect();
    match word.is_empty() {
        true => "_".to_owned(),
        false => word,
    }
}

fn excerpt(text: &str) -> String {
    let text = tail(text.as_bytes(), LINES, LINE).join("\n");
    let skip = text.chars().count().saturating_sub(EXCERPT);
    text.chars().skip(skip).collect()
}

fn build_of(cell: &CellResult, origin: &str, checkout: &str, id: &str) -> Value {
    let status = match cell.stage {
        StageResult::BuildFailed | StageResult::SetsMismatch => "FAIL",
        // The build had its place; what became of the guests stands with the tests.
        stage if !stage.is_host_fault() => "PASS",
        _ => "MISS",
    };
    let mut build = json!({
        "id": id,
        "origin": origin,
        "checkout_id": checkout,
        "architecture": word(&cell.id.port.0).to_lowercase().replace('-', "_"),
        "config_name": line(cell.id.variant.as_bytes(), LINE),
        "status": status,
        "misc": {"port": cell.id.port.0, "stage": cell.stage.word(), "versions": cell.versions},
    });
    if let Some(detail) = &cell.detail {
        build["log_excerpt"] = Value::from(excerpt(detail));
    }
    build
}

fn test_of(case: &CaseAttempts<'_>, cell: &CellResult, origin: &str, build: &str) -> Value {
    let status = match case.state() {
        State::Passed | State::Expected => "PASS",
        State::Failed | State::Mixed | State::Crashed | State::Hung => "FAIL",
        State::Broken => "ERROR",
        State::Skipped => "SKIP",
        State::Missed | State::Absent => "MISS",
    };
    let name = case.case.to_string();
    let parts = std::iter::once(cell.id.suite.as_str())
        .chain(case.case.program.split('/'))
        .chain([case.case.case.as_str()]);
    let path: Vec<String> = parts.map(word).collect();
    let time: Duration = case.attempts.iter().filter_map(|a| a.duration).sum();
    let mut test = json!({
        "id": format!("{build}/{name}"),
        "origin": origin,
        "build_id": build,
        "path": path.join("."),
        "comment": line(name.as_bytes(), LINE),
        "status": status,
        "duration": time.as_secs_f64(),
        "environment": {"misc": {"port": cell.id.port.0, "variant": cell.id.variant}},
        "misc": {"case": name, "state": case.state().word(), "attempts": case.attempts.len(),
            "message": line(case.message(&case.reason()).as_bytes(), LINE)},
    });
    let output = case.telling().and_then(|a| a.output.as_deref());
    if let Some(output) = output
        && case.state().is_bad()
    {
        test["log_excerpt"] = Value::from(excerpt(output));
    }
    test
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::report::sample;

    #[test]
    fn every_id_is_there_once_and_leads_somewhere() {
        let report: Value = serde_json::from_str(&write(&sample::troubled(), "fallout")).unwrap();
        let ids = |list: &str| -> Vec<String> {
            let list = report[list].as_array().unwrap().iter();
            list.map(|o| o["id"].as_str().unwrap().to_owned()).collect()
        };
        let builds: BTreeSet<String> = ids("builds").into_iter().collect();
        let tests: BTreeSet<String> = ids("tests").into_iter().collect();
        assert_eq!(builds.len(), ids("builds").len());
        assert_eq!(tests.len(), ids("tests").len());
        assert!(tests.len() > 100);
        for test in report["tests"].as_array().unwrap() {
            assert!(builds.contains(test["build_id"].as_str().unwrap()));
            let path = test["path"].as_str().unwrap();
            let fit = |p: &str| !p.is_empty() && word(p) == p;
            assert!(path.split('.').all(fit), "{path}");
        }
        let mut tests = report["tests"].as_array().unwrap().iter();
        let bad = tests.find(|t| t["status"] == "FAIL").unwrap();
        insta::assert_snapshot!(serde_json::to_string_pretty(bad).unwrap());
        insta::assert_snapshot!(serde_json::to_string_pretty(&report["builds"][0]).unwrap());
    }

    #[test]
    fn an_excerpt_is_the_end_and_fits() {
        let long = format!("{}end", "x\u{1b}[1m\n".repeat(9).repeat(9000));
        let short = excerpt(&long);
        assert!(short.ends_with("end") && !short.contains('\u{1b}'));
        assert!(short.chars().count() <= EXCERPT);
    }
}
