//! What the engine promises about guests that crash, lie and are killed, over suites made up here.

#[path = "support/storm.rs"]
mod storm;
#[path = "support/tiny.rs"]
mod tiny;

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tiny::{Fallout, attempts, is_plain, outcomes};

const BINARY: &str = env!("CARGO_BIN_EXE_fallout");
/// The port that boots fastest.
const PORT: &str = "arm64";

fn only_cell(report: &Value) -> &Value {
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(cells.len(), 1);
    &cells[0]
}

fn guests(cell: &Value) -> &[Value] {
    cell["guests"].as_array().map_or(&[], Vec::as_slice)
}

/// The guests in which attempts of a purpose ran.
fn guests_of(cell: &Value, purpose: Value) -> BTreeSet<String> {
    let of = attempts(cell).iter().filter(|a| a["purpose"] == purpose);
    of.map(|a| a["guest"].to_string()).collect()
}

/// A panic at case 100 of 200 costs one guest and no other case; the suspect does it again, alone.
#[test]
fn a_panic_costs_one_guest_and_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let body = |n| match n {
        100 => tiny::PANIC.to_owned(),
        _ => String::new(),
    };
    let matrix = tiny::write(dir.path(), &tiny::programs(20, 10, body), PORT, &[], "");
    let report = Fallout::new(BINARY).run(&matrix, 2);
    let cell = only_cell(&report);
    assert_eq!(cell["stage"], "complete");
    let plain: Vec<_> = attempts(cell).iter().filter(|a| is_plain(a)).collect();
    assert_eq!(plain.len(), 200);
    for attempt in plain {
        let culprit = attempt["case"] == "t_09:case_100";
        let expected = if culprit { "crashed" } else { "passed" };
        assert_eq!(attempt["outcome"], expected, "{attempt}");
    }
    assert_eq!(guests_of(cell, Value::Null).len(), 2);
    assert_eq!(guests_of(cell, "confirm".into()).len(), 3);
    let crash = &guests(cell)[0]["crash"];
    assert_eq!(crash["blamed"], "t_09:case_100");
    assert_eq!(crash["reproduced"]["times"], 3);
    assert_eq!(crash["reproduced"]["of"], 3);
}

/// Of a port whose instructions this host has, guests get what the host has, and the result says what that was; what
/// is insisted on and not to be had is a fault of the host, in its own words.
#[test]
fn what_runs_the_guests_is_chosen_here_and_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let run = |accel: &str| {
        let more = format!("accel: {accel}\n");
        let programs = tiny::programs(1, 1, |_| String::new());
        let matrix = tiny::write(dir.path(), &programs, "amd64", &[], &more);
        let report = Fallout::new(BINARY).run(&matrix, 2);
        only_cell(&report).clone()
    };
    let cell = run("auto");
    assert_eq!(cell["stage"], "complete", "{cell}");
    let accel = cell["versions"]["accelerator"].as_str().unwrap();
    let words = guests(&cell)[0]["command"].as_array().unwrap();
    let at = words.iter().position(|word| word == "-accel").unwrap();
    let started = words[at + 1].as_str().unwrap();
    assert_eq!(started.split(',').next(), Some(accel));
    if cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        let cell = run("nvmm");
        assert_eq!(cell["stage"], "host_failed", "{cell}");
        let detail = cell["detail"].as_str().unwrap();
        let expected = "amd64: no accelerator as ordered: nvmm: this host's system has none";
        assert!(detail.starts_with(expected), "{detail}");
    }
}

/// What needs company is not reproduced alone, and the cases before it are kept as candidates.
#[test]
fn a_crash_that_needs_company_keeps_candidates() {
    let dir = tempfile::tempdir().unwrap();
    let body = |n| match n {
        3 => "sh(\"touch /root/trap\");".to_owned(),
        6 => format!(
            "if (access(\"/root/trap\", F_OK) == 0) {{ {} }}",
            tiny::PANIC
        ),
        _ => String::new(),
    };
    let fields = ["repeats: {crashed: 2}"];
    let matrix = tiny::write(dir.path(), &tiny::programs(2, 5, body), PORT, &fields, "");
    let report = Fallout::new(BINARY).run(&matrix, 2);
    let crash = &guests(only_cell(&report))[0]["crash"];
    assert_eq!(crash["blamed"], "t_01:case_006");
    assert_eq!(crash["reproduced"]["times"], 0);
    assert_eq!(crash["reproduced"]["of"], 2);
    let candidates = crash["candidates"].as_array().unwrap();
    assert_eq!(candidates[0], "t_00:case_005");
    assert!(candidates.contains(&Value::from("t_00:case_003")));
}

