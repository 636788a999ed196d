//! Which jobs are handed to the scheduler when, and what its listings mean for them.
//!
//! ```text
//!          submissions            accepted, or found in a listing
//! ready ---------------> asked ----------------------------------> queued --finished--> done
//!   ^                      |                                          |
//!   |  refused by a limit, |                not in the queue any more, held, or refused by a node
//!   +----------------------+------------------------------------------+---too often--> failed
//! ```
//!
//! - What a job made is known by its result alone ([`Desk::finished`]), never by what the queue says.
//! - A submission whose answer was lost is not made again before a listing, asked for later, has not
//!   shown it for [`Limits::unsure`].
//! - A job that is no longer in the queue has [`Limits::settle`] for its result to be seen: a shared
//!   directory shows files late. Then it is lost and handed over again, each time later.
//! - There is one call for all jobs at a time, whatever their number.
//! - What has the longest way behind it goes first, and no more waits in the scheduler's queue than will
//!   start soon ([`Limits::reserve`]): a long job that becomes ready late must not stand behind thousands
//!   of short ones.
//!
//! Time is what the caller says, from any beginning.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::listing::{Phase, Row};
use super::settings::Cluster;
use super::submit::{Class, Refusal, RunNames};

/// A job at the desk.
pub type Handle = usize;

/// The desk's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Jobs in the queue together.
    pub queued: u32,
    /// Jobs of one array.
    pub array: u32,
    /// Jobs that may wait in the queue; a quarter of those that run where that is more.
    pub reserve: u32,
    /// Submissions at one look.
    pub submissions: u32,
    /// How often a job may be lost.
    pub losses: u32,
    /// How many nodes may refuse a job.
    pub refusals: u32,
    /// How long a result may come after its job has left the queue.
    pub settle: Duration,
    /// How long a submission without an answer may take to show up.
    pub unsure: Duration,
    /// How long nothing is submitted after a limit of the site's, and after the first loss of a job.
    pub pause: Duration,
}

/// The longest that a lost job waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

impl Limits {
    /// As the settings say.
    pub fn of(cluster: &Cluster) -> Self {
        Self {
            queued: cluster.queued_at_most,
            array: cluster.array_at_most,
            reserve: cluster.array_at_most.max(64),
            submissions: 4,
            losses: cluster.losses,
            refusals: 3,
            settle: (cluster.interval * 3).max(Duration::from_secs(5)),
            unsure: (cluster.interval * 3).max(Duration::from_secs(15)),
            pause: cluster.interval * 2,
        }
    }
}

/// An array to be submitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// Its number within the run.
    pub batch: u64,
    /// What its jobs have in common.
    pub class: Class,
    /// The jobs, in the order of the array's tasks.
    pub jobs: Vec<Handle>,
}

/// A job that went astray.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Which.
    pub job: Handle,
    /// Why, for people.
    pub why: String,
    /// It will not be tried again.
    pub gave_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Asked,
    Queued { gone_since: Option<Duration> },
    Done,
    Failed,
}

#[derive(Debug, Clone)]
struct Slot {
    class: u32,
    /// The estimated time of the job and of all that waits for it.
    way: Duration,
    state: State,
    batch: u64,
    task: u32,
    losses: u32,
    /// What the last listing said, with that listing's number.
    seen: Option<(u32, Phase)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// None yet.
    Open,
    /// It was lost, at this time.
    Unsure(Duration),
    /// The scheduler took it as this job, at this time.
    Taken(u64, Duration),
}

#[derive(Debug, Clone)]
struct Batch {
    /// By task; none where the job is not this batch's any more.
    jobs: Vec<Option<Handle>>,
    open: u32,
    answer: Answer,
}

/// The state of a run's jobs on the cluster.
#[derive(Debug, Clone)]
pub struct Desk {
    limits: Limits,
    names: RunNames,
    slots: Vec<Slot>,
    classes: Vec<Class>,
    class_ix: HashMap<Class, u32>,
    /// Ready jobs by class, the longest way first.
    ready: BTreeMap<u32, BTreeSet<(Reverse<Duration>, Handle)>>,
    /// Jobs that become ready at a time.
    later: BTreeSet<(Duration, Handle)>,
    batches: BTreeMap<u64, Batch>,
    next_batch: u64,
    in_queue: u32,
    /// Of these, what ran at the last listing.
    running: u32,
    hold_until: Duration,
    /// At most so many jobs in the next array: halved by every refusal.
    array_now: u32,
    listings: u32,
}

