//! A daemon on a real Slurm of this machine that is killed twice in the middle: while its jobs run, and before it
//! can see what they came to. Started anew it goes on with them: nothing is submitted twice, and the verdict is
//! that of a run without a cluster.

#[path = "support/daemon.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod daemon;
#[path = "support/lab.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod lab;
#[path = "support/tiny.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod tiny;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use daemon::{Place, Running};
use lab::{Lab, entries};
use serde_json::Value;
use tiny::Fallout;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The directories of the cells' jobs, and those of all.
fn jobs(lab: &Lab) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let all = lab.jobs();
    let is_cell = |dir: &&PathBuf| {
        let order = json(&dir.join("order.json"));
        order["job"]["name"].as_str().unwrap().starts_with("cell ")
    };
    (all.iter().filter(is_cell).cloned().collect(), all)
}

fn wait_for(place: &Place, what: &str, mut there: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(300);
    while !there() {
        let said = std::fs::read_to_string(place.path("daemon.log")).unwrap_or_default();
        assert!(Instant::now() < until, "no {what}: {said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The only job of the queue, while a daemon is there to ask.
fn queued(place: &Place) -> Value {
    let out = place.fallout(&["queue", "--json"]).output().unwrap();
    let jobs: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap_or_default();
    assert!(jobs.len() <= 1, "{jobs:#?}");
    jobs.into_iter().next().unwrap_or_default()
}

/// Attempts in the run's own log.
fn attempts(place: &Place) -> usize {
    let runs = entries(&place.path("state/fallout/runs"));
    let logs = runs.iter().map(|run| run.join("events.jsonl"));
    let logs = logs.filter_map(|log| std::fs::read_to_string(log).ok());
    logs.map(|log| log.matches("\"attempt_done\"").count())
        .sum()
}

fn kill(mut daemon: Running) {
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
}

#[test]
fn a_daemon_that_is_killed_goes_on_with_its_jobs_on_the_cluster() {
    if !lab::is_installed() {
        return;
    }
    let binary = Path::new(env!("CARGO_BIN_EXE_fallout"));
    let lab = Lab::start(binary, 2, "");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    let mut place = Place::new(binary, &cache);
    place.env = vec![("SLURM_CONF", lab.conf())];
    let unique = place.dir.path().file_name().unwrap().to_str().unwrap();
    let body = |n| match n {
        3 => format!("atf_tc_fail(\"planted {unique}\");"),
        _ => "usleep(500000);".to_owned(),
    };
    let fields = ["repeats: {failed: 1, crashed: 1}"];
    let programs = tiny::programs(2, 8, body);
    let matrix = tiny::write(place.dir.path(), &programs, "amd64, s390x", &fields, "");
    for file in entries(&place.path("src")) {
        let to = place.path("tree").join(file.file_name().unwrap());
        std::fs::copy(file, to).unwrap();
    }
    let settings = format!(
        "format: 1\nlisten: 127.0.0.1:0\ncluster: {}\nrepositories:\n  - name: r\n    path: r.git\n    \
         rules:\n      - name: all\n        refs: [refs/heads/main]\n        run: {{matrix: tiny.yaml}}\n",
        lab.settings().display()
    );
    std::fs::write(place.path("daemon.yaml"), settings).unwrap();
    let installed = place.fallout(&["hook", "install", "r.git"]).status();
    assert!(installed.unwrap().success());
    place.git(&["-C", "tree", "add", "-A"]);
    place.git(&["-C", "tree", "commit", "-q", "-m", "a suite"]);
    place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);

    let first = place.daemon();
    wait_for(&place, "attempt in the run's log", || attempts(&place) > 0);
    kill(first);
    let before = attempts(&place);
    let second = place.daemon();
    wait_for(&place, "attempt after the first kill", || {
        attempts(&place) > before || queued(&place)["state"] == "done"
    });
    kill(second);
    // What ends now ends without a daemon.
    wait_for(&place, "end of both cells", || {
        let (cells, _) = jobs(&lab);
        cells.len() == 2 && cells.iter().all(|job| job.join("result.json").exists())
    });
    let third = place.daemon();
    wait_for(&place, "end of the run", || {
        ["done", "failed"].contains(&queued(&place)["state"].as_str().unwrap_or_default())
    });
    let job = queued(&place);
    assert_eq!(job["state"], "done", "{job:#}");
    drop(third);

    // A build and a cell of each port: handed over once, started once.
    let (_, all) = jobs(&lab);
    assert_eq!(all.len(), 4);
    for job in &all {
        let claims = entries(&job.join("claims")).len();
        assert_eq!(claims, 1, "{} was started more than once", job.display());
    }
    let run = all[0].parent().unwrap();
    let mut handed: BTreeMap<String, u32> = BTreeMap::new();
    for batch in entries(&run.join("batches")) {
        for name in json(&batch)["jobs"].as_array().unwrap() {
            *handed.entry(name.to_string()).or_default() += 1;
        }
    }
    assert_eq!(handed.into_values().collect::<Vec<_>>(), [1, 1, 1, 1]);

    let run = job["run"].as_str().unwrap();
    let there = json(&place.path(&format!("state/fallout/runs/{run}/report.json")));
    let there = &there["report"];
    let told: usize = there["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| tiny::attempts(cell).len())
        .sum();
    assert_eq!(attempts(&place), told, "every event once");
    let here = Fallout::new(binary).run(&matrix, 2);
    assert_eq!(tiny::outcomes(there), tiny::outcomes(&here));
    assert_eq!(tiny::findings(there), tiny::findings(&here));
    assert_eq!(lab.live_emulators(), [0; 0]);
}
