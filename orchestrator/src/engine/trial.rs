//! Trials outside a run: everything for a cell's guests made ready, and one guest at a time put to
//! a question. Bisection, the search for a polluter, the doubt about an emulator and benchmarks are
//! made of these.
//!
//! A trial runs exactly the cases it is given, in their order, in a fresh guest, and keeps nothing.
//! It does not decide what is asked next, and it does not try again.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::guest::family::family;
use crate::guest::{Guest, GuestError, GuestSpec, Output};
use crate::image;
use crate::model::{CameUp, CaseId, CellId, Event, Key, Outcome, Port, StageResult};
use crate::plan::job::{INPUT_BUILD, INPUT_IMAGE, INPUT_KERNEL, INPUT_SOURCE};
use crate::plan::matrix::{Limits, Retries};
use crate::plan::{Order, Repeats, System, Work};
use crate::store::snapshots::Snapshots;
use crate::suite::{Invocation, Runner, SuiteEvent, parse_list};

use super::RunError;
use super::bus::Bus;
use super::cell::{CellJob, Numbers};
use super::earlier::Earlier;
use super::facts::{Memory, Setup, run_base};
use super::guests::{GuestOrder, RaiseError, raise};
use super::jobs::{self, BuildJob, JobFailed};
use super::kernels;
use super::shards::Shards;

/// A case's own limit is 300 s unless it says otherwise.
const CASE_SILENCE: Duration = Duration::from_secs(400);
/// The most that a suite's list may take.
const LIST_BYTES: usize = 64 << 20;
/// The directory in the guest for lists of cases.
const WORK_DIR: &str = "/var/tmp/fallout";

/// A cell whose guests can be started: its image and build are there.
#[derive(Clone)]
pub struct Stage {
    /// The cell.
    pub id: CellId,
    /// The cell's key as things are now.
    pub key: Option<Key>,
    /// The port; an alternative emulation takes its place.
    pub port: Port,
    /// The directory of the suite in the guest.
    pub cases_root: String,
    image: image::cache::Record,
    kernel: PathBuf,
    initrd: PathBuf,
    snapshots: Snapshots,
    tests: PathBuf,
    run_base: PathBuf,
    /// What runs the suite's cases there.
    pub runner: Runner,
    limits: Limits,
    retries: Retries,
    timeout: Duration,
    slowness: f64,
    versions: BTreeMap<String, String>,
    bus: Bus,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage")
            .field("id", &self.id)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Why a cell's guests cannot be started.
#[derive(Debug)]
pub enum NotReady {
    /// The system under test did not build.
    Product(StageResult, String),
    /// Anything else: the host, or the matrix.
    Run(RunError),
}

impl From<RunError> for NotReady {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl From<NotReady> for RunError {
    fn from(not: NotReady) -> Self {
        match not {
            NotReady::Run(error) => error,
            NotReady::Product(stage, detail) => Self::Host(format!("{stage}: {detail}")),
        }
    }
}

/// Makes image and build of a cell, or finds them.
pub async fn prepare(setup: &Setup, id: &CellId, bus: &Bus) -> Result<Stage, NotReady> {
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
    let host = |failed: JobFailed| NotReady::Run(failed.into());
    let ready = match suite.system {
        System::Built => None,
        System::Image => {
            let name = format!("image {}", id.port);
            let made = jobs::image(setup, &id.port, &name, bus).await;
            Some(made.map_err(host)?)
        }
    };
    if !suite.boots_on(&id.port) {
        let why = format!("{id} is a cell whose kernel is built and not booted");
        return Err(RunError::Input(why).into());
    }
    let tree = jobs::tree(setup, suite.source(id.side), &build_job.name, bus)
        .await
        .map_err(host)?;
    let mut known = vec![(INPUT_SOURCE, &tree.hash)];
    known.extend(ready.as_ref().map(|r| (INPUT_IMAGE, r.sysroot_key())));
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
        sysroot: jobs::sysroot_dir(ready.as_ref()).to_owned(),
    };
    let built = jobs::build(setup, what, bus).await.map_err(|failed| {
        match failed.stage.is_host_fault() {
            true => host(failed),
            false => NotReady::Product(failed.stage, failed.detail),
        }
    })?;
    let product = |failed: JobFailed| match failed.stage.is_host_fault() {
        true => host(failed),
        false => NotReady::Product(failed.stage, failed.detail),
    };
    let kernel = kernels::of_cell(setup, &plan, id, bus)
        .await
        .map_err(product)?;
    let image = ready.as_ref().map(|ready| &ready.image);
    let booted = kernels::boots(image, kernel.as_ref()).map_err(host)?;
    let slowness = setup.slowness(id, port);
    let mut known = vec![(INPUT_BUILD, &built.output)];
    known.extend(image.map(|image| (INPUT_IMAGE, &image.key)));
    known.extend(kernel.as_ref().map(|k| (INPUT_KERNEL, &k.built.output)));
    Ok(Stage {
        id: id.clone(),
        key: cell_job.key_with(&known).cloned(),
        port: super::prepare::guests_of(setup, suite, port)
            .map_err(host)?
            .0,
        cases_root: suite.project.cases_root().to_owned(),
        image: booted.record,
        kernel: booted.kernel.into(),
        initrd: booted.root.into(),
        snapshots: setup.snapshots(),
        tests: built.tar.clone().into(),
        run_base: run_base(&setup.dirs).into(),
        runner: super::prepare::runner(suite, port),
        limits: setup.resolved.limits.clone(),
        retries: setup.resolved.retries.clone(),
        timeout: suite.timeout.mul_f64(slowness),
        slowness,
        versions: booted.versions,
        bus: bus.clone(),
    })
}

/// What a trial runs.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Exactly these, in this order.
    These(&'a [CaseId]),
    /// The suite in its order, up to and with this case.
    UpTo(&'a CaseId),
}

/// One case's end in a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Which case.
    pub case: CaseId,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it says so; of a dead kernel its last words' title. Untrusted text, bounded.
    pub reason: Option<String>,
}

impl Stage {
    /// The same as a cell's job, for [`super::probe`]: consoles go to `dir`, guests get `numbers`.
    pub fn job(&self, run: &str, dir: PathBuf, numbers: Numbers) -> CellJob {
        CellJob {
            id: self.id.clone(),
            key: self.key.clone().unwrap_or_else(|| Key(String::new())),
            port: self.port.clone(),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            ordered: GuestOrder::new(&self.port, &self.image, self.snapshots.clone()),
            tests: self.tests.clone(),
            cases_root: self.cases_root.clone(),
            runner: self.runner,
            passes: 1,
            order: Order::Listed,
            memory_seed: None,
            repeats: Repeats {
                failed: 0,
                crashed: 0,
            },
            shards: Shards::fixed(1),
            took: HashMap::new(),
            slowness: self.slowness,
            timeout: self.timeout,
            limits: self.limits.clone(),
            retries: self.retries.clone(),
            dir,
            run_base: self.run_base.clone(),
            run: run.to_owned(),
            earlier: Earlier::default(),
            numbers,
            versions: self.versions.clone(),
            otherwise: Vec::new(),
        }
    }

