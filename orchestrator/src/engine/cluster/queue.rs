//! The one task of a run that talks to the scheduler: it carries out what the desk decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::engine::RunError;
use crate::engine::bus::Bus;
use crate::host::files::write_atomic;
use crate::host::slurm;
use crate::model::Event;
use crate::plan::cluster::desk::Limits;
use crate::plan::cluster::submit::{self, RunNames};
use crate::plan::cluster::{
    Class, Cluster, Desk, Handle, Loss, Refusal, Submission, parse_listing,
};

use super::news;
use super::order::{self, BatchFile};

/// What jobs tell the queue.
#[derive(Debug)]
pub(super) enum ToQueue {
    /// A job is to be done; its directory's name, and where it hears of its troubles.
    Add {
        name: String,
        class: Class,
        way: Duration,
        tell: mpsc::UnboundedSender<ToJob>,
    },
    /// Its result is there, or nobody waits for it any more.
    Finished { name: String },
    /// A node could not do it.
    Refused {
        name: String,
        node: String,
        why: String,
    },
    /// The run is over before its time: nothing is submitted any more.
    Stop { cancel: bool },
}

/// What the queue tells a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ToJob {
    /// Its files may have changed: it runs, or has left the queue.
    Look,
    /// It went astray; if it was given up, it will not be tried again.
    Lost { why: String, gave_up: bool },
}

/// Jobs that come within this are submitted together.
const GATHER: Duration = Duration::from_millis(100);

struct Job {
    handle: Handle,
    tell: mpsc::UnboundedSender<ToJob>,
}

pub(super) struct Queue {
    cluster: Arc<Cluster>,
    names: RunNames,
    bus: Bus,
    desk: Desk,
    jobs: BTreeMap<String, Job>,
    by_handle: Vec<String>,
    /// Where an earlier process may have submitted a job: batch and task.
    known: Places,
    began: Instant,
    listed: Option<Instant>,
    /// What went wrong last, so that it is told once.
    told: Option<String>,
    stopped: bool,
}

