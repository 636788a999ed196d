//! What the program answers to bad input: messages, streams and exit codes of the built binary.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use insta::assert_snapshot;

const PORT: &str = "\
format: 1
port: NAME
family: fam
status: from documentation, unproved
traits: {word: LP64, endian: little}
emulator:
  program: no-such-emulator
  packages: [emulator-package]
  machine: m
  mem_mib: 64
  append: console=x
  channel: c
  boot_timeout: 10s
toolchain: {triplet: t}
image: {suite: s, arch: a, kernel_package: k, runner: kyua}
";

const PROJECT: &str = "\
format: 1
name: lib
source: {path: src}
patches: series
build: {kind: make, prefix: /usr/tests/lib}
";

const MATRIX: &str = "\
format: 1
name: small
ports: [p64, q32]
suites:
  - name: lib
    project: ../project.yaml
    baseline: unpatched
";

/// A directory with two ports, a project and a matrix `m/small.yaml`.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for port in ["p64", "q32"] {
            place.write(
                &format!("images/fam/{port}.yaml"),
                &PORT.replace("NAME", port),
            );
        }
        place.write("project.yaml", PROJECT);
        place.write("src/Makefile", "all:\n");
        place.write("series", "a.patch\n");
        place.write("a.patch", "");
        place.write("m/small.yaml", MATRIX);
        place
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fallout"));
        command
            .args(words)
            .current_dir(self.path())
            .env_clear()
            .env("HOME", self.path().join("home"))
            .env("PATH", "/nowhere")
            .env("COLUMNS", "100")
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Exit code, then what was said, the directory's name made stable.
    fn told(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = output.status.code().unwrap();
        let said = format!(
            "exit {code}\n{}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        let real = self.path().canonicalize().unwrap();
        said.replace(real.to_str().unwrap(), "DIR")
            .replace(self.path().to_str().unwrap(), "DIR")
    }
}

