//! One cell: guests, one after the other or several at once, until every case has an outcome.
//!
//! ```text
//!            +--> guest --> tests in --> list --> run what is owed, look at the guest --> end
//!            |      |                                   |                  |
//!            |      v                                   v                  v
//!            +-- failed boot,              guest died or hung:    guest is damaged: doubt what
//!                emulator gone: retry      blame the open case    followed, go on in a fresh one
//! ```
//!
//! Results stream out of the guests and are entered in the ledger (and the run's log) as they come:
//! what a dying guest has said is never lost. What is owed is the ledger's business, what happens in
//! one guest that of [`super::life`] and [`super::session`]. Here it is decided how many guests live,
//! how often a fault is tried again, and when there is no sense in another guest.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{
    Attempt, CaseId, CellId, CellResult, Event, GuestRecord, Key, Port, Reproduced, StageResult,
};
use crate::plan::matrix::{Limits, Retries};
use crate::plan::{Order, Repeats};
use crate::suite::Runner;

use super::bus::Bus;
use super::earlier::Earlier;
use super::guests::GuestOrder;
use super::ledger::{Ledger, Policy};
use super::life::{self, Fate};
use super::shards::Shards;

/// Numbers for the guests of a cell, shared by whoever starts one.
#[derive(Debug, Clone, Default)]
pub struct Numbers(Arc<AtomicU32>);

impl Numbers {
    /// Numbers above `last`.
    pub fn after(last: u32) -> Self {
        Self(Arc::new(AtomicU32::new(last)))
    }

