//! Faults between machines, at random moments, over a small matrix that a daemon runs on a real Slurm of this
//! machine: after every round the verdict must be that of an undisturbed run without a cluster, every case must
//! have its outcome once, and no emulator may be left.
//!
//! ```text
//! cargo build --release && cargo run --release --example cluster_storm -- 10 amd64 1
//! ```
//!
//! Words: how many rounds shall have each kind of fault, ports, seed, nodes, and a file for the undisturbed run's
//! report, which a later invocation takes from there. A round is a push and its run; while
//! that is under way each kind of fault is done once, in an order and at moments that the seed gives. Where the run
//! ends earlier, the kinds that it did not see come first in the next round. A node dies (and comes back), a slurmd
//! dies, the controller is restarted, the daemon is killed (and started again), the store is full (as root: it is a
//! small file system) or cannot be reached for seconds. Where nodes have links (`ci/slurm/cluster`), a link is cut and
//! healed, for seconds or until Slurm has given the node up, or carries next to nothing, so that the store is slow.
//! Where they have none, a node is stopped in the place of a cut (its processes and its slurmd) until Slurm has given
//! it up, and goes on as if nothing had been.
//!
//! A round that fails leaves its directories behind, and says where.

#[path = "../tests/support/daemon.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod daemon;
#[path = "../tests/support/lab.rs"]
#[allow(dead_code, reason = "shared with a test that uses more of it")]
mod lab;
#[path = "../tests/support/tiny.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod tiny;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use daemon::{Place, Running};
use lab::{Lab, entries};
use serde_json::Value;
use tiny::{Dice, Fallout};

/// Every host can do these.
const FAULTS: [&str; 5] = [
    "node killed",
    "slurmd killed",
    "slurmctld restarted",
    "daemon killed",
    "store away",
];
const FULL: &str = "store full";
const LINKS: [&str; 2] = ["network cut", "store slow"];
const NO_LINKS: [&str; 1] = ["node stopped"];

/// A round that has not ended by then never will.
const ROUND: Duration = Duration::from_secs(1200);
/// How often a daemon is asked whose run has no report yet.
const SELDOM: Duration = Duration::from_secs(10);
/// What a job leaves behind on a node is gone by then.
const SWEPT: Duration = Duration::from_secs(60);

/// Writes the suite in `dir`. What `unique` says is in it, so that no earlier round's cells are taken for it.
fn suite(dir: &Path, ports: &str, unique: &str) -> PathBuf {
    let body = |n| match n {
        7 => format!("atf_tc_fail(\"planted {unique}\");"),
        _ => "sleep(1);".to_owned(),
    };
    let fields = ["repeats: {failed: 1, crashed: 1}"];
    let more = "retries: {host_fault: 5, boot: 5}\n";
    tiny::write(dir, &tiny::programs(2, 10, body), ports, &fields, more)
}

fn signal(name: &str, pids: &[String]) {
    if !pids.is_empty() {
        let _ = Command::new("kill")
            .arg(name)
            .args(pids)
            .stderr(Stdio::null())
            .status();
    }
}

/// The processes of a node's jobs: those whose environment names it.
fn of_node(lab: &Lab, node: &str) -> Vec<String> {
    let words = [
        format!("SLURM_CONF={}", lab.conf().display()),
        format!("SLURMD_NODENAME={node}"),
    ];
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|p| p.file_name().to_str().map(str::to_owned))
        .filter(|pid| pid.parse::<i32>().is_ok())
        .filter(|pid| {
            let env = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let has = |want: &String| env.split(|b| *b == 0).any(|w| w == want.as_bytes());
            words.iter().all(has)
        })
        .collect()
}

/// A store of its own size, so that it can be full. Needs root; without it the store is never full.
struct Small<'a>(&'a Lab);

const STORE_MIB: u64 = 256;

impl<'a> Small<'a> {
    fn mount(lab: &'a Lab) -> Option<Self> {
        std::fs::create_dir_all(lab.store()).expect("a store");
        let size = format!("size={STORE_MIB}m");
        let words = ["-t", "tmpfs", "-o", &size, "none"];
        let done = Command::new("mount").args(words).arg(lab.store()).status();
        done.is_ok_and(|s| s.success()).then_some(Self(lab))
    }

