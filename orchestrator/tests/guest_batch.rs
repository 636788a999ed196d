//! Commits that pile up are one run; when it breaks, the daemon finds the commit, on real guests.

#[path = "support/daemon.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod daemon;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use daemon::{Client, Place};
use serde_json::Value;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The user's cache: builds and images come from there or are made.
fn cache() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    )
}

fn commit_and_push(place: &Place, subject: &str) {
    place.git(&["-C", "tree", "add", "-A"]);
    place.git(&["-C", "tree", "commit", "-q", "-m", subject]);
    place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
}

/// The jobs, newest first, once there are so many and all are over.
fn jobs(place: &Place, count: usize) -> Vec<Value> {
    for _ in 0..1800 {
        let out = place.fallout(&["queue", "--json"]).output().unwrap();
        let jobs: Vec<Value> = serde_json::from_slice(&out.stdout).unwrap();
        let over = |j: &Value| {
            ["done", "failed", "cancelled"]
                .iter()
                .any(|s| j["state"] == *s)
        };
        if jobs.len() >= count && jobs.iter().all(over) {
            return jobs;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    let said = std::fs::read_to_string(place.path("daemon.log")).unwrap_or_default();
    panic!("{said}");
}

#[test]
fn the_commit_that_broke_a_batch_is_found() {
    let place = Place::new(Path::new(env!("CARGO_BIN_EXE_fallout")), &cache());
    let example = top().join("examples/portable");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(example.join("."))
        .arg(place.path("tree"))
        .status();
    assert!(copied.unwrap().success());
    let project = place.path("tree/project.yaml");
    let text = std::fs::read_to_string(&project).unwrap();
    let without = text.replace("patches: patches/series\n", "");
    assert_ne!(text, without);
    std::fs::write(&project, without).unwrap();
    std::fs::write(
        place.path("m.yaml"),
        "format: 1\nname: m\nports: [s390x]\nsuites:\n  - {name: portable, project: tree/project.yaml, \
         baseline: parent}\n",
    )
    .unwrap();
    std::fs::write(
        place.path("daemon.yaml"),
        "format: 1\nlisten: 127.0.0.1:0\nrepositories:\n  - name: r\n    path: r.git\n    rules:\n      \
         - name: all\n        refs: [refs/heads/main]\n        run: {matrix: m.yaml, bisect: 1}\n",
    )
    .unwrap();
    commit_and_push(&place, "base");
    let installed = place.fallout(&["hook", "install", "r.git"]).status();
    assert!(installed.unwrap().success());
    // Pushed one by one while nobody takes them: four become one run.
    let series = std::fs::read_to_string(place.path("tree/patches/series")).unwrap();
    let patches: Vec<&str> = series.lines().filter(|l| l.ends_with(".patch")).collect();
    std::fs::write(place.path("tree/NEWS"), "one\n").unwrap();
    commit_and_push(&place, "a line of news");
    place.git(&["-C", "tree", "apply", &format!("patches/{}", patches[0])]);
    commit_and_push(&place, "the culprit");
    let culprit = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    for line in ["two\n", "three\n"] {
        std::fs::write(place.path("tree/NEWS"), line).unwrap();
        commit_and_push(&place, "more news");
    }
    let daemon = place.daemon();
    let all = jobs(&place, 5);
    assert_eq!(all.len(), 5, "{all:#?}");
    let replaced = all.iter().filter(|j| j["state"] == "cancelled").count();
    assert_eq!(replaced, 3, "{all:#?}");
    let search = &all[0];
    let run = search["run"].as_str().unwrap();
    assert_eq!(search["spec"]["search"]["run"], run, "{search:#}");
    assert_eq!(search["state"], "done", "{search:#}");
    let note = search["note"].as_str().unwrap();
    let told = format!("came in with the culprit ({})", &culprit[..12]);
    assert!(note.contains(&told), "{note}");

    let answer = place.path(&format!(
        "state/fallout/runs/{run}/searches/{}.json",
        search["id"]
    ));
    let answer: Value = serde_json::from_slice(&std::fs::read(answer).unwrap()).unwrap();
    assert_eq!(answer["commit"], culprit, "{answer:#}");
    assert_eq!(answer["authors"], serde_json::json!(["e@x"]));
    let shown = place.fallout(&["show", run]).output().unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains(&told), "{shown}");
    let mut client = Client::new(&daemon.address).unwrap();
    let (status, page) = client.get(&format!("/runs/{run}")).unwrap();
    assert!(status == 200 && page.contains(&told), "{page}");
    let (status, list) = client.get(&format!("/api/v1/runs/{run}/searches")).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!((status, &list["items"][0]["note"]), (200, &search["note"]));
}
