//! Searches over real guests: a bisection over patches and over commits, and a benchmark.
//!
//! Builds and images come from the user's cache or are made. One port, small questions.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A directory with the example and a matrix of one port, one pass.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .args([top().join("examples/portable"), dir.path().join("portable")])
            .status();
        assert!(copied.unwrap().success());
        std::fs::write(
            dir.path().join("m.yaml"),
            "format: 1\nname: m\nports: [s390x]\nsuites:\n  - {name: portable, project: \
             portable/project.yaml, baseline: unpatched}\n",
        )
        .unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn fallout(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fallout"))
            .args(words)
            .arg("--images")
            .arg(top().join("images"))
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn json(&self, words: &[&str]) -> (Value, Option<i32>) {
        let out = self.fallout(words);
        let text = String::from_utf8_lossy(&out.stdout);
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&out.stderr)));
        (value, out.status.code())
    }

    fn git(&self, words: &[&str]) -> String {
        let out = Command::new("git")
            .args([
                "-C",
                &self.path("portable"),
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@b",
            ])
            .args(words)
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{words:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }
}

const CASE: &str = "wire_test:sum16_known_answer@s390x";

#[test]
fn a_failure_is_traced_to_its_patch_and_to_its_commit() {
    let place = Place::new();
    let matrix = place.path("m.yaml");
    let run = place.fallout(&["run", &matrix]);
    assert_eq!(
        run.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let (found, code) = place.json(&["bisect", "last", CASE, "--json", "--jobs", "1"]);
    assert_eq!(code, Some(1), "{found}");
    assert_eq!(
        (&found["first"], &found["last"]),
        (&Value::from(1), &Value::from(1)),
        "{found}"
    );
    // What was tried is kept: the same question again starts no guest.
    let (again, _) = place.json(&["bisect", "last", CASE, "--json", "--jobs", "1"]);
    assert_eq!(again["first"], found["first"]);
    assert_eq!(again["tries"], 0, "{again}");

    // The same patches as commits, one of them one that does not build.
    place.git(&["init", "-q"]);
    place.git(&["add", "."]);
    place.git(&["commit", "-q", "-m", "base"]);
    let series = std::fs::read_to_string(place.path("portable/patches/series")).unwrap();
    for (n, patch) in series.lines().filter(|l| l.ends_with(".patch")).enumerate() {
        place.git(&["apply", &format!("patches/{patch}")]);
        if n == 1 {
            std::fs::write(place.path("portable/src/broken.h"), "x").unwrap();
            let makefile = place.path("portable/Makefile");
            let text = std::fs::read_to_string(&makefile).unwrap();
            std::fs::write(&makefile, format!("{text}\nall: no-such-file\n")).unwrap();
        } else if n == 2 {
            place.git(&["checkout", "HEAD~1", "Makefile"]);
        }
        place.git(&["add", "-A"]);
        place.git(&["commit", "-q", "-m", patch]);
    }
    let project = place.path("portable/project.yaml");
    let text = std::fs::read_to_string(&project).unwrap();
    std::fs::write(&project, text.replace("patches: patches/series\n", "")).unwrap();
    std::fs::write(
        place.path("m.yaml"),
        "format: 1\nname: m\nports: [s390x]\nsuites:\n  - {name: portable, project: portable/project.yaml}\n",
    )
    .unwrap();
    let head = place.git(&["rev-parse", "HEAD"]);
    let base = place.git(&["rev-list", "--max-parents=0", "HEAD"]);
    let range = format!("{}..{}", base.trim(), head.trim());
    let words = [
        "bisect", "last", CASE, "--json", "--jobs", "1", "--range", &range,
    ];
    let (found, code) = place.json(&words);
    assert_eq!(code, Some(1), "{found}");
    let last = found["last"].as_u64().unwrap() as usize;
    let subject = found["revisions"][last]["subject"].as_str().unwrap();
    assert!(subject.starts_with("0001-wire"), "{found}");
    assert_eq!(place.git(&["rev-parse", "HEAD"]), head);
}

#[test]
fn a_thousandth_more_instructions_is_seen_in_ten_pairs() {
    let place = Place::new();
    let matrix = top().join("matrices/bench.yaml");
    let bench = "/usr/tests/spawn-bench/spawn-bench loop";
    let (a, b) = (
        format!("{bench} 100000000 1"),
        format!("{bench} 100100000 1"),
    );
    let (found, code) = place.json(&[
        "bench",
        matrix.to_str().unwrap(),
        "--ports",
        "amd64",
        "-A",
        &a,
        "-B",
        &b,
        "--json",
    ]);
    assert_eq!(code, Some(1), "{found}");
    let port = &found["ports"][0];
    assert_eq!(port["measured"], "instructions");
    assert_eq!(port["comparison"]["answer"], "slower");
    let percent = port["comparison"]["percent"].as_f64().unwrap();
    assert!((0.08..0.12).contains(&percent), "{percent}");
    let same = place.json(&[
        "bench",
        matrix.to_str().unwrap(),
        "--ports",
        "amd64",
        "-A",
        &a,
        "-B",
        &a,
        "--json",
    ]);
    assert_eq!(
        same.0["ports"][0]["comparison"]["answer"], "no_difference",
        "{}",
        same.0
    );
}