impl Desk {
    /// An empty desk. `next_batch` is above all numbers of batches that the run ever had.
    pub fn new(names: RunNames, limits: Limits, next_batch: u64) -> Self {
        Self {
            limits,
            names,
            slots: Vec::new(),
            classes: Vec::new(),
            class_ix: HashMap::new(),
            ready: BTreeMap::new(),
            later: BTreeSet::new(),
            batches: BTreeMap::new(),
            next_batch,
            in_queue: 0,
            running: 0,
            hold_until: Duration::ZERO,
            array_now: limits.array.max(1),
            listings: 0,
        }
    }

    fn class(&mut self, class: Class) -> u32 {
        if let Some(&ix) = self.class_ix.get(&class) {
            return ix;
        }
        let ix = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        self.classes.push(class.clone());
        self.class_ix.insert(class, ix);
        ix
    }

    /// A job that is to be submitted. `way` is the estimated time of it and of all that waits for it.
    pub fn add(&mut self, class: Class, way: Duration) -> Handle {
        let class = self.class(class);
        self.slots.push(Slot {
            class,
            way,
            state: State::Ready,
            batch: 0,
            task: 0,
            losses: 0,
            seen: None,
        });
        let job = self.slots.len() - 1;
        self.get_ready(job);
        job
    }

    /// A job that an earlier process may have submitted as this task of this batch, or may have been
    /// about to: listings tell, from `now` on.
    pub fn adopt(
        &mut self,
        class: Class,
        way: Duration,
        (batch, task): (u64, u32),
        now: Duration,
    ) -> Handle {
        let class = self.class(class);
        self.next_batch = self.next_batch.max(batch + 1);
        self.slots.push(Slot {
            class,
            way,
            state: State::Queued { gone_since: None },
            batch,
            task,
            losses: 0,
            seen: None,
        });
        let job = self.slots.len() - 1;
        let of = self.batches.entry(batch).or_insert_with(|| Batch {
            jobs: Vec::new(),
            open: 0,
            answer: Answer::Unsure(now),
        });
        let at = task as usize;
        if of.jobs.len() <= at {
            of.jobs.resize(at + 1, None);
        }
        of.jobs[at] = Some(job);
        of.open += 1;
        self.in_queue += 1;
        job
    }

    fn get_ready(&mut self, job: Handle) {
        self.slots[job].state = State::Ready;
        let queue = self.ready.entry(self.slots[job].class).or_default();
        queue.insert((Reverse(self.slots[job].way), job));
    }

    /// What to submit now. Every submission must be answered: [`Self::accepted`] or
    /// [`Self::refused`].
    pub fn submissions(&mut self, now: Duration) -> Vec<Submission> {
        while let Some(&(due, job)) = self.later.first() {
            if due > now {
                break;
            }
            self.later.pop_first();
            if self.slots[job].state == State::Ready {
                self.get_ready(job);
            }
        }
        let mut out = Vec::new();
        if now < self.hold_until {
            return out;
        }
        while out.len() < self.limits.submissions as usize {
            let soon = self.running + self.limits.reserve.max(self.running / 4);
            let room = self.limits.queued.min(soon).saturating_sub(self.in_queue);
            let first = self.ready.iter().filter_map(|(class, queue)| {
                let first = queue.first()?;
                Some((*first, *class))
            });
            let Some((_, class)) = first.min().filter(|_| room > 0) else {
                break;
            };
            let batch = self.next_batch;
            let most = room.min(self.array_now) as usize;
            let mut jobs = Vec::new();
            if let Some(queue) = self.ready.get_mut(&class) {
                while jobs.len() < most
                    && let Some((_, job)) = queue.pop_first()
                {
                    let slot = &mut self.slots[job];
                    // What was finished while it waited is passed by.
                    if slot.state == State::Ready {
                        slot.state = State::Asked;
                        slot.batch = batch;
                        slot.task = jobs.len() as u32;
                        slot.seen = None;
                        jobs.push(job);
                    }
                }
                if queue.is_empty() {
                    self.ready.remove(&class);
                }
            }
            if jobs.is_empty() {
                continue;
            }
            self.next_batch += 1;
            self.in_queue += jobs.len() as u32;
            self.batches.insert(
                batch,
                Batch {
                    jobs: jobs.iter().map(|j| Some(*j)).collect(),
                    open: jobs.len() as u32,
                    answer: Answer::Open,
                },
            );
            out.push(Submission {
                batch,
                class: self.classes[class as usize].clone(),
                jobs,
            });
        }
        out
    }

