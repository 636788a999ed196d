//! What a job on a cluster costs beyond itself: a small matrix without a cluster and on a real Slurm of this machine
//! (two nodes, `ci/slurm/cluster`), and for each job how long it took from its being ready to its result's being taken
//! in, without what the job itself took and without Slurm's wait.
//!
//! ```text
//! ready ──> order, batch ──> sbatch … the scheduler's script ──> fallout job … result ──> seen
//!       own     A                     Slurm               own B        job          own C
//! ```
//!
//! ```text
//! cargo build --release && cargo run --release --example cluster_cost -- 5 amd64,s390x
//! ```
//!
//! Words: rounds, ports, interval. Each round has sources of its own, so that builds are made. The first puts images
//! into the store and is told apart. Times are those of the run's log and of the files in the store.

#[path = "../tests/support/lab.rs"]
#[allow(dead_code, reason = "shared with a test that uses more of it")]
mod lab;
#[path = "../tests/support/tiny.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod tiny;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use fallout::model::Event;
use fallout::store::events;
use lab::{Lab, entries};
use serde_json::Value;
use tiny::Fallout;

/// Seconds between the moments of a job.
struct Cost {
    job: String,
    order: f64,
    slurm: f64,
    begin: f64,
    own: f64,
    seen: f64,
}

impl Cost {
    fn overhead(&self) -> f64 {
        self.order + self.begin + self.seen
    }
}

fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    match to.duration_since(from) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).expect("a file of the job");
    serde_json::from_slice(&bytes).expect("JSON")
}

fn written(path: &Path) -> SystemTime {
    let meta = std::fs::metadata(path).expect("a file of the job");
    meta.modified().expect("a time")
}

/// When each job of a run became ready, and when its result had been taken in.
fn moments(log: &Path) -> BTreeMap<String, (SystemTime, SystemTime)> {
    let mut ready = BTreeMap::new();
    let mut both = BTreeMap::new();
    for stamped in events::read(log).expect("the run's log") {
        let since = Duration::from_micros(stamped.at.as_microsecond().unsigned_abs());
        let at = SystemTime::UNIX_EPOCH + since;
        match stamped.what {
            Event::JobStarted { job } => drop(ready.insert(job, at)),
            Event::JobFinished { job, .. } => {
                if let Some(from) = ready.remove(&job) {
                    both.insert(job, (from, at));
                }
            }
            _ => {}
        }
    }
    both
}

