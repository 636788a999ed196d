//! Takes out of a cluster's store what no run counts on any more.

use std::collections::BTreeSet;
use std::time::Duration;

use camino::Utf8Path;
use serde::Serialize;

use crate::engine::RunError;
use crate::plan::cluster::Cluster;
use crate::store::artifacts::{Collected, Kind, Name};

use super::order::{self, JobDir, JobOrder};

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct StoreGc {
    /// Runs whose directories went.
    pub runs: Vec<String>,
    /// What went of the artifacts.
    pub artifacts: Collected,
}

/// Removes the directories of runs that gave no sign of life for `age`, and the artifacts that neither
/// the other runs name nor anybody has offered for as long.
pub async fn collect(cluster: &Cluster, age: Duration) -> Result<StoreGc, RunError> {
    let mut done = StoreGc::default();
    let mut keep: BTreeSet<Name> = BTreeSet::new();
    let jobs = cluster.store.join("jobs");
    let runs = match jobs.read_dir_utf8() {
        Ok(runs) => runs,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(done),
        Err(e) => return Err(RunError::Host(format!("cannot read {jobs}: {e}"))),
    };
    for run in runs.flatten() {
        if is_silent(run.path(), age) {
            std::fs::remove_dir_all(run.path())
                .map_err(|e| RunError::Host(format!("cannot remove {}: {e}", run.path())))?;
            done.runs.push(run.file_name().to_owned());
        } else {
            named(run.path(), &mut keep)?;
        }
    }
    done.runs.sort();
    done.artifacts = order::artifacts(cluster)?.collect(&keep, age).await?;
    Ok(done)
}

/// Whether a run's lease, or what there is instead of one, is older than this. A time in the future
/// is young.
fn is_silent(run: &Utf8Path, age: Duration) -> bool {
    let lease = std::fs::metadata(run.join("lease")).or_else(|_| std::fs::metadata(run));
    let touched = lease.and_then(|meta| meta.modified());
    touched.is_ok_and(|at| at.elapsed().is_ok_and(|passed| passed > age))
}

/// The artifacts that the orders of a run name.
fn named(run: &Utf8Path, keep: &mut BTreeSet<Name>) -> Result<(), RunError> {
    let dirs = run
        .read_dir_utf8()
        .map_err(|e| RunError::Host(format!("cannot read {run}: {e}")))?;
    for dir in dirs.flatten() {
        let path = JobDir(dir.path().to_owned()).order_path();
        // What cannot be read keeps its artifacts by their age alone.
        let order: Option<JobOrder> = order::read(&path).unwrap_or_default();
        let Some(order) = order else { continue };
        let named = [
            (Kind::Images, order.image),
            (Kind::Sysroots, order.sysroot),
            (Kind::Builds, order.build),
            (Kind::Builds, order.kernel),
            (Kind::Trees, order.tree),
            (Kind::Trees, order.files),
        ];
        keep.extend(
            named
                .into_iter()
                .filter_map(|(kind, key)| Some((kind, key?))),
        );
    }
    Ok(())
}
