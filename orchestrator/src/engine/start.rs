//! How the dispatcher starts a job: what is there already is handed on, all else becomes a task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::build::{self, Built};
use crate::host::machine::program_version;
use crate::model::project::BuildKind;
use crate::model::{CellId, Event, JobKind, Key, Port, StageResult};
use crate::plan::job::{INPUT_BUILD, INPUT_IMAGE, INPUT_KERNEL, INPUT_SOURCE};
use crate::plan::{Job, Todo, Work};
use crate::store::artifacts::Kind;
use crate::store::cells;

use super::bus::Bus;
use super::cell::{self, CellJob};
use super::cluster::{CellParts, Remote, Watch};
use super::facts::Setup;
use super::jobs::{self, BuildJob, ImageReady, JobFailed};
use super::kernels::{self, KernelReady};
use super::prepare::{self, Parts};
use super::run::{Dispatch, Ended, Made};
use super::shards::Shards;

impl Dispatch {
    /// Starts a job, or takes its result over from the cache.
    pub(super) fn start(&mut self, ix: usize, tasks: &mut JoinSet<Ended>) {
        let job = &self.plan.jobs[ix];
        let name = job.name.clone();
        let kind = job.kind();
        self.bus.emit(Event::JobStarted { job: name.clone() });
        // What is there already is handed on without work.
        let mut take_over = |made: Made, key: Option<Key>| {
            tasks.spawn(std::future::ready(Ended {
                ix,
                took: Duration::ZERO,
                cached: true,
                made: Ok(made),
                key,
            }));
        };
        if let Work::Cell(id) = &job.work
            && let Some(result) = self.results.remove(id)
        {
            // Finished by an earlier process of this run.
            let key = Some(result.key.clone());
            take_over(Made::Cell(Box::new(result)), key);
            return;
        }
        let known = self.known(ix);
        let known: Vec<(&str, &Key)> = known.iter().map(|(l, k)| (*l, k)).collect();
        let needs = job.needs.clone();
        let wanted_behind = self
            .plan
            .jobs
            .iter()
            .any(|j| j.todo == Todo::Run && j.needs.contains(&ix));
        let cached = self.plan.jobs[ix].todo == Todo::Cached;
        let key = self.plan.jobs[ix].key_with(&known).cloned();
        let began = Instant::now();
        if cached && !wanted_behind && kind != JobKind::Cell {
            // Nobody needs what it made, only that it is there.
            take_over(Made::Unneeded, key);
            return;
        }
        // A cached build waits for no image, so it must not ask for one either.
        if let (true, JobKind::Build, Some(key)) = (cached, kind, key.as_ref())
            && let Some(built) = build::cached(&self.setup.dirs.cache, key)
        {
            let key = Some(key.clone());
            take_over(Made::Built(Arc::new(built)), key);
            return;
        }
        if let (true, JobKind::Kernel, Some(key)) = (cached, kind, key.as_ref())
            && !kernels::has_disk(&self.setup, &self.plan.jobs[ix].work)
            && let Some(built) = build::kernel::cached(&self.setup.dirs.cache, key)
        {
            let key = Some(key.clone());
            take_over(Made::Kernel(Arc::new(built.into())), key);
            return;
        }
        let work = self.plan.jobs[ix].work.clone();
        let (setup, bus, cancel) = (self.setup.clone(), self.bus.clone(), self.cancel.clone());
        match work {
            Work::Image { port } => {
                // A schedule that goes by a cluster's queue does not see to this machine.
                let here = self.remote.as_ref().map(|_| Arc::clone(&self.here));
                tasks.spawn(async move {
                    let image = async {
                        let _leave = match here {
                            Some(here) => here.acquire_owned().await.ok(),
                            None => None,
                        };
                        jobs::image(&setup, &port, &name, &bus).await
                    };
                    let made = tokio::select! {
                        () = cancel.cancelled() => Err(interrupted()),
                        made = image => made,
                    };
                    Ended {
                        ix,
                        took: began.elapsed(),
                        cached,
                        made: made.map(|m| Made::Image(Arc::new(m))),
                        key,
                    }
                });
            }
            Work::Build { .. } => {
                let image = needs.iter().find_map(|n| self.image(*n));
                let job = self.plan.jobs[ix].clone();
                let remote = self.remote_for(ix);
                tasks.spawn(async move {
                    let image = image.as_deref();
                    let build = build_side(&setup, job, image, remote.as_ref(), &bus, &cancel);
                    let made = match remote {
                        // It ends jobs elsewhere in order.
                        Some(_) => build.await,
                        None => tokio::select! {
                            () = cancel.cancelled() => Err(interrupted()),
                            made = build => made,
                        },
                    };
                    let key = made.as_ref().ok().map(|(built, _)| built.key.clone());
                    let elsewhere = made.as_ref().ok().and_then(|(_, took)| *took);
                    Ended {
                        ix,
                        took: elsewhere.unwrap_or_else(|| began.elapsed()),
                        cached,
                        made: made.map(|(built, _)| Made::Built(Arc::new(built))),
                        key,
                    }
                });
            }
            Work::Kernel { .. } => {
                let job = self.plan.jobs[ix].clone();
                let remote = self.remote_for(ix);
                tasks.spawn(async move {
                    let made = match remote {
                        Some(remote) => remote_kernel(&setup, job, &remote, &bus, &cancel).await,
                        None => tokio::select! {
                            () = cancel.cancelled() => Err(interrupted()),
                            made = kernels::kernel(&setup, job, &bus) => made.map(|built| (built, None)),
                        },
                    };
                    let key = made.as_ref().ok().map(|(ready, _)| ready.built.key.clone());
                    let elsewhere = made.as_ref().ok().and_then(|(_, took)| *took);
                    Ended {
                        ix,
                        took: elsewhere.unwrap_or_else(|| began.elapsed()),
                        cached,
                        made: made.map(|(built, _)| Made::Kernel(Arc::new(built))),
                        key,
                    }
                });
            }
            Work::Cell(id) => {
                let hit = key
                    .as_ref()
                    .filter(|_| !self.setup.fresh)
                    .and_then(|key| self.setup.cells().get(key));
                if let Some((mut result, from)) = hit {
                    let to = self.run.cell_dir(&id);
                    for guest in &result.guests {
                        if let Err(error) = cells::copy(&from, &to, &guest.console) {
                            self.notice(error.to_string());
                        }
                    }
                    result.id = id;
                    result.cached = true;
                    take_over(Made::Cell(Box::new(result)), key);
                    return;
                }
                let kernel = needs.iter().find_map(|n| self.kernel(*n));
                if let (Some(kernel), [_]) = (&kernel, &needs[..]) {
                    let result = kernels::unbooted(id, key.as_ref(), &kernel.built);
                    tasks.spawn(std::future::ready(Ended {
                        ix,
                        took: began.elapsed(),
                        cached: false,
                        made: Ok(Made::Cell(Box::new(result))),
                        key,
                    }));
                    return;
                }
                if let Some(remote) = self.remote_for(ix) {
                    let parts = self.cell_parts(&id, &needs);
                    let mut job = self.plan.jobs[ix].clone();
                    job.key.clone_from(&key);
                    let consoles = Utf8PathBuf::from_path_buf(self.run.cell_dir(&id)).ok();
                    tasks.spawn(async move {
                        let watch = Watch {
                            bus: &bus,
                            cancel: &cancel,
                            consoles: consoles.as_deref(),
                        };
                        let made = match parts {
                            Some(parts) => remote.cell(&setup, job, parts, &watch).await,
                            None => Err(lost()),
                        };
                        Ended {
                            ix,
                            // What the scheduler's queue took tells nothing about the cell.
                            took: made.as_ref().map_or(Duration::ZERO, |(_, took)| *took),
                            cached: false,
                            made: made.map(|(result, _)| Made::Cell(Box::new(result))),
                            key,
                        }
                    });
                    return;
                }
                let prepared = self.cell_job(&id, key.as_ref(), &needs);
                if let Ok(job) = &prepared {
                    self.shards.insert(ix, job.shards.clone());
                }
                tasks.spawn(async move {
                    let made = match prepared {
                        Ok(job) => Ok(Made::Cell(Box::new(cell::run(&job, &bus, &cancel).await))),
                        Err(failed) => Err(failed),
                    };
                    Ended {
                        ix,
                        took: began.elapsed(),
                        cached: false,
                        made,
                        key,
                    }
                });
            }
        }
    }