#[test]
fn a_crash_loop_ends_with_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let programs = tiny::programs(2, 5, |_| tiny::PANIC.to_owned());
    let limits = "limits: {deaths: 3}\n";
    let matrix = tiny::write(
        dir.path(),
        &programs,
        PORT,
        &["repeats: {crashed: 0}"],
        limits,
    );
    let report = Fallout::new(BINARY).run(&matrix, 2);
    let cell = only_cell(&report);
    assert_eq!(cell["stage"], "crash_loop");
    let detail = cell["detail"].as_str().unwrap();
    assert!(detail.starts_with("3 guests in a row died"), "{detail}");
    assert_eq!(guests(cell).len(), 3);
    let missed = attempts(cell).iter().filter(|a| a["outcome"] == "missed");
    assert_eq!((attempts(cell).len(), missed.count()), (10, 7));
}

/// Cases that wait for over half an hour of the guest's clock, in a cell that may take eight minutes.
#[test]
fn waiting_costs_nothing_on_a_virtual_clock() {
    let dir = tempfile::tempdir().unwrap();
    let programs = tiny::programs(2, 4, |_| "sleep(250);".to_owned());
    let fields = ["clock: virtual", "timeout: 8m", "passes: 2"];
    let matrix = tiny::write(dir.path(), &programs, PORT, &fields, "");
    let report = Fallout::new(BINARY).run(&matrix, 1);
    let cell = only_cell(&report);
    assert_eq!(cell["stage"], "complete", "{}", cell["detail"]);
    assert_eq!(attempts(cell).len(), 16);
    for attempt in attempts(cell) {
        assert_eq!(attempt["outcome"], "passed", "{attempt}");
        assert!(attempt["duration"]["secs"].as_u64().unwrap() >= 250);
    }
    let words = guests(cell)[0]["command"].as_array().unwrap();
    assert!(words.contains(&"shift=3,sleep=off".into()), "{words:?}");
}

/// The same set of outcomes whatever the number of guests that share the suite.
#[test]
fn shards_do_not_change_the_results() {
    let dir = tempfile::tempdir().unwrap();
    let body = |n| match n % 17 {
        3 => "atf_tc_fail(\"planted\");".to_owned(),
        5 => "atf_tc_skip(\"planted\");".to_owned(),
        _ => "usleep(20000);".to_owned(),
    };
    let programs = tiny::programs(8, 15, body);
    let mut seen = Vec::new();
    for shards in 1..=3 {
        let fields = [format!("shards: {shards}"), "passes: 2".to_owned()];
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        let matrix = tiny::write(dir.path(), &programs, PORT, &fields, "");
        let report = Fallout::new(BINARY).run(&matrix, 3);
        let cell = only_cell(&report);
        assert_eq!(cell["stage"], "complete");
        assert_eq!(guests(cell).len(), shards);
        seen.push(outcomes(&report));
    }
    assert_eq!(seen[0].len(), 240);
    assert!(seen[0] == seen[1] && seen[1] == seen[2]);
}

