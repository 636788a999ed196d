//! Which jobs start next: the policy alone, without a clock, threads or effects.
//!
//! - The sum of the running jobs' cores and memory never exceeds the machine's.
//! - A job starts when all that it needs has ended well; what needs a failed job is skipped, with
//!   the reason.
//! - First by priority, then by the longest way that is left behind a job, so that what keeps
//!   others waiting does not start late; at last by place.
//! - A job that does not fit lets smaller ones by, but only [`PATIENCE`] of them: then nothing
//!   else starts until it fits, so that none starves.
//!
//! - While no job is ready, what is idle may be lent to a running job that can use more than it
//!   weighs ([`Schedule::lend`]); it counts as the job's until it is given back or the job ends.
//!
//! ```text
//! waiting -> ready -> running -> done
//!    |         ^         | \---> failed
//!    v         \--again--/
//! skipped
//! ```

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use super::job::{JobIx, Plan, Todo};
use crate::model::JobKind;

/// How many jobs may overtake one that does not fit at the moment.
pub const PATIENCE: u32 = 8;

/// What the jobs may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Cores.
    pub cores: u32,
    /// Memory in MiB.
    pub mem_mib: u64,
}

/// A job that will not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skip {
    /// Which.
    pub job: JobIx,
    /// The job that failed, where that is why.
    pub because: Option<JobIx>,
    /// Why, for people.
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// For this many jobs.
    Waiting(usize),
    Ready,
    Running,
    Done,
    Failed,
    Skipped,
}

#[derive(Debug, Clone)]
struct Slot {
    name: String,
    state: State,
    cores: u32,
    mem_mib: u64,
    priority: u8,
    /// The estimated time of this job and of the longest chain behind it.
    way: Duration,
    overtaken: u32,
    /// How many times its own weight it was lent.
    lent: u32,
    dependants: Vec<JobIx>,
}

/// A ready job's place: the tired first, then by priority and by the way behind.
type Rank = (Reverse<(bool, u8, Duration)>, JobIx);

/// The state of a plan that is being executed.
#[derive(Debug, Clone)]
pub struct Schedule {
    slots: Vec<Slot>,
    /// The ready jobs in the order in which they may start.
    ready: BTreeSet<Rank>,
    running: usize,
    /// Neither run nor skipped yet.
    left: usize,
    capacity: Capacity,
    free: Capacity,
    refused: Vec<Skip>,
    stopped: bool,
}

impl Schedule {
    /// A schedule of a plan's jobs. A cached job waits for nothing and weighs nothing: it is given
    /// out so that its result is taken over. A job that is not needed is never given out. One that
    /// wants more cores than there are gets all; one that wants more memory than there is can
    /// never run: see [`Schedule::refused`].
    pub fn new(plan: &Plan, capacity: Capacity) -> Self {
        let guesses = Guesses::of(plan);
        let mut slots: Vec<Slot> = Vec::with_capacity(plan.jobs.len());
        for job in &plan.jobs {
            let run = job.todo == Todo::Run;
            let waits = job
                .needs
                .iter()
                .filter(|&&n| plan.jobs[n].todo != Todo::NotNeeded);
            slots.push(Slot {
                name: job.name.clone(),
                state: match (job.todo, waits.count()) {
                    (Todo::NotNeeded, _) => State::Done,
                    (Todo::Run, open) if open > 0 => State::Waiting(open),
                    _ => State::Ready,
                },
                cores: if run {
                    job.cores.min(capacity.cores)
                } else {
                    0
                },
                mem_mib: if run { job.mem_mib } else { 0 },
                priority: if run { job.priority } else { u8::MAX },
                way: if run {
                    guesses.guess(job)
                } else {
                    Duration::ZERO
                },
                overtaken: 0,
                lent: 0,
                dependants: Vec::new(),
            });
        }
        // A job stands behind all that it needs, so one walk from the end is enough.
        for (ix, job) in plan.jobs.iter().enumerate().rev() {
            if job.todo != Todo::Run {
                continue;
            }
            let own = guesses.guess(job);
            let behind = slots[ix].dependants.iter().map(|&d| slots[d].way).max();
            slots[ix].way = own + behind.unwrap_or_default();
            for &need in &job.needs {
                slots[need].dependants.push(ix);
            }
        }
        let left = |s: &Slot| matches!(s.state, State::Waiting(_) | State::Ready);
        let mut schedule = Self {
            left: slots.iter().filter(|s| left(s)).count(),
            running: 0,
            ready: BTreeSet::new(),
            slots,
            capacity,
            free: capacity,
            refused: Vec::new(),
            stopped: false,
        };
        for ix in 0..schedule.slots.len() {
            if schedule.slots[ix].state == State::Ready {
                schedule.ready.insert(schedule.rank(ix));
            }
        }
        schedule.refuse_too_large();
        schedule
    }

