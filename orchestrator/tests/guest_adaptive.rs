//! What runs learn beyond their passes, over real guests: a budget that decides what one look leaves
//! open (killed on the way and gone on with), another run as the baseline, what earlier runs know, and
//! the polluter of a case that never fails alone.
//!
//! The example is copied and marked, so that no other test's cached cells are touched.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A directory with the example, its series cut down, and a state of its own.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new(patches: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let copied = Command::new("cp")
            .arg("-r")
            .args([top().join("examples/portable"), dir.path().join("portable")])
            .status();
        assert!(copied.unwrap().success());
        let place = Self { dir };
        let series = place.dir.path().join("portable/patches/series");
        let all = std::fs::read_to_string(&series).unwrap();
        let kept = all
            .lines()
            .filter(|l| patches.iter().any(|p| l.starts_with(p)));
        std::fs::write(&series, kept.map(|l| format!("{l}\n")).collect::<String>()).unwrap();
        std::fs::write(
            place.dir.path().join("portable/src/mark.h"),
            "/* adaptive */\n",
        )
        .unwrap();
        place
    }

    fn matrix(&self, text: &str) -> String {
        let path = self.path("m.yaml");
        std::fs::write(&path, format!("format: 1\nname: m\n{text}")).unwrap();
        path
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fallout"));
        command
            .args(words)
            .arg("--images")
            .arg(top().join("images"))
            .env("XDG_STATE_HOME", self.dir.path().join("state"))
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .stdin(Stdio::null());
        command
    }

    fn fallout(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    fn json(&self, words: &[&str]) -> (Value, Option<i32>) {
        let out = self.fallout(words);
        let text = String::from_utf8_lossy(&out.stdout);
        let value = serde_json::from_str(&text)
            .unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&out.stderr)));
        (value, out.status.code())
    }

    /// Starts a run and kills it once its log has `wanted`, `times` times.
    fn kill_after(&self, words: &[&str], wanted: &str, times: usize) {
        let mut child = self
            .command(words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while self.log().matches(wanted).count() < times {
            let over = child.try_wait().unwrap();
            assert!(over.is_none(), "ended before {wanted} came {times} times");
            assert!(began.elapsed() < Duration::from_secs(600), "no {wanted}");
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn log(&self) -> String {
        let runs = std::fs::read_dir(self.path("state/fallout/runs"));
        let runs = runs.into_iter().flatten().flatten();
        runs.filter_map(|e| std::fs::read_to_string(e.path().join("events.jsonl")).ok())
            .collect()
    }
}

const ADAPTIVE: &str = r#""purpose":"adaptive""#;
const SUM: &str = "wire_test:sum16_known_answer";

fn about<'a>(list: &'a Value, case: &str) -> Vec<&'a Value> {
    let list = list.as_array().unwrap();
    list.iter().filter(|f| f["case"] == case).collect()
}

#[test]
fn a_budget_decides_what_one_look_leaves_open_and_survives_a_kill() {
    let place = Place::new(&["0001", "0005"]);
    let matrix = place.matrix(
        "ports: [amd64, s390x]\nadaptive: {attempts: 90, time: 5m}\nsuites:\n  - {name: portable, \
         project: portable/project.yaml, baseline: unpatched}\n",
    );
    place.kill_after(&["run", &matrix, "--fresh"], ADAPTIVE, 4);
    let killed = place.log().matches(ADAPTIVE).count();
    let (done, code) = place.json(&["resume", "last", "--json"]);
    assert_eq!(code, Some(1), "{done}");
    let report = &done["report"];
    let spent = &report["spent"];
    let made = spent["attempts"].as_u64().unwrap() as usize;
    // Those of the killed process are among them, once.
    let log = place.log();
    assert!(made > killed && made <= 90, "{killed} {made}");
    assert_eq!(log.matches(ADAPTIVE).count(), made);
    let cells = report["cells"].as_array().unwrap();
    let attempts = cells.iter().flat_map(|c| c["attempts"].as_array().unwrap());
    let adaptive: Vec<&Value> = attempts.filter(|a| a["purpose"] == "adaptive").collect();
    assert_eq!(adaptive.len(), made);

    let bought = about(&spent["cases"], SUM)[0];
    assert_eq!(bought["before"]["kind"], "undecided", "{bought}");
    let kind = bought["after"]["kind"].as_str().unwrap();
    assert!(matches!(kind, "arch_only" | "trait_bound"), "{bought}");
    assert_eq!(bought["after"]["news"], "new", "{bought}");
    // What comes and goes everywhere is not bound to the port on which it came.
    for flaky in about(&report["verdict"]["findings"], "upkeep_test:sweep") {
        let kind = flaky["kind"].as_str().unwrap();
        assert!(matches!(kind, "flake" | "undecided"), "{flaky}");
    }
    let shown = place.fallout(&["show", "last"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("Repeats where they tell most"), "{shown}");

    // What was learnt is kept with the cells: the same question costs nothing now. And a run can be
    // compared with another one.
    let (again, _) = place.json(&["run", &matrix, "--baseline", "last", "--json"]);
    let report = &again["report"];
    assert!(
        report["baseline"]["name"]
            .as_str()
            .unwrap()
            .starts_with("run "),
        "{report}"
    );
    let sum = about(&report["verdict"]["findings"], SUM)[0];
    assert_eq!(sum["news"], "known", "{sum}");
    assert!(
        sum["sentence"]
            .as_str()
            .unwrap()
            .contains("Not new: it is in run "),
        "{sum}"
    );
    assert_eq!(about(&report["spent"]["cases"], SUM), Vec::<&Value>::new());
    // The only earlier run has tested the very same; only its unpatched side is another revision.
    assert_eq!(sum["seen_before"]["showing"], 0, "{sum}");
    let wrong = place.fallout(&["run", &matrix, "--baseline", "last-god"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("did you mean 'last-good'?"), "{said}");
}

#[test]
fn a_case_that_never_fails_alone_has_its_polluter_found() {
    let place = Place::new(&["0005"]);
    let matrix = place.matrix(
        "ports: [s390x]\nsuites:\n  - {name: portable, project: portable/project.yaml, passes: 12}\n",
    );
    let run = place.fallout(&["run", &matrix]);
    assert_eq!(
        run.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let words = [
        "polluter",
        "last",
        "upkeep_test:sweep@s390x",
        "--confidence",
        "90",
        "--json",
    ];
    let (found, code) = place.json(&words);
    assert_eq!(code, Some(1), "{found}");
    assert_eq!(found["answer"], "polluters", "{found}");
    assert_eq!(
        found["polluters"],
        serde_json::json!(["hints_test:note_word_count"]),
        "{found}"
    );
    // The same run is a history: it came and went.
    let (flakes, code) = place.json(&["flakes", "upkeep_test:sweep", "--json"]);
    assert_eq!(code, Some(1), "{flakes}");
    assert_eq!(flakes["flakes"][0]["rate"]["total"], 12, "{flakes}");
}
