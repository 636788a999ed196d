//! The program as people use it, over real guests: the main job, interruption, sudden death.
//!
//! Images and builds come from the user's cache or are made; every run has a state directory of its
//! own, and cells are run for real (`--fresh`) wherever the cache is not what is tested.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_fallout");

fn matrix(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../matrices")
        .join(name)
}

/// fallout with a state directory of its own.
struct Fallout {
    state: tempfile::TempDir,
}

impl Fallout {
    fn new() -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
        }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(words)
            .env("XDG_STATE_HOME", self.state.path())
            .env("XDG_RUNTIME_DIR", self.state.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Starts a run and waits until its log has `wanted`, `times` times.
    fn start_until(&self, words: &[&str], wanted: &str, times: usize) -> Child {
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
        child
    }

    /// The log of the only run.
    fn log(&self) -> String {
        let runs = self.state.path().join("fallout/runs");
        let Ok(entries) = std::fs::read_dir(runs) else {
            return String::new();
        };
        entries
            .flatten()
            .filter_map(|e| std::fs::read_to_string(e.path().join("events.jsonl")).ok())
            .collect()
    }

    /// Process ids of emulators that have been started.
    fn emulators(&self) -> Vec<u32> {
        self.log()
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|e| e["what"]["event"] == "guest_started")
            .filter_map(|e| e["what"]["pid"].as_u64())
            .map(|pid| pid as u32)
            .collect()
    }
}

fn is_qemu(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("qemu"))
}

fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| {
        panic!(
            "{e}: {}\n{}",
            text.chars().take(500).collect::<String>(),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

fn strings(value: &Value, field: &str) -> BTreeSet<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|t| t[field].as_str().map(str::to_owned))
        .collect()
}

/// `suite case` to kind, failing ports and the traits that separate them, for every new finding.
type Found = BTreeMap<String, (String, BTreeSet<String>, BTreeSet<String>)>;

fn findings(report: &Value) -> Found {
    let list = report["report"]["verdict"]["findings"].as_array().unwrap();
    list.iter()
        .map(|f| {
            let splits = f["splits"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|s| {
                    let pairs = s["all_of"].as_array().unwrap();
                    pairs
                        .iter()
                        .map(|p| format!("{}={}", p[0].as_str().unwrap(), p[1].as_str().unwrap()))
                        .collect::<Vec<_>>()
                        .join(" ∧ ")
                })
                .collect();
            let case = f["case"].as_str().unwrap_or("-");
            (
                format!("{} {case}", f["suite"].as_str().unwrap()),
                (
                    f["kind"].as_str().unwrap().to_owned(),
                    strings(&f["failing"], "port"),
                    splits,
                ),
            )
        })
        .collect()
}

fn ports(words: &str) -> BTreeSet<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// The main job: every planted fault is found, with the right ports and the right trait, and
/// nothing else is said about the library.
#[test]
fn the_quickstart_finds_what_was_planted_and_nothing_else() {
    let fallout = Fallout::new();
    let path = matrix("quickstart.yaml");
    // Without its second suite, which is two thirds of the matrix's time and has no faults to be
    // found: it has a test of its own, on three ports.
    let words = ["run", path.to_str().unwrap(), "--suites", "portable"];
    let output = fallout.run(&[&words[..], &["--fresh", "--json"]].concat());
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1), "{report}");
    let mut found = findings(&report);

    let char_unsigned = "arm64 armhf ppc64el riscv64 s390x";
    let planted = [
        (
            "wire_test:sum16_known_answer",
            "trait_bound",
            "s390x sparc64",
            "endian=big",
        ),
        (
            "tool_test:sums",
            "trait_bound",
            "s390x sparc64",
            "endian=big",
        ),
        (
            "span_test:ns_of_a_day",
            "trait_bound",
            "armhf i386",
            "word=ILP32",
        ),
        (
            "text_test:hex_rejects_stray_digit",
            "trait_bound",
            char_unsigned,
            "char=unsigned",
        ),
        (
            "tool_test:unhex_rejects",
            "trait_bound",
            char_unsigned,
            "char=unsigned",
        ),
        (
            "record_test:double_after_u32",
            "trait_bound",
            "armhf sparc64",
            "unaligned_double=traps",
        ),
        (
            "flush_test:pressure_asks_the_kernel",
            "panic",
            "i386",
            "fp_eval=x87 excess",
        ),
        (
            "number_test:long_double_digits",
            "hang",
            "ppc64el",
            "long_double=double-double",
        ),
    ];
    for (case, kind, where_, why) in planted {
        let (got_kind, got_ports, splits) = found
            .remove(&format!("portable {case}"))
            .unwrap_or_else(|| panic!("{case} was not found: {:?}", findings(&report)));
        assert_eq!(got_kind, kind, "{case}");
        assert_eq!(got_ports, ports(where_), "{case}");
        assert!(splits.contains(why), "{case}: {splits:?}");
    }
    // The stale stack slot shows now and then, in another case than the one that causes it. That
    // it never shows in 27 attempts at about one in two will not be seen. In one run of eighty they
    // look as if a few ports had it (verdict/tests.rs counts that), which is left open then: what
    // it must not be called is bound to anything.
    let (kind, _, _) = found.remove("portable upkeep_test:sweep").unwrap();
    assert!(matches!(kind.as_str(), "flake" | "undecided"), "{kind}");
    assert!(found.is_empty(), "{found:?}");

    // Every cell came to its end, on real kernels, and every case of every pass has an outcome.
    let cells = report["report"]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 18);
    for cell in cells {
        assert_eq!(cell["stage"], "complete", "{}", cell["id"]);
        assert!(
            cell["guests"][0]["kernel"]
                .as_str()
                .unwrap()
                .starts_with("Linux ")
        );
        let attempts = cell["attempts"].as_array().unwrap();
        assert!(
            attempts.iter().all(|a| a["outcome"] != "missed"),
            "{}",
            cell["id"]
        );
        let plain = attempts.iter().filter(|a| a["purpose"].is_null());
        assert_eq!(plain.count(), 52 * 3, "{}", cell["id"]);
    }
}

