//! What a finished run's report has for its page, kept for the runs that were looked at last:
//! reading a report takes longer than everything else together.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::model::Crash;
use crate::report::grid::grids;
use crate::report::html::view::{self, FindingView, HeadView, SuiteView};
use crate::report::json;

/// Runs that are kept.
const KEPT: usize = 16;

/// Rows of one suite's grid, apart from those that pass everywhere.
const ROWS: usize = 400;

/// Findings that are told.
const FINDINGS: usize = 200;

/// What the page takes from a report.
pub struct Told {
    pub head: HeadView,
    pub findings: Vec<FindingView>,
    pub cases: Vec<String>,
    pub signatures: Vec<String>,
    pub findings_left: usize,
    pub suites: Vec<SuiteView>,
    pub host_faults: Vec<String>,
    pub notes: Vec<String>,
}

struct Kept {
    run: String,
    written: (SystemTime, u64),
    told: Arc<Told>,
}

/// Those that were looked at last, the newest at the end.
#[derive(Default)]
pub struct Finished(Mutex<Vec<Kept>>);

impl Finished {
    /// What a run's report tells; none where it has none yet, or one of another version. Blocks.
    pub fn of(&self, runs: &Path, run: &str) -> Option<Arc<Told>> {
        let path = runs.join(run).join("report.json");
        let meta = std::fs::metadata(&path).ok()?;
        let written = (meta.modified().ok()?, meta.len());
        {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = kept.iter().position(|k| k.run == run) {
                let one = kept.remove(at);
                if one.written == written {
                    let told = one.told.clone();
                    kept.push(one);
                    return Some(told);
                }
            }
        }
        // Not under the lock: two readers of a new report may both parse it, and nobody waits.
        let told = Arc::new(tell(
            &json::read(&std::fs::read_to_string(&path).ok()?).ok()?,
        ));
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|k| k.run != run);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push(Kept {
            run: run.to_owned(),
            written,
            told: told.clone(),
        });
        Some(told)
    }
}

/// What names the crash's group, as the index does: reports of older versions lack it.
fn signature(crash: &Crash) -> String {
    if crash.signature.is_empty() {
        crate::model::crash::signature(crash.kind, &crash.title)
    } else {
        crash.signature.clone()
    }
}

fn tell(report: &crate::report::RunReport) -> Told {
    let all = &report.verdict.findings;
    let grids = grids(report);
    // The page links to the report for what attempts said.
    let mut details = 0;
    Told {
        head: view::head(report),
        findings: all
            .iter()
            .take(FINDINGS)
            .enumerate()
            .map(|(i, f)| view::finding(i + 1, f))
            .collect(),
        cases: all
            .iter()
            .take(FINDINGS)
            .map(|f| {
                f.case
                    .as_ref()
                    .map(super::views::case_link)
                    .unwrap_or_default()
            })
            .collect(),
        signatures: all
            .iter()
            .take(FINDINGS)
            .map(|f| f.crash.as_ref().map(signature).unwrap_or_default())
            .collect(),
        findings_left: all.len().saturating_sub(FINDINGS),
        suites: grids
            .iter()
            .enumerate()
            .map(|(i, grid)| view::suite(i, grid, ROWS, &mut details))
            .collect(),
        host_faults: view::cleaned(&report.verdict.host_faults),
        notes: view::cleaned(&report.verdict.notes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_report_is_parsed_once_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let finished = Finished::default();
        assert!(finished.of(dir.path(), "r").is_none());
        std::fs::create_dir(dir.path().join("r")).unwrap();
        let path = dir.path().join("r/report.json");
        std::fs::write(&path, json::write(&sample::run()).unwrap()).unwrap();
        let first = finished.of(dir.path(), "r").unwrap();
        let again = finished.of(dir.path(), "r").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        std::fs::write(&path, json::write(&sample::troubled()).unwrap()).unwrap();
        let changed = finished.of(dir.path(), "r").unwrap();
        assert!(!Arc::ptr_eq(&first, &changed));
        std::fs::write(&path, "{").unwrap();
        assert!(finished.of(dir.path(), "r").is_none());
    }
}
