//! The page of a run: one file, no external resource, readable without JavaScript.
//!
//! Findings come first, then a grid of cases and ports for each suite, then facts. The page stays
//! small whatever the run: cases that pass everywhere are counted by program, details are given
//! to rows where something differs, and only while [`DETAIL_BYTES`] last. All text is cleaned,
//! shortened and escaped; a content security policy with a nonce keeps out what slips through.

pub(crate) mod dead;
pub(crate) mod view;
pub(crate) mod words;

use askama::Template;

use super::RunReport;
use view::{CellRow, FindingView, HeadView, PortRow, SuiteView};

/// Bytes of attempts, reasons and output that a page carries at most.
const DETAIL_BYTES: usize = 4 << 20;

/// Rows of one suite's grid, apart from those that pass everywhere.
const ROWS: usize = 2000;

/// Findings that are told at length.
const FINDINGS: usize = 300;

#[derive(Template)]
#[template(path = "run.html")]
struct Page<'a> {
    head: HeadView,
    findings: Vec<FindingView>,
    findings_left: usize,
    suites: Vec<SuiteView>,
    columns: Vec<String>,
    ports: Vec<PortRow>,
    cells: Vec<CellRow>,
    all_complete: bool,
    host_faults: Vec<String>,
    notes: Vec<String>,
    spent: Option<(String, Vec<String>)>,
    nonce: &'a str,
}

/// The nonce of a run's page: what it has of styles and scripts is marked with it. It is no secret:
/// the page has no text that is not escaped, and this only says so to the browser.
pub fn nonce(run: &crate::model::RunId) -> String {
    crate::model::Key::of("page nonce", &[run.0.as_bytes()]).0[..32].to_owned()
}

/// Writes the page.
///
/// # Errors
/// Only where the template engine fails, which no content of a report makes it do.
pub fn render(report: &RunReport) -> Result<String, askama::Error> {
    let nonce = nonce(&report.run);
    let grids = super::grid::grids(report);
    let mut budget = DETAIL_BYTES;
    let suites: Vec<SuiteView> = grids
        .iter()
        .enumerate()
        .map(|(i, grid)| view::suite(i, grid, ROWS, &mut budget))
        .collect();
    let mut columns: Vec<String> = suites.iter().flat_map(|s| s.columns.clone()).collect();
    columns.sort();
    columns.dedup();
    let findings = &report.verdict.findings;
    let cells = view::cells(report);
    Page {
        head: view::head(report),
        findings: findings
            .iter()
            .take(FINDINGS)
            .enumerate()
            .map(|(i, f)| view::finding(i + 1, f))
            .collect(),
        findings_left: findings.len().saturating_sub(FINDINGS),
        suites,
        columns,
        ports: view::ports(report),
        all_complete: cells.iter().all(|c| c.stage == "complete"),
        cells,
        host_faults: view::cleaned(&report.verdict.host_faults),
        notes: view::cleaned(&report.verdict.notes),
        spent: report.spent.as_ref().map(|s| {
            let lines = super::spent::lines(s);
            (super::spent::headline(s), view::cleaned(&lines))
        }),
        nonce: &nonce,
    }
    .render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn nothing_is_fetched_and_nothing_of_a_guest_is_markup() {
        let mut report = sample::troubled();
        let evil = "<script>alert(1)</script>\"'><img src=x onerror=y>\x1b[31m\u{202e}";
        report.matrix = evil.into();
        report.candidate.name = evil.into();
        for finding in &mut report.verdict.findings {
            finding.sentence.push_str(evil);
            finding.evidence.push(evil.into());
            for tally in finding.failing.iter_mut().chain(&mut finding.passing) {
                tally.reason = Some(evil.into());
                tally.port.0.push_str(evil);
            }
        }
        for cell in &mut report.cells {
            cell.detail = Some(evil.into());
            cell.id.suite.push_str(evil);
            cell.id.variant.push_str(evil);
            cell.versions.insert(evil.into(), evil.into());
            for guest in &mut cell.guests {
                guest.kernel = evil.into();
                guest.command.push(evil.into());
            }
            for attempt in &mut cell.attempts {
                attempt.case.case.push_str(evil);
                attempt.reason = Some(evil.into());
                attempt.output = Some(evil.into());
            }
        }
        let page = render(&report).unwrap();
        assert_eq!(page.matches("<script").count(), 1);
        assert!(!page.contains("<img") && !page.contains("onerror=y>\""));
        assert!(!page.contains('\u{1b}') && !page.contains('\u{202e}'));
        for outside in ["http://", "https://", "src=\"", "url(", "@import", "<link"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("Content-Security-Policy"));
    }

    #[test]
    fn a_large_run_stays_a_small_page() {
        let page = render(&sample::report(sample::cells(2000))).unwrap();
        let small = render(&sample::run()).unwrap();
        let grown = page.len() - small.len();
        assert!(grown < 2000 * 40, "{grown} bytes for 2000 passing cases");
        assert!(page.contains("40 of 40 pass everywhere"));
    }

    #[test]
    fn details_end_where_the_budget_ends() {
        let report = sample::run();
        let grids = crate::report::grid::grids(&report);
        let mut budget = 200;
        let suite = view::suite(0, &grids[1], 5, &mut budget);
        assert!(suite.details_left_out > 0);
        assert_eq!(suite.rows_left_out + 5, suite.rows_in_all);
        assert!(suite.details.len() <= 1);
    }

    #[test]
    fn every_link_inside_the_page_has_its_target() {
        let page = render(&sample::troubled()).unwrap();
        let links = page
            .split("href=\"#")
            .skip(1)
            .filter_map(|s| s.split('"').next());
        let mut count = 0;
        for link in links {
            assert!(page.contains(&format!("id=\"{link}\"")), "#{link}");
            count += 1;
        }
        assert!(count > 25, "{count}");
    }
}