    fn fill(lab: &Lab, pause: Duration) {
        let file = lab.store().join("filler");
        let mut bytes = vec![0_u8; 1 << 20];
        while let Ok(mut to) = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&file)
        {
            if std::io::Write::write_all(&mut to, &bytes).is_err() {
                if bytes.len() < 512 {
                    break;
                }
                bytes.truncate(bytes.len() / 2);
            }
        }
        std::thread::sleep(pause);
        let _ = std::fs::remove_file(file);
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("-l")
            .arg(self.0.store())
            .status();
    }
}

/// A daemon with a repository, whose rule runs the suite on the cluster.
struct Dispatcher {
    place: Place,
    daemon: Option<Running>,
    /// When it was asked last.
    asked: Instant,
}

impl Dispatcher {
    /// One with nothing behind it but a push of the suite.
    fn new(binary: &Path, lab: &Lab, ports: &str) -> Self {
        let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache");
        let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
        let mut place = Place::new(binary, &cache);
        place.env = vec![("SLURM_CONF", lab.conf())];
        suite(place.dir.path(), ports, &place.dir.path().to_string_lossy());
        for file in entries(&place.path("src")) {
            let to = place.path("tree").join(file.file_name().expect("a name"));
            std::fs::copy(file, to).expect("a copy");
        }
        let settings = format!(
            "format: 1\nlisten: 127.0.0.1:0\ncluster: {}\nrepositories:\n  - name: r\n    path: r.git\n    \
             rules:\n      - name: all\n        refs: [refs/heads/main]\n        run: {{matrix: tiny.yaml}}\n",
            lab.settings().display()
        );
        std::fs::write(place.path("daemon.yaml"), settings).expect("settings");
        let installed = place.fallout(&["hook", "install", "r.git"]).output();
        assert!(installed.expect("fallout").status.success());
        place.git(&["-C", "tree", "add", "-A"]);
        place.git(&["-C", "tree", "commit", "-q", "-m", "a suite"]);
        place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
        let daemon = Some(place.daemon());
        let asked = Instant::now();
        Self {
            place,
            daemon,
            asked,
        }
    }

    fn kill(&mut self, pause: Duration) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.child.kill();
            let _ = daemon.child.wait();
        }
        std::thread::sleep(pause);
        self.daemon = Some(self.place.daemon());
    }

    /// The daemon's only job; null where there is none yet.
    fn job(&self) -> Value {
        let out = self.place.fallout(&["queue", "--json"]).output();
        let out = out.expect("fallout").stdout;
        let jobs: Vec<Value> = serde_json::from_slice(&out).unwrap_or_default();
        assert!(jobs.len() <= 1, "{jobs:#?}");
        jobs.into_iter().next().unwrap_or_default()
    }

    fn is_over(&mut self) -> bool {
        // A start of the program costs more than a look, where the machine is busy.
        let runs = entries(&self.place.path("state/fallout/runs"));
        let told = runs.iter().any(|run| run.join("report.json").exists());
        if !told && self.asked.elapsed() < SELDOM {
            return false;
        }
        self.asked = Instant::now();
        ["done", "failed", "cancelled"].contains(&self.job()["state"].as_str().unwrap_or_default())
    }

    fn report(&self) -> Result<Value, String> {
        let job = self.job();
        let run = job["run"].as_str().unwrap_or_default();
        let path = self
            .place
            .path(&format!("state/fallout/runs/{run}/report.json"));
        let text = std::fs::read(&path).map_err(|e| format!("{}: {e}: {job}", path.display()))?;
        let value: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        Ok(value["report"].clone())
    }

    /// Attempts in the run's own log.
    fn logged(&self) -> usize {
        let runs = entries(&self.place.path("state/fallout/runs"));
        let logs = runs.iter().map(|run| run.join("events.jsonl"));
        let logs = logs.filter_map(|log| std::fs::read_to_string(log).ok());
        logs.map(|log| log.matches("\"attempt_done\"").count())
            .sum()
    }
}

/// A node that has a job now: a fault elsewhere would tell little.
fn node_at_work(lab: &Lab) -> Option<String> {
    let listed = lab.slurm("squeue", &["--noheader", "--states=running", "--format=%N"]);
    listed.lines().next().map(|node| node.trim().to_owned())
}

