//! How the dispatcher starts a job: what is there already is handed on, all else becomes a task.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::build::{self, Built, KernelBuilt};
use crate::host::machine::program_version;
use crate::model::{CellId, Event, JobKind, Key, Port, StageResult};
use crate::plan::job::{INPUT_BUILD, INPUT_IMAGE, INPUT_KERNEL, INPUT_SOURCE};
use crate::plan::matrix::Runner as RunnerWord;
use crate::plan::resolve::Suite;
use crate::plan::{Todo, Work};
use crate::store::cells;
use crate::suite::Runner;
use crate::verdict::EMULATOR;

use super::cell::{self, CellJob, Numbers};
use super::facts::run_base;
use super::guests::GuestOrder;
use super::jobs::{self, BuildJob, ImageReady, JobFailed};
use super::kernels;
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
            && let Some(built) = build::kernel::cached(&self.setup.dirs.cache, key)
        {
            let key = Some(key.clone());
            take_over(Made::Kernel(Arc::new(built)), key);
            return;
        }
        let work = self.plan.jobs[ix].work.clone();
        let (setup, bus, cancel) = (self.setup.clone(), self.bus.clone(), self.cancel.clone());
        match work {
            Work::Image { port } => {
                tasks.spawn(async move {
                    let made = tokio::select! {
                        () = cancel.cancelled() => Err(interrupted()),
                        made = jobs::image(&setup, &port, &name, &bus) => made,
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
            Work::Build { suite, port, side } => {
                let image = needs.iter().find_map(|n| self.image(*n));
                let mut job = self.plan.jobs[ix].clone();
                tasks.spawn(async move {
                    let build = async {
                        let image = image.ok_or_else(lost)?;
                        let source = jobs::suite_of(&setup, &suite)?.source(side);
                        let tree = jobs::tree(&setup, source, &name, &bus).await?;
                        let known = [
                            (INPUT_SOURCE, &tree.hash),
                            (INPUT_IMAGE, &image.sysroot.key),
                        ];
                        let key = job.key_with(&known).cloned().ok_or_else(lost)?;
                        let what = BuildJob {
                            suite: &suite,
                            port: &port,
                            side,
                            job: &name,
                            key: &key,
                            tree,
                            sysroot: image.sysroot.dir.clone(),
                        };
                        Ok((jobs::build(&setup, what, &bus).await?, key))
                    };
                    let made = tokio::select! {
                        () = cancel.cancelled() => Err(interrupted()),
                        made = build => made,
                    };
                    let key = made.as_ref().ok().map(|(_, key)| key.clone());
                    Ended {
                        ix,
                        took: began.elapsed(),
                        cached,
                        made: made.map(|(built, _)| Made::Built(Arc::new(built))),
                        key,
                    }
                });
            }
            Work::Kernel { .. } => {
                let job = self.plan.jobs[ix].clone();
                tasks.spawn(async move {
                    let made = tokio::select! {
                        () = cancel.cancelled() => Err(interrupted()),
                        made = kernels::kernel(&setup, job, &bus) => made,
                    };
                    let key = made.as_ref().ok().map(|built| built.key.clone());
                    Ended {
                        ix,
                        took: began.elapsed(),
                        cached,
                        made: made.map(|built| Made::Kernel(Arc::new(built))),
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
                    let result = kernels::unbooted(id, key.as_ref(), kernel);
                    tasks.spawn(std::future::ready(Ended {
                        ix,
                        took: began.elapsed(),
                        cached: false,
                        made: Ok(Made::Cell(Box::new(result))),
                        key,
                    }));
                    return;
                }
                let prepared = self.cell_job(&id, key.as_ref(), &needs);
                if let Some(job) = &prepared {
                    self.shards.insert(ix, job.shards.clone());
                }
                tasks.spawn(async move {
                    let made = match prepared {
                        Some(job) => Ok(Made::Cell(Box::new(cell::run(&job, &bus, &cancel).await))),
                        None => Err(lost()),
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
                        JobKind::Build => ready.sysroot.key.clone(),
                        _ => ready.image.key.clone(),
                    },
                )),
                Some(Made::Built(built)) => known.push((INPUT_BUILD, built.output.clone())),
                Some(Made::Kernel(built)) => known.push((INPUT_KERNEL, built.output.clone())),
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

    fn kernel(&self, ix: usize) -> Option<Arc<KernelBuilt>> {
        match self.made.get(&ix) {
            Some(Made::Kernel(built)) => Some(built.clone()),
            _ => None,
        }
    }

    fn cell_job(&mut self, id: &CellId, key: Option<&Key>, needs: &[usize]) -> Option<CellJob> {
        let image = needs.iter().find_map(|n| self.image(*n))?;
        let built = needs.iter().find_map(|n| self.built(*n))?;
        let earlier = self.earlier.remove(id).unwrap_or_default();
        let suite = self.setup.resolved.suite(&id.suite)?;
        let port: &Port = self.setup.resolved.port(&id.port)?;
        let runner = runner(suite, port);
        let slowness = self.slowness.entry((id.suite.clone(), id.port.clone()));
        let slowness = *slowness.or_insert_with(|| self.setup.slowness(id, port));
        let kernel = needs.iter().find_map(|n| self.kernel(*n));
        let booted = kernels::boots(&image.image, kernel.as_deref());
        let booted = booted.map_err(|e| self.notice(e.detail)).ok()?;
        let program = &port.emulator.program;
        let emulator = self.emulators.entry(program.clone());
        let emulator = emulator.or_insert_with(|| program_version(program)).clone();
        let mut versions = booted.versions;
        versions.extend(emulator.map(|version| (EMULATOR.to_owned(), version)));
        Some(CellJob {
            id: id.clone(),
            key: key?.clone(),
            port: port.clone(),
            kernel: booted.kernel.into(),
            initrd: image.image.initrd.clone().into(),
            ordered: GuestOrder::new(port, &booted.record, self.snapshots.clone()),
            tests: built.tar.clone().into(),
            cases_root: suite.project.cases_root().to_owned(),
            runner,
            passes: suite.passes,
            order: suite.order,
            repeats: suite.repeats,
            shards: Shards::new(
                suite.shards.most(self.setup.capacity().cores),
                Arc::clone(&self.wishes),
            ),
            took: self.setup.case_times(id).all(),
            slowness,
            timeout: suite.timeout.mul_f64(slowness),
            limits: self.setup.resolved.limits.clone(),
            retries: self.setup.resolved.retries.clone(),
            dir: self.run.cell_dir(id),
            run_base: run_base(&self.setup.dirs).into(),
            run: self.record.id.0.clone(),
            numbers: Numbers::after(earlier.last_guest()),
            earlier,
            versions,
        })
    }
}

/// What runs a suite's cases on a port.
pub(super) fn runner(suite: &Suite, port: &Port) -> Runner {
    match suite.runner_on(port) {
        RunnerWord::Kyua => Runner::Kyua,
        RunnerWord::Auto | RunnerWord::Sh => Runner::Sh,
    }
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
