//! Adaptive repeats: once the cells are done and before the verdict is final, a budget is spent where
//! it tells most.
//!
//! ```text
//! cells --judge--> what is open --campaign--> wants --probe, one fresh guest each--> attempts
//!                                    ^                                                  |
//!                                    `------------------ counts <----------------------'
//! ```
//!
//! What is asked and when it is enough is the policy's business ([`crate::verdict::adaptive`]). Here
//! guests are started within the machine's limits, faults of the host are tried again, time is kept,
//! and attempts are put where they belong: into their cells, in the run and in the cache. Every
//! attempt is in the run's log when it ends, so a killed run goes on from the last one. Time that is
//! over keeps attempts from beginning and ends none: one that was cut for being slow would be missing
//! where it says something.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use crate::model::outcome::Sense;
use crate::model::{
    Attempt, CaseId, CellId, CellResult, Event, GuestRecord, Purpose, Spent, SpentEnd, StageResult,
    Verdict,
};
use crate::plan::{Capacity, Work};
use crate::verdict::adaptive::{Campaign, Want, bought};
use crate::verdict::chance::Count;
use crate::verdict::{Known, VerdictInput};

use super::cell::{CellJob, Numbers};
use super::earlier::{ADAPTIVE_JOB, Again};
use super::kernels;
use super::probe::{self, ProbeResult};
use super::run::Dispatch;
use super::trial;

/// Spends the matrix's budget, if it has one. Returns what that came to, and the verdict with it.
pub(super) async fn repeat(
    run: &mut Dispatch,
    cells: &mut [CellResult],
) -> Option<(Spent, Verdict)> {
    let budget = run.setup.resolved.adaptive?;
    let again = std::mem::take(&mut run.again);
    // The user ended the run before anything could be asked.
    if run.cancel.is_cancelled() && again.cells.is_empty() {
        return None;
    }
    take_out(cells, &again);
    let before = run.judge(cells);
    put_in(cells, &again);

    let mut spending = Spending::new(run, cells, &again);
    let mut campaign = spending.campaign(cells);
    let began = Instant::now();
    let until = budget
        .time
        .map(|time| began + time.saturating_sub(again.took));
    let mut asked = false;
    let end = loop {
        if run.cancel.is_cancelled() || run.bus.failure().is_some() {
            break SpentEnd::Interrupted;
        }
        if until.is_some_and(|until| Instant::now() >= until) {
            break SpentEnd::Time;
        }
        let wants = campaign.wants();
        if wants.is_empty() {
            break match campaign.left() {
                0 => SpentEnd::Attempts,
                _ => SpentEnd::NothingLeft,
            };
        }
        if !asked {
            asked = true;
            let job = ADAPTIVE_JOB.to_owned();
            run.bus.emit(Event::JobStarted { job });
        }
        spending.progress(wants.len());
        spending.round(&wants, &mut campaign, until).await;
    };
    let took = began.elapsed();
    if asked {
        run.bus.emit(Event::JobFinished {
            job: ADAPTIVE_JOB.to_owned(),
            cached: false,
            result: StageResult::Complete,
            detail: None,
            took,
        });
    }
    let Spending { made, spent, .. } = spending;
    for (id, (attempts, guests)) in made {
        if let Some(cell) = cells.iter_mut().find(|c| c.id == id) {
            cell.attempts.extend(attempts);
            cell.guests.extend(guests);
            cell.guests.sort_by_key(|g| g.number);
            keep(run, cell);
        }
    }
    let after = run.judge(cells);
    let report = Spent {
        most_attempts: budget.attempts,
        most_time: budget.time,
        attempts: spent.values().map(|c| c.total).sum(),
        took: again.took + took,
        end,
        cases: bought(&before, &after, &spent),
    };
    Some((report, after))
}

/// Keeps a cell with what was added to it: in the run, and in the cache for runs to come.
fn keep(run: &Dispatch, cell: &CellResult) {
    if let Err(error) = run.run.put_cell(cell) {
        run.notice(format!("{}: {error}", cell.id));
    }
    if let Err(error) = run.setup.cells().put(cell, &run.run.cell_dir(&cell.id)) {
        run.notice(format!("{}: not cached: {error}", cell.id));
    }
}

/// The identity of one of these attempts within its cell.
fn same(a: &Attempt, b: &Attempt) -> bool {
    (a.purpose, a.guest, a.pass) == (b.purpose, b.guest, b.pass) && a.case == b.case
}

/// Takes out of the cells what an earlier process of this run had added to them already.
fn take_out(cells: &mut [CellResult], again: &Again) {
    for cell in cells {
        let Some(earlier) = again.cells.get(&cell.id) else {
            continue;
        };
        let ours = |a: &Attempt| {
            a.purpose == Purpose::Adaptive && earlier.attempts.iter().any(|e| same(e, a))
        };
        cell.attempts.retain(|a| !ours(a));
        let numbers: Vec<u32> = earlier.guests.iter().map(|g| g.number).collect();
        cell.guests.retain(|g| !numbers.contains(&g.number));
    }
}

