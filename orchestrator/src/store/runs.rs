//! Runs on disk: `STATE/runs/ID/{run.json, events.jsonl, cells/…, report.html}`.
//!
//! A run is owned by one process at a time, by a lock that dies with it.

use std::path::{Path, PathBuf};

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::host::lock::{Hold, Lock, try_lock};
use crate::model::project::Source;
use crate::model::{CellId, CellResult, Event, RunId, Side, Stamped, Verdict};

use super::events;
use super::{StoreError, write_atomically};

/// What was asked for: enough to go on after a restart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this file's form: 1.
    pub format: u32,
    /// The run.
    pub id: RunId,
    /// The matrix file, absolute.
    pub matrix_path: PathBuf,
    /// The matrix's name.
    pub matrix: String,
    /// Where port manifests were read from.
    pub images_dir: PathBuf,
    /// When it began.
    pub started: jiff::Timestamp,
    /// Only these ports, where the user said so.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Only these suites, where the user said so.
    #[serde(default)]
    pub suites: Vec<String>,
    /// The release that images are made of, where the user gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Utf8PathBuf>,
    /// Whether cached results of cells were ignored.
    #[serde(default)]
    pub fresh: bool,
    /// Identities of the trees and series, by suite.
    #[serde(default)]
    pub revisions: std::collections::BTreeMap<String, String>,
    /// Repository and reference that the change is of, where a push brought it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What suites are compared with, where that is not simply what the matrix says.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub baselines: std::collections::BTreeMap<String, ComparedWith>,
    /// Where the results are from, where fallout did not run it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub imported: Option<Imported>,
    /// The settings of the cluster that does its jobs, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<PathBuf>,
}

/// Where results are from that fallout did not make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The files' names.
    pub files: Vec<String>,
    /// The machine.
    pub host: String,
}

impl RunRecord {
    /// The identity of what a cell tested, where it is known.
    pub fn revision(&self, id: &CellId) -> Option<&String> {
        match (id.side, self.baselines.get(&id.suite)) {
            (Side::Baseline, Some(ComparedWith::Commit { revision, .. })) => Some(revision),
            _ => self.revisions.get(&id.suite),
        }
    }
}

/// What a suite is compared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum ComparedWith {
    /// Nothing.
    Nothing,
    /// The same tree without its patches, run beside it.
    Unpatched,
    /// Another commit of the source, run beside it.
    Commit {
        /// The commit.
        commit: String,
        /// Its tree, to be built.
        source: Source,
        /// What a run of it would have as its revision.
        revision: String,
        /// Why this one: `the parent`.
        why: String,
    },
    /// What another run tested; its results are taken.
    Run {
        /// The run.
        run: RunId,
        /// When it began.
        started: jiff::Timestamp,
        /// Why this one: `the last good run`; empty where it was named.
        #[serde(default)]
        why: String,
    },
}

/// A run's directory.
#[derive(Debug, Clone)]
pub struct RunDir {
    /// The directory.
    pub path: PathBuf,
}

/// Proof that this process owns a run; ends with it.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "held for its lock")] Lock);

/// A cell's directory name: its identity with slashes made harmless.
pub fn cell_dir_name(id: &CellId) -> String {
    id.to_string().replace('/', "+")
}

/// Of a run's report (`report/json.rs` writes it), what the store itself reads.
#[derive(Deserialize)]
struct Document {
    report: Judged,
}

#[derive(Deserialize)]
struct Judged {
    verdict: Verdict,
}

impl RunDir {
    /// Makes a new run's directory and writes its record.
    pub fn create(runs_dir: &Path, record: &RunRecord) -> Result<Self, StoreError> {
        let path = runs_dir.join(&record.id.0);
        std::fs::create_dir_all(path.join("cells"))
            .map_err(|e| StoreError::io("create", &path, e))?;
        let run = Self { path };
        run.write_json("run.json", record)?;
        Ok(run)
    }

    /// Finds a run by `last`, its id, or the beginning of its id.
    pub fn find(runs_dir: &Path, name: &str) -> Result<Self, StoreError> {
        let ids = list(runs_dir)?;
        let found = if name == "last" {
            ids.last().cloned()
        } else {
            let mut hits = ids
                .iter()
                .filter(|id| id.starts_with(name) || id.ends_with(name));
            match (hits.next(), hits.next()) {
                (Some(one), None) => Some(one.clone()),
                _ => None,
            }
        };
        found.map_or_else(
            || {
                let hint = if ids.is_empty() {
                    "; there are no runs yet".to_owned()
                } else {
                    let newest: Vec<&str> = ids.iter().rev().take(3).map(String::as_str).collect();
                    format!("; the newest are {}", newest.join(", "))
                };
                Err(StoreError::NoSuchRun {
                    name: name.to_owned(),
                    dir: runs_dir.to_owned(),
                    hint,
                })
            },
            |id| {
                Ok(Self {
                    path: runs_dir.join(id),
                })
            },
        )
    }

    /// Takes the run for this process.
    pub fn lock(&self) -> Result<RunLock, StoreError> {
        let path = self.path.join("lock");
        try_lock(&path, Hold::Alone)
            .map_err(|e| StoreError::io("lock", &path, e))?
            .map(RunLock)
            .ok_or_else(|| StoreError::Busy(self.path.display().to_string()))
    }

    /// The run's record.
    pub fn record(&self) -> Result<RunRecord, StoreError> {
        self.read_json("run.json")
    }