    /// A guest with the tests in it, restored or booted. `console` is where its console goes.
    pub async fn raise(&self, label: &str, console: &Path) -> Result<(Guest, CameUp), RaiseError> {
        let spec = GuestSpec {
            port: self.port.clone(),
            kernel: self.kernel.clone(),
            initrd: self.initrd.clone(),
            label: format!("{label} {}", self.id),
            run_base: self.run_base.clone(),
            console_file: console.to_owned(),
            console_cap_bytes: self.limits.console_bytes,
        };
        // Made anew for each guest: another emulation of the port has saved guests of its own.
        let order = GuestOrder::new(&self.port, &self.image, self.snapshots.clone());
        let tell = |text: String| {
            self.bus.emit(Event::Notice {
                port: Some(self.port.port.clone()),
                text,
            });
        };
        let (mut guest, came_up) = raise(&spec, &order, &tell).await?;
        let tar = tokio::fs::read(&self.tests).await;
        let tar = tar.map_err(|e| GuestError::AgentLost {
            what: format!("{}: {e}", self.tests.display()),
        })?;
        guest.put_tar("/", &tar).await?;
        Ok((guest, came_up))
    }

    /// The suite's cases in its order, as a guest lists them.
    pub async fn cases(&self, guest: &mut Guest) -> Result<Vec<CaseId>, RunError> {
        let commands = self.commands()?;
        let (out, status) = output(guest, &commands.list(), LIST_BYTES)
            .await
            .map_err(|e| RunError::Host(e.to_string()))?;
        let cases = parse_list(&out).cases;
        match cases.is_empty() {
            true => Err(RunError::Host(format!(
                "no cases in {} (the runner's list ended with status {status})",
                self.cases_root
            ))),
            false => Ok(cases),
        }
    }