/// A case that damages its guest is named, what ran in its company does not count and runs again.
#[test]
fn a_damaged_guest_is_noticed_and_its_culprit_found() {
    // Kyua does not survive a clock that is set back: then it is known at once who did it.
    for (what, harm, told, doubtful) in [
        ("clock", "sh(\"date -s @1000000\");", "clock was set", 0),
        (
            "mount",
            "sh(\"mount -t tmpfs none /mnt\");",
            "/mnt was left mounted",
            12 + 4,
        ),
        (
            "busy",
            // Kyua ends what is in the case's process group: this must be out of it by then.
            "sh(\"setsid yes >/dev/null 2>&1 </dev/null & sleep 1\");",
            "left running and is busy",
            12 + 4,
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let body = |n| match n {
            5 => harm.to_owned(),
            _ => String::new(),
        };
        let matrix = tiny::write(dir.path(), &tiny::programs(3, 4, body), PORT, &[], "");
        let report = Fallout::new(BINARY).run(&matrix, 2);
        let cell = only_cell(&report);
        assert_eq!(cell["stage"], "complete", "{what}");
        assert_eq!(outcomes(&report).len(), 12, "{what}");
        let damages: Vec<_> = guests(cell).iter().map(|g| &g["damage"]).collect();
        let damages: Vec<_> = damages.into_iter().filter(|d| !d.is_null()).collect();
        assert!(
            damages
                .iter()
                .all(|d| d["what"].as_str().unwrap().contains(told)),
            "{damages:?}"
        );
        assert!(
            damages.iter().any(|d| d["culprit"] == "t_01:case_005"),
            "{what}: {damages:?}"
        );
        let doubted = attempts(cell).iter().filter(|a| !a["doubtful"].is_null());
        assert_eq!(doubted.count(), doubtful, "{what}");
        let passed = attempts(cell).iter().filter(|a| is_plain(a));
        let passed = passed.filter(|a| a["outcome"] == "passed").count();
        assert_eq!(passed, if doubtful == 0 { 11 } else { 12 }, "{what}");
    }
}

/// Failed cases run again in fresh guests; a seed gives the same order; each alone is alone.
#[test]
fn repeats_and_orders() {
    let dir = tempfile::tempdir().unwrap();
    let body = |n| match n {
        2 => "atf_tc_fail(\"always\");".to_owned(),
        4 => "if (access(\"/root/once\", F_OK) == 0) { atf_tc_fail(\"in company\"); }".to_owned(),
        3 => "sh(\"touch /root/once\");".to_owned(),
        _ => String::new(),
    };
    let programs = tiny::programs(2, 4, body);
    let run = |fields: &[&str]| {
        let matrix = tiny::write(dir.path(), &programs, PORT, fields, "");
        Fallout::new(BINARY).run(&matrix, 2)
    };
    let report = run(&["repeats: {failed: 2}"]);
    let cell = only_cell(&report);
    let again: Vec<_> = attempts(cell)
        .iter()
        .filter(|a| a["purpose"] == "repeat")
        .map(|a| (a["case"].as_str().unwrap(), a["outcome"].as_str().unwrap()))
        .collect();
    let round = [("t_00:case_002", "failed"), ("t_00:case_004", "passed")];
    assert_eq!(again, [round, round].concat());
    assert_eq!(guests_of(cell, "repeat".into()).len(), 2);

    let order = |report: &Value| -> Vec<String> {
        let cell = only_cell(report);
        attempts(cell)
            .iter()
            .map(|a| a["case"].to_string())
            .collect()
    };
    let listed = order(&run(&[]));
    let (one, two) = (
        run(&["order: {shuffled: 7}"]),
        run(&["order: {shuffled: 7}"]),
    );
    assert_eq!(order(&one), order(&two));
    assert_ne!(order(&one), listed);
    let alone = run(&["order: each-alone"]);
    assert_eq!(guests(only_cell(&alone)).len(), 8);
    assert_eq!(order(&alone), listed);
}

/// What a case finds in new memory is what its attempt says, and every other pass fills it.
#[test]
fn every_other_pass_finds_new_memory_filled() {
    let dir = tempfile::tempdir().unwrap();
    let body = |n| match n {
        2 => "volatile unsigned char *p = malloc(4000); \
              if (p[2000] != 0) atf_tc_fail(\"it holds %d\", p[2000]);"
            .to_owned(),
        _ => String::new(),
    };
    let fields = ["passes: 4", "memory_seed: 7"];
    let matrix = tiny::write(dir.path(), &tiny::programs(1, 3, body), PORT, &fields, "");
    let report = Fallout::new(BINARY).run(&matrix, 2);
    let all = attempts(only_cell(&report)).iter();
    let curious: Vec<&Value> = all.filter(|a| a["case"] == "t_00:case_002").collect();
    assert_eq!(curious.len(), 4);
    for pair in curious.chunks(2) {
        assert_eq!(pair[0]["outcome"], "passed");
        assert_eq!(pair[0]["memory"], Value::Null);
        assert_eq!(pair[1]["outcome"], "failed");
        assert_eq!(pair[1]["reason"], format!("it holds {}", pair[1]["memory"]));
    }
    assert_ne!(curious[1]["memory"], curious[3]["memory"]);
}

/// fallout and its emulators are killed at random moments: nothing is lost, nothing is left, and the
/// verdict is that of a run that nobody disturbed. `examples/kill_storm` does it 200 times.
#[test]
fn a_few_kills_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let over = storm::Over {
        matrix: &storm::suite(dir.path(), PORT),
        chancy: &[],
        kills: 8,
        pause: Duration::from_secs(3),
        seed: 4,
    };
    let binary = std::path::Path::new(BINARY);
    let tally = storm::rage(binary, &over, &mut std::io::stdout());
    assert!(tally.of_fallout + tally.of_emulators >= 8, "{tally:?}");
}