    fn rank(&self, ix: JobIx) -> Rank {
        let slot = &self.slots[ix];
        let tired = slot.overtaken >= PATIENCE;
        (Reverse((tired, slot.priority, slot.way)), ix)
    }

    /// Puts a job into another state and keeps the accounts.
    fn put(&mut self, ix: JobIx, state: State) {
        let left = |s| usize::from(matches!(s, State::Waiting(_) | State::Ready));
        let runs = |s| usize::from(s == State::Running);
        let old = std::mem::replace(&mut self.slots[ix].state, state);
        self.left = self.left + left(state) - left(old);
        self.running = self.running + runs(state) - runs(old);
        if old == State::Ready {
            self.ready.remove(&self.rank(ix));
        }
        if state == State::Ready {
            self.ready.insert(self.rank(ix));
        }
    }

    fn refuse_too_large(&mut self) {
        for ix in 0..self.slots.len() {
            let slot = &self.slots[ix];
            let open = matches!(slot.state, State::Waiting(_) | State::Ready);
            if !open || slot.mem_mib <= self.capacity.mem_mib {
                continue;
            }
            let reason = format!(
                "needs {} MiB of memory, {} MiB may be used",
                slot.mem_mib, self.capacity.mem_mib
            );
            self.put(ix, State::Skipped);
            self.refused.push(Skip {
                job: ix,
                because: None,
                reason,
            });
            let more = self.skip_behind(ix, "cannot run");
            self.refused.extend(more);
        }
    }

    /// The estimated time of each job and of the longest chain behind it.
    pub fn ways(&self) -> Vec<Duration> {
        self.slots.iter().map(|slot| slot.way).collect()
    }

    /// The jobs that cannot run on this machine, and those behind them.
    pub fn refused(&self) -> &[Skip] {
        &self.refused
    }

