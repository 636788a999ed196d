//! A stand-in for Slurm with a clock of its own: it takes arrays, starts their tasks on nodes that
//! fail, keeps to a site's limits, and prints what `squeue` prints.
//!
//! What it leaves out: fair share, backfill by time limits (all tasks here are small), partitions.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

/// The cluster.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct World {
    /// Nodes.
    pub nodes: u32,
    /// Cores of a node.
    pub cores: u32,
    /// `MaxSubmitJobs` of the association.
    pub max_submit: u32,
    /// `MaxArraySize`: one more than the highest task.
    pub max_array: u32,
    /// How often the scheduler starts what waits.
    pub schedule_every: Duration,
    /// `MinJobAge`: how long what has ended is listed.
    pub min_job_age: Duration,
    /// How many of 1,000 nodes fail once.
    pub failing_per_mille: u32,
    /// Nodes fail within this time from the beginning.
    pub failing_within: Duration,
    /// Of 100 tasks on a node that fails, how many are not requeued.
    pub lost_per_cent: u32,
    /// What a task loses by its node's failure, and what a new start costs.
    pub restart_cost: Duration,
    /// The seed of chance.
    pub seed: u64,
}

/// A generator of our own: equal seeds, equal worlds.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `below`.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Running { node: u32, since: Duration },
    Over { at: Duration, word: &'static str },
    Forgotten,
}

#[derive(Debug, Clone)]
struct Task {
    array: u32,
    task: u32,
    cores: u32,
    left: Duration,
    state: State,
    starts: u32,
}

#[derive(Debug, Clone)]
struct Array {
    comment: String,
    first: usize,
    tasks: u32,
}

/// Something that ended with its result written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done {
    /// The array's job number.
    pub job: u64,
    /// Which of its tasks.
    pub task: u32,
}

/// The stand-in.
#[derive(Debug, Clone)]
pub struct Slurm {
    world: World,
    arrays: Vec<Array>,
    tasks: Vec<Task>,
    free: Vec<u32>,
    up: Vec<bool>,
    waiting: VecDeque<usize>,
    /// Ends of tasks, with the start that they belong to.
    ends: BinaryHeap<Reverse<(Duration, usize, u32)>>,
    /// Failures and returns of nodes: true where it fails.
    nodes: BinaryHeap<Reverse<(Duration, u32, bool)>>,
    over: VecDeque<usize>,
    queued: u32,
    next_schedule: Duration,
    cursor: usize,
    dice: Dice,
    /// Nodes that have failed.
    pub failures: u32,
    /// Tasks that were requeued.
    pub requeued: u32,
    /// Tasks that were lost without a requeue.
    pub lost: u32,
    /// Submissions that a limit refused.
    pub refused: u32,
}

/// Slurm's numbers of jobs begin here.
const FIRST_JOB: u64 = 1000;

impl Slurm {
    /// An idle cluster.
    pub fn new(world: World) -> Self {
        let mut dice = Dice::new(world.seed);
        let mut nodes = BinaryHeap::new();
        for node in 0..world.nodes {
            if dice.roll(1000) < u64::from(world.failing_per_mille) {
                let within = world.failing_within.as_secs();
                let at = Duration::from_secs(dice.roll(within));
                nodes.push(Reverse((at, node, true)));
                let back = at + Duration::from_secs(600 + dice.roll(3000));
                nodes.push(Reverse((back, node, false)));
            }
        }
        Self {
            world,
            arrays: Vec::new(),
            tasks: Vec::new(),
            free: vec![world.cores; world.nodes as usize],
            up: vec![true; world.nodes as usize],
            waiting: VecDeque::new(),
            ends: BinaryHeap::new(),
            nodes,
            over: VecDeque::new(),
            queued: 0,
            next_schedule: Duration::ZERO,
            cursor: 0,
            dice,
            failures: 0,
            requeued: 0,
            lost: 0,
            refused: 0,
        }
    }

    /// `sbatch`: takes an array whose tasks take `work` each, or says why not, in Slurm's words.
    pub fn sbatch(&mut self, comment: &str, cores: u32, work: &[Duration]) -> Result<u64, String> {
        let refuse = |words: &str| Err(format!("sbatch: error: {words}"));
        let tasks = u32::try_from(work.len()).unwrap_or(u32::MAX);
        if tasks > self.world.max_array {
            self.refused += 1;
            return refuse("Batch job submission failed: Invalid job array specification");
        }
        if self.queued.saturating_add(tasks) > self.world.max_submit {
            self.refused += 1;
            return refuse(
                "AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates \
                 accounting/QOS policy (job submit limit, user's size and/or time limits)",
            );
        }
        let array = self.arrays.len() as u32;
        self.arrays.push(Array {
            comment: comment.to_owned(),
            first: self.tasks.len(),
            tasks,
        });
        for (task, work) in work.iter().enumerate() {
            self.waiting.push_back(self.tasks.len());
            self.tasks.push(Task {
                array,
                task: task as u32,
                cores: cores.min(self.world.cores),
                left: *work,
                state: State::Waiting,
                starts: 0,
            });
        }
        self.queued += tasks;
        Ok(FIRST_JOB + u64::from(array))
    }

