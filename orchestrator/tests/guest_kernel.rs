//! Kernels under test: from a patch series to the verdict against the unpatched kernel, on a
//! little-endian and a big-endian port; and what is said of kernels that do not come out.
//!
//! Trees, objects, kernels and images come from the user's cache or are made.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}

fn fallout(state: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fallout"))
        .args(words)
        .arg("--images")
        .arg(top().join("images"))
        .env("XDG_STATE_HOME", state)
        .env("XDG_RUNTIME_DIR", state)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{e}: {text:.500}\n{errors}")
    })
}

fn list<'a>(value: &'a Value, field: &str) -> Vec<&'a Value> {
    value[field].as_array().into_iter().flatten().collect()
}

fn names(value: &Value, field: &str, name: &str) -> Vec<String> {
    let all = list(value, field).into_iter();
    all.filter_map(|v| v[name].as_str().map(str::to_owned))
        .collect()
}

/// The findings as `kind case: ports`.
fn findings(report: &Value) -> Vec<String> {
    let told = |f: &&Value| {
        let ports = names(f, "failing", "port").join(" ");
        let case = f["case"].as_str().unwrap_or("-");
        format!("{} {case}: {ports}", f["kind"].as_str().unwrap_or("?"))
    };
    list(&report["verdict"], "findings")
        .iter()
        .map(told)
        .collect()
}

/// `kernel.json` of each kernel of a plan, with the job's name.
fn records(plan: &Value) -> Vec<(String, Value)> {
    let cache = fallout::host::dirs::Dirs::from_env().unwrap().cache;
    let kernel = |job: &&Value| job["work"]["kernel"].is_object();
    let jobs = list(plan, "jobs").into_iter().filter(kernel);
    jobs.map(|job| {
        let key = job["key"].as_str().expect("a built kernel has a key");
        let note = cache.join("builds").join(key).join("kernel.json");
        let text = std::fs::read_to_string(&note).unwrap_or_else(|e| panic!("{note}: {e}"));
        let name = job["name"].as_str().unwrap().to_owned();
        (name, serde_json::from_str(&text).unwrap())
    })
    .collect()
}

