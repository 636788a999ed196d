//! A push, with the daemon down, up, and killed: nothing is lost and nothing is queued twice. The
//! matrix is one that does not exist, so every job fails for that reason and no guest is needed.

#[path = "support/daemon.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod daemon;

use std::path::Path;
use std::time::Duration;

use daemon::Place;
use serde_json::Value;

fn place() -> Place {
    let binary = Path::new(env!("CARGO_BIN_EXE_fallout"));
    let place = Place::own(binary);
    std::fs::write(
        place.path("daemon.yaml"),
        "format: 1\nlisten: 127.0.0.1:0\nrepositories:\n  - name: r\n    path: r.git\n    rules:\n      - name: all\n        \
         refs: ['refs/heads/*']\n        policy: each\n        run: {matrix: absent.yaml}\n",
    )
    .unwrap();
    place
}

fn push(place: &Place, text: &str) {
    std::fs::write(place.path("tree/file"), text).unwrap();
    place.git(&["-C", "tree", "add", "."]);
    place.git(&["-C", "tree", "commit", "-qm", text]);
    place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
}

fn jobs(place: &Place) -> Vec<Value> {
    let out = place.fallout(&["queue", "--json"]).output().unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The jobs, once there are so many and all are over.
fn wait_for(place: &Place, count: usize) -> Vec<Value> {
    for _ in 0..600 {
        let jobs = jobs(place);
        if jobs.len() >= count && jobs.iter().all(|j| j["state"] == "failed") {
            return jobs;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // What the daemon said is all that tells why.
    let said = std::fs::read_to_string(place.path("daemon.log")).unwrap_or_default();
    panic!("{:#?}\n{said}", jobs(place));
}

fn spooled(repository: &Path) -> usize {
    let entries = std::fs::read_dir(repository.join("fallout/spool")).unwrap();
    entries
        .filter(|e| {
            e.as_ref()
                .unwrap()
                .path()
                .extension()
                .is_some_and(|x| x == "push")
        })
        .count()
}

#[test]
fn a_push_is_queued_once_whether_the_daemon_is_down_up_or_killed() {
    let place = place();
    let installed = place
        .fallout(&["hook", "install", "r.git"])
        .status()
        .unwrap();
    assert!(installed.success());
    push(&place, "one");
    assert_eq!(spooled(&place.path("r.git")), 1);

    let daemon = place.daemon();
    let jobs = wait_for(&place, 1);
    assert_eq!(spooled(&place.path("r.git")), 0);
    let note = jobs[0]["note"].as_str().unwrap();
    assert!(note.contains("absent.yaml: cannot be read"), "{note}");

    push(&place, "two");
    wait_for(&place, 2);
    // Dropping kills it, as kill -9 does.
    drop(daemon);
    push(&place, "three");
    let daemon = place.daemon();
    let jobs = wait_for(&place, 3);
    let commits: std::collections::BTreeSet<&str> = jobs
        .iter()
        .map(|j| j["change"]["new"].as_str().unwrap())
        .collect();
    assert_eq!((jobs.len(), commits.len()), (3, 3));
    drop(daemon);
}

#[test]
fn a_hook_of_somebody_else_is_left_alone() {
    let place = place();
    let theirs = place.path("r.git/hooks/post-receive");
    std::fs::create_dir_all(theirs.parent().unwrap()).unwrap();
    std::fs::write(&theirs, "#!/bin/sh\necho theirs\n").unwrap();
    let out = place
        .fallout(&["hook", "install", "r.git"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&out.stderr).contains("there is another hook"));
    assert!(std::fs::read_to_string(&theirs).unwrap().contains("theirs"));
}

#[test]
fn settings_that_reach_out_or_name_nothing_are_refused() {
    let place = place();
    std::fs::write(
        place.path("bad.yaml"),
        "format: 1\nlisten: 0.0.0.0:80\nrepositories: [{name: main, path: r.git}]\nschedules:\n  \
         - {name: n, cron: '0 3 * *', repository: mian, reference: refs/heads/main, run: {matrix: m}}\n",
    )
    .unwrap();
    let out = place
        .fallout(&["daemon", "--config", "bad.yaml"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(2));
    let said = String::from_utf8_lossy(&out.stderr);
    for part in [
        "listen: 0.0.0.0:80 can be reached",
        "did you mean 'main'?",
        "schedules[0].cron",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
}

#[test]
fn settings_are_read_again_and_a_mistake_in_them_changes_nothing() {
    let place = place();
    let good = std::fs::read_to_string(place.path("daemon.yaml")).unwrap();
    let daemon = place.daemon();
    let hang_up = |said: &str| {
        let pid = daemon.child.id().to_string();
        let sent = std::process::Command::new("kill")
            .args(["-HUP", &pid])
            .status();
        assert!(sent.unwrap().success());
        for _ in 0..600 {
            let log = std::fs::read_to_string(place.path("daemon.log")).unwrap();
            if log.contains(said) {
                return log;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!(
            "{}",
            std::fs::read_to_string(place.path("daemon.log")).unwrap()
        );
    };
    std::fs::write(place.path("daemon.yaml"), good.replace("policy", "polcy")).unwrap();
    let log = hang_up("the settings stay as they were");
    assert!(log.contains("polcy") && log.contains("policy"), "{log}");
    std::fs::write(
        place.path("daemon.yaml"),
        good.replace("absent.yaml", "other.yaml"),
    )
    .unwrap();
    hang_up("settings were read again");
    let installed = place.fallout(&["hook", "install", "r.git"]).status();
    assert!(installed.unwrap().success());
    push(&place, "one");
    let note = wait_for(&place, 1)[0]["note"].as_str().unwrap().to_owned();
    assert!(note.contains("other.yaml"), "{note}");
}