    /// Lets time pass until `now`. Returns what has ended with a result.
    pub fn advance(&mut self, now: Duration) -> Vec<Done> {
        let mut done = Vec::new();
        loop {
            let end = self.ends.peek().map(|Reverse((at, _, _))| *at);
            let node = self.nodes.peek().map(|Reverse((at, _, _))| *at);
            let next = [end, node, Some(self.next_schedule)]
                .into_iter()
                .flatten()
                .min();
            let Some(at) = next.filter(|at| *at <= now) else {
                break;
            };
            if node == Some(at) {
                if let Some(Reverse((_, node, fails))) = self.nodes.pop() {
                    self.node_event(node, fails, at);
                }
            } else if end == Some(at) {
                if let Some(Reverse((_, ix, start))) = self.ends.pop() {
                    done.extend(self.ended(ix, start, at));
                }
            } else {
                self.schedule(at);
                self.next_schedule = at + self.world.schedule_every;
            }
        }
        while let Some(&ix) = self.over.front() {
            let State::Over { at, .. } = self.tasks[ix].state else {
                break;
            };
            if at + self.world.min_job_age > now {
                break;
            }
            self.tasks[ix].state = State::Forgotten;
            self.over.pop_front();
        }
        done
    }

    fn ended(&mut self, ix: usize, start: u32, at: Duration) -> Option<Done> {
        let task = &mut self.tasks[ix];
        let State::Running { node, .. } = task.state else {
            return None;
        };
        if task.starts != start {
            return None;
        }
        self.free[node as usize] += task.cores;
        task.state = State::Over {
            at,
            word: "COMPLETED",
        };
        self.queued -= 1;
        self.over.push_back(ix);
        Some(Done {
            job: FIRST_JOB + u64::from(task.array),
            task: task.task,
        })
    }

    fn node_event(&mut self, node: u32, fails: bool, at: Duration) {
        self.up[node as usize] = !fails;
        if !fails {
            self.free[node as usize] = self.world.cores;
            return;
        }
        self.failures += 1;
        self.free[node as usize] = 0;
        for ix in 0..self.tasks.len() {
            let task = &mut self.tasks[ix];
            let State::Running { node: on, since } = task.state else {
                continue;
            };
            if on != node {
                continue;
            }
            let did = (at - since).saturating_sub(self.world.restart_cost);
            task.left = task.left.saturating_sub(did) + self.world.restart_cost;
            if self.dice.roll(100) < u64::from(self.world.lost_per_cent) {
                task.state = State::Over {
                    at,
                    word: "NODE_FAIL",
                };
                self.queued -= 1;
                self.lost += 1;
                self.over.push_back(ix);
            } else {
                task.state = State::Waiting;
                self.requeued += 1;
                self.waiting.push_front(ix);
            }
        }
    }

    fn schedule(&mut self, at: Duration) {
        while let Some(&ix) = self.waiting.front() {
            let cores = self.tasks[ix].cores;
            let Some(node) = self.place(cores) else {
                break;
            };
            self.waiting.pop_front();
            self.free[node] -= cores;
            let task = &mut self.tasks[ix];
            task.starts += 1;
            task.state = State::Running {
                node: node as u32,
                since: at,
            };
            self.ends.push(Reverse((at + task.left, ix, task.starts)));
        }
    }

    fn place(&mut self, cores: u32) -> Option<usize> {
        let count = self.free.len();
        let found = (0..count)
            .map(|step| (self.cursor + step) % count)
            .find(|&node| self.up[node] && self.free[node] >= cores);
        self.cursor = found.unwrap_or(self.cursor);
        found
    }

    /// What a task that was lost still has to do: the next submission of its job goes on from there.
    pub fn left(&self, job: u64, task: u32) -> Duration {
        let array = &self.arrays[(job - FIRST_JOB) as usize];
        self.tasks[array.first + task as usize].left
    }

    /// `squeue --states=all --format=%i|%T|%k|%r`.
    pub fn squeue(&self) -> String {
        let mut out = String::new();
        let mut waiting: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for &ix in &self.waiting {
            let task = &self.tasks[ix];
            waiting.entry(task.array).or_default().push(task.task);
        }
        for (array, mut tasks) in waiting {
            tasks.sort_unstable();
            let of = &self.arrays[array as usize];
            let job = FIRST_JOB + u64::from(array);
            let ranges = ranges(&tasks);
            let _ = writeln!(out, "{job}_[{ranges}]|PENDING|{}|Resources", of.comment);
        }
        // Arrays whose tasks are all forgotten stay forgotten: look at the newest only.
        let oldest = self.tasks.iter().position(|t| t.state != State::Forgotten);
        for task in &self.tasks[oldest.unwrap_or(self.tasks.len())..] {
            let word = match task.state {
                State::Running { .. } => "RUNNING",
                State::Over { word, .. } => word,
                State::Waiting | State::Forgotten => continue,
            };
            let job = FIRST_JOB + u64::from(task.array);
            let comment = &self.arrays[task.array as usize].comment;
            let _ = writeln!(out, "{job}_{}|{word}|{comment}|None", task.task);
        }
        out
    }

    /// Tasks of an array.
    pub fn tasks_of(&self, job: u64) -> u32 {
        self.arrays[(job - FIRST_JOB) as usize].tasks
    }
}

/// `0-5,7`.
fn ranges(sorted: &[u32]) -> String {
    let mut out = String::new();
    let mut at = 0;
    while at < sorted.len() {
        let from = at;
        while at + 1 < sorted.len() && sorted[at + 1] == sorted[at] + 1 {
            at += 1;
        }
        let comma = if from > 0 { "," } else { "" };
        let _ = match from == at {
            true => write!(out, "{comma}{}", sorted[from]),
            false => write!(out, "{comma}{}-{}", sorted[from], sorted[at]),
        };
        at += 1;
    }
    out
}