    /// The jobs to start now, the most urgent first. They count as running from here on; each
    /// must be reported by [`finished`](Self::finished) or [`again`](Self::again).
    #[expect(
        clippy::should_implement_trait,
        reason = "not an iterator: an empty answer now does not mean that none will come"
    )]
    pub fn next(&mut self) -> Vec<JobIx> {
        if self.stopped {
            return Vec::new();
        }
        let mut started = Vec::new();
        let mut passed: Vec<JobIx> = Vec::new();
        let mut at: Option<Rank> = None;
        loop {
            let from = at.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(&rank) = self.ready.range((from, Bound::Unbounded)).next() else {
                break;
            };
            at = Some(rank);
            let (_, ix) = rank;
            let slot = &self.slots[ix];
            let weighs = slot.cores > 0 || slot.mem_mib > 0;
            if weighs && self.free.cores == 0 {
                // What weighs nothing stands in front: nothing more can start.
                break;
            }
            if slot.cores <= self.free.cores && slot.mem_mib <= self.free.mem_mib {
                self.free.cores -= slot.cores;
                self.free.mem_mib -= slot.mem_mib;
                self.put(ix, State::Running);
                started.push(ix);
                if weighs {
                    for &before in &passed {
                        self.overtake(before);
                    }
                }
            } else {
                passed.push(ix);
            }
            if passed.iter().any(|&p| self.slots[p].overtaken >= PATIENCE) {
                break;
            }
        }
        started
    }

    fn overtake(&mut self, ix: JobIx) {
        let old = self.rank(ix);
        self.slots[ix].overtaken += 1;
        let new = self.rank(ix);
        if old != new && self.ready.remove(&old) {
            self.ready.insert(new);
        }
    }

    /// A running job ended. Where it failed, all that needs it is skipped and returned. A job
    /// that does not run is passed by.
    pub fn finished(&mut self, ix: JobIx, ok: bool) -> Vec<Skip> {
        if !self.release(ix) {
            return Vec::new();
        }
        if !ok {
            self.put(ix, State::Failed);
            return self.skip_behind(ix, "failed");
        }
        self.put(ix, State::Done);
        for dependant in self.slots[ix].dependants.clone() {
            if let State::Waiting(open) = self.slots[dependant].state {
                let next = match open {
                    0 | 1 => State::Ready,
                    more => State::Waiting(more - 1),
                };
                self.put(dependant, next);
            }
        }
        Vec::new()
    }

    /// A running job ended by a fault that is not its own and is to run once more.
    pub fn again(&mut self, ix: JobIx) {
        if self.release(ix) {
            self.put(ix, State::Ready);
        }
    }

    /// Lends a running job its own weight once more, where that much is idle and no job is ready
    /// that could want it.
    pub fn lend(&mut self, ix: JobIx) -> bool {
        if self.stopped || !self.ready.is_empty() {
            return false;
        }
        let Some(slot) = self.slots.get_mut(ix) else {
            return false;
        };
        let fits = slot.cores <= self.free.cores && slot.mem_mib <= self.free.mem_mib;
        if slot.state != State::Running || !fits {
            return false;
        }
        self.free.cores -= slot.cores;
        self.free.mem_mib -= slot.mem_mib;
        slot.lent += 1;
        true
    }

    /// A running job gives so many loans back.
    pub fn give_back(&mut self, ix: JobIx, loans: u32) {
        let Some(slot) = self.slots.get_mut(ix) else {
            return;
        };
        let back = loans.min(slot.lent);
        slot.lent -= back;
        self.free.cores += slot.cores * back;
        self.free.mem_mib += slot.mem_mib * u64::from(back);
    }

    /// Starts nothing more. Running jobs still have to be reported.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Number of jobs that run now.
    pub fn running(&self) -> usize {
        self.running
    }

    /// Number of jobs that have neither run nor been skipped yet.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Whether nothing runs and nothing will.
    pub fn is_over(&self) -> bool {
        self.running() == 0 && (self.stopped || self.left() == 0)
    }

    fn release(&mut self, ix: JobIx) -> bool {
        let Some(slot) = self.slots.get(ix) else {
            return false;
        };
        if slot.state != State::Running {
            return false;
        }
        let loans = slot.lent;
        self.free.cores += slot.cores;
        self.free.mem_mib += slot.mem_mib;
        self.give_back(ix, loans);
        true
    }

    fn skip_behind(&mut self, failed: JobIx, what: &str) -> Vec<Skip> {
        let reason = format!("{} {what}", self.slots[failed].name);
        let mut skips = Vec::new();
        let mut stack = self.slots[failed].dependants.clone();
        while let Some(ix) = stack.pop() {
            if matches!(self.slots[ix].state, State::Waiting(_)) {
                self.put(ix, State::Skipped);
                stack.extend(&self.slots[ix].dependants);
                skips.push(Skip {
                    job: ix,
                    because: Some(failed),
                    reason: reason.clone(),
                });
            }
        }
        skips.sort_by_key(|s| s.job);
        skips
    }
}

/// What jobs take: as before, or a guess from their kind.
struct Guesses {
    kernel: Option<Duration>,
    cell: Option<Duration>,
}

impl Guesses {
    fn of(plan: &Plan) -> Self {
        let longest = |kind| {
            let jobs = plan.jobs.iter().filter(|job| job.kind() == kind);
            jobs.filter_map(|job| job.est).max()
        };
        Self {
            kernel: longest(JobKind::Kernel),
            cell: longest(JobKind::Cell),
        }
    }

    fn guess(&self, job: &super::job::Job) -> Duration {
        job.est.unwrap_or_else(|| match job.kind() {
            JobKind::Image if job.priority > 0 => Duration::from_secs(600),
            JobKind::Image => Duration::from_secs(20),
            JobKind::Build => Duration::from_secs(15),
            JobKind::Kernel => self.kernel.unwrap_or(Duration::from_secs(150)),
            // A cell that nobody has seen may be the longest.
            JobKind::Cell => self.cell.unwrap_or(Duration::from_secs(30)),
        })
    }
}

/// How long the jobs would take on an idle machine if every guess were right: the policy played
/// through with a clock of its own.
pub fn forecast(plan: &Plan, capacity: Capacity) -> Duration {
    let mut schedule = Schedule::new(plan, capacity);
    let guesses = Guesses::of(plan);
    let mut now = Duration::ZERO;
    let mut running: Vec<(Duration, JobIx)> = Vec::new();
    while !schedule.is_over() {
        for ix in schedule.next() {
            let job = &plan.jobs[ix];
            let takes = match job.todo {
                Todo::Run => guesses.guess(job),
                Todo::Cached | Todo::NotNeeded => Duration::ZERO,
            };
            running.push((now + takes, ix));
        }
        running.sort_by(|a, b| b.cmp(a));
        let Some((end, ix)) = running.pop() else {
            break;
        };
        now = end;
        schedule.finished(ix, true);
    }
    now
}

#[cfg(test)]
mod tests;
