//! A job of a plan: what it does, what its key is made of, what it waits for and what it weighs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::units::{de_duration, ser_duration};
use crate::model::{CellId, JobKind, Key, PortName, Side};

/// A job's place in its plan.
pub type JobIx = usize;

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Makes a port's image, with what the cross compiler needs of it.
    Image {
        /// The port.
        port: PortName,
    },
    /// Builds a side of a suite for a port.
    Build {
        /// The suite's name.
        suite: String,
        /// The port.
        port: PortName,
        /// Which side.
        side: Side,
    },
    /// Builds the kernel of a suite for a port, in one variant, on one side.
    Kernel {
        /// The suite's name.
        suite: String,
        /// The port.
        port: PortName,
        /// The kernel variant.
        variant: String,
        /// Which side.
        side: Side,
    },
    /// Boots guests and runs a suite.
    Cell(CellId),
}

impl Work {
    /// The kind of job.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Image { .. } => JobKind::Image,
            Self::Build { .. } => JobKind::Build,
            Self::Kernel { .. } => JobKind::Kernel,
            Self::Cell(_) => JobKind::Cell,
        }
    }

    /// The port it is for.
    pub fn port(&self) -> &PortName {
        match self {
            Self::Image { port } | Self::Build { port, .. } | Self::Kernel { port, .. } => port,
            Self::Cell(id) => &id.port,
        }
    }
}

/// The job's name within a run: `image sparc64`, `build portable/s390x/baseline`,
/// `kernel syscalls/s390x/debug/candidate`, `cell portable/s390x/stock/candidate`.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Self::Image { port } => format!("image {port}"),
            Self::Build { suite, port, side } => format!("build {suite}/{port}/{side}"),
            Self::Kernel {
                suite,
                port,
                variant,
                side,
            } => format!("kernel {suite}/{port}/{variant}/{side}"),
            Self::Cell(id) => format!("cell {id}"),
        })
    }
}

/// What a job's key is made of, by label. None is not known before an earlier job is done.
pub type Inputs = BTreeMap<String, Option<String>>;

/// The label of the image's key among the inputs of builds and cells.
pub const INPUT_IMAGE: &str = "image";
/// The label of the source tree's hash among the inputs of a build.
pub const INPUT_SOURCE: &str = "source";
/// The label of the build's output among the inputs of a cell.
pub const INPUT_BUILD: &str = "build";

/// The label of the built kernel among the inputs of a cell.
pub const INPUT_KERNEL: &str = "kernel";

/// Whether a job has to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Todo {
    /// It has to run.
    Run,
    /// Its result is in the cache.
    Cached,
    /// Everything that would use its result is in the cache.
    NotNeeded,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its name within the run; see [`Work`]'s text form.
    pub name: String,
    /// What it does.
    pub work: Work,
    /// The hash of all inputs, where they are known.
    pub key: Option<Key>,
    /// What the key is made of.
    pub inputs: Inputs,
    /// The jobs that must be done before.
    pub needs: Vec<JobIx>,
    /// Whether it has to be done.
    pub todo: Todo,
    /// Why, for people.
    pub why: String,
    /// Cores that it keeps busy.
    pub cores: u32,
    /// Memory that it takes on the host.
    pub mem_mib: u64,
    /// Jobs of a higher priority start first.
    pub priority: u8,
    /// What it took in an earlier run.
    #[serde(
        default,
        serialize_with = "ser_estimate",
        deserialize_with = "de_estimate",
        skip_serializing_if = "Option::is_none"
    )]
    pub est: Option<Duration>,
}

fn ser_estimate<S: Serializer>(est: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match est {
        Some(est) => ser_duration(est, s),
        None => s.serialize_none(),
    }
}

fn de_estimate<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
    de_duration(d).map(Some)
}

impl Job {
    /// The kind of job.
    pub fn kind(&self) -> JobKind {
        self.work.kind()
    }

    /// Fills inputs that became known and gives the key, once nothing is missing. A label that
    /// is not an input of this job is passed by, so that all that is known can be handed in.
    pub fn key_with(&mut self, known: &[(&str, &Key)]) -> Option<&Key> {
        for (label, value) in known {
            if let Some(slot) = self.inputs.get_mut(*label) {
                *slot = Some(value.0.clone());
            }
        }
        self.key = key_of(self.kind(), &self.inputs);
        self.key.as_ref()
    }

    /// The inputs that are not known yet.
    pub fn unknown(&self) -> Vec<&str> {
        let unknown = self.inputs.iter().filter(|(_, value)| value.is_none());
        unknown.map(|(label, _)| label.as_str()).collect()
    }
}

/// The key of a kind of job with these inputs; none while one of them is unknown. The number in
/// the label is the version of what such a job makes: raise it when the product changes that.
pub(super) fn key_of(kind: JobKind, inputs: &Inputs) -> Option<Key> {
    let label = match kind {
        JobKind::Image => "image 1",
        JobKind::Build => "build 1",
        JobKind::Kernel => "kernel 1",
        JobKind::Cell => "cell 1",
    };
    let mut parts: Vec<&[u8]> = Vec::new();
    for (name, value) in inputs {
        parts.push(name.as_bytes());
        parts.push(value.as_ref()?.as_bytes());
    }
    Some(Key::of(label, &parts))
}

/// All jobs of a run. A job stands behind all that it needs.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Plan {
    /// The jobs.
    pub jobs: Vec<Job>,
}

impl Plan {
    /// The place of the job of a name.
    pub fn find(&self, name: &str) -> Option<JobIx> {
        self.jobs.iter().position(|job| job.name == name)
    }

    /// The cells, in the matrix's order.
    pub fn cells(&self) -> impl Iterator<Item = &CellId> {
        self.jobs.iter().filter_map(|job| match &job.work {
            Work::Cell(id) => Some(id),
            _ => None,
        })
    }
}