/// ATF's own tests, cross-built, on a 32-bit port, a big-endian one and one that is strict about
/// alignment: every case says something, and what it says is Kyua's. A case of theirs that fails is
/// a finding and not a fault of ours; but were there many, it would be the guest that is wrong.
#[test]
fn the_suite_that_nobody_here_wrote_runs_to_its_end() {
    let fallout = Fallout::new();
    let path = matrix("quickstart.yaml");
    let words = ["run", path.to_str().unwrap(), "--suites", "atf-upstream"];
    let ports = ["--ports", "i386,s390x,sparc64", "--fresh", "--json"];
    let report = report(&fallout.run(&[&words[..], &ports].concat()));
    let cells = report["report"]["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 3);
    for cell in cells {
        assert_eq!(cell["stage"], "complete", "{}", cell["id"]);
        let attempts = cell["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 383, "{}", cell["id"]);
        let of = |outcome: &str| attempts.iter().filter(|a| a["outcome"] == outcome).count();
        assert_eq!(of("missed"), 0, "{}", cell["id"]);
        // The cases that compile something need a compiler in the guest.
        assert_eq!(of("skipped"), 14, "{}", cell["id"]);
        assert!(of("passed") >= 360, "{}: {}", cell["id"], of("passed"));
    }
}

/// A second run answers from the cache, with the same verdict.
#[test]
fn a_warm_run_starts_no_guest() {
    let fallout = Fallout::new();
    let path = matrix("test.yaml");
    let words = ["run", path.to_str().unwrap(), "--json"];
    let first = report(&fallout.run(&words));
    let second = Fallout::new();
    let again = report(&second.run(&words));
    assert!(second.emulators().is_empty());
    assert_eq!(findings(&first), findings(&again));
    let cells = again["report"]["cells"].as_array().unwrap();
    assert!(cells.iter().all(|c| c["cached"] == true));
}

/// Attempts of passes in a report: confirmations of a panic's suspect come on top.
fn attempts(report: &Value) -> usize {
    let cells = report["report"]["cells"].as_array().unwrap();
    let all = cells.iter().flat_map(|c| c["attempts"].as_array().unwrap());
    all.filter(|a| a["purpose"].is_null()).count()
}

/// The deterministic part of a verdict. The planted flake may show or not, and with few attempts
/// it can look like anything.
fn sure(report: &Value) -> Found {
    let mut found = findings(report);
    found.retain(|case, _| !case.ends_with("upkeep_test:sweep"));
    found
}

fn goes_on_to_the_same_verdict(fallout: &Fallout, before: &str) {
    let output = fallout.run(&["resume", "last", "--json"]);
    let report = report(&output);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(attempts(&report), 52 * 3 * 6);
    let cases: BTreeSet<String> = sure(&report).into_keys().collect();
    let expected = [
        "portable flush_test:pressure_asks_the_kernel",
        "portable span_test:ns_of_a_day",
        "portable text_test:hex_rejects_stray_digit",
        "portable tool_test:sums",
        "portable tool_test:unhex_rejects",
        "portable wire_test:sum16_known_answer",
    ];
    assert_eq!(cases, expected.map(str::to_owned).into());
    // What was recorded before is in the log as it was, and no case was done twice.
    let log = fallout.log();
    assert!(log.starts_with(before));
    let mut seen = BTreeSet::new();
    for line in log.lines().filter(|l| l.contains("\"attempt_done\"")) {
        let event: Value = serde_json::from_str(line).unwrap();
        let what = &event["what"];
        let attempt = &what["attempt"];
        let once = format!(
            "{} {} {} {}",
            what["cell"], attempt["case"], attempt["purpose"], attempt["pass"]
        );
        assert!(seen.insert(once.clone()), "{once} was recorded twice");
    }
    for pid in fallout.emulators() {
        assert!(!is_qemu(pid), "emulator {pid} is left");
    }
}

#[test]
fn an_interrupted_run_keeps_its_results_and_goes_on() {
    let fallout = Fallout::new();
    let path = matrix("test.yaml");
    let words = ["run", path.to_str().unwrap(), "--fresh", "--json"];
    let mut child = fallout.start_until(&words, "\"attempt_done\"", 70);
    let kill = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(kill.success());
    assert_eq!(child.wait().unwrap().code(), Some(4));
    for pid in fallout.emulators() {
        assert!(!is_qemu(pid), "emulator {pid} outlived the run");
    }
    let before = fallout.log();
    goes_on_to_the_same_verdict(&fallout, &before);
}

#[test]
fn a_killed_run_loses_nothing_and_leaves_nothing() {
    let fallout = Fallout::new();
    let path = matrix("test.yaml");
    let words = ["run", path.to_str().unwrap(), "--fresh", "--json"];
    let mut child = fallout.start_until(&words, "\"attempt_done\"", 40);
    child.kill().unwrap();
    child.wait().unwrap();
    let log = fallout.log();
    let whole = log.rfind('\n').map_or("", |end| &log[..=end]).to_owned();
    goes_on_to_the_same_verdict(&fallout, &whole);
}
