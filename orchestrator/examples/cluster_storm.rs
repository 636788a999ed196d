//! Faults between machines, at random moments, over a small matrix on a real Slurm of this machine: after
//! every round the verdict must be that of an undisturbed run without a cluster, every case must have its
//! outcome once, and no emulator may be left.
//!
//! ```text
//! cargo build --release && cargo run --release --example cluster_storm -- 10 amd64 1
//! ```
//!
//! Words: rounds, ports, seed, nodes. Each round has three to five faults, of different kinds, those first that were
//! done least: a node dies (and comes back), a slurmd dies, the controller is restarted, fallout is killed (and
//! resumed), the store is full (as root: it is a small file system) or cannot be reached for seconds. Where nodes have
//! links (`ci/slurm/cluster`), a link is cut and healed, for seconds or until Slurm has given the node up, or carries
//! next to nothing, so that the store is slow. Where they have none, a node is stopped in the place of a cut (its
//! processes and its slurmd) until Slurm has given it up, and goes on as if nothing had been.

#[path = "../tests/support/lab.rs"]
#[allow(dead_code, reason = "shared with a test that uses more of it")]
mod lab;
#[path = "../tests/support/tiny.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod tiny;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::Lab;
use tiny::{Dice, Fallout};

/// Every host can do these.
const FAULTS: [&str; 5] = [
    "node killed",
    "slurmd killed",
    "slurmctld restarted",
    "fallout killed",
    "store away",
];
const FULL: &str = "store full";
const LINKS: [&str; 2] = ["network cut", "store slow"];
const NO_LINKS: [&str; 1] = ["node stopped"];

fn suite(dir: &Path, ports: &str) -> std::path::PathBuf {
    let body = |n| match n {
        7 => "atf_tc_fail(\"planted\");".to_owned(),
        _ => "usleep(150000);".to_owned(),
    };
    let fields = ["repeats: {failed: 1, crashed: 1}"];
    let more = "retries: {host_fault: 5, boot: 5}\n";
    tiny::write(dir, &tiny::programs(2, 10, body), ports, &fields, more)
}

