//! A cell's job out of what the jobs before it made: the same for a cell that runs here and for one
//! that runs on a node of a cluster.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use camino::Utf8Path;

use crate::guest::accel;
use crate::image::Image;
use crate::model::{ACCELERATOR, CaseId, CellId, Key, Port, StageResult};
use crate::plan::policy::Runner as RunnerWord;
use crate::plan::resolve::Suite;
use crate::store::snapshots::Snapshots;
use crate::suite::Runner;
use crate::verdict::EMULATOR;

use super::cell::{CellJob, Numbers};
use super::earlier::Earlier;
use super::facts::{Setup, run_base};
use super::guests::GuestOrder;
use super::jobs::{JobFailed, port_of, suite_of};
use super::kernels::{self, KernelReady};
use super::shards::Shards;

/// What a cell needs beyond the matrix.
pub(super) struct Parts<'a> {
    /// The cell.
    pub id: &'a CellId,
    /// Its key.
    pub key: Key,
    /// The port's image, where the cell has no system of its own.
    pub image: Option<&'a Image>,
    /// The archive with the built tests.
    pub tests: &'a Utf8Path,
    /// The kernel, where it is not the image's.
    pub kernel: Option<&'a KernelReady>,
    /// What earlier processes made of it.
    pub earlier: Earlier,
    /// By how much limits are stretched.
    pub slowness: f64,
    /// What its cases took before.
    pub took: HashMap<CaseId, Duration>,
    /// The emulator's version, where it tells one.
    pub emulator: Option<String>,
    /// How many guests may live at once.
    pub shards: Shards,
    /// Saved guests.
    pub snapshots: Snapshots,
    /// Where its consoles go.
    pub dir: PathBuf,
    /// The run.
    pub run: &'a str,
}

/// Makes the job.
pub(super) fn cell_job(setup: &Setup, parts: Parts<'_>) -> Result<CellJob, JobFailed> {
    let id = parts.id;
    let suite = suite_of(setup, &id.suite)?;
    let (port, otherwise) = guests_of(setup, suite, port_of(setup, &id.port)?)?;
    let booted = kernels::boots(parts.image, parts.kernel)?;
    let mut versions: BTreeMap<String, String> = booted.versions;
    versions.extend(parts.emulator.map(|v| (EMULATOR.to_owned(), v)));
    let accel = port.emulator.accel.word().to_owned();
    versions.insert(ACCELERATOR.to_owned(), accel);
    Ok(CellJob {
        id: id.clone(),
        key: parts.key,
        kernel: booted.kernel.into(),
        initrd: booted.root.into(),
        ordered: GuestOrder::new(&port, &booted.record, parts.snapshots),
        tests: parts.tests.into(),
        cases_root: suite.project.cases_root().to_owned(),
        runner: runner(suite, &port),
        passes: suite.passes,
        order: suite.order,
        memory_seed: suite.memory_seed,
        repeats: suite.repeats,
        shards: parts.shards,
        took: parts.took,
        slowness: parts.slowness,
        timeout: suite.timeout.mul_f64(parts.slowness),
        limits: setup.resolved.limits.clone(),
        retries: setup.resolved.retries.clone(),
        dir: parts.dir,
        run_base: run_base(&setup.dirs).into(),
        run: parts.run.to_owned(),
        numbers: Numbers::after(parts.earlier.last_guest()),
        earlier: parts.earlier,
        versions,
        otherwise,
        port,
    })
}

/// A port as a suite's guests run on this machine, by its clock and accelerator, and a sentence for each of the two that
/// is not what was wished. Blocks for as long as an emulator's start takes, once for each.
pub(super) fn guests_of(
    setup: &Setup,
    suite: &Suite,
    port: &Port,
) -> Result<(Port, Vec<String>), JobFailed> {
    let port = suite.guests_on(port);
    // Only a translator can count instructions.
    if port.is_counted() {
        return Ok((port, Vec::new()));
    }
    let mut otherwise = Vec::from_iter(port.refuses(suite.clock));
    let chosen = accel::choose(setup.resolved.accel, &port, &accel::Here);
    let chosen = chosen.map_err(|detail| JobFailed {
        stage: StageResult::HostFailed,
        detail,
    })?;
    let instead = chosen.instead.into_iter();
    otherwise.extend(instead.map(|why| format!("its guests run under tcg: {why}")));
    Ok((accel::under(&port, chosen.accel), otherwise))
}

/// What runs a suite's cases on a port.
pub(super) fn runner(suite: &Suite, port: &Port) -> Runner {
    match suite.runner_on(port) {
        RunnerWord::Kyua => Runner::Kyua,
        RunnerWord::Auto | RunnerWord::Sh => Runner::Sh,
    }
}