    /// What the jobs before this one have made known of its key.
    fn known(&self, ix: usize) -> Vec<(&'static str, Key)> {
        let job = &self.plan.jobs[ix];
        let mut known = Vec::new();
        for need in &job.needs {
            match self.made.get(need) {
                Some(Made::Image(ready)) => known.push((
                    INPUT_IMAGE,
                    match job.kind() {
                        JobKind::Build => ready.sysroot_key().clone(),
                        _ => ready.image.key.clone(),
                    },
                )),
                Some(Made::Built(built)) => known.push((INPUT_BUILD, built.output.clone())),
                Some(Made::Kernel(ready)) => known.push((INPUT_KERNEL, ready.built.output.clone())),
                Some(Made::Cell(_) | Made::Unneeded) | None => {}
            }
        }
        known
    }

    fn image(&self, ix: usize) -> Option<Arc<ImageReady>> {
        match self.made.get(&ix) {
            Some(Made::Image(ready)) => Some(ready.clone()),
            _ => None,
        }
    }

    fn built(&self, ix: usize) -> Option<Arc<Built>> {
        match self.made.get(&ix) {
            Some(Made::Built(built)) => Some(built.clone()),
            _ => None,
        }
    }

    fn kernel(&self, ix: usize) -> Option<Arc<KernelReady>> {
        match self.made.get(&ix) {
            Some(Made::Kernel(built)) => Some(built.clone()),
            _ => None,
        }
    }