    /// The next one; the first is 1.
    pub fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn last(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Everything that a cell needs.
#[derive(Debug, Clone)]
pub struct CellJob {
    /// Which cell.
    pub id: CellId,
    /// Its key.
    pub key: Key,
    /// The port's manifest.
    pub port: Port,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// Which kernel its guests must run, and where a saved guest is.
    pub ordered: GuestOrder,
    /// The archive with the built tests, to be unpacked at the guest's root.
    pub tests: PathBuf,
    /// The directory in the guest with the suite's top Kyuafile.
    pub cases_root: String,
    /// What runs the cases.
    pub runner: Runner,
    /// Passes over the suite.
    pub passes: u32,
    /// The order within a pass.
    pub order: Order,
    /// From what the bytes are drawn with which every other pass finds new memory filled.
    pub memory_seed: Option<u64>,
    /// What is executed again in fresh guests.
    pub repeats: Repeats,
    /// How many guests may live at once.
    pub shards: Shards,
    /// What the suite's cases took on this port before.
    pub took: HashMap<CaseId, Duration>,
    /// By how much the cases' own limits are stretched.
    pub slowness: f64,
    /// The cell's time limit on this port.
    pub timeout: Duration,
    /// Bounds.
    pub limits: Limits,
    /// What is tried again.
    pub retries: Retries,
    /// Where the cell's consoles go.
    pub dir: PathBuf,
    /// Where run directories of emulators are.
    pub run_base: PathBuf,
    /// The run's name, for the list of live guests.
    pub run: String,
    /// What an interrupted run of this very cell made.
    pub earlier: Earlier,
    /// The numbers of its guests.
    pub numbers: Numbers,
    /// Package and tool versions, for the record.
    pub versions: BTreeMap<String, String>,
    /// Where its guests run otherwise than was wished, and why.
    pub otherwise: Vec<String>,
}

/// What the guests of a cell share.
pub(super) struct Cell {
    pub(super) job: CellJob,
    pub(super) bus: Bus,
    ledger: Mutex<Ledger>,
    guests: Mutex<Vec<GuestRecord>>,
    deadline: Instant,
    /// The deadline of what comes after the passes.
    again_until: OnceLock<Instant>,
}

impl Cell {
    pub(super) fn new(job: &CellJob, bus: &Bus, ledger: Ledger) -> Self {
        Self {
            job: job.clone(),
            bus: bus.clone(),
            ledger: Mutex::new(ledger),
            guests: Mutex::new(Vec::new()),
            deadline: Instant::now() + job.timeout,
            again_until: OnceLock::new(),
        }
    }

    /// The accounts. Never held across an await.
    pub(super) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guests(&self) -> MutexGuard<'_, Vec<GuestRecord>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the record of a guest that is no more.
    pub(super) fn keep(&self, record: GuestRecord) {
        self.bus.emit(Event::GuestEnded {
            cell: self.job.id.clone(),
            guest: Box::new(record.clone()),
        });
        self.guests().push(record);
    }

    /// Until when a guest that begins now may live. Repeats and confirmations get half of the cell's
    /// time at most: what is already known must not wait for them for long.
    pub(super) fn deadline(&self) -> Instant {
        if !self.ledger().passes_done() {
            return self.deadline;
        }
        let half = || Instant::now() + self.job.timeout / 2;
        (*self.again_until.get_or_init(half)).min(self.deadline)
    }

    /// Tells the dispatcher how many guests would find work.
    pub(super) fn wish(&self, live: u32) {
        let spare = self.ledger().spare();
        self.job.shards.want(live.saturating_add(spare));
    }

    pub(super) fn show(&self, attempts: impl IntoIterator<Item = Attempt>) {
        for attempt in attempts {
            self.bus.emit(Event::AttemptDone {
                cell: self.job.id.clone(),
                attempt,
            });
        }
    }

    pub(super) fn notice(&self, text: String) {
        self.bus.emit(Event::Notice {
            port: Some(self.job.id.port.clone()),
            text,
        });
    }

    /// Takes out everything that came of the guests.
    pub(super) fn take_parts(&self) -> (Ledger, Vec<GuestRecord>) {
        let ledger = std::mem::take(&mut *self.ledger());
        let mut guests = std::mem::take(&mut *self.guests());
        guests.sort_by_key(|g| g.number);
        (ledger, guests)
    }
}

/// Runs a cell to its end. Never fails: whatever happens is a stage result.
pub async fn run(job: &CellJob, bus: &Bus, cancel: &CancellationToken) -> CellResult {
    let policy = Policy {
        passes: job.passes,
        order: job.order,
        memory_seed: job.memory_seed,
        repeats: job.repeats,
        guests: job.shards.most(),
        took: job.took.clone(),
    };
    let mut ledger = Ledger::new(policy, job.earlier.attempts.clone());
    for guest in &job.earlier.guests {
        if let Some(case) = guest.crash.as_ref().and_then(|c| c.blamed.as_ref()) {
            ledger.suspect(case);
        }
        if let Some(case) = guest.damage.as_ref().and_then(|d| d.culprit.as_ref()) {
            ledger.note_harmful(case.clone());
        }
    }
    let cell = Arc::new(Cell::new(job, bus, ledger));
    for how in &job.otherwise {
        cell.notice(format!("{}: {how}", job.id));
    }
    let (stage, detail) = match std::fs::create_dir_all(&job.dir) {
        Ok(()) => carry_out(&cell, cancel).await,
        Err(e) => (
            StageResult::HostFailed,
            Some(format!("cannot create {}: {e}", job.dir.display())),
        ),
    };
    if stage != StageResult::Interrupted {
        let why = detail.clone().unwrap_or_else(|| stage.to_string());
        let missed = cell.ledger().close(job.numbers.last(), &why);
        cell.show(missed);
    }
    let (ledger, mut guests) = cell.take_parts();
    guests.splice(0..0, job.earlier.guests.iter().cloned());
    for guest in &mut guests {
        confirm(guest, &ledger);
    }
    CellResult {
        id: job.id.clone(),
        key: job.key.clone(),
        stage,
        detail,
        attempts: ledger.into_attempts(),
        guests,
        versions: job.versions.clone(),
        cached: false,
    }
}

/// Says of a crash what came of running its suspect alone.
fn confirm(guest: &mut GuestRecord, ledger: &Ledger) {
    let Some(crash) = &mut guest.crash else {
        return;
    };
    let alone = crash.blamed.as_ref().and_then(|c| ledger.confirmed(c));
    let Some((times, of)) = alone else { return };
    crash.reproduced = Some(Reproduced { times, of });
    if times == 0 && crash.candidates.is_empty() {
        crash.candidates = ledger.last_in(guest.number);
    }
}

/// Faults in a row, without a case's end in between.
#[derive(Default)]
struct Streaks {
    ends: u64,
    host: u32,
    boot: u32,
    deaths: u32,
}

impl Streaks {
    /// Takes note of how many cases have ended.
    fn at(&mut self, ends: u64) {
        if ends > self.ends {
            *self = Self {
                ends,
                ..Self::default()
            };
        }
    }
}

type End = (StageResult, Option<String>);

async fn carry_out(cell: &Arc<Cell>, cancel: &CancellationToken) -> End {
    let stop = cancel.child_token();
    let shards = &cell.job.shards;
    let mut lives: JoinSet<Fate> = JoinSet::new();
    let mut streaks = Streaks::default();
    let mut dead = 0;
    let mut end: Option<End> = None;
    loop {
        if end.is_none() {
            end = impossible(cell, cancel);
        }
        if end.is_some() {
            stop.cancel();
        } else {
            start(cell, &mut lives, &stop);
        }
        if lives.is_empty() {
            return end.unwrap_or((StageResult::Complete, None));
        }
        let fate = tokio::select! {
            ended = lives.join_next() => match ended {
                Some(Ok(fate)) => fate,
                // A bug of ours.
                Some(Err(panic)) => Fate::Final(StageResult::HostFailed, format!("internal error: {panic}")),
                None => continue,
            },
            () = shards.grown() => continue,
        };
        shards.put_back();
        cell.wish(lives.len() as u32);
        streaks.at(cell.ledger().ends());
        let decided = decide(cell, fate, &mut streaks, &mut dead);
        end = end.or(decided);
    }
}

/// Starts as many guests as there is work and leave for.
fn start(cell: &Arc<Cell>, lives: &mut JoinSet<Fate>, stop: &CancellationToken) {
    loop {
        let (listed, has_work) = {
            let ledger = cell.ledger();
            let work = if lives.is_empty() {
                ledger.has_work()
            } else {
                ledger.is_listed() && ledger.spare() > 0
            };
            (ledger.is_listed(), work)
        };
        // The first guest lists the suite; the others would not know what to do before.
        if !has_work || (!listed && !lives.is_empty()) || !cell.job.shards.take() {
            return;
        }
        let number = cell.job.numbers.next();
        lives.spawn(life::live(Arc::clone(cell), number, stop.clone()));
    }
}

/// What ends a cell whatever its guests do.
fn impossible(cell: &Cell, cancel: &CancellationToken) -> Option<End> {
    if cancel.is_cancelled() {
        return Some((StageResult::Interrupted, None));
    }
    if let Some(why) = cell.bus.failure() {
        return Some((StageResult::HostFailed, Some(why)));
    }
    let over = Instant::now() >= cell.deadline();
    (over && cell.ledger().has_work()).then(|| too_late(cell))
}

/// The time is over: an unfinished pass is missed, a confirmation is only a pity.
pub(super) fn too_late(cell: &Cell) -> End {
    if cell.ledger().passes_done() {
        let why = "no time was left for all repeats and confirmations";
        return (StageResult::Complete, Some(why.to_owned()));
    }
    let why = format!("the cell's time limit of {:?} was over", cell.job.timeout);
    (StageResult::TimedOut, Some(why))
}

/// Whether a guest's end is the cell's. Faults count as long as no case has ended in between.
fn decide(cell: &Cell, fate: Fate, streaks: &mut Streaks, dead: &mut u32) -> Option<End> {
    let passes_done = cell.ledger().passes_done();
    let (stage, why, times, allowed) = match fate {
        Fate::GoOn => return None,
        Fate::Final(stage, why) => return Some((stage, Some(why))),
        // Whoever runs a suspect alone has to expect its death.
        Fate::Died(_) if passes_done => return None,
        Fate::Died(title) => {
            *dead += 1;
            streaks.deaths += 1;
            let limits = &cell.job.limits;
            let why = if streaks.deaths >= limits.deaths {
                let n = streaks.deaths;
                format!(
                    "{n} guests in a row died without a case's end in between; the last: {title}"
                )
            } else if *dead >= limits.guests {
                format!("{dead} guests died in this cell, which is its limit; the last: {title}")
            } else {
                return None;
            };
            return Some((StageResult::CrashLoop, Some(why)));
        }
        Fate::HostFault(stage, why) => {
            streaks.host += 1;
            (stage, why, streaks.host, cell.job.retries.host_fault)
        }
        Fate::NoBoot(stage, why) => {
            streaks.boot += 1;
            (stage, why, streaks.boot, cell.job.retries.boot)
        }
    };
    if times <= allowed {
        cell.notice(format!("{}: {why}; trying again", cell.job.id));
        return None;
    }
    if passes_done {
        let why = format!("repeats and confirmations were given up: {why}");
        return Some((StageResult::Complete, Some(why)));
    }
    Some((stage, Some(why)))
}
