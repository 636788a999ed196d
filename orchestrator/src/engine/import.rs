//! Runs that were made elsewhere, on real hardware for one: their results become a run like the
//! others, with cells, a verdict and a report.
//!
//! Such a run has no guests, no consoles and no matrix file: it can be shown, compared, exported and
//! be a baseline, and not resumed or reproduced. It is written beside the runs and moved to them
//! whole. The same files for the same cell are taken once.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{CellId, CellResult, Event, Key, PortName, Side, StageResult, Traits};
use crate::report::{self, RunReport};
use crate::store::events::EventLog;
use crate::store::runs::{self, Imported, RunDir, RunRecord};
use crate::suite::foreign::{self, Foreign, Kind};
use crate::suite::kyua_db::{self, DbLimits};
use crate::verdict;

use super::RunError;

/// The largest file of text that is read, in bytes.
const TEXT_BYTES: u64 = 128 << 20;

/// What is known of the results beside the files.
#[derive(Debug, Clone)]
pub struct Import {
    /// What the run is called, where others have their matrix's name.
    pub matrix: String,
    /// The suite.
    pub suite: String,
    /// The kernel variant.
    pub variant: String,
    /// What was tested.
    pub revision: Option<String>,
    /// The machine.
    pub host: String,
    /// What ran it, where that was no bare machine.
    pub accelerator: String,
    /// What the kernel said it was.
    pub kernel: Option<String>,
    /// The kind of all files; told from each file where absent.
    pub kind: Option<Kind>,
    /// The files of each port, in the order of their passes.
    pub files: BTreeMap<PortName, Vec<PathBuf>>,
    /// The ports' traits.
    pub traits: BTreeMap<PortName, Traits>,
    /// When this is.
    pub now: jiff::Timestamp,
    /// Take the same files another time.
    pub again: bool,
}

/// What came of an import.
#[derive(Debug)]
pub struct Taken {
    /// The run.
    pub report: RunReport,
    /// Its directory.
    pub run: RunDir,
}

/// One file as it was read.
struct File {
    name: String,
    kind: Kind,
    hash: String,
    results: Vec<Foreign>,
    /// When its first case began, since the epoch, by the machine's clock.
    began: Option<Duration>,
}

/// Reads the files and keeps the run.
///
/// # Errors
/// A file that cannot be read or is not what it should be, told with its name; results that were
/// imported before; a disk that does not take the run.
pub async fn import(state: &Path, runs_dir: &Path, order: &Import) -> Result<Taken, RunError> {
    let began = std::time::Instant::now();
    let mut cells = Vec::new();
    let mut names = Vec::new();
    for (port, paths) in &order.files {
        let mut files = Vec::new();
        for path in paths {
            files.push(read(path, order.kind).await?);
        }
        names.extend(files.iter().map(|f| f.name.clone()));
        cells.push(cell(order, port, files));
    }
    let marker = marker(state, &cells);
    if !order.again
        && let Ok(run) = std::fs::read_to_string(&marker)
        && runs_dir.join(run.trim()).is_dir()
    {
        return Err(RunError::Input(format!(
            "these files are run {} already; --again takes them another time",
            run.trim()
        )));
    }
    let mut record = RunRecord {
        format: 1,
        id: runs::new_id(),
        matrix_path: PathBuf::new(),
        matrix: order.matrix.clone(),
        images_dir: PathBuf::new(),
        started: order.now,
        ports: Vec::new(),
        suites: Vec::new(),
        release: None,
        fresh: false,
        revisions: BTreeMap::new(),
        baselines: BTreeMap::new(),
        reference: None,
        imported: Some(Imported {
            files: names,
            host: order.host.clone(),
        }),
        cluster: None,
    };
    let revision = order.revision.clone();
    record
        .revisions
        .extend(revision.map(|r| (order.suite.clone(), r)));
    let report = judged(order, &record, cells, began.elapsed());
    let run = keep(state, runs_dir, &record, &report)?;
    if let Some(dir) = marker.parent() {
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&marker, &record.id.0))
            .map_err(|e| RunError::Host(format!("{}: {e}", marker.display())))?;
    }
    Ok(Taken { report, run })
}

/// Where it stands which run some files became.
fn marker(state: &Path, cells: &[CellResult]) -> PathBuf {
    let keys: Vec<&[u8]> = cells.iter().map(|c| c.key.0.as_bytes()).collect();
    state.join("imports").join(Key::of("import", &keys).short())
}

