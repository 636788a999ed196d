//! Runs on a real Slurm of this machine (two nodes, `ci/slurm/cluster`): a build and a cell on nodes, fallout
//! killed in the middle, the jobs taken over, and the verdict of a run without a cluster; and a revision of a
//! repository with a patch series, built on nodes.

#[path = "support/lab.rs"]
#[allow(dead_code, reason = "shared with an example that uses more of it")]
mod lab;
#[path = "support/tiny.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod tiny;

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use lab::Lab;
use tiny::Fallout;

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(240);
    while !there() {
        assert!(Instant::now() < until, "no {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_run_on_slurm_survives_its_dispatcher_and_ends_with_the_verdict_of_one_machine() {
    if !lab::is_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Nobody has built these sources before, so that a node must.
    let unique = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    let body = |n| match n {
        3 => format!("atf_tc_fail(\"planted {unique}\");"),
        _ => "usleep(400000);".to_owned(),
    };
    let fields = ["repeats: {failed: 1, crashed: 1}"];
    let matrix = tiny::write(
        dir.path(),
        &tiny::programs(2, 6, body),
        "amd64",
        &fields,
        "",
    );
    let binary = Path::new(env!("CARGO_BIN_EXE_fallout"));
    let lab = Lab::start(binary, 2, "");
    let fallout = Fallout::new(binary);
    let settings = lab.settings();
    let start = |words: &[&str]| {
        let mut command = fallout.command(words);
        command.env("SLURM_CONF", lab.conf());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut child = start(&[
        "run",
        matrix.to_str().unwrap(),
        "--fresh",
        "--json",
        "--cluster",
        settings.to_str().unwrap(),
    ]);
    wait_for("attempt in the run's log", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        fallout.log().contains("attempt_done")
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let queued = lab.slurm("squeue", &["--noheader", "--format=%i"]);
    assert_eq!(
        queued.lines().count(),
        1,
        "the cell goes on without fallout"
    );
    let output = start(&["resume", "last", "--json"])
        .wait_with_output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let there = tiny::report(&output);

    // One build and one cell, each started once, whoever watched them.
    let jobs = lab.jobs();
    assert_eq!(jobs.len(), 2);
    for job in &jobs {
        let claims = std::fs::read_dir(job.join("claims")).unwrap().count();
        assert_eq!(claims, 1, "{} was started more than once", job.display());
        assert!(job.join("result.json").exists());
    }
    // Every event of the node's is in the run's log once, for all that it was read twice.
    let attempts = fallout.log().matches("\"attempt_done\"").count();
    let cell = &there["cells"][0];
    assert_eq!(attempts, tiny::attempts(cell).len());
    let console = cell["guests"][0]["console"].as_str().unwrap();
    let runs = std::fs::read_dir(fallout.state.path().join("fallout/runs")).unwrap();
    let cells = runs.flatten().next().unwrap().path().join("cells");
    let cell_dir = std::fs::read_dir(cells)
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    assert!(std::fs::metadata(cell_dir.join(console)).unwrap().len() > 0);

    let here = Fallout::new(binary).run(&matrix, 2);
    assert_eq!(tiny::outcomes(&there), tiny::outcomes(&here));
    assert_eq!(tiny::findings(&there), tiny::findings(&here));
    assert_eq!(lab.live_emulators(), [0; 0]);
}

fn git(dir: &Path, words: &[&str]) -> String {
    let output = std::process::Command::new("git")
        .args(["-c", "user.name=n", "-c", "user.email=e@x", "-C"])
        .arg(dir)
        .args(words)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_revision_with_a_series_is_built_on_nodes() {
    if !lab::is_installed() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let unique = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
    let body = |n| match n {
        2 => "int answer = 42; if (answer != 42) atf_tc_fail(\"planted\");".to_owned(),
        _ => format!("puts(\"{unique}\");"),
    };
    let fields = ["repeats: {failed: 1, crashed: 1}", "baseline: unpatched"];
    let programs = tiny::programs(1, 3, body);
    let matrix = tiny::write(dir.path(), &programs, "amd64", &fields, "");
    let tree = dir.path().join("src");
    git(&tree, &["init", "-q", "-b", "main"]);
    git(&tree, &["add", "-A"]);
    git(&tree, &["commit", "-q", "-m", "one"]);
    let file = tree.join("t_00.c");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("answer = 42", "answer = 41")).unwrap();
    let patches = dir.path().join("patches");
    std::fs::create_dir(&patches).unwrap();
    std::fs::write(patches.join("one.patch"), git(&tree, &["diff"])).unwrap();
    std::fs::write(patches.join("series"), "one.patch\n").unwrap();
    let source = format!(
        "source: {{git: {{url: {}, revision: main}}}}\n    patches: patches/series",
        tree.display()
    );
    let text = std::fs::read_to_string(&matrix).unwrap();
    std::fs::write(&matrix, text.replace("source: {path: src}", &source)).unwrap();

    let binary = Path::new(env!("CARGO_BIN_EXE_fallout"));
    let lab = Lab::start(binary, 2, "");
    let fallout = Fallout::new(binary);
    let (settings, file) = (lab.settings(), matrix.to_str().unwrap());
    let settings = settings.to_str().unwrap();
    let output = fallout
        .command(&["run", file, "--fresh", "--json", "--cluster", settings])
        .env("SLURM_CONF", lab.conf())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let there = tiny::report(&output);
    // Both sides, each with a build and a cell.
    let jobs = lab.jobs();
    assert_eq!(jobs.len(), 4);
    assert!(jobs.iter().all(|job| job.join("result.json").exists()));
    let here = Fallout::new(binary).run(&matrix, 2);
    assert_eq!(tiny::outcomes(&there), tiny::outcomes(&here));
    assert_eq!(tiny::findings(&there), tiny::findings(&here));
    assert_eq!(tiny::findings(&there).len(), 1);
}
