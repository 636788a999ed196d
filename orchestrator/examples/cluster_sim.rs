//! Plays a large run through on a cluster that does not exist, by the policy that talks to real ones:
//! the schedule of the plan, the desk, the reader of listings. Only the clock, the nodes and `sbatch`
//! are made up. Figures: docs/scale.md.
//!
//! ```text
//! cargo run --release --example cluster_sim -- 1000 100000 1
//! ```
//!
//! Words: nodes (of 8 cores), cells, seed. The longest part is the stand-in itself; what the
//! dispatcher takes is measured apart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use fallout::model::{CellId, Side};
use fallout::plan::cluster::desk::Limits;
use fallout::plan::cluster::sim::{Dice, Slurm, World};
use fallout::plan::cluster::{Class, Cluster, Desk, parse_listing, submit};
use fallout::plan::{Capacity, Job, Plan, Schedule, Todo, Work};

const PORTS: usize = 20;
const SUITES: usize = 25;

fn job(work: Work, needs: Vec<usize>, est: Duration, priority: u8) -> Job {
    Job {
        name: work.to_string(),
        work,
        key: None,
        inputs: BTreeMap::new(),
        needs,
        todo: Todo::Run,
        why: String::new(),
        cores: 1,
        mem_mib: 896,
        priority,
        est: Some(est),
    }
}

/// Builds by suite and port, cells behind them; and what each really takes.
fn plan(cells: usize, dice: &mut Dice) -> (Plan, Vec<Duration>) {
    let (mut plan, mut takes) = (Plan::default(), Vec::new());
    let mut add = |job: Job, real: Duration| {
        plan.jobs.push(job);
        takes.push(real);
        takes.len() - 1
    };
    let mut builds = Vec::new();
    for suite in 0..SUITES {
        for port in 0..PORTS {
            let work = Work::Build {
                suite: format!("s{suite}"),
                port: format!("port{port}").as_str().into(),
                side: Side::Candidate,
            };
            let real = Duration::from_secs(30 + dice.roll(120));
            builds.push(add(job(work, vec![], Duration::from_secs(90), 1), real));
        }
    }
    for n in 0..cells {
        let (suite, port) = (n % SUITES, n / SUITES % PORTS);
        let work = Work::Cell(CellId {
            suite: format!("s{suite}"),
            port: format!("port{port}").as_str().into(),
            variant: format!("v{}", n / SUITES / PORTS),
            side: Side::Candidate,
        });
        // Half a minute to an hour, most of them minutes; some ports are slow.
        let slow = 1 + (port as u64 % 4);
        let mut secs = 30 + dice.roll(200 * slow);
        if dice.roll(20) == 0 {
            secs += dice.roll(3000);
        }
        // Earlier runs tell about what it takes, give or take a third.
        let est = secs * (67 + dice.roll(66)) / 100;
        let needs = vec![builds[suite * PORTS + port]];
        add(
            job(work, needs, Duration::from_secs(est), 2),
            Duration::from_secs(secs),
        );
    }
    (plan, takes)
}

fn peak_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