impl Queue {
    /// Reads what earlier processes of the run have submitted.
    pub(super) fn open(cluster: Arc<Cluster>, names: RunNames, bus: Bus) -> Result<Self, RunError> {
        for dir in ["batches", "logs", news::DIR] {
            let dir = names.dir.join(dir);
            std::fs::create_dir_all(&dir)
                .map_err(|e| RunError::Host(format!("cannot create {dir}: {e}")))?;
        }
        let (known, next) = earlier(&names.dir.join("batches"))?;
        let desk = Desk::new(names.clone(), Limits::of(&cluster), next);
        Ok(Self {
            cluster,
            names,
            bus,
            desk,
            jobs: BTreeMap::new(),
            by_handle: Vec::new(),
            known,
            began: Instant::now(),
            listed: None,
            told: None,
            stopped: false,
        })
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// Works until all senders are gone.
    pub(super) async fn work(mut self, mut from: mpsc::UnboundedReceiver<ToQueue>) {
        let mut tick = tokio::time::interval(self.cluster.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // When what is ready is handed over; what comes until then goes with it.
        let mut due: Option<Instant> = None;
        loop {
            tokio::select! {
                said = from.recv() => {
                    let Some(said) = said else { return };
                    if matches!(said, ToQueue::Add { .. }) {
                        due.get_or_insert_with(|| Instant::now() + GATHER);
                    }
                    self.hear(said).await;
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    due = self.submit().await.then(Instant::now);
                }
                _ = tick.tick() => self.look().await,
            }
        }
    }

    async fn hear(&mut self, said: ToQueue) {
        let now = self.now();
        match said {
            ToQueue::Add {
                name,
                class,
                way,
                tell,
            } => {
                let handle = match self.known.remove(&name) {
                    Some(place) => self.desk.adopt(class, way, place, now),
                    None => self.desk.add(class, way),
                };
                self.by_handle.push(name.clone());
                self.jobs.insert(name, Job { handle, tell });
            }
            ToQueue::Finished { name } => {
                if let Some(job) = self.jobs.remove(&name) {
                    self.desk.finished(job.handle);
                }
            }
            ToQueue::Refused { name, node, why } => {
                let handle = self.jobs.get(&name).map(|job| job.handle);
                let loss = handle.and_then(|h| self.desk.refused_by(h, &node, &why, now));
                self.lost(loss);
            }
            ToQueue::Stop { cancel } => {
                // Every job says so; once is enough.
                let first = !std::mem::replace(&mut self.stopped, true);
                if first && cancel && self.desk.in_queue() > 0 {
                    let said = slurm::run("scancel", &submit::scancel(&self.names)).await;
                    if !said.ok {
                        self.tell_once(format!("scancel: {}", said.stderr.trim()));
                    }
                }
            }
        }
    }

    fn tell_once(&mut self, text: String) {
        if self.told.as_ref() != Some(&text) {
            self.bus.emit(Event::Notice {
                port: None,
                text: text.clone(),
            });
            self.told = Some(text);
        }
    }

    fn lost(&mut self, losses: impl IntoIterator<Item = Loss>) {
        for loss in losses {
            let name = &self.by_handle[loss.job];
            if let Some(job) = self.jobs.get(name) {
                let _ = job.tell.send(ToJob::Lost {
                    why: loss.why,
                    gave_up: loss.gave_up,
                });
            }
            if loss.gave_up {
                self.jobs.remove(&self.by_handle[loss.job]);
            }
        }
    }

    /// One round of submissions; true where another may follow at once.
    async fn submit(&mut self) -> bool {
        if self.stopped {
            return false;
        }
        let submissions = self.desk.submissions(self.now());
        let more = !submissions.is_empty();
        for submission in submissions {
            self.hand_over(submission).await;
        }
        more
    }

    async fn hand_over(&mut self, submission: Submission) {
        let batch = submission.batch;
        let file = BatchFile {
            format: 1,
            jobs: submission
                .jobs
                .iter()
                .map(|j| self.by_handle[*j].clone())
                .collect(),
        };
        // First: what the scheduler has must be known to whoever comes after this process.
        if let Err(error) = order::write(&self.names.batch_file(batch), &file) {
            let refusal = Refusal::Limit(error.to_string());
            self.tell_once(format!(
                "no job can be submitted: {error}; it is tried again"
            ));
            self.desk.refused(batch, &refusal, self.now());
            return;
        }
        let tasks = submission.jobs.len();
        let words = submit::sbatch(&self.names, &self.cluster, &submission.class, batch, tasks);
        let said = slurm::run("sbatch", &words).await;
        let now = self.now();
        match submit::submitted(&said.stdout).filter(|_| said.ok) {
            Some(job) => {
                self.told = None;
                self.desk.accepted(batch, job, now);
            }
            None => {
                let why = submit::refusal(&said.stderr);
                let (Refusal::Limit(text) | Refusal::Unsure(text) | Refusal::Never(text)) = &why;
                self.tell_once(format!("sbatch: {text}"));
                let losses = self.desk.refused(batch, &why, now);
                self.lost(losses);
            }
        }
    }

    /// One look at the whole queue, and what follows from it.
    async fn look(&mut self) {
        self.submit().await;
        // A sign of life, by which the store's collection knows that the run counts on its artifacts.
        if self
            .listed
            .is_none_or(|at| at.elapsed() > Duration::from_secs(60))
            || self.desk.in_queue() > 0
        {
            let _ = write_atomic(&self.names.dir.join("lease"), b"");
        }
        if self.desk.in_queue() == 0 {
            return;
        }
        let asked = self.now();
        self.listed = Some(Instant::now());
        let said = slurm::run("squeue", &submit::squeue(&self.names)).await;
        if !said.ok {
            // The scheduler is away: what runs goes on without it, and results are seen all the same.
            self.tell_once(format!("squeue: {}; it is asked again", said.stderr.trim()));
            self.wake(|_| true);
            return;
        }
        let (rows, strange) = parse_listing(&said.stdout);
        if strange > 0 {
            self.tell_once(format!("squeue: {strange} lines are not understood"));
        }
        let (losses, cancel) = self.desk.listed(asked, self.now(), &rows);
        if !cancel.is_empty() {
            slurm::run("scancel", &cancel).await;
        }
        self.lost(losses);
        self.wake(|handle| self.desk.is_active(handle));
    }

    /// Lets jobs look at their files. Those that only wait have nothing to see: looking costs the store.
    fn wake(&self, which: impl Fn(Handle) -> bool) {
        for job in self.jobs.values().filter(|job| which(job.handle)) {
            let _ = job.tell.send(ToJob::Look);
        }
    }
}

/// Batch and task, by the name of a job's directory.
type Places = BTreeMap<String, (u64, u32)>;

/// Jobs' places in the batches of earlier processes, the latest counts; and the next batch's number.
fn earlier(batches: &Utf8Path) -> Result<(Places, u64), RunError> {
    let mut numbers: Vec<u64> = Vec::new();
    let entries = batches
        .read_dir_utf8()
        .map_err(|e| RunError::Host(format!("cannot read {batches}: {e}")))?;
    for entry in entries.flatten() {
        numbers.extend(
            entry
                .file_name()
                .strip_suffix(".json")
                .and_then(|n| n.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable();
    let mut known = BTreeMap::new();
    for &number in &numbers {
        let file: Option<BatchFile> = order::read(&batches.join(format!("{number}.json")))?;
        for (task, name) in file.into_iter().flat_map(|f| f.jobs).enumerate() {
            known.insert(name, (number, u32::try_from(task).unwrap_or(u32::MAX)));
        }
    }
    Ok((known, numbers.last().map_or(1, |n| n + 1)))
}