/// Eight kernels: two ports, two variants, with the patches and without. Each planted fault is told,
/// with the ports and the variant that it needs, and each guest ran the kernel that was built for it.
#[test]
fn a_patched_kernel_is_built_booted_and_judged() {
    let state = tempfile::tempdir().unwrap();
    let matrix = top().join("matrices/kernel.yaml");
    let matrix = matrix.to_str().unwrap();
    let output = fallout(state.path(), &["run", matrix, "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = json(&output);
    let report = &report["report"];
    let found = findings(report);
    assert_eq!(found.len(), 2, "{found:?}");
    let has = |wanted: &str| found.iter().any(|f| f.ends_with(wanted));
    assert!(
        has("sysinfo_test:procs: s390x+debug s390x+stock"),
        "{found:?}"
    );
    assert!(
        has("timer_test:hours: amd64+debug s390x+debug"),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|f| f.starts_with("panic timer_test:hours"))
    );

    let plan = json(&fallout(state.path(), &["plan", matrix, "--json"]));
    let todo = |job: &&Value| job["todo"] != "cached";
    let again: Vec<&Value> = list(&plan, "jobs").into_iter().filter(todo).collect();
    assert!(again.is_empty(), "a second run would do {again:?}");
    let records = records(&plan);
    assert_eq!(records.len(), 8);
    for cell in list(report, "cells") {
        let id = cell["id"].as_str().unwrap();
        assert_eq!(cell["stage"], "complete", "{id}");
        let (_, record) = records
            .iter()
            .find(|(name, _)| name.ends_with(id))
            .expect("a kernel for each cell");
        let release = record["ordered"]["release"].as_str().unwrap();
        let key = record["key"].as_str().unwrap();
        assert!(release.ends_with(&key[..12]), "{release} has no key");
        for guest in list(cell, "guests") {
            let kernel = guest["kernel"].as_str().unwrap();
            assert!(kernel.contains(release), "{id} ran {kernel}");
        }
    }
    // One kernel of a port is compiled whole; the others go on from its objects. Not so on amd64: its
    // objtool is made anew in each tree, and every object comes after it.
    for (name, record) in records.iter().filter(|(name, _)| name.contains("/s390x/")) {
        let compiled = record["record"]["compiled"].as_u64().unwrap();
        if record["record"]["from"].is_array() {
            assert!(compiled < 60, "{name}: {compiled} files compiled");
        }
    }
}

const BREAK: &str = "\
--- a/kernel/sys.c
+++ b/kernel/sys.c
@@ -2710,7 +2710,7 @@
 
 \tget_avenrun(info->loads, 0, SI_LOAD_SHIFT - FSHIFT);
 
-\tinfo->procs = nr_threads;
+\tinfo->procs = nr_thraeds;
 
 \tsi_meminfo(info);
 \tsi_swapinfo(info);
";

const MATRIX: &str = "\
format: 1
name: broken
ports: [amd64, s390x]
variants: [stock, typo, dropped]
kernel_options:
  typo: [+DEBUG_TIMEKEPING]
  dropped: [+MODULE_SIG]
exclude:
  - {port: amd64, variant: typo, reason: once is enough}
  - {port: s390x, variant: dropped, reason: once is enough}
  - {suite: whole, variant: typo, reason: it is whole}
  - {suite: whole, variant: dropped, reason: it is whole}
suites:
  - {name: broken, project: TOP/examples/kernel/project.yaml, kernel: kernel.yaml, kernel_only: [amd64, s390x]}
  - {name: whole, project: TOP/examples/kernel/project.yaml, kernel: TOP/examples/kernel/kernel.yaml, kernel_only: [amd64, s390x]}
";

/// A kernel that does not compile is one finding on however many ports; a variant that cannot be
/// configured says which option and why; and no guest is started for a kernel-only cell.
#[test]
fn a_kernel_that_does_not_come_out_says_why() {
    let state = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let top = top();
    let example = top.join("examples/kernel");
    let kernel = std::fs::read_to_string(example.join("kernel.yaml")).unwrap();
    let config = format!("{}/config/", example.display());
    let kernel = kernel.replace("config/", &config);
    std::fs::create_dir(dir.path().join("patches")).unwrap();
    for (name, text) in [
        ("kernel.yaml", kernel.as_str()),
        ("patches/series", "break.patch\n"),
        ("patches/break.patch", BREAK),
        ("m.yaml", &MATRIX.replace("TOP", top.to_str().unwrap())),
    ] {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let matrix = dir.path().join("m.yaml");
    let words = ["run", matrix.to_str().unwrap(), "--json"];
    let output = fallout(state.path(), &words);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = &json(&output)["report"];
    let sentences = names(&report["verdict"], "findings", "sentence");
    let one = |words: &[&str]| {
        let fits = |s: &&String| words.iter().all(|w| s.contains(w));
        assert_eq!(sentences.iter().filter(fits).count(), 1, "{sentences:?}");
    };
    assert_eq!(sentences.len(), 3, "{sentences:?}");
    one(&[
        "amd64",
        "s390x",
        "compile failed: kernel/sys.c:2713: ",
        "nr_thraeds",
    ]);
    one(&["option DEBUG_TIMEKEPING is unknown; did you mean DEBUG_TIMEKEEPING?"]);
    one(&[
        "+MODULE_SIG did not hold: MODULE_SIG is in kernel/module/Kconfig",
        "MODULES",
    ]);
    let evidence = list(&report["verdict"], "findings");
    assert!(
        evidence
            .iter()
            .any(|f| f["evidence"].to_string().contains("in kernel: make ARCH="))
    );
    for cell in list(report, "cells") {
        let id = cell["id"].as_str().unwrap();
        assert!(list(cell, "guests").is_empty(), "{id} was booted");
        if id.starts_with("whole/") {
            assert_eq!(cell["stage"], "complete", "{id}: {}", cell["detail"]);
            let detail = cell["detail"].as_str().unwrap();
            assert!(detail.ends_with("was built and not booted"), "{detail}");
        }
    }
}