    /// The verdict of a run that has come to its end; none where its report cannot be read.
    pub fn verdict(&self) -> Option<Verdict> {
        let bytes = std::fs::read(self.path.join("report.json")).ok()?;
        let document: Document = serde_json::from_slice(&bytes).ok()?;
        Some(document.report.verdict)
    }

    /// The record of a run that fallout made itself: its matrix can be read again.
    pub fn own_record(&self) -> Result<RunRecord, StoreError> {
        let record = self.record()?;
        match &record.imported {
            None => Ok(record),
            Some(from) => Err(StoreError::Imported {
                run: record.id.0.clone(),
                host: from.host.clone(),
            }),
        }
    }

    /// The log of events.
    pub fn events_path(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// A cell's directory.
    pub fn cell_dir(&self, id: &CellId) -> PathBuf {
        self.path.join("cells").join(cell_dir_name(id))
    }

    /// Keeps a cell's result.
    pub fn put_cell(&self, result: &CellResult) -> Result<(), StoreError> {
        let name = format!("cells/{}/result.json", cell_dir_name(&result.id));
        self.write_json(&name, result)
    }

    /// A cell's result, if it has one.
    pub fn cell(&self, id: &CellId) -> Result<Option<CellResult>, StoreError> {
        let name = format!("cells/{}/result.json", cell_dir_name(id));
        if !self.path.join(&name).exists() {
            return Ok(None);
        }
        self.read_json(&name).map(Some)
    }

    /// All events.
    pub fn events(&self) -> Result<Vec<Stamped>, StoreError> {
        events::read(&self.events_path())
    }

    /// The cells that the run is about, in its order, as its first event says.
    pub fn cells(&self) -> Result<Vec<CellId>, StoreError> {
        Ok(self
            .events()?
            .into_iter()
            .find_map(|e| match e.what {
                Event::RunStarted { cells, .. } => Some(cells),
                _ => None,
            })
            .unwrap_or_default())
    }

    /// Writes a file below the run's directory, whole or not at all.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        write_atomically(&self.path.join(name), bytes)
    }

    /// Keeps what a search for a commit came to, by the number of its job.
    pub fn write_search(&self, job: i64, bytes: &[u8]) -> Result<(), StoreError> {
        let dir = self.path.join("searches");
        std::fs::create_dir_all(&dir).map_err(|e| StoreError::io("create", &dir, e))?;
        write_atomically(&dir.join(format!("{job}.json")), bytes)
    }

    /// What the search of this job came to; none where it is not there.
    pub fn search(&self, job: i64) -> Option<serde_json::Value> {
        let path = self.path.join("searches").join(format!("{job}.json"));
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }

    /// What searches came to, in the order of their jobs. One that cannot be read is none.
    pub fn searches(&self) -> Vec<serde_json::Value> {
        let entries = std::fs::read_dir(self.path.join("searches"));
        let mut jobs: Vec<i64> = entries
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.path().file_stem()?.to_str()?.parse().ok())
            .collect();
        jobs.sort_unstable();
        jobs.into_iter()
            .filter_map(|job| self.search(job))
            .collect()
    }

    fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let bytes = serde_json::to_vec(value).map_err(|e| StoreError::Form {
            path: path.clone(),
            cause: e.to_string(),
        })?;
        write_atomically(&path, &bytes)
    }

    fn read_json<T: for<'de> Deserialize<'de>>(&self, name: &str) -> Result<T, StoreError> {
        let path = self.path.join(name);
        let bytes = std::fs::read(&path).map_err(|e| StoreError::io("read", &path, e))?;
        serde_json::from_slice(&bytes).map_err(|e| StoreError::Form {
            path,
            cause: e.to_string(),
        })
    }
}

/// All runs' ids, oldest first.
pub fn list(runs_dir: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match std::fs::read_dir(runs_dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("read", runs_dir, e)),
    };
    let mut ids: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|e| e.path().join("run.json").exists())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    ids.sort();
    Ok(ids)
}

/// A new run's identity.
pub fn new_id() -> RunId {
    RunId(uuid::Uuid::now_v7().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> RunRecord {
        RunRecord {
            format: 1,
            id: new_id(),
            matrix_path: "/m.yaml".into(),
            matrix: "m".into(),
            images_dir: "/images".into(),
            started: jiff::Timestamp::UNIX_EPOCH,
            ports: vec![],
            suites: vec![],
            release: None,
            fresh: false,
            revisions: Default::default(),
            reference: None,
            baselines: Default::default(),
            imported: None,
            cluster: None,
        }
    }

    #[test]
    fn runs_are_found_by_last_prefix_and_suffix() {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            RunDir::find(dir.path(), "last")
                .unwrap_err()
                .to_string()
                .contains("no runs yet")
        );
        let a = record();
        RunDir::create(dir.path(), &a).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let b = record();
        RunDir::create(dir.path(), &b).unwrap();
        assert_eq!(
            RunDir::find(dir.path(), "last").unwrap().record().unwrap(),
            b
        );
        assert_eq!(
            RunDir::find(dir.path(), &a.id.0).unwrap().record().unwrap(),
            a
        );
        assert!(RunDir::find(dir.path(), "zzz").is_err());
    }

    #[test]
    fn a_run_has_one_owner() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::create(dir.path(), &record()).unwrap();
        let held = run.lock().unwrap();
        assert!(matches!(run.lock(), Err(StoreError::Busy(_))));
        drop(held);
        run.lock().unwrap();
    }
}
