//! The files of a job in the shared store: what is ordered, who has claimed it, what came of it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::engine::RunError;
use crate::engine::earlier::Earlier;
use crate::host::files::write_atomic;
use crate::model::{CaseId, CellResult, Key, StageResult};
use crate::plan::cluster::Cluster;
use crate::plan::{Job, Resolved};
use crate::store::artifacts::{ArtifactError, Artifacts};

/// A run's cluster.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The settings, their paths absolute.
    pub cluster: Arc<Cluster>,
    /// When this is cancelled together with the run, jobs stay in the queue: somebody will go on with
    /// the run.
    pub leave: CancellationToken,
}

/// `order.json`: all that a node must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobOrder {
    /// Version of this file's form: 1.
    pub format: u32,
    /// The run.
    pub run: String,
    /// The job, with its key.
    pub job: Job,
    /// The matrix, with the job's suite and port alone.
    pub resolved: Resolved,
    /// The directory of port manifests and recipes.
    pub images: Utf8PathBuf,
    /// The cluster's settings.
    pub cluster: Cluster,
    /// The image's key.
    pub image: Option<Key>,
    /// The key of what the cross compiler needs.
    pub sysroot: Option<Key>,
    /// The key of the suite's build, for a cell.
    pub build: Option<Key>,
    /// The key of the kernel's build, for a cell that has one.
    pub kernel: Option<Key>,
    /// The hash of the source tree, for a build.
    pub tree: Option<Key>,
    /// What a build reads beyond its tree: see `files.rs`.
    #[serde(default)]
    pub files: Option<Key>,
    /// The source's version, for a kernel.
    pub version: String,
    /// By how much limits are stretched.
    pub slowness: f64,
    /// What the cell's cases took before, in milliseconds.
    pub took: Vec<(CaseId, u64)>,
    /// What was made of the cell before it was ordered.
    pub earlier: Earlier,
}

impl JobOrder {
    /// The order of a job that needs nothing yet.
    pub(super) fn new(
        run: &str,
        job: Job,
        resolved: Resolved,
        images: &Utf8Path,
        cluster: &Cluster,
    ) -> Self {
        Self {
            format: 1,
            run: run.to_owned(),
            job,
            resolved,
            images: images.to_owned(),
            cluster: cluster.clone(),
            image: None,
            sysroot: None,
            build: None,
            kernel: None,
            tree: None,
            files: None,
            version: String::new(),
            slowness: 1.0,
            took: Vec::new(),
            earlier: Earlier::default(),
        }
    }
}

/// `result.json`, or in `refused-N.json` what a node could not do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// Version of this file's form: 1.
    pub format: u32,
    /// The node.
    pub node: String,
    /// Which claim.
    pub claim: u32,
    /// How long that took, in milliseconds.
    pub took_ms: u64,
    /// What came of it.
    pub ended: Ended,
}

/// What came of a job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Ended {
    /// A cell's result.
    Cell {
        /// The result; its consoles are in `cell/`.
        result: Box<CellResult>,
    },
    /// A build is in the artifact store.
    Built,
    /// It failed.
    Failed {
        /// The stage result of the cells behind it.
        stage: StageResult,
        /// Why, for people.
        detail: String,
    },
}

impl Ended {
    /// The stage, and for people what was wrong.
    pub fn stage(&self) -> (StageResult, String) {
        match self {
            Self::Cell { result } => (result.stage, result.detail.clone().unwrap_or_default()),
            Self::Built => (StageResult::Complete, String::new()),
            Self::Failed { stage, detail } => (*stage, detail.clone()),
        }
    }
}

/// `batches/N.json`: the directories of an array's jobs, by task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchFile {
    /// Version of this file's form: 1.
    pub format: u32,
    /// Names of directories beside `batches/`.
    pub jobs: Vec<String>,
}

/// A job's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobDir(pub Utf8PathBuf);

/// The name of the directory of a job.
pub fn dir_name(job: &str, key: Option<&Key>) -> String {
    let key = key.map_or("", |k| k.0.as_str());
    Key::of("order 1", &[job.as_bytes(), key.as_bytes()]).0[..32].to_owned()
}

impl JobDir {
    /// The order.
    pub fn order_path(&self) -> Utf8PathBuf {
        self.0.join("order.json")
    }

    /// The result, there when the job is done.
    pub fn result_path(&self) -> Utf8PathBuf {
        self.0.join("result.json")
    }

    /// The events of a claim.
    pub fn events_path(&self, claim: u32) -> Utf8PathBuf {
        self.0.join(format!("events-{claim}.jsonl"))
    }

    /// Why a claim came to nothing.
    pub fn refusal_path(&self, claim: u32) -> Utf8PathBuf {
        self.0.join(format!("refused-{claim}.json"))
    }

    /// The file whose being there says that a claim was made.
    pub fn claim_path(&self, claim: u32) -> Utf8PathBuf {
        self.0.join(format!("claims/{claim}"))
    }

    /// Where the consoles of a cell are.
    pub fn cell(&self) -> Utf8PathBuf {
        self.0.join("cell")
    }

    /// The result, where it is there.
    pub fn result(&self) -> Result<Option<JobResult>, RunError> {
        read(&self.result_path())
    }

    /// Claims the job for this process: the next number, which nobody else has.
    pub fn claim(&self, node: &str) -> Result<u32, RunError> {
        let failed =
            |e: std::io::Error| RunError::Host(format!("{}: cannot be claimed: {e}", self.0));
        std::fs::create_dir_all(self.0.join("claims")).map_err(failed)?;
        for number in 1..10_000 {
            let path = self.claim_path(number);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(mut file) => {
                    // Only that the file is there counts.
                    let _ = file.write_all(node.as_bytes());
                    return Ok(number);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed(e)),
            }
        }
        Err(RunError::Host(format!(
            "{}: was claimed ten thousand times",
            self.0
        )))
    }
}

/// Reads a JSON file that may not be there.
pub fn read<T: DeserializeOwned>(path: &Utf8Path) -> Result<Option<T>, RunError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| RunError::Host(format!("{path} is not readable by this version: {e}"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(RunError::Host(format!("cannot read {path}: {e}"))),
    }
}

/// Writes a JSON file, whole or not at all.
pub fn write(path: &Utf8Path, value: &impl Serialize) -> Result<(), RunError> {
    let bytes = serde_json::to_vec(value).map_err(|e| RunError::Host(format!("{path}: {e}")))?;
    write_atomic(path, &bytes).map_err(|e| RunError::Host(e.to_string()))
}

/// The artifact store of a cluster.
pub fn artifacts(cluster: &Cluster) -> Result<Artifacts, ArtifactError> {
    match &cluster.artifacts {
        Some(url) => Artifacts::at_url(url),
        None => Artifacts::in_dir(cluster.store.join("artifacts").as_std_path()),
    }
}

impl From<ArtifactError> for RunError {
    fn from(error: ArtifactError) -> Self {
        Self::Host(error.to_string())
    }
}
