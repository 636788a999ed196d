//! A push, with the daemon down, up, and killed: nothing is lost and nothing is queued twice. The
//! matrix is one that does not exist, so every job fails for that reason and no guest is needed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::Value;

struct Place {
    dir: tempfile::TempDir,
}

/// Ended with the test, whatever the test does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.git(&["init", "-q", "--bare", "-b", "main", "r.git"]);
        place.git(&["init", "-q", "-b", "main", "tree"]);
        std::fs::write(
            place.path("daemon.yaml"),
            "format: 1\nlisten: 127.0.0.1:0\nrepositories:\n  - name: r\n    path: r.git\n    rules:\n      - name: all\n        \
             refs: ['refs/heads/*']\n        policy: each\n        run: {matrix: absent.yaml}\n",
        )
        .unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, args: &[&str]) {
        let out = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@x"])
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }

    fn fallout(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fallout"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    fn push(&self, text: &str) {
        std::fs::write(self.path("tree/file"), text).unwrap();
        self.git(&["-C", "tree", "add", "."]);
        self.git(&["-C", "tree", "commit", "-qm", text]);
        self.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
    }

    fn daemon(&self) -> Running {
        let mut command = self.fallout(&["daemon", "--config", "daemon.yaml"]);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("daemon.err"))
            .unwrap();
        Running(command.stderr(log).spawn().unwrap())
    }

    fn jobs(&self) -> Vec<Value> {
        let out = self.fallout(&["queue", "--json"]).output().unwrap();
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// The jobs, once there are so many and all are over.
    fn wait_for(&self, count: usize) -> Vec<Value> {
        for _ in 0..600 {
            let jobs = self.jobs();
            if jobs.len() >= count && jobs.iter().all(|j| j["state"] == "failed") {
                return jobs;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        // What the daemon said is all that tells why.
        let said = std::fs::read_to_string(self.path("daemon.err")).unwrap_or_default();
        panic!("{:#?}\n{said}", self.jobs());
    }
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
    let place = Place::new();
    let installed = place
        .fallout(&["hook", "install", "r.git"])
        .status()
        .unwrap();
    assert!(installed.success());
    place.push("one");
    assert_eq!(spooled(&place.path("r.git")), 1);

    let daemon = place.daemon();
    let jobs = place.wait_for(1);
    assert_eq!(spooled(&place.path("r.git")), 0);
    let note = jobs[0]["note"].as_str().unwrap();
    assert!(note.contains("absent.yaml: cannot be read"), "{note}");

    place.push("two");
    place.wait_for(2);
    // Dropping kills it, as kill -9 does.
    drop(daemon);
    place.push("three");
    let daemon = place.daemon();
    let jobs = place.wait_for(3);
    let commits: std::collections::BTreeSet<&str> = jobs
        .iter()
        .map(|j| j["change"]["new"].as_str().unwrap())
        .collect();
    assert_eq!((jobs.len(), commits.len()), (3, 3));
    drop(daemon);
}

#[test]
fn a_hook_of_somebody_else_is_left_alone() {
    let place = Place::new();
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
    let place = Place::new();
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