async fn read(path: &Path, kind: Option<Kind>) -> Result<File, RunError> {
    let shown = path.display();
    let input = |why: &dyn std::fmt::Display| RunError::Input(format!("{shown}: {why}"));
    let meta = std::fs::metadata(path).map_err(|e| input(&e))?;
    if !meta.is_file() {
        return Err(input(&"not a regular file"));
    }
    let mut beginning = vec![0; 4096];
    let mut file = std::fs::File::open(path).map_err(|e| input(&e))?;
    let n = file.read(&mut beginning).map_err(|e| input(&e))?;
    let kind = kind.or_else(|| Kind::of(&beginning[..n])).ok_or_else(|| {
        let why = "expected a Kyua results database (SQLite), a TPS stream \
            ('Content-Type: application/X-atf-tps') or JUnit XML; --format says which";
        input(&why)
    })?;
    let mut hasher = blake3::Hasher::new();
    hasher
        .update_reader(std::fs::File::open(path).map_err(|e| input(&e))?)
        .map_err(|e| input(&e))?;
    let mut began = None;
    let results = if kind == Kind::Kyua {
        let rows = kyua_db::read(path, DbLimits::default());
        // The error names the file.
        let rows = rows.await.map_err(|e| RunError::Input(e.to_string()))?;
        began = rows.iter().filter_map(|r| r.started).min();
        foreign::kyua(rows)
    } else {
        if meta.len() > TEXT_BYTES {
            let why = format!("{} bytes, more than the {TEXT_BYTES} allowed", meta.len());
            return Err(input(&why));
        }
        let bytes = std::fs::read(path).map_err(|e| input(&e))?;
        let read = match kind {
            Kind::Tps => foreign::tps(&bytes),
            _ => foreign::junit(&bytes),
        };
        read.map_err(|e| input(&e))?
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(File {
        name: crate::host::text::line(name.as_bytes(), 200),
        kind,
        hash: hasher.finalize().to_hex().to_string(),
        results,
        began,
    })
}

fn cell(order: &Import, port: &PortName, files: Vec<File>) -> CellResult {
    let id = CellId {
        suite: order.suite.clone(),
        port: port.clone(),
        variant: order.variant.clone(),
        side: Side::Candidate,
    };
    let source = |f: &File| format!("{} ({}, blake3 {:.12})", f.name, f.kind.word(), f.hash);
    let sources: Vec<String> = files.iter().map(source).collect();
    let mut versions: BTreeMap<String, String> = [
        ("source".to_owned(), sources.join(", ")),
        ("host".to_owned(), order.host.clone()),
        ("accelerator".to_owned(), order.accelerator.clone()),
    ]
    .into();
    versions.extend(order.kernel.clone().map(|k| ("kernel".to_owned(), k)));
    let began = files.iter().filter_map(|f| f.began).min();
    let began = began.and_then(|d| i64::try_from(d.as_secs()).ok());
    let began = began.and_then(|s| jiff::Timestamp::from_second(s).ok());
    versions.extend(began.map(|at| ("began".to_owned(), at.to_string())));
    let name = id.to_string();
    let mut parts: Vec<&[u8]> = vec![name.as_bytes(), order.host.as_bytes()];
    parts.extend(files.iter().map(|f| f.hash.as_bytes()));
    CellResult {
        key: Key::of("import", &parts),
        stage: StageResult::Complete,
        detail: None,
        attempts: foreign::attempts(files.into_iter().flat_map(|f| f.results)),
        guests: Vec::new(),
        versions,
        cached: false,
        id,
    }
}

fn judged(order: &Import, record: &RunRecord, cells: Vec<CellResult>, took: Duration) -> RunReport {
    let mut ports = order.traits.clone();
    ports.retain(|port, _| order.files.contains_key(port));
    let variants = BTreeMap::new();
    let verdict = verdict::judge(&verdict::VerdictInput {
        ports: &ports,
        variants: &variants,
        cells: &cells,
        known: verdict::Known {
            ports: Some(&order.traits),
            variants: None,
            costs: None,
        },
    });
    RunReport {
        format: report::FORMAT,
        run: record.id.clone(),
        matrix: record.matrix.clone(),
        candidate: report::Source {
            name: format!("{}, run on {}", order.suite, order.host),
            id: order.revision.clone().unwrap_or_default(),
            patches: Vec::new(),
        },
        baseline: None,
        started: record.started,
        took,
        interrupted: false,
        ports,
        variants,
        cells,
        verdict,
        spent: None,
    }
}

/// Writes the run where no other looks, and moves it to the runs.
fn keep(
    state: &Path,
    runs_dir: &Path,
    record: &RunRecord,
    report: &RunReport,
) -> Result<RunDir, RunError> {
    let incoming = state.join("incoming");
    let made = RunDir::create(&incoming, record)?;
    let done = fill(&made, report).and_then(|()| {
        std::fs::create_dir_all(runs_dir)
            .and_then(|()| std::fs::rename(&made.path, runs_dir.join(&record.id.0)))
            .map_err(|e| RunError::Host(format!("{}: {e}", runs_dir.display())))
    });
    if done.is_err() {
        let _ = std::fs::remove_dir_all(&made.path);
    }
    done.map(|()| RunDir {
        path: runs_dir.join(&record.id.0),
    })
}

fn fill(run: &RunDir, report: &RunReport) -> Result<(), RunError> {
    let mut log = EventLog::open(&run.events_path())?;
    log.append(Event::RunStarted {
        run: report.run.clone(),
        matrix: report.matrix.clone(),
        cells: report.cells.iter().map(|c| c.id.clone()).collect(),
    })?;
    for cell in &report.cells {
        for attempt in &cell.attempts {
            log.append(Event::AttemptDone {
                cell: cell.id.clone(),
                attempt: attempt.clone(),
            })?;
        }
        run.put_cell(cell)?;
        log.append(Event::CellFinished {
            cell: cell.id.clone(),
            stage: cell.stage,
            cached: false,
        })?;
    }
    let unfit = |e: &dyn std::fmt::Display| RunError::Host(e.to_string());
    let text = report::json::write(report).map_err(|e| unfit(&e))?;
    run.write_file("report.json", text.as_bytes())?;
    let page = report::html::render(report).map_err(|e| unfit(&e))?;
    run.write_file("report.html", page.as_bytes())?;
    log.append(Event::RunFinished {
        findings: report.verdict.findings.len() as u64,
        interrupted: false,
    })?;
    log.sync()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FindingKind, Outcome};
    use crate::store::index::Index;

    fn stream(outcome: &str) -> String {
        format!(
            "Content-Type: application/X-atf-tps; version=\"3\"\n\ntp-start: 1.0, t_a, 2\n\
             tc-start: 1.0, one\ntc-end: 1.5, one, passed\n\
             tc-start: 2.0, two\ntc-end: 2.5, two, {outcome}\ntp-end: 3.0, t_a\n"
        )
    }

    fn order(files: &[(&str, PathBuf)]) -> Import {
        let mut order = Import {
            matrix: "lab".into(),
            suite: "tests".into(),
            variant: "stock".into(),
            revision: Some("10.1".into()),
            host: "rack 3".into(),
            accelerator: "none: real hardware".into(),
            kernel: None,
            kind: None,
            files: BTreeMap::new(),
            traits: BTreeMap::new(),
            now: jiff::Timestamp::UNIX_EPOCH,
            again: false,
        };
        for (port, path) in files {
            let all = order.files.entry((*port).into()).or_default();
            all.push(path.clone());
        }
        order
    }

    #[tokio::test]
    async fn files_become_a_run_like_the_others_once() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let good = write("good.tps", &stream("passed"));
        let bad = write("bad.tps", &stream("failed, 2 is not 3"));
        let xml = write(
            "x.xml",
            "<testsuite><testcase classname='t_a' name='one' time='1'/>\
             <testcase classname='t_a' name='two'><skipped message='no disk'/></testcase></testsuite>",
        );
        let order = order(&[
            ("one", good.clone()),
            ("one", good),
            ("two", bad),
            ("three", xml),
        ]);
        let runs = dir.path().join("runs");
        let taken = import(dir.path(), &runs, &order).await.unwrap();
        let kinds: Vec<FindingKind> = taken
            .report
            .verdict
            .findings
            .iter()
            .map(|f| f.kind)
            .collect();
        assert!(!kinds.is_empty(), "a failure on one of three is something");
        let cell: CellId = "tests/one/stock/candidate".parse().unwrap();
        let cell = taken.run.cell(&cell).unwrap().unwrap();
        let passes: Vec<(u32, Outcome)> =
            cell.attempts.iter().map(|a| (a.pass, a.outcome)).collect();
        assert_eq!(passes.len(), 4);
        assert_eq!(passes[2], (2, Outcome::Passed));
        assert_eq!(cell.versions["host"], "rack 3");
        assert!(cell.versions["source"].starts_with("good.tps (tps, blake3 "));
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let (caught, trouble) = index.catch_up(&runs).await.unwrap();
        assert!(trouble.is_empty(), "{trouble:?}");
        assert_eq!((caught.runs, caught.attempts), (1, 8));
        let run = &taken.report.run.0;
        let row = index.run(run).await.unwrap().unwrap();
        assert_eq!((row.cells, row.cells_done), (3, 3));
        assert!(row.ended.is_some());
        assert!(
            taken
                .run
                .own_record()
                .unwrap_err()
                .to_string()
                .contains("rack 3")
        );
        let second = import(dir.path(), &runs, &order).await.unwrap_err();
        assert_eq!(
            second.to_string(),
            format!("these files are run {run} already; --again takes them another time")
        );
        let again = Import {
            again: true,
            ..order
        };
        import(dir.path(), &runs, &again).await.unwrap();
        assert_eq!(runs::list(&runs).unwrap().len(), 2);
    }

    #[tokio::test]
    async fn a_file_that_is_none_says_what_it_is_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let mut told = Vec::new();
        let empty = "Content-Type: application/X-atf-tps; version=\"3\"\n\ntps-count: 1\n";
        for (name, text) in [
            ("a", "hello"),
            ("b", "SQLite format 3\0 and then nothing"),
            ("c", "<testsuite><testcase name='x'>"),
            ("d", empty),
            ("e", ""),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            let error = import(dir.path(), &runs, &order(&[("p", path)])).await;
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains(name) && error.lines().count() == 1,
                "{error}"
            );
            told.push(error.replace(&dir.path().display().to_string(), "DIR"));
        }
        let absent = order(&[("p", dir.path().join("absent"))]);
        assert!(import(dir.path(), &runs, &absent).await.is_err());
        insta::assert_snapshot!(told.join("\n"));
        assert!(!runs.exists() && !dir.path().join("incoming").exists());
    }
}