/// The costs of the jobs of a run that were done on nodes.
fn costs(run: &Path, state: &Path) -> Vec<Cost> {
    let id = run.file_name().expect("a run");
    let moments = moments(&state.join("fallout/runs").join(id).join("events.jsonl"));
    let mut handed: BTreeMap<String, SystemTime> = BTreeMap::new();
    for batch in entries(&run.join("batches")) {
        for name in json(&batch)["jobs"].as_array().expect("jobs") {
            handed.insert(name.as_str().expect("a name").to_owned(), written(&batch));
        }
    }
    let logs = entries(&run.join("logs"));
    let mut found = Vec::new();
    for dir in entries(run) {
        if !dir.join("result.json").exists() {
            continue;
        }
        let name = dir.file_name().and_then(|n| n.to_str()).expect("a name");
        let job = json(&dir.join("order.json"))["job"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        let result = json(&dir.join("result.json"));
        let own = result["took_ms"].as_f64().expect("a time") / 1000.0;
        let ended = written(&dir.join("result.json"));
        let log = logs.iter().find(|log| {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            text.contains(name)
        });
        // The scheduler makes it when it starts the script.
        let log = std::fs::metadata(log.expect("the job's log")).expect("the job's log");
        let script = log.created().expect("a file system that keeps that time");
        let (ready, seen) = moments[&job];
        found.push(Cost {
            order: seconds(ready, handed[name]),
            slurm: seconds(handed[name], script),
            begin: seconds(script, ended) - own,
            own,
            seen: seconds(ended, seen),
            job,
        });
    }
    found
}

fn suite(dir: &Path, ports: &str, unique: &str) -> PathBuf {
    let body = |n| match n {
        2 => format!("atf_tc_fail(\"planted {unique}\");"),
        _ => "usleep(150000);".to_owned(),
    };
    std::fs::create_dir_all(dir).expect("a directory");
    let fields = ["repeats: {failed: 1, crashed: 1}"];
    tiny::write(dir, &tiny::programs(2, 4, body), ports, &fields, "")
}

fn summary(what: &str, mut values: Vec<f64>) {
    values.sort_by(f64::total_cmp);
    if let (Some(median), Some(most)) = (values.get(values.len() / 2), values.last()) {
        println!("{what}: median {median:.2} s, maximum {most:.2} s");
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or(default.to_owned());
    let rounds: u32 = word(0, "5").parse().expect("number of rounds");
    let ports = word(1, "amd64,s390x").replace(',', ", ");
    let interval = word(2, "2s");
    let here = std::env::current_exe().expect("the program's own path");
    let beside = here.parent().and_then(Path::parent);
    let binary = beside.expect("a target directory").join("fallout");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let unique = dir.path().file_name().and_then(|n| n.to_str());
    let unique = unique.expect("a name").to_owned();
    let lab = Lab::start_every(&binary, 2, &interval, "");
    let settings = lab.settings();
    let settings = settings.to_str().expect("a path");
    println!(
        "interval {interval}, load {}",
        std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
    );
    println!(
        "{:40} {:>6} {:>6} {:>6} {:>6} {:>6}  {:>8}",
        "job", "order", "slurm", "begin", "job", "seen", "overhead"
    );
    let (mut first, mut later) = (Vec::new(), Vec::new());
    let (mut alone, mut on_nodes) = (Duration::ZERO, Duration::ZERO);
    for round in 0..rounds {
        let fallout = Fallout::new(&binary);
        let matrix = suite(
            &dir.path().join(format!("here{round}")),
            &ports,
            &format!("{unique} h{round}"),
        );
        let began = Instant::now();
        let calm = fallout.run(&matrix, 2);
        alone += began.elapsed();

        let fallout = Fallout::new(&binary);
        let matrix = suite(
            &dir.path().join(format!("there{round}")),
            &ports,
            &format!("{unique} t{round}"),
        );
        let matrix = matrix.to_str().expect("a path");
        let began = Instant::now();
        let output = fallout
            .command(&["run", matrix, "--fresh", "--json", "--cluster", settings])
            .env("SLURM_CONF", lab.conf())
            .output()
            .expect("fallout");
        on_nodes += began.elapsed();
        let there = tiny::report(&output);
        assert_eq!(tiny::outcomes(&there), tiny::outcomes(&calm));
        // A job's last line comes after its result.
        while !lab.slurm("squeue", &["--noheader"]).trim().is_empty() {
            std::thread::sleep(Duration::from_millis(200));
        }
        for run in entries(&lab.store().join("jobs")) {
            let mut costs = costs(&run, fallout.state.path());
            costs.sort_by(|a, b| a.job.cmp(&b.job));
            for cost in &costs {
                println!(
                    "{:40} {:6.2} {:6.2} {:6.2} {:6.2} {:6.2}  {:8.2}",
                    cost.job,
                    cost.order,
                    cost.slurm,
                    cost.begin,
                    cost.own,
                    cost.seen,
                    cost.overhead()
                );
            }
            let to = if round == 0 { &mut first } else { &mut later };
            to.extend(costs);
            std::fs::remove_dir_all(&run).expect("the run's directory goes");
        }
    }
    println!(
        "{rounds} rounds: {:.1} s without a cluster, {:.1} s on two nodes",
        alone.as_secs_f64(),
        on_nodes.as_secs_f64()
    );
    let of = |costs: &[Cost], what: fn(&Cost) -> f64| costs.iter().map(what).collect();
    summary("overhead in the first round", of(&first, Cost::overhead));
    summary("overhead afterwards", of(&later, Cost::overhead));
    summary("Slurm's wait afterwards", of(&later, |cost| cost.slurm));
    println!(
        "load {}",
        std::fs::read_to_string("/proc/loadavg")
            .unwrap_or_default()
            .trim()
    );
}