fn main() {
    let words: Vec<u64> = std::env::args()
        .skip(1)
        .filter_map(|w| w.parse().ok())
        .collect();
    let word = |at: usize, default: u64| words.get(at).copied().unwrap_or(default);
    let (nodes, cells, seed) = (word(0, 1000) as u32, word(1, 100_000) as usize, word(2, 1));
    let mut dice = Dice::new(seed);
    let (plan, takes) = plan(cells, &mut dice);
    let total: Duration = takes.iter().sum();
    let cores = nodes * 8;
    let longest = takes.iter().max().copied().unwrap_or_default();
    let bound = (total / cores).max(longest);
    let world = World {
        nodes,
        cores: 8,
        max_submit: 10_000,
        max_array: 1001,
        schedule_every: Duration::from_secs(5),
        min_job_age: Duration::from_secs(300),
        failing_per_mille: 50,
        failing_within: bound,
        lost_per_cent: 20,
        restart_cost: Duration::from_secs(45),
        seed,
    };
    let text = "format: 1\nexecutor: slurm\nstore: /s\nqueued_at_most: 9500\n";
    let cluster: Cluster = serde_yaml::from_str(text).expect("settings");
    let names = submit::names(&cluster, "0123456789ab", &cluster.store);
    let mut slurm = Slurm::new(world);
    let plan_mib = peak_mib();
    let mut dispatcher = Duration::ZERO;
    let timed = |spent: &mut Duration, began: Instant| *spent += began.elapsed();

    let began = Instant::now();
    let capacity = Capacity {
        cores: cluster.queued_at_most * 4,
        mem_mib: u64::MAX,
    };
    let mut schedule = Schedule::new(&plan, capacity);
    let mut desk = Desk::new(names.clone(), Limits::of(&cluster), 1);
    let ways = schedule.ways();
    timed(&mut dispatcher, began);
    let mut handles: Vec<usize> = Vec::new();
    let mut tasks: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut left = takes.clone();
    let (mut now, mut calls, mut most_calls, mut losses) = (Duration::ZERO, 0_u64, 0_u64, 0_u64);
    let (mut done, mut runs) = (0_usize, vec![0_u32; takes.len()]);
    let mut busiest = Duration::ZERO;
    while !schedule.is_over() {
        now += cluster.interval;
        let ended = slurm.advance(now);
        let round = Instant::now();
        let mut called = 0;
        for end in ended {
            let handle = tasks[&end.job][end.task as usize];
            let ix = handles[handle];
            assert!(desk.finished(handle), "a job ended twice");
            runs[ix] += 1;
            done += 1;
            schedule.finished(ix, true);
        }
        for ix in schedule.next() {
            let job = &plan.jobs[ix];
            let limit = job.est.unwrap_or_default() * 4;
            let class = Class::of(&cluster, job.work.port(), job.cores, job.mem_mib, limit);
            desk.add(class, ways[ix]);
            handles.push(ix);
        }
        let mut spent = round.elapsed();
        for submission in {
            let began = Instant::now();
            let s = desk.submissions(now);
            timed(&mut spent, began);
            s
        } {
            called += 1;
            let work: Vec<Duration> = submission.jobs.iter().map(|h| left[handles[*h]]).collect();
            let answer = slurm.sbatch(
                &names.comment(submission.batch),
                submission.class.cores,
                &work,
            );
            let began = Instant::now();
            match answer {
                Ok(number) => {
                    desk.accepted(submission.batch, number, now);
                    tasks.insert(number, submission.jobs);
                }
                Err(words) => {
                    let refused = desk.refused(submission.batch, &submit::refusal(&words), now);
                    assert!(refused.is_empty());
                }
            }
            timed(&mut spent, began);
        }
        let listing = slurm.squeue();
        called += 1;
        let began = Instant::now();
        let (rows, strange) = parse_listing(&listing);
        let (lost, _) = desk.listed(now, now, &rows);
        timed(&mut spent, began);
        assert_eq!(strange, 0);
        for loss in lost {
            assert!(!loss.gave_up, "{}", loss.why);
            losses += 1;
            // What the node did until then is in its events: the next goes on from there.
            for (number, handles_of) in tasks.iter().rev() {
                if let Some(task) = handles_of.iter().position(|h| *h == loss.job) {
                    left[handles[loss.job]] = slurm.left(*number, task as u32);
                    break;
                }
            }
        }
        calls += called;
        most_calls = most_calls.max(called);
        dispatcher += spent;
        busiest = busiest.max(spent);
        assert!(now < bound * 20, "it does not come to its end");
    }
    assert_eq!(done, takes.len());
    assert!(runs.iter().all(|r| *r == 1));
    let seconds = now.as_secs_f64();
    println!(
        "{nodes} nodes of 8 cores, {cells} cells and {} builds, seed {seed}",
        PORTS * SUITES
    );
    println!(
        "  nodes failed {}, tasks requeued {}, lost and handed over again {} (seen {losses})",
        slurm.failures, slurm.requeued, slurm.lost
    );
    println!(
        "  submissions refused by the site's limit: {}",
        slurm.refused
    );
    println!("  every job ended exactly once: {done}");
    println!(
        "  took {seconds:.0} s, lower bound {:.0} s: {:.3} x",
        bound.as_secs_f64(),
        seconds / bound.as_secs_f64()
    );
    println!(
        "  scheduler calls: {:.2} a second on average, {most_calls} in the busiest second",
        calls as f64 / seconds
    );
    println!(
        "  dispatcher: {:.1} s of CPU, {:.2} % of one core; the busiest round {:.0} ms of {:?}",
        dispatcher.as_secs_f64(),
        100.0 * dispatcher.as_secs_f64() / seconds,
        busiest.as_secs_f64() * 1e3,
        cluster.interval
    );
    println!(
        "  memory: {plan_mib} MiB with the plan, {} MiB at the most, the stand-in's own among it",
        peak_mib()
    );
}