fn put_in(cells: &mut [CellResult], again: &Again) {
    for cell in cells {
        if let Some(earlier) = again.cells.get(&cell.id) {
            cell.attempts.extend(earlier.attempts.iter().cloned());
            cell.guests.extend(earlier.guests.iter().cloned());
            cell.guests.sort_by_key(|g| g.number);
        }
    }
}

/// Attempts and guests by cell.
type Made = BTreeMap<CellId, (Vec<Attempt>, Vec<GuestRecord>)>;

/// The state of the spending.
struct Spending<'a> {
    run: &'a Dispatch,
    capacity: Capacity,
    /// What a guest of a cell weighs, in cores and memory.
    weights: BTreeMap<CellId, (u32, u64)>,
    /// Attempts of this purpose that a case has in a cell.
    passes: BTreeMap<(CellId, CaseId), u32>,
    numbers: BTreeMap<CellId, Numbers>,
    keys: BTreeMap<CellId, crate::model::Key>,
    /// None where a cell's guests cannot be started any more.
    jobs: BTreeMap<CellId, Option<Arc<CellJob>>>,
    faults: BTreeMap<CellId, u32>,
    made: Made,
    /// By suite and case.
    spent: BTreeMap<(String, CaseId), Count>,
}

/// One attempt that is under way.
struct Underway {
    want: usize,
    weight: (u32, u64),
    result: ProbeResult,
}

impl<'a> Spending<'a> {
    fn new(run: &'a Dispatch, cells: &[CellResult], again: &Again) -> Self {
        let mut weights = BTreeMap::new();
        let mut passes: BTreeMap<(CellId, CaseId), u32> = BTreeMap::new();
        let mut numbers = BTreeMap::new();
        for cell in cells {
            let job = run.plan.find(&Work::Cell(cell.id.clone()).to_string());
            if let Some(job) = job.and_then(|ix| run.plan.jobs.get(ix)) {
                weights.insert(cell.id.clone(), (job.cores, job.mem_mib));
            }
            let adaptive = cell
                .attempts
                .iter()
                .filter(|a| a.purpose == Purpose::Adaptive);
            for attempt in adaptive {
                let key = (cell.id.clone(), attempt.case.clone());
                let last = passes.entry(key).or_default();
                *last = (*last).max(attempt.pass);
            }
            let guests = cell.guests.iter().map(|g| g.number);
            let last = guests.chain(cell.attempts.iter().map(|a| a.guest)).max();
            numbers.insert(cell.id.clone(), Numbers::after(last.unwrap_or(0)));
        }
        let mut spending = Self {
            run,
            capacity: run.setup.capacity(),
            weights,
            passes,
            numbers,
            keys: cells
                .iter()
                .map(|c| (c.id.clone(), c.key.clone()))
                .collect(),
            jobs: BTreeMap::new(),
            faults: BTreeMap::new(),
            made: Made::new(),
            spent: BTreeMap::new(),
        };
        for (id, earlier) in &again.cells {
            let attempts = earlier.attempts.iter();
            for attempt in attempts.filter(|a| a.purpose == Purpose::Adaptive) {
                spending.count(id, attempt);
            }
        }
        spending
    }

    /// What is open, with what an earlier process has spent on it.
    fn campaign(&self, cells: &[CellResult]) -> Campaign {
        let budget = self.run.setup.resolved.adaptive.unwrap_or_default();
        let by_time = budget.attempts.is_none();
        let price = |id: &CellId| {
            let cell = cells.iter().find(|c| c.id == *id)?;
            let can = cell.stage == StageResult::Complete && self.weights.contains_key(id);
            let boots = cell.guests.iter().map(|g| g.boot.as_secs_f64());
            // Where time is the budget, what a guest takes to come up is the price.
            let boot = boots.fold(f64::INFINITY, f64::min);
            can.then_some(match boot.is_finite() && by_time {
                true => boot.max(0.2),
                false => 1.0,
            })
        };
        let ports = self.run.traits();
        let variants = kernels::traits(&self.run.setup.resolved);
        let input = VerdictInput {
            ports: &ports,
            variants: &variants,
            cells,
            known: Known::default(),
        };
        let most = budget.attempts.map_or(u64::MAX, u64::from);
        let mut campaign = Campaign::new(&input, most, &price);
        for ((suite, case), count) in &self.spent {
            campaign.spent_before(suite, case, count.total);
        }
        campaign
    }

    fn count(&mut self, id: &CellId, attempt: &Attempt) {
        let sum = self.spent.entry((id.suite.clone(), attempt.case.clone()));
        let sum = sum.or_default();
        *sum = sum.plus(Count {
            bad: u32::from(attempt.counts() && attempt.outcome.sense() == Sense::Bad),
            total: 1,
        });
    }

    fn progress(&self, open: usize) {
        let made: u32 = self.spent.values().map(|c| c.total).sum();
        let most = self.run.setup.resolved.adaptive.and_then(|a| a.attempts);
        self.run.bus.emit(Event::JobProgress {
            job: ADAPTIVE_JOB.to_owned(),
            doing: format!("{made} attempts made, {open} cases open"),
            done: most.map(|most| (u64::from(made), u64::from(most))),
        });
    }

