//! The very guest of a failure, for a person: the same image, build and emulator settings.

use crate::guest::{Guest, GuestSpec};
use crate::model::{CameUp, CellId, Event, Key};
use crate::plan::Work;
use crate::plan::job::{INPUT_BUILD, INPUT_IMAGE, INPUT_SOURCE};
use crate::suite::Runner;

use super::RunError;
use super::bus::Bus;
use super::facts::{Memory, Setup, run_base};
use super::guests::{GuestOrder, raise};
use super::jobs::{self, BuildJob, JobFailed};

/// A guest that is up, with the tests in it.
pub struct Ready {
    /// The guest. Dropping it ends it.
    pub guest: Guest,
    /// Booted or restored.
    pub came_up: CameUp,
    /// The cell's key as things are now: equal to the result's key, it is the very same.
    pub key: Option<Key>,
    /// The directory of the suite in the guest.
    pub cases_root: String,
    /// What runs the suite's cases there.
    pub runner: Runner,
}

impl From<JobFailed> for RunError {
    fn from(failed: JobFailed) -> Self {
        Self::Host(format!("{}: {}", failed.stage, failed.detail))
    }
}

/// Brings the guest of a cell up, restored or booted, and puts its tests in place.
pub async fn boot(
    setup: &Setup,
    id: &CellId,
    bus: &Bus,
    console: &std::path::Path,
) -> Result<Ready, RunError> {
    let plan = setup.plan(&Memory::load(&setup.dirs))?;
    let find = |work: &Work| {
        plan.find(&work.to_string())
            .map(|ix| plan.jobs[ix].clone())
            .ok_or_else(|| RunError::Input(format!("the matrix has no {work} any more")))
    };
    let mut cell_job = find(&Work::Cell(id.clone()))?;
    let mut build_job = find(&Work::Build {
        suite: id.suite.clone(),
        port: id.port.clone(),
        side: id.side,
    })?;
    let suite = setup
        .resolved
        .suite(&id.suite)
        .ok_or_else(|| RunError::Input(format!("the matrix has no suite {} any more", id.suite)))?;
    let port = setup
        .resolved
        .port(&id.port)
        .ok_or_else(|| RunError::Input(format!("the matrix has no port {} any more", id.port)))?;
    let ready = jobs::image(setup, &id.port, &format!("image {}", id.port), bus).await?;
    let tree = jobs::tree(setup, &id.suite, &build_job.name, bus).await?;
    let known = [
        (INPUT_SOURCE, &tree.hash),
        (INPUT_IMAGE, &ready.sysroot.key),
    ];
    let build_key = build_job
        .key_with(&known)
        .cloned()
        .ok_or_else(|| RunError::Host("internal error: a build without a key".to_owned()))?;
    let what = BuildJob {
        suite: &id.suite,
        port: &id.port,
        side: id.side,
        job: &build_job.name,
        key: &build_key,
        tree,
        sysroot: ready.sysroot.dir.clone(),
    };
    let built = jobs::build(setup, what, bus).await?;
    let known = [
        (INPUT_IMAGE, &ready.image.key),
        (INPUT_BUILD, &built.output),
    ];
    let key = cell_job.key_with(&known).cloned();

    let spec = GuestSpec {
        port: port.clone(),
        kernel: ready.image.kernel.clone().into(),
        initrd: ready.image.initrd.clone().into(),
        label: format!("repro {id}"),
        run_base: run_base(&setup.dirs).into(),
        console_file: console.to_owned(),
        console_cap_bytes: setup.resolved.limits.console_bytes,
    };
    let order = GuestOrder::new(port, &ready.image.record, setup.snapshots());
    let tell = |text: String| {
        bus.emit(Event::Notice {
            port: Some(port.port.clone()),
            text,
        });
    };
    let (mut guest, came_up) = raise(&spec, &order, &tell)
        .await
        .map_err(|e| RunError::Host(e.to_string()))?;
    let host = |e: crate::guest::GuestError| RunError::Host(e.to_string());
    let tar = tokio::fs::read(&built.tar)
        .await
        .map_err(|e| RunError::Host(e.to_string()))?;
    guest.put_tar("/", &tar).await.map_err(host)?;
    Ok(Ready {
        guest,
        came_up,
        key,
        cases_root: suite.project.cases_root().to_owned(),
        runner: super::run::runner(suite, port),
    })
}