/// Does one fault; false where there was nothing yet to do it to.
fn fault(what: &str, lab: &Lab, dispatcher: &mut Dispatcher, dice: &mut Dice, nodes: u32) -> bool {
    let node = node_at_work(lab).unwrap_or_else(|| format!("n{}", 1 + dice.roll(u64::from(nodes))));
    let pause = Duration::from_millis(500 + dice.roll(4000));
    match what {
        "node killed" => {
            lab.cluster(&["kill"], &[&node]);
            std::thread::sleep(pause);
            lab.cluster(&["node"], &[&node]);
        }
        "slurmd killed" => {
            lab.cluster(&["stop-slurmd"], &[&node]);
            std::thread::sleep(pause);
            lab.cluster(&["node"], &[&node]);
        }
        "slurmctld restarted" => {
            lab.cluster(&["restart"], &[]);
        }
        "daemon killed" => dispatcher.kill(pause),
        "store full" => Small::fill(lab, pause),
        // The jobs' directory is away: nothing in it can be read or written.
        "store away" => {
            let (jobs, away) = (lab.store().join("jobs"), lab.store().join("away"));
            if std::fs::rename(&jobs, &away).is_err() {
                return false;
            }
            let _ = std::fs::write(&jobs, "");
            std::thread::sleep(pause);
            let _ = std::fs::remove_file(&jobs);
            let _ = std::fs::remove_dir_all(&jobs);
            std::fs::rename(&away, &jobs).expect("the store comes back");
        }
        // Half of them for so long that Slurm gives the node up and starts its jobs elsewhere.
        "network cut" => {
            let long = Duration::from_secs(20 * dice.roll(2));
            lab.cluster(&["cut"], &[&node]);
            std::thread::sleep(long + pause);
            lab.cluster(&["heal"], &[&node]);
        }
        "store slow" => {
            lab.cluster(&["slow"], &[&node, "256kbit"]);
            std::thread::sleep(pause * 4);
            lab.cluster(&["fast"], &[&node]);
        }
        // Nothing comes from a node for so long that Slurm gives it up and starts its jobs elsewhere;
        // then it goes on as if nothing had been.
        _ => {
            let mut pids = of_node(lab, &node);
            let slurmd = lab.dir.path().join(format!("slurm/run/slurmd-{node}.pid"));
            let slurmd = std::fs::read_to_string(slurmd).unwrap_or_default();
            pids.extend((!slurmd.is_empty()).then(|| slurmd.trim().to_owned()));
            signal("-STOP", &pids);
            std::thread::sleep(Duration::from_secs(20) + pause);
            signal("-CONT", &pids);
        }
    }
    true
}

/// The kinds in the order of this round: by chance, but those first that were done least.
fn order<'a>(tally: &BTreeMap<&'a str, u32>, dice: &mut Dice) -> Vec<&'a str> {
    let mut kinds: Vec<(u32, u64, &str)> = tally
        .iter()
        .map(|(kind, times)| (*times, dice.roll(1 << 32), *kind))
        .collect();
    kinds.sort_unstable();
    kinds.into_iter().map(|(_, _, kind)| kind).collect()
}

/// What an undisturbed run gave.
struct Expected {
    outcomes: std::collections::BTreeSet<String>,
    findings: BTreeMap<String, Vec<String>>,
}