    /// Makes the attempts of a round, as many at once as the machine takes.
    async fn round(&mut self, wants: &[Want], campaign: &mut Campaign, until: Option<Instant>) {
        let of = |(i, want): (usize, &Want)| std::iter::repeat_n(i, want.times as usize);
        let mut queue: VecDeque<usize> = wants.iter().enumerate().flat_map(of).collect();
        let mut tasks: JoinSet<Underway> = JoinSet::new();
        let (mut cores, mut mem_mib) = (0, 0);
        loop {
            let stopped = self.run.cancel.is_cancelled()
                || self.run.bus.failure().is_some()
                || until.is_some_and(|until| Instant::now() >= until);
            if stopped {
                for want in queue.drain(..) {
                    campaign.give_back(&wants[want]);
                }
            }
            while let Some(&at) = queue.front() {
                let want = &wants[at];
                let weight = self.weights.get(&want.cell).copied().unwrap_or((1, 0));
                let fits = cores + weight.0 <= self.capacity.cores
                    && mem_mib + weight.1 <= self.capacity.mem_mib;
                // What fits nowhere is run alone rather than never.
                if !fits && !tasks.is_empty() {
                    break;
                }
                queue.pop_front();
                let Some(job) = self.job(&want.cell).await else {
                    campaign.give_back(want);
                    campaign.close(&want.cell);
                    continue;
                };
                let key = (want.cell.clone(), want.case.clone());
                let pass = self.passes.entry(key).or_default();
                *pass += 1;
                let (pass, case) = (*pass, want.case.clone());
                let (bus, cancel) = (self.run.bus.clone(), self.run.cancel.clone());
                (cores, mem_mib) = (cores + weight.0, mem_mib + weight.1);
                tasks.spawn(async move {
                    let result = probe::again(&job, &case, pass, &bus, &cancel).await;
                    Underway {
                        want: at,
                        weight,
                        result,
                    }
                });
            }
            let done = match tasks.join_next().await {
                Some(Ok(done)) => done,
                Some(Err(panic)) => {
                    // A bug of ours: what was weighed for it is not given back.
                    self.run
                        .notice(format!("internal error in a repeat: {panic}"));
                    continue;
                }
                None => return,
            };
            (cores, mem_mib) = (cores - done.weight.0, mem_mib - done.weight.1);
            if self.ended(&wants[done.want], done.result, campaign) {
                queue.push_back(done.want);
            }
        }
    }

    /// Takes an attempt in. True where it is to be made again.
    fn ended(&mut self, want: &Want, result: ProbeResult, campaign: &mut Campaign) -> bool {
        let cell = &want.cell;
        let made = self.made.entry(cell.clone()).or_default();
        made.1.extend(result.guest);
        let attempt = result.attempts.into_iter().find(|a| a.case == want.case);
        if let Some(attempt) = attempt {
            let outcome = attempt.counts().then_some(attempt.outcome);
            made.0.push(attempt.clone());
            self.count(cell, &attempt);
            campaign.record(want, outcome);
            return false;
        }
        campaign.give_back(want);
        let Some((stage, why)) = result.fault else {
            // The guest ended, and the runner had not said a word of the case.
            campaign.record(want, None);
            return false;
        };
        if stage == StageResult::Interrupted {
            return false;
        }
        let faults = self.faults.entry(cell.clone()).or_default();
        *faults += 1;
        let notice = |text: String| {
            self.run.bus.emit(Event::Notice {
                port: Some(cell.port.clone()),
                text,
            });
        };
        if stage.is_host_fault() && *faults <= self.run.setup.resolved.retries.host_fault {
            notice(format!("{cell}: {why}; trying again"));
            return campaign.take(want);
        }
        notice(format!("{cell}: {stage}: {why}; it is asked no further"));
        campaign.close(cell);
        self.jobs.insert(cell.clone(), None);
        false
    }

    /// What is needed to start guests of a cell: image and build as they were in this run.
    async fn job(&mut self, id: &CellId) -> Option<Arc<CellJob>> {
        if let Some(job) = self.jobs.get(id) {
            return job.clone();
        }
        let ready = match trial::prepare(&self.run.setup, id, &self.run.bus).await {
            Ok(stage) if stage.key.as_ref() == self.keys.get(id) => {
                let numbers = self.numbers.get(id).cloned().unwrap_or_default();
                let dir = self.run.run.cell_dir(id);
                Ok(Arc::new(stage.job(&self.run.record.id.0, dir, numbers)))
            }
            // An attempt on another tree would be counted with those on this one.
            Ok(_) => Err("its source or image has changed since it ran".to_owned()),
            Err(not) => Err(super::RunError::from(not).to_string()),
        };
        let job = match ready {
            Ok(job) => Some(job),
            Err(why) => {
                self.run.notice(format!("{id}: no repeats: {why}"));
                None
            }
        };
        self.jobs.insert(id.clone(), job.clone());
        job
    }
}