    /// The scheduler took a submission as this job.
    pub fn accepted(&mut self, batch: u64, job: u64, now: Duration) {
        self.array_now = (self.array_now * 2).min(self.limits.array.max(1));
        self.answered(batch, Answer::Taken(job, now));
    }

    fn answered(&mut self, batch: u64, answer: Answer) {
        let Some(of) = self.batches.get_mut(&batch) else {
            return;
        };
        of.answer = answer;
        for job in of.jobs.iter().flatten() {
            let slot = &mut self.slots[*job];
            if slot.state == State::Asked {
                slot.state = State::Queued { gone_since: None };
            }
        }
    }

    /// The scheduler did not take a submission. Returns the jobs that are given up by it.
    pub fn refused(&mut self, batch: u64, why: &Refusal, now: Duration) -> Vec<Loss> {
        match why {
            Refusal::Unsure(_) => {
                self.answered(batch, Answer::Unsure(now));
                Vec::new()
            }
            Refusal::Limit(_) => {
                self.array_now = (self.array_now / 2).max(1);
                self.hold_until = now + self.limits.pause;
                for job in self.take_out(batch) {
                    self.get_ready(job);
                }
                Vec::new()
            }
            Refusal::Never(why) => {
                let jobs = self.take_out(batch);
                let lost = jobs.into_iter().map(|job| {
                    self.slots[job].state = State::Failed;
                    Loss {
                        job,
                        why: format!("the scheduler refuses it: {why}"),
                        gave_up: true,
                    }
                });
                lost.collect()
            }
        }
    }

    /// Takes all open jobs out of a batch, and forgets the batch.
    fn take_out(&mut self, batch: u64) -> Vec<Handle> {
        let Some(of) = self.batches.remove(&batch) else {
            return Vec::new();
        };
        let jobs: Vec<Handle> = of.jobs.into_iter().flatten().collect();
        self.in_queue -= jobs.len() as u32;
        jobs
    }

    /// Takes one job out of its batch.
    fn leave(&mut self, job: Handle) {
        let (batch, task) = (self.slots[job].batch, self.slots[job].task as usize);
        let Some(of) = self.batches.get_mut(&batch) else {
            return;
        };
        if let Some(place) = of.jobs.get_mut(task)
            && *place == Some(job)
        {
            *place = None;
            of.open -= 1;
            self.in_queue -= 1;
            if of.open == 0 {
                self.batches.remove(&batch);
            }
        }
    }

    /// A job's result is there. True the first time.
    pub fn finished(&mut self, job: Handle) -> bool {
        let state = self.slots[job].state;
        if matches!(state, State::Done | State::Failed) {
            return false;
        }
        if matches!(state, State::Asked | State::Queued { .. }) {
            self.leave(job);
        }
        self.slots[job].state = State::Done;
        true
    }

    /// A node could not do a job, and says so.
    pub fn refused_by(
        &mut self,
        job: Handle,
        node: &str,
        why: &str,
        now: Duration,
    ) -> Option<Loss> {
        if !matches!(self.slots[job].state, State::Asked | State::Queued { .. }) {
            return None;
        }
        let class = self.classes[self.slots[job].class as usize].without(node);
        let refusals = class.exclude.len() as u32;
        self.slots[job].class = self.class(class);
        let gave_up = refusals >= self.limits.refusals;
        Some(self.lose(job, format!("node {node}: {why}"), gave_up, now))
    }