fn start(fallout: &Fallout, lab: &Lab, words: &[&str], report: &Path) -> Child {
    let errors = std::fs::File::options()
        .create(true)
        .append(true)
        .open(fallout.state.path().join("errors"))
        .expect("a file for errors");
    fallout
        .command(words)
        .env("SLURM_CONF", lab.conf())
        .stdout(std::fs::File::create(report).expect("a file for the report"))
        .stderr(Stdio::from(errors))
        .spawn()
        .expect("fallout")
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

/// A node that has a job now: a fault elsewhere would tell little.
fn node_at_work(lab: &Lab) -> Option<String> {
    let listed = lab.slurm("squeue", &["--noheader", "--states=running", "--format=%N"]);
    listed.lines().next().map(|node| node.trim().to_owned())
}

/// Does one fault; true where fallout itself was killed.
fn fault(what: &str, lab: &Lab, child: &mut Child, dice: &mut Dice, nodes: u32) -> bool {
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
        "fallout killed" => {
            let _ = child.kill();
            let _ = child.wait();
            std::thread::sleep(pause);
            return true;
        }
        // The jobs' directory is away: nothing in it can be read or written.
        "store full" => Small::fill(lab, pause),
        "store away" => {
            let (jobs, away) = (lab.store().join("jobs"), lab.store().join("away"));
            if std::fs::rename(&jobs, &away).is_ok() {
                let _ = std::fs::write(&jobs, "");
                std::thread::sleep(pause);
                let _ = std::fs::remove_file(&jobs);
                let _ = std::fs::remove_dir_all(&jobs);
                std::fs::rename(&away, &jobs).expect("the store comes back");
            }
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
    false
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or(default.to_owned());
    let rounds: u32 = word(0, "10").parse().expect("number of rounds");
    let ports = word(1, "amd64");
    let mut dice = Dice(word(2, "1").parse::<u64>().expect("a seed") * 2 + 1);
    let here = std::env::current_exe().expect("the program's own path");
    let beside = here
        .parent()
        .and_then(Path::parent)
        .expect("a target directory");
    let binary = beside.join("fallout");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let matrix = suite(dir.path(), &ports.replace(',', ", "));
    let calm = Fallout::new(&binary);
    let reference = calm.run(&matrix, 2);
    let (outcomes, findings) = (tiny::outcomes(&reference), tiny::findings(&reference));
    assert!(!outcomes.is_empty() && !findings.is_empty());
    println!(
        "without a cluster: {} outcomes, {} findings",
        outcomes.len(),
        findings.len()
    );
    let nodes: u32 = word(3, "2").parse().expect("number of nodes");
    let lab = Lab::start(&binary, nodes, "losses: 50\n");
    let small = Small::mount(&lab);
    let mut faults = FAULTS.to_vec();
    faults.extend(small.as_ref().map(|_| FULL));
    match lab.has_links() {
        true => faults.extend(LINKS),
        false => faults.extend(NO_LINKS),
    }
    println!("{nodes} nodes, faults: {}", faults.join(", "));
    let mut tally: BTreeMap<&str, u32> = faults.iter().map(|fault| (*fault, 0)).collect();
    let began = Instant::now();
    for round in 1..=rounds {
        let fallout = Fallout::new(&binary);
        let report = fallout.state.path().join("report");
        let settings = lab.settings();
        let matrix = matrix.to_str().expect("a path");
        let first = [
            "run",
            matrix,
            "--fresh",
            "--json",
            "--cluster",
            settings.to_str().expect("a path"),
        ];
        let mut child = start(&fallout, &lab, &first, &report);
        let mut told = Vec::new();
        for _ in 0..3 + dice.roll(3) {
            let moment = Duration::from_millis(500 + dice.roll(7_000));
            let until = Instant::now() + moment;
            while Instant::now() < until && child.try_wait().expect("a child").is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
            if child.try_wait().expect("a child").is_some() {
                break;
            }
            // Of the kinds that this round has not had, one of those that were done least.
            let mut left: Vec<&str> = faults.clone();
            left.retain(|what| !told.contains(what));
            let least = left.iter().map(|what| tally[what]).min().unwrap_or(0);
            left.retain(|what| tally[what] <= least + 1);
            let what = left[dice.roll(left.len() as u64) as usize];
            told.push(what);
            *tally.entry(what).or_default() += 1;
            if fault(what, &lab, &mut child, &mut dice, nodes) {
                let again = ["resume", "last", "--json"];
                let words: &[&str] = if fallout.log().is_empty() {
                    &first
                } else {
                    &again
                };
                child = start(&fallout, &lab, words, &report);
            }
        }
        let until = Instant::now() + Duration::from_secs(600);
        let code = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status.code();
            }
            assert!(Instant::now() < until, "round {round}: {told:?}: no end");
            std::thread::sleep(Duration::from_millis(50));
        };
        let errors =
            std::fs::read_to_string(fallout.state.path().join("errors")).unwrap_or_default();
        assert_eq!(code, Some(1), "round {round}: {told:?}: {errors}");
        let text = std::fs::read(&report).expect("a report");
        let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        let value = &value["report"];
        assert_eq!(tiny::outcomes(value), outcomes, "round {round}: {told:?}");
        assert_eq!(tiny::findings(value), findings, "round {round}: {told:?}");
        let until = Instant::now() + Duration::from_secs(30);
        while !lab.live_emulators().is_empty() {
            assert!(
                Instant::now() < until,
                "round {round}: {told:?}: emulators are left"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
        println!(
            "round {round}: {}: same verdict; so far {tally:?}",
            told.join(", ")
        );
    }
    println!(
        "{rounds} rounds in {:.0} s: {tally:?}: the same verdict every time, nothing lost, nothing doubled, nothing left",
        began.elapsed().as_secs_f64()
    );
}