    fn cell_job(
        &mut self,
        id: &CellId,
        key: Option<&Key>,
        needs: &[usize],
    ) -> Result<CellJob, JobFailed> {
        let image = needs.iter().find_map(|n| self.image(*n));
        let built = needs.iter().find_map(|n| self.built(*n));
        let built = built.ok_or_else(lost)?;
        let kernel = needs.iter().find_map(|n| self.kernel(*n));
        let earlier = self.earlier.remove(id).unwrap_or_default();
        let suite = self.setup.resolved.suite(&id.suite).ok_or_else(lost)?;
        let port = self.setup.resolved.port(&id.port).ok_or_else(lost)?;
        let program = &port.emulator.program;
        let emulator = self.emulators.entry(program.clone());
        let emulator = emulator.or_insert_with(|| program_version(program)).clone();
        let slowness = self.slowness.entry((id.suite.clone(), id.port.clone()));
        let slowness = *slowness.or_insert_with(|| self.setup.slowness(id, port));
        let parts = Parts {
            id,
            key: key.cloned().ok_or_else(lost)?,
            image: image.as_ref().map(|ready| &ready.image),
            tests: &built.tar,
            kernel: kernel.as_deref(),
            earlier,
            slowness,
            took: self.setup.case_times(id).all(),
            emulator,
            shards: Shards::new(
                suite.shards.most(self.setup.capacity().cores),
                Arc::clone(&self.wishes),
            ),
            snapshots: self.snapshots.clone(),
            dir: self.run.cell_dir(id),
            run: &self.record.id.0,
        };
        prepare::cell_job(&self.setup, parts)
    }

    /// The cluster, where it takes such jobs.
    fn remote_for(&self, ix: usize) -> Option<Remote> {
        let remote = self.remote.as_ref()?;
        let takes = remote.takes(self.plan.jobs[ix].kind());
        takes.then(|| remote.with_way(self.ways.get(ix).copied().unwrap_or_default()))
    }