    fn lose(&mut self, job: Handle, why: String, gave_up: bool, now: Duration) -> Loss {
        self.leave(job);
        let slot = &mut self.slots[job];
        slot.losses += 1;
        let gave_up = gave_up || slot.losses > self.limits.losses;
        if gave_up {
            slot.state = State::Failed;
        } else {
            slot.state = State::Ready;
            let pause = self.limits.pause * 2_u32.saturating_pow(slot.losses.min(8) - 1);
            self.later.insert((now + pause.min(LONGEST_PAUSE), job));
        }
        Loss { job, why, gave_up }
    }

    /// Takes in a whole listing that was asked for at `asked`. Returns the jobs that are lost, and the
    /// numbers of those that must be cancelled because they would wait for ever.
    pub fn listed(
        &mut self,
        asked: Duration,
        now: Duration,
        rows: &[Row<'_>],
    ) -> (Vec<Loss>, Vec<String>) {
        self.listings += 1;
        let number = self.listings;
        for row in rows {
            let Some(batch) = self.names.batch_of(row.comment) else {
                continue;
            };
            let Some(of) = self.batches.get_mut(&batch) else {
                continue;
            };
            if !matches!(of.answer, Answer::Taken(..)) {
                self.answered(batch, Answer::Taken(row.job, asked));
            }
            let Some(of) = self.batches.get(&batch) else {
                continue;
            };
            for task in row.tasks.below(of.jobs.len() as u32) {
                let Some(job) = of.jobs[task as usize] else {
                    continue;
                };
                let seen = &mut self.slots[job].seen;
                // Two submissions of one batch can be in the queue; what lives counts.
                *seen = match *seen {
                    Some((at, phase)) if at == number => Some((at, phase.min(row.phase))),
                    _ => Some((number, row.phase)),
                };
            }
        }
        self.running = 0;
        let (mut lost, mut cancel, mut unsubmitted) = (Vec::new(), Vec::new(), Vec::new());
        for (&batch, of) in &self.batches {
            match of.answer {
                Answer::Open => {}
                Answer::Unsure(since) => {
                    if asked >= since + self.limits.unsure {
                        unsubmitted.push(batch);
                    }
                }
                // The listing is older than the answer: it cannot know of it.
                Answer::Taken(_, at) if asked < at => {}
                Answer::Taken(number_there, _) => {
                    for job in of.jobs.iter().flatten() {
                        let slot = &mut self.slots[*job];
                        let seen = slot.seen.filter(|(at, _)| *at == number).map(|(_, p)| p);
                        self.running += u32::from(seen == Some(Phase::Running));
                        match (seen, slot.state) {
                            (Some(Phase::Waiting | Phase::Running), _) => {
                                slot.state = State::Queued { gone_since: None };
                            }
                            (Some(Phase::Held), _) => {
                                cancel.push(format!("{number_there}_{}", slot.task));
                                lost.push((*job, "the scheduler holds it"));
                            }
                            (
                                _,
                                State::Queued {
                                    gone_since: Some(since),
                                },
                            ) if now >= since + self.limits.settle => {
                                lost.push((*job, "it left the queue without a result"));
                            }
                            (_, State::Queued { gone_since: None }) => {
                                slot.state = State::Queued {
                                    gone_since: Some(now),
                                };
                            }
                            _ => {}
                        }
                    }
                }
            }
        }
        for batch in unsubmitted {
            for job in self.take_out(batch) {
                self.get_ready(job);
            }
        }
        let lost = lost
            .into_iter()
            .map(|(job, why)| self.lose(job, why.to_owned(), false, now));
        (lost.collect(), cancel)
    }

    /// Whether a job runs now, as far as the last listing knew.
    pub fn runs(&self, job: Handle) -> bool {
        let seen = self.slots[job].seen;
        seen.is_some_and(|(at, phase)| at == self.listings && phase == Phase::Running)
    }

    /// Whether there may be news of a job: it runs, or has left the queue.
    pub fn is_active(&self, job: Handle) -> bool {
        let gone = matches!(
            self.slots[job].state,
            State::Queued {
                gone_since: Some(_)
            }
        );
        gone || self.runs(job)
    }

    /// Jobs that the scheduler has, or may have.
    pub fn in_queue(&self) -> u32 {
        self.in_queue
    }

    /// Whether there is anything to look for or to submit.
    pub fn is_idle(&self) -> bool {
        self.in_queue == 0 && self.ready.is_empty() && self.later.is_empty()
    }
}

#[cfg(test)]
mod tests;