    /// Runs cases in a fresh guest. The last one seen may have killed it; those behind it are not
    /// in the list then. `order` is the suite's own, filled in once it had to be asked for. An
    /// error is the host's fault, or a guest's that died without a case.
    pub async fn run(
        &self,
        ask: Ask<'_>,
        order: &mut Vec<CaseId>,
        console: &Path,
    ) -> Result<Vec<Seen>, RunError> {
        let (mut guest, _) = self
            .raise("trial", console)
            .await
            .map_err(|e| RunError::Host(e.to_string()))?;
        let mut seen = Vec::new();
        let ended = self.run_in(&mut guest, ask, order, &mut seen).await;
        guest.end(false).await;
        match ended {
            Ok(()) => Ok(seen),
            // A death that is blamed on a case is in the list.
            Err(RunError::Host(_)) if seen.last().is_some_and(|s| is_death(s.outcome)) => Ok(seen),
            Err(error) => Err(error),
        }
    }

    async fn run_in(
        &self,
        guest: &mut Guest,
        ask: Ask<'_>,
        order: &mut Vec<CaseId>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), RunError> {
        let alone = matches!(ask, Ask::These([_]));
        if order.is_empty() && !alone {
            *order = self.cases(guest).await?;
        }
        let cases = match ask {
            Ask::These(cases) => cases.to_vec(),
            Ask::UpTo(case) => {
                let end = order.iter().position(|c| c == case);
                let end = end.ok_or_else(|| {
                    RunError::Input(format!("the suite has no case {case} at this revision"))
                })?;
                order[..=end].to_vec()
            }
        };
        let commands = self.commands()?;
        let place = |case: &CaseId| order.iter().position(|c| c == case);
        let picked = commands.run_in_order("trial", &cases, place);
        if let Some(note) = picked.notes.first() {
            return Err(RunError::Input(note.clone()));
        }
        for batch in picked.batches {
            self.run_batch(guest, &batch, seen).await?;
        }
        Ok(())
    }

    async fn run_batch(
        &self,
        guest: &mut Guest,
        batch: &crate::suite::Batch,
        seen: &mut Vec<Seen>,
    ) -> Result<(), RunError> {
        let host = |e: GuestError| RunError::Host(e.to_string());
        let tar = super::session::pack(&batch.files).map_err(|e| RunError::Host(e.to_string()))?;
        guest.put_tar(WORK_DIR, &tar).await.map_err(host)?;
        let mut parser = self.runner.parser();
        let slow = CASE_SILENCE.mul_f64(self.port.emulator.slowness.max(1.0));
        let idle = slow * self.port.patience();
        let mut events = Vec::new();
        let failed = {
            let mut stream = guest
                .run(&batch.command, idle, idle * 4)
                .await
                .map_err(host)?;
            loop {
                match stream.next().await {
                    Ok(Output::Chunk(bytes)) => parser.feed_into(&bytes, &mut events),
                    Ok(Output::End(_)) => break None,
                    Err(error) => break Some(error),
                }
            }
        };
        events.extend(parser.finish());
        seen.extend(events.into_iter().filter_map(|event| match event {
            SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                ..
            } => Some(Seen {
                case,
                outcome,
                reason,
            }),
            _ => None,
        }));
        let Some(error) = failed else { return Ok(()) };
        if let (Some(crash), Some((case, _))) = (error.crash(), parser.take_open()) {
            seen.push(Seen {
                case,
                outcome: crash.kind.outcome(),
                reason: Some(crash.title),
            });
        }
        Err(host(error))
    }

    fn commands(&self) -> Result<Invocation, RunError> {
        let slowness = self.port.emulator.slowness;
        let user = family(&self.port.family).map(|family| family.user());
        Invocation::new(self.runner, &self.cases_root, WORK_DIR, user, slowness)
            .map_err(|e| RunError::Host(e.to_string()))
    }
}

fn is_death(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Crashed | Outcome::Hung)
}

/// Runs a command in a guest; gives the first `most` bytes of its output, and its status.
pub async fn output(
    guest: &mut Guest,
    command: &str,
    most: usize,
) -> Result<(Vec<u8>, i32), GuestError> {
    let mut out = Vec::new();
    let mut stream = guest.run(command, CASE_SILENCE, CASE_SILENCE * 4).await?;
    loop {
        match stream.next().await? {
            Output::Chunk(bytes) => {
                let room = most.saturating_sub(out.len()).min(bytes.len());
                out.extend_from_slice(&bytes[..room]);
            }
            Output::End(status) => return Ok((out, status)),
        }
    }
}