/// Waits for the end of a round and compares it with what it must be.
fn verify(dispatcher: &mut Dispatcher, lab: &Lab, expected: &Expected) -> Result<(), String> {
    let until = Instant::now() + ROUND;
    while !dispatcher.is_over() {
        if Instant::now() > until {
            return Err("no end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    let job = dispatcher.job();
    if job["state"] != "done" {
        return Err(format!(
            "the daemon's job did not end as it should: {job:#}"
        ));
    }
    let report = dispatcher.report()?;
    let (outcomes, findings) = (tiny::outcomes(&report), tiny::findings(&report));
    if outcomes != expected.outcomes {
        let lost: Vec<_> = expected.outcomes.difference(&outcomes).collect();
        let new: Vec<_> = outcomes.difference(&expected.outcomes).collect();
        return Err(format!("outcomes: lost {lost:#?}, new {new:#?}"));
    }
    if findings != expected.findings {
        return Err(format!("findings: {findings:#?}"));
    }
    let cells = report["cells"].as_array().map_or(&[][..], Vec::as_slice);
    let told: usize = cells.iter().map(|cell| tiny::attempts(cell).len()).sum();
    let logged = dispatcher.logged();
    if told != logged {
        return Err(format!(
            "{logged} attempts in the log, {told} in the report"
        ));
    }
    let until = Instant::now() + SWEPT;
    while !lab.live_emulators().is_empty() {
        if Instant::now() > until {
            return Err(format!("emulators are left: {:?}", lab.live_emulators()));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// Copies what is worth looking at out of the directories of a round that failed.
fn keep(dispatcher: &Dispatcher, lab: &Lab, seed: u64, round: u32) -> PathBuf {
    let to = std::env::temp_dir().join(format!("storm-{seed}-{round}-{}", std::process::id()));
    for (from, name) in [
        (dispatcher.place.dir.path().to_owned(), "daemon"),
        (lab.store().join("jobs"), "jobs"),
        (lab.dir.path().join("slurm/log"), "slurm"),
    ] {
        let _ = std::fs::create_dir_all(&to);
        let _ = Command::new("cp")
            .arg("-r")
            .arg(from)
            .arg(to.join(name))
            .stderr(Stdio::null())
            .status();
    }
    to
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or(default.to_owned());
    let times: u32 = word(0, "10").parse().expect("how often each kind");
    let ports = word(1, "amd64").replace(',', ", ");
    let seed = word(2, "1").parse::<u64>().expect("a seed");
    let nodes: u32 = word(3, "2").parse().expect("number of nodes");
    let mut dice = Dice(seed * 2 + 1);
    let here = std::env::current_exe().expect("the program's own path");
    let beside = here
        .parent()
        .and_then(Path::parent)
        .expect("a target directory");
    let binary = beside.join("fallout");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let calm = match words.get(4).map(PathBuf::from) {
        Some(file) if file.exists() => {
            serde_json::from_slice(&std::fs::read(file).expect("a report")).expect("JSON")
        }
        file => {
            let report = Fallout::new(&binary).run(&suite(dir.path(), &ports, ""), 2);
            if let Some(file) = file {
                std::fs::write(file, report.to_string()).expect("a report is written");
            }
            report
        }
    };
    let expected = Expected {
        outcomes: tiny::outcomes(&calm),
        findings: tiny::findings(&calm),
    };
    assert!(!expected.outcomes.is_empty() && !expected.findings.is_empty());
    let lab = Lab::start(&binary, nodes, "losses: 50\n");
    let small = Small::mount(&lab);
    let mut faults = FAULTS.to_vec();
    faults.extend(small.as_ref().map(|_| FULL));
    match lab.has_links() {
        true => faults.extend(LINKS),
        false => faults.extend(NO_LINKS),
    }
    println!(
        "seed {seed}, {nodes} nodes; without a cluster: {} outcomes, {} findings",
        expected.outcomes.len(),
        expected.findings.len()
    );
    let mut tally: BTreeMap<&str, u32> = faults.iter().map(|fault| (*fault, 0)).collect();
    let began = Instant::now();
    let mut round = 0;
    while tally.values().any(|done| *done < times) {
        round += 1;
        let started = Instant::now();
        let mut dispatcher = Dispatcher::new(&binary, &lab, &ports);
        let mut told = Vec::new();
        for what in order(&tally, &mut dice) {
            let moment = Instant::now() + Duration::from_millis(200 + dice.roll(2_000));
            while Instant::now() < moment {
                std::thread::sleep(Duration::from_millis(20));
            }
            if dispatcher.is_over() {
                break;
            }
            if fault(what, &lab, &mut dispatcher, &mut dice, nodes) {
                told.push(what);
            }
        }
        let list = told.join(", ");
        if let Err(why) = verify(&mut dispatcher, &lab, &expected) {
            let kept = keep(&dispatcher, &lab, seed, round);
            println!(
                "seed {seed}, round {round}: {list}: {why}\nkept in {}",
                kept.display()
            );
            return ExitCode::FAILURE;
        }
        for what in told {
            *tally.entry(what).or_default() += 1;
        }
        println!(
            "seed {seed}, round {round}, {:.0} s: {list}: same verdict; so far {tally:?}",
            started.elapsed().as_secs_f64()
        );
    }
    println!(
        "seed {seed}: {round} rounds in {:.0} s: {tally:?}: the same verdict every time, nothing lost, nothing doubled, nothing left",
        began.elapsed().as_secs_f64()
    );
    ExitCode::SUCCESS
}