    /// What a cell on a node needs.
    fn cell_parts(&mut self, id: &CellId, needs: &[usize]) -> Option<CellParts> {
        let image = needs.iter().find_map(|n| self.image(*n));
        let built = needs.iter().find_map(|n| self.built(*n))?;
        let kernel = needs.iter().find_map(|n| self.kernel(*n));
        let port: &Port = self.setup.resolved.port(&id.port)?;
        let slowness = self.slowness.entry((id.suite.clone(), id.port.clone()));
        let slowness = *slowness.or_insert_with(|| self.setup.slowness(id, port));
        let dir_of = |file: &Utf8Path| file.parent().map(Utf8Path::to_owned);
        // A disk that has the kernel takes the place of both.
        let disk = kernel.as_ref().and_then(|ready| ready.disk.as_ref());
        let image = disk.or(image.as_ref().map(|ready| &ready.image))?;
        let kernel = kernel.as_ref().filter(|ready| ready.disk.is_none());
        let kernel = kernel.map(|ready| &ready.built);
        let mut inputs = vec![
            (Kind::Images, image.key.clone(), dir_of(&image.kernel)?),
            (Kind::Builds, built.key.clone(), dir_of(&built.tar)?),
        ];
        if let Some(kernel) = kernel {
            inputs.push((Kind::Builds, kernel.key.clone(), dir_of(&kernel.kernel)?));
        }
        let took = self.setup.case_times(id).all().into_iter();
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        Some(CellParts {
            image: image.key.clone(),
            build: built.key.clone(),
            kernel: kernel.map(|k| k.key.clone()),
            inputs,
            slowness,
            took: took.map(|(case, d)| (case, millis(d))).collect(),
            earlier: self.earlier.remove(id).unwrap_or_default(),
        })
    }
}

/// Builds one side of a suite: here, or on a node; then with the time that it took there.
async fn build_side(
    setup: &Setup,
    mut job: Job,
    image: Option<&ImageReady>,
    remote: Option<&Remote>,
    bus: &Bus,
    cancel: &CancellationToken,
) -> Result<(Built, Option<Duration>), JobFailed> {
    let Work::Build { suite, port, side } = job.work.clone() else {
        return Err(lost());
    };
    let tested = jobs::suite_of(setup, &suite)?;
    // Where the image has the cases there is nothing to build, and no tree that a node could fetch.
    let remote = remote.filter(|_| tested.project.build.kind != BuildKind::Installed);
    let tree = jobs::tree(setup, tested.source(side), &job.name, bus).await?;
    let mut known = vec![(INPUT_SOURCE, &tree.hash)];
    known.extend(image.map(|image| (INPUT_IMAGE, image.sysroot_key())));
    let key = job.key_with(&known).cloned().ok_or_else(lost)?;
    if let Some(built) = build::cached(&setup.dirs.cache, &key) {
        return Ok((built, None));
    }
    if let (Some(remote), Some(image)) = (remote, image) {
        let sysroot = (image.sysroot_key(), image.sysroot_dir());
        let watch = Watch::of(bus, cancel);
        let made = remote.build(setup, job, &tree, sysroot, &watch).await;
        return made.map(|(built, took)| (built, Some(took)));
    }
    let what = BuildJob {
        suite: &suite,
        port: &port,
        side,
        job: &job.name,
        key: &key,
        tree,
        sysroot: jobs::sysroot_dir(image).to_owned(),
    };
    Ok((jobs::build(setup, what, bus).await?, None))
}

/// Builds a kernel on a node. One that comes with a disk is built here, where the release is.
async fn remote_kernel(
    setup: &Setup,
    job: Job,
    remote: &Remote,
    bus: &Bus,
    cancel: &CancellationToken,
) -> Result<(KernelReady, Option<Duration>), JobFailed> {
    if kernels::has_disk(setup, &job.work) {
        let ready = tokio::select! {
            () = cancel.cancelled() => Err(interrupted()),
            ready = kernels::kernel(setup, job, bus) => ready,
        };
        return Ok((ready?, None));
    }
    let (job, tree, version) = kernels::source(setup, job, bus).await?;
    let key = job.key.clone().ok_or_else(lost)?;
    if let Some(built) = build::kernel::cached(&setup.dirs.cache, &key) {
        return Ok((built.into(), None));
    }
    let watch = Watch::of(bus, cancel);
    let made = remote.kernel(setup, job, &tree, &version, &watch).await;
    made.map(|(built, took)| (built.into(), Some(took)))
}

fn interrupted() -> JobFailed {
    JobFailed {
        stage: StageResult::Interrupted,
        detail: "the run was interrupted".to_owned(),
    }
}

fn lost() -> JobFailed {
    JobFailed {
        stage: StageResult::HostFailed,
        detail: "internal error: what this job needs was not handed on".to_owned(),
    }
}
