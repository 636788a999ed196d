//! A run from plan to verdict: the dispatcher.
//!
//! The schedule says what starts; each job is a task; what a job hands on is kept here until those
//! behind it have it. A failed job gives the cells behind it a stage result, so that every cell of
//! the matrix is in the report, whatever happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::build::Built;
use crate::model::{CellId, CellResult, Event, Key, PortName, StageResult};
use crate::plan::{Plan, Schedule, Work};
use crate::report::RunReport;
use crate::store::events::EventLog;
use crate::store::runs::{RunDir, RunRecord};
use crate::store::snapshots::Snapshots;
use crate::verdict::before::Named;

use super::RunError;
use super::bus::Bus;
use super::cluster::Remote;
use super::earlier::{self, Again, Unfinished};
use super::facts::{Memory, Setup, run_base};
use super::jobs::{ImageReady, JobFailed};
use super::kernels::KernelReady;
use super::shards::Shards;

/// What a job made.
pub(super) enum Made {
    Image(Arc<ImageReady>),
    Built(Arc<Built>),
    Kernel(Arc<KernelReady>),
    Cell(Box<CellResult>),
    /// It is in the cache, and nothing that runs needs it.
    Unneeded,
}

/// How a job ended.
pub(super) struct Ended {
    pub(super) ix: usize,
    pub(super) took: Duration,
    pub(super) cached: bool,
    pub(super) made: Result<Made, JobFailed>,
    pub(super) key: Option<Key>,
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// Everything about it.
    pub report: RunReport,
    /// Jobs' failures that kept cells from running, for people.
    pub host_trouble: bool,
}

pub(super) struct Dispatch {
    pub(super) setup: Arc<Setup>,
    pub(super) record: RunRecord,
    pub(super) run: RunDir,
    pub(super) bus: Bus,
    pub(super) cancel: CancellationToken,
    pub(super) plan: Plan,
    pub(super) made: BTreeMap<usize, Made>,
    pub(super) results: BTreeMap<CellId, CellResult>,
    pub(super) earlier: Unfinished,
    /// What sentences call the baseline, by suite, where it is another run.
    pub(super) baseline_names: BTreeMap<String, Named>,
    /// What the verdict asked an earlier process of this run for.
    pub(super) again: Again,
    /// Running cells that may use more than one core.
    pub(super) shards: BTreeMap<usize, Shards>,
    /// Tells that one of them wishes for another number.
    pub(super) wishes: Arc<Notify>,
    pub(super) memory: Memory,
    pub(super) snapshots: Snapshots,
    /// By suite and port, by how much limits are stretched: the same for all their cells, whatever is
    /// learnt meanwhile.
    pub(super) slowness: BTreeMap<(String, PortName), f64>,
    /// The versions of emulators, by program; those that do not tell theirs have none.
    pub(super) emulators: BTreeMap<String, Option<String>>,
    /// The cluster that takes jobs, where there is one.
    pub(super) remote: Option<Remote>,
    /// The estimated time of each job and of all that waits for it.
    pub(super) ways: Vec<Duration>,
    /// Leave for jobs that are done here although others are done elsewhere.
    pub(super) here: Arc<Semaphore>,
}

/// Opens a run's log and makes the bus on it.
pub fn open_bus(run: &RunDir) -> Result<Bus, RunError> {
    Ok(Bus::new(EventLog::open(&run.events_path())?))
}

/// Carries a run out, or goes on with one that was interrupted.
pub async fn execute(
    setup: Setup,
    record: RunRecord,
    run: RunDir,
    bus: Bus,
    cancel: CancellationToken,
) -> Result<Finished, RunError> {
    let began = Instant::now();
    let memory = Memory::load(&setup.dirs);
    let plan = setup.plan(&memory)?;
    let orphans = {
        let base = run_base(&setup.dirs).to_owned();
        tokio::task::spawn_blocking(move || crate::guest::rundir::reap_orphans(base.as_std_path()))
            .await
            .unwrap_or_default()
    };
    let (results, earlier, again) = earlier::read(&run, &plan)?;
    if run.events().map(|e| e.is_empty()).unwrap_or(true) {
        bus.emit(Event::RunStarted {
            run: record.id.clone(),
            matrix: record.matrix.clone(),
            cells: plan.cells().cloned().collect(),
        });
    }
    for orphan in orphans {
        bus.emit(Event::Notice {
            port: None,
            text: format!("ended an emulator that had lost its owner: {orphan}"),
        });
    }
    let snapshots = setup.snapshots();
    let remote = match setup.cluster.clone() {
        Some(setting) => Remote::start(&setup, setting, &run, &record.id.0, &bus, &cancel).await?,
        None => None,
    };
    let here = Arc::new(Semaphore::new(setup.capacity().cores as usize));
    let mut dispatch = Dispatch {
        setup: Arc::new(setup),
        record,
        run,
        bus,
        cancel,
        plan,
        made: BTreeMap::new(),
        results,
        earlier,
        baseline_names: BTreeMap::new(),
        again,
        shards: BTreeMap::new(),
        wishes: Arc::new(Notify::new()),
        memory,
        snapshots,
        slowness: BTreeMap::new(),
        emulators: BTreeMap::new(),
        remote,
        ways: Vec::new(),
        here,
    };
    dispatch.all().await;
    // Nothing is in the scheduler's queue any more, or the run was ended.
    dispatch.remote = None;
    let mut cells = dispatch.take_cells();
    let (taken, names) = super::baseline::taken(&dispatch);
    cells.extend(taken);
    dispatch.baseline_names = names;
    let spent = super::adaptive::repeat(&mut dispatch, &mut cells).await;
    dispatch.finish(cells, spent, began.elapsed()).await
}

