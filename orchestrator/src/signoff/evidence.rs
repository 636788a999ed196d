//! What a sign-off is decided by, as it was seen.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::model::{CellId, Finding, StageResult, Traits};

/// What was seen, or why it could not be.
pub type Told<T> = Result<T, String>;

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSeen {
    /// The run.
    pub run: String,
    /// When it began.
    pub started: jiff::Timestamp,
    /// The user ended it early.
    pub interrupted: bool,
    /// Its findings.
    pub findings: Vec<Finding>,
    /// Cells that say nothing through no fault of what was tested.
    pub host_faults: usize,
    /// The candidate's cells.
    pub cells: Vec<CellSeen>,
    /// What kernel variants were made of.
    pub variants: BTreeMap<String, Traits>,
}

/// A cell of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct CellSeen {
    /// Which.
    pub id: CellId,
    /// How its stages ended.
    pub stage: StageResult,
    /// Cases that it is about.
    pub cases: usize,
    /// Cases that ended badly in any attempt that counts.
    pub bad: usize,
    /// Cases that never ran.
    pub missed: usize,
    /// What its guests' kernels said they are.
    pub kernels: Vec<String>,
}

/// How the files of a build and its set lists differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetsSeen {
    /// Paths that were compared.
    pub paths: usize,
    /// In DESTDIR, in no list.
    pub extra: Vec<String>,
    /// In a list, not in DESTDIR.
    pub missing: Vec<String>,
}

/// A file at the branch point and now; none where it is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// Its path in the repository.
    pub path: String,
    /// At the branch point.
    pub old: Option<String>,
    /// Now.
    pub new: Option<String>,
}

/// What a frozen branch is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct FreezeSeen {
    /// Files that the lists of paths are about, by field: how many there are, and those that differ.
    pub files: BTreeMap<&'static str, Told<(usize, Vec<Changed>)>>,
    /// Libraries that were compared, and what differs.
    pub abi: Option<Told<(usize, Vec<String>)>>,
}

/// Everything that was seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Runs of the revision, newest first.
    pub runs: Vec<RunSeen>,
    /// Runs of the nightly matrix on the branch, newest first.
    pub nightlies: Told<Vec<RunSeen>>,
    /// Builds and their set lists, by port.
    pub set_lists: BTreeMap<String, Told<SetsSeen>>,
    /// Against the branch point; why not, where that could not be found.
    pub freeze: Told<FreezeSeen>,
    /// Today, for waivers.
    pub today: Date,
}
