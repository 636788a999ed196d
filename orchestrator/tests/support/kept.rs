//! Runs that a test writes as the engine leaves them.

use std::collections::BTreeMap;
use std::path::Path;

use fallout::model::RunId;
use fallout::report::{self, RunReport};
use fallout::store::runs::{self, RunDir, RunRecord};

/// Keeps a run of the sample's first suite at a revision, as the engine leaves it. Returns its name.
pub fn run(runs: &Path, revision: &str, mut report: RunReport) -> String {
    let record = RunRecord {
        format: 1,
        id: runs::new_id(),
        matrix_path: "/m.yaml".into(),
        matrix: "push".into(),
        images_dir: "/images".into(),
        started: jiff::Timestamp::UNIX_EPOCH,
        ports: vec![],
        suites: vec![],
        release: None,
        fresh: false,
        revisions: [("portable".to_owned(), revision.to_owned())].into(),
        reference: None,
        baselines: BTreeMap::new(),
        imported: None,
        cluster: None,
    };
    report.run = RunId(record.id.0.clone());
    let dir = RunDir::create(runs, &record).unwrap();
    let text = report::json::write(&report).unwrap();
    dir.write_file("report.json", text.as_bytes()).unwrap();
    record.id.0
}