#[test]
fn a_good_matrix() {
    let place = Place::new();
    assert_snapshot!(place.told(&["matrix", "check", "m/small.yaml"]), @r#"
exit 0
m/small.yaml: 1 suite, 2 ports, 4 cells
"#);
}

#[test]
fn several_typos_at_once() {
    let place = Place::new();
    let text = MATRIX.replace("q32]", "q23]").replace(
        "baseline: unpatched",
        "baselnie: unpatched\n    timeout: 20mm\n    passes: three",
    );
    place.write("m/typo.yaml", &text);
    place.write("m/empty.yaml", "");
    assert_snapshot!(place.told(&["matrix", "check", "m/typo.yaml", "m/small.yaml", "m/empty.yaml"]), @r#"
exit 2
m/small.yaml: 1 suite, 2 ports, 4 cells
error: m/typo.yaml:3:14: ports[1]: unknown port 'q23': expected one of p64, q32; did you mean 'q32'?
error: m/typo.yaml:7:5: suites[0].baselnie: unknown field, expected one of name, project, source, patches, build, cases, installed, kernel, kernel_only, system, baseline, passes, order, memory_seed, shards, repeats, timeout, runner, clock, ports; did you mean 'baseline'?
error: m/typo.yaml:8:5: suites[0].timeout: '20mm' is not a duration: expected for example 90s, 45m or 1h30m
error: m/typo.yaml:9:5: suites[0].passes: is the text "three", expected a whole number of zero or more
error: m/empty.yaml: is empty
"#);
}

#[test]
fn an_unknown_port() {
    let place = Place::new();
    place.write("m/port.yaml", &MATRIX.replace("q32]", "q3]"));
    assert_snapshot!(place.told(&["matrix", "check", "m/port.yaml"]), @r#"
exit 2
error: m/port.yaml:3:14: ports[1]: unknown port 'q3': expected one of p64, q32; did you mean 'q32'?
"#);
    assert_snapshot!(place.told(&["port", "show", "p46"]), @r#"
exit 2
error: no port 'p46' in DIR/images: expected one of p64, q32; did you mean 'p64'?
"#);
    assert_snapshot!(place.told(&["plan", "m/small.yaml", "--ports", "p64,q23", "--suites", "lib"]), @r#"
exit 2
error: --ports: m/small.yaml has no 'q23': expected one of p64, q32; did you mean 'q32'?
"#);
    assert_snapshot!(place.told(&["plan", "m/small.yaml", "--suites", "lbi"]), @r#"
exit 2
error: --suites: m/small.yaml has no 'lbi': expected one of lib; did you mean 'lib'?
"#);
}

#[test]
fn missing_files() {
    let place = Place::new();
    assert_snapshot!(place.told(&["matrix", "check", "m/absent.yaml"]), @r#"
exit 2
error: m/absent.yaml: cannot be read: No such file or directory (os error 2)
"#);
    std::fs::remove_file(place.path().join("project.yaml")).unwrap();
    assert_snapshot!(place.told(&["matrix", "check", "m/small.yaml"]), @r#"
exit 2
error: m/small.yaml:6:5: suites[0].project: no file project.yaml: expected a project file
"#);
    place.write("project.yaml", PROJECT);
    std::fs::remove_file(place.path().join("src/Makefile")).unwrap();
    std::fs::remove_dir(place.path().join("src")).unwrap();
    std::fs::remove_file(place.path().join("series")).unwrap();
    assert_snapshot!(place.told(&["matrix", "check", "m/small.yaml"]), @r#"
exit 2
error: project.yaml:3:10: source.path: no directory src: expected the source tree
error: project.yaml:4:1: patches: no file series: expected a quilt series, or mails of git format-patch
"#);
}

#[test]
fn a_wrong_project_and_a_wrong_manifest() {
    let place = Place::new();
    place.write(
        "project.yaml",
        &PROJECT.replace("kind: make", "kind: meson, dri: x"),
    );
    assert_snapshot!(place.told(&["matrix", "check", "m/small.yaml"]), @r#"
exit 2
error: project.yaml:5:9: build.kind: 'meson' is unknown, expected one of make, netbsd, kbuild, installed
error: project.yaml:5:22: build.dri: unknown field, expected one of kind, dir, commands, args, targets, install, finish, prefix, variables, kernels, config, options, env, timeout, disk; did you mean 'dir'?
"#);
    place.write(
        "images/fam/p64.yaml",
        &PORT
            .replace("NAME", "p63")
            .replace("mem_mib: 64", "mem_mib: lots"),
    );
    place.write(
        "images/fam/q32.yaml",
        &PORT
            .replace("NAME", "q32")
            .replace("10s", "10")
            .replace("fam\n", "other\n"),
    );
    assert_snapshot!(place.told(&["port", "list"]), @r#"
exit 2
error: DIR/images/fam/p64.yaml:2:1: port: is 'p63', expected the file's name, p64
error: DIR/images/fam/p64.yaml:10:3: emulator.mem_mib: is the text "lots", expected a whole number of zero or more
error: DIR/images/fam/q32.yaml:3:1: family: is 'other', expected the directory's name, fam
error: DIR/images/fam/q32.yaml:13:3: emulator.boot_timeout: is the number '10', expected a duration, for example 90s, 45m or 1h30m
"#);
}

#[test]
fn no_manifests_anywhere() {
    let place = Place::new();
    assert_snapshot!(place.told(&["--images", "m", "port", "list"]), @r#"
exit 2
error: m: has no port manifests (from --images): expected the directory with the port manifests (FAMILY/PORT.yaml)
"#);
    assert_snapshot!(place.told(&["--images", "absent", "port", "list"]), @r#"
exit 2
error: absent: is not a directory (from --images): expected the directory with the port manifests (FAMILY/PORT.yaml)
"#);
    let lost = place
        .command(&["port", "list"])
        .current_dir("/")
        .output()
        .unwrap();
    assert_eq!(lost.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("--images DIR"));
    let homeless = place
        .command(&["port", "list"])
        .env_remove("HOME")
        .output()
        .unwrap();
    assert_eq!(homeless.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&homeless.stderr).contains("XDG_CACHE_HOME"));
}

#[test]
fn wrong_command_lines() {
    let place = Place::new();
    for words in [
        &["rnu", "m/small.yaml"][..],
        &["run"],
        &["run", "m/small.yaml", "--jobs", "0"],
        &["report", "last", "--format", "pdf"],
        &["repro", "last", "t_a:b"],
        &["show", "last", "nocolon"],
        &["matrix", "check"],
        &[],
    ] {
        let output = place.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(output.stdout.is_empty(), "{words:?}");
        assert!(!output.stderr.is_empty(), "{words:?}");
    }
    let near = String::from_utf8(place.run(&["rseume"]).stderr).unwrap();
    assert!(near.contains("'resume'"), "{near}");
}

#[test]
fn a_plan_says_what_would_be_done() {
    let place = Place::new();
    let output = place.run(&["plan", "m/small.yaml", "--ports", "q32"]);
    let said = String::from_utf8(output.stdout).unwrap();
    // The last line has the machine's cores and memory.
    let (table, summary) = said.trim_end().rsplit_once('\n').unwrap();
    assert_snapshot!(table, @r#"
JOB                           DO   TOOK  KEY                 WHY
image q32                     run  ?     after image         never done here
build lib/q32/baseline        run  ?     after image         never done here
build lib/q32/candidate       run  ?     after image         never done here
cell lib/q32/stock/baseline   run  ?     after build, image  never done here
cell lib/q32/stock/candidate  run  ?     after build, image  never done here
guests: booted on q32
"#);
    assert!(
        summary.starts_with("5 to run, 0 cached; none was ever timed here; "),
        "{summary}"
    );
    let json = place.run(&["plan", "m/small.yaml", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["jobs"].as_array().unwrap().len(), 10);
    // Nothing was made.
    assert!(!place.path().join("home").exists());
}

#[test]
fn help_and_version_are_results() {
    let place = Place::new();
    for words in [
        &["--help"][..],
        &["--version"],
        &["run", "--help"],
        &["help", "repro"],
    ] {
        let output = place.run(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(
            output.stderr.is_empty() && !output.stdout.is_empty(),
            "{words:?}"
        );
    }
}

#[test]
fn ports_are_listed_with_what_is_missing() {
    let place = Place::new();
    assert_snapshot!(place.told(&["port", "list"]), @r#"
exit 0
PORT  FAMILY  WORD  ENDIAN  IMAGE     EMULATOR                           STATUS
p64   fam     LP64  little  not made  missing: install emulator-package  from documentation, unproved
q32   fam     LP64  little  not made  missing: install emulator-package  from documentation, unproved
"#);
    let json = place.run(&["port", "list", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json[0]["port"], "p64");
    assert_eq!(json[0]["emulator_path"], serde_json::Value::Null);
    let program = place.path().join("bin/no-such-emulator");
    place.write("bin/no-such-emulator", "");
    std::fs::set_permissions(
        &program,
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    let path = place.path().join("bin");
    let found = place
        .command(&["port", "show", "p64"])
        .env("PATH", path)
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    assert!(found.contains(program.to_str().unwrap()), "{found}");
}

/// Twelve thousand lines do not fit a pipe: the reader goes away in the middle.
#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let files = vec!["m/small.yaml"; 3000];
    let words: Vec<&str> = ["matrix", "check"].into_iter().chain(files).collect();
    for words in [words, vec!["completions", "zsh"]] {
        let mut child = place
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    }
}

#[test]
fn messages_have_colours_on_no_pipe() {
    let place = Place::new();
    let output = place
        .command(&["port", "show", "x"])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    assert!(!output.stderr.contains(&0x1b));
}

#[test]
fn completions_name_the_subcommands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let output = place.run(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            script.contains("repro") && script.contains("suites"),
            "{shell}"
        );
    }
}

#[test]
fn a_baseline_that_is_not_there_is_told_before_anything_runs() {
    let place = Place::new();
    let told = |word| place.told(&["run", "m/small.yaml", "--baseline", word]);
    let said = told("last-god");
    assert!(
        said.starts_with("exit 2\nerror: --baseline last-god: no run 'last-god'"),
        "{said}"
    );
    assert!(
        said.ends_with("branch-point:REF, stock, last; did you mean 'last-good'?\n"),
        "{said}"
    );
    let said = told("last-good");
    let want = "exit 2\nerror: there is no earlier run of matrix small: run it first\n";
    assert_eq!(said, want);
    place.write("project.yaml", &PROJECT.replace("patches: series\n", ""));
    place.write(
        "m/small.yaml",
        &MATRIX.replace("    baseline: unpatched\n", ""),
    );
    let said = told("stock");
    let want = "exit 2\nerror: suite lib has no patches: both sides would be the same; expected \
                parent, branch-point:REF, last-good or a run\n";
    assert_eq!(said, want);
    // Nothing was begun.
    assert!(!place.path().join("home/.local/state/fallout/runs").exists());
}