impl Dispatch {
    async fn all(&mut self) {
        let mut schedule = Schedule::new(&self.plan, self.setup.reach());
        self.ways = schedule.ways();
        for skip in schedule.refused().to_vec() {
            self.skipped(skip.job, StageResult::HostFailed, &skip.reason);
        }
        let mut tasks: JoinSet<Ended> = JoinSet::new();
        let mut faults: BTreeMap<usize, u32> = BTreeMap::new();
        loop {
            if self.cancel.is_cancelled() {
                schedule.stop();
            }
            for ix in schedule.next() {
                self.start(ix, &mut tasks);
            }
            if schedule.is_over() {
                break;
            }
            self.lend(&mut schedule);
            let ended = tokio::select! {
                ended = tasks.join_next() => ended,
                () = self.cancel.cancelled(), if !self.cancel.is_cancelled() => continue,
                () = self.wishes.notified() => continue,
            };
            match ended {
                Some(Ok(ended)) => {
                    let (ix, failure) = self.ended(ended);
                    self.shards.remove(&ix);
                    if let Some((stage, _)) = &failure
                        && stage.is_host_fault()
                        && !self.cancel.is_cancelled()
                    {
                        let so_far = faults.entry(ix).or_default();
                        *so_far += 1;
                        if *so_far <= self.setup.resolved.retries.host_fault {
                            self.notice(format!("{}: trying again", self.plan.jobs[ix].name));
                            schedule.again(ix);
                            continue;
                        }
                    }
                    // A cell that could not be begun has this for its result.
                    if let Some((stage, why)) = &failure
                        && *stage != StageResult::Interrupted
                    {
                        self.skipped(ix, *stage, why);
                    }
                    for skip in schedule.finished(ix, failure.is_none()) {
                        let (stage, why) = failure
                            .clone()
                            .unwrap_or((StageResult::HostFailed, skip.reason.clone()));
                        self.skipped(skip.job, stage, &why);
                    }
                }
                Some(Err(panic)) => {
                    // A bug of ours: the run ends with what it has.
                    self.notice(format!("internal error in a job: {panic}"));
                    schedule.stop();
                    if tasks.is_empty() {
                        break;
                    }
                }
                None => break,
            }
        }
    }

    /// Gives idle cores to running cells that can use them, and takes back what they do not use.
    fn lend(&self, schedule: &mut Schedule) {
        for (&ix, shards) in &self.shards {
            schedule.give_back(ix, shards.reclaim());
        }
        if self.cancel.is_cancelled() {
            return;
        }
        for (&ix, shards) in &self.shards {
            while shards.wants_more() && schedule.lend(ix) {
                shards.grant();
            }
        }
    }

    pub(super) fn notice(&self, text: String) {
        self.bus.emit(Event::Notice { port: None, text });
    }

    /// Takes a job's end in. Returns the failure, if it keeps those behind it from running.
    fn ended(&mut self, ended: Ended) -> (usize, Option<(StageResult, String)>) {
        let job = &self.plan.jobs[ended.ix];
        let name = job.name.clone();
        let (result, detail) = match &ended.made {
            Ok(Made::Cell(cell)) => (cell.stage, cell.detail.clone()),
            Ok(_) => (StageResult::Complete, None),
            Err(failed) => (failed.stage, Some(failed.detail.clone())),
        };
        self.bus.emit(Event::JobFinished {
            job: name.clone(),
            cached: ended.cached,
            result,
            detail,
            took: ended.took,
        });
        if result == StageResult::Complete && !ended.cached {
            self.memory.durations.learn(&name, ended.took);
        }
        if result == StageResult::Complete && ended.key.is_some() {
            self.memory.inputs.insert(name, job.inputs.clone());
        }
        match ended.made {
            Ok(Made::Cell(cell)) => {
                self.keep(*cell);
                (ended.ix, None)
            }
            Ok(made) => {
                self.made.insert(ended.ix, made);
                (ended.ix, None)
            }
            Err(failed) => (ended.ix, Some((failed.stage, failed.detail))),
        }
    }

    /// Keeps a cell's result: in the run, and in the cache where it is worth it.
    fn keep(&mut self, cell: CellResult) {
        if let Err(error) = self.run.put_cell(&cell) {
            self.notice(format!("{}: {error}", cell.id));
        }
        if !cell.cached
            && let Err(error) = self.setup.cells().put(&cell, &self.run.cell_dir(&cell.id))
        {
            self.notice(format!("{}: not cached: {error}", cell.id));
        }
        if !cell.cached {
            let mut times = self.setup.case_times(&cell.id);
            times.learn_cases(&cell.attempts);
            if let Err(error) = times.save() {
                self.notice(format!("{}: {error}", cell.id));
            }
        }
        self.bus.emit(Event::CellFinished {
            cell: cell.id.clone(),
            stage: cell.stage,
            cached: cell.cached,
        });
        self.results.insert(cell.id.clone(), cell);
    }

    /// A job that will not run: a cell gets the result of what kept it from running.
    fn skipped(&mut self, ix: usize, stage: StageResult, why: &str) {
        let job = &self.plan.jobs[ix];
        let Work::Cell(id) = &job.work else { return };
        let result = CellResult {
            id: id.clone(),
            key: job.key.clone().unwrap_or_else(|| Key(String::new())),
            stage,
            detail: Some(why.to_owned()),
            attempts: Vec::new(),
            guests: Vec::new(),
            versions: BTreeMap::new(),
            cached: false,
        };
        if let Err(error) = self.run.put_cell(&result) {
            self.notice(error.to_string());
        }
        self.bus.emit(Event::CellFinished {
            cell: result.id.clone(),
            stage,
            cached: false,
        });
        self.results.insert(result.id.clone(), result);
    }
}
