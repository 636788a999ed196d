//! Suites that a test makes up: programs in C whose cases do one thing each, and a matrix for them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A program: its name, and its cases with the C code of their bodies.
pub type Program = (String, Vec<(String, String)>);

/// What a case's body may use.
const HEAD: &str = r#"
#include <atf-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
static void sh(const char *line) { if (system(line) != 0) atf_tc_fail("%s", line); }
"#;

/// The body of a case after which the kernel is dead.
pub const PANIC: &str = r#"sh("echo c >/proc/sysrq-trigger"); sleep(1000);"#;

/// `programs` programs of `each` cases; `body` says what case number N of all (from 1) does.
pub fn programs(programs: usize, each: usize, body: impl Fn(usize) -> String) -> Vec<Program> {
    let case = |n: usize| (format!("case_{n:03}"), body(n));
    (0..programs)
        .map(|p| {
            let cases = (1..=each).map(|c| case(p * each + c)).collect();
            (format!("t_{p:02}"), cases)
        })
        .collect()
}

/// Writes the suite and a matrix for it; gives the matrix's path. `fields` are further lines of the
/// suite, `more` further lines of the matrix.
pub fn write(
    dir: &Path,
    programs: &[Program],
    ports: &str,
    fields: &[&str],
    more: &str,
) -> PathBuf {
    let source = dir.join("src");
    std::fs::create_dir_all(&source).unwrap();
    let mut names = Vec::new();
    let mut kyuafile = "syntax(2)\ntest_suite(\"tiny\")\n".to_owned();
    for (name, cases) in programs {
        let mut text = HEAD.to_owned();
        for (case, body) in cases {
            text +=
                &format!("ATF_TC_WITHOUT_HEAD({case});\nATF_TC_BODY({case}, tc) {{ {body} }}\n");
        }
        text += "ATF_TP_ADD_TCS(tp) {\n";
        for (case, _) in cases {
            text += &format!("  ATF_TP_ADD_TC(tp, {case});\n");
        }
        text += "  return atf_no_error();\n}\n";
        std::fs::write(source.join(format!("{name}.c")), text).unwrap();
        kyuafile += &format!("atf_test_program{{name=\"{name}\"}}\n");
        names.push(name.as_str());
    }
    std::fs::write(source.join("Kyuafile"), kyuafile).unwrap();
    let names = names.join(" ");
    let makefile = format!(
        "PROGRAMS = {names}\nall: $(PROGRAMS)\n%: %.c\n\t$(CC) -O1 $(CFLAGS) $(LDFLAGS) -o $@ $< -latf-c\n\
         install: all\n\tmkdir -p $(DESTDIR)$(PREFIX)\n\tcp $(PROGRAMS) Kyuafile $(DESTDIR)$(PREFIX)\n"
    );
    std::fs::write(source.join("Makefile"), makefile).unwrap();
    let fields: String = fields.iter().map(|f| format!("    {f}\n")).collect();
    let matrix = format!(
        "format: 1\nname: tiny\nports: [{ports}]\nsuites:\n  - name: tiny\n    source: {{path: src}}\n    \
         build: {{kind: make, prefix: /usr/tests/tiny}}\n{fields}{more}"
    );
    let path = dir.join("tiny.yaml");
    std::fs::write(&path, matrix).unwrap();
    path
}

/// fallout with a state directory of its own.
pub struct Fallout {
    pub binary: PathBuf,
    pub state: tempfile::TempDir,
}

impl Fallout {
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        // Sockets' names must be short.
        let state = tempfile::Builder::new().prefix("fo").tempdir_in("/tmp");
        Self {
            binary: binary.into(),
            state: state.unwrap(),
        }
    }

    pub fn command(&self, words: &[&str]) -> Command {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
        let mut command = Command::new(&self.binary);
        command
            .arg("--images")
            .arg(images)
            .args(words)
            .env("XDG_STATE_HOME", self.state.path())
            .env("XDG_RUNTIME_DIR", self.state.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs a matrix afresh, with so many cores; gives the report.
    pub fn run(&self, matrix: &Path, cores: u32) -> Value {
        let cores = cores.to_string();
        let matrix = matrix.to_str().unwrap();
        let words = ["run", matrix, "--fresh", "--json", "--jobs", &cores];
        report(&self.command(&words).output().unwrap())
    }

    /// The log of the only run.
    pub fn log(&self) -> String {
        let runs = self.state.path().join("fallout/runs");
        let Ok(entries) = std::fs::read_dir(runs) else {
            return String::new();
        };
        entries
            .flatten()
            .filter_map(|e| std::fs::read_to_string(e.path().join("events.jsonl")).ok())
            .collect()
    }

    /// Emulators that live and belong to this state directory, by their command lines.
    pub fn live_emulators(&self) -> Vec<i32> {
        emulators_of(self.state.path())
    }
}

/// Emulators that live and name this directory in their command lines.
pub fn emulators_of(dir: &Path) -> Vec<i32> {
    let mine = dir.to_str().unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|p| p.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            let read = |what| std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            read("comm").starts_with(b"qemu")
                && String::from_utf8_lossy(&read("cmdline")).contains(mine)
        })
        .collect()
}

/// A generator of our own: a seed gives the same moments, as far as the machine allows. Never 0.
pub struct Dice(pub u64);

impl Dice {
    /// A number below this.
    pub fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// The report that a run printed.
pub fn report(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| {
        let errors = String::from_utf8_lossy(&output.stderr);
        panic!("{e}: {text:.500}\n{errors}")
    });
    value["report"].clone()
}

/// The attempts of a cell.
pub fn attempts(cell: &Value) -> &[Value] {
    cell["attempts"].as_array().map_or(&[], Vec::as_slice)
}

/// Whether an attempt belongs to a pass and counts.
pub fn is_plain(attempt: &Value) -> bool {
    attempt["purpose"].is_null() && attempt["doubtful"].is_null()
}

/// `cell case pass outcome` of every attempt of a pass that counts; each must be there once.
pub fn outcomes(report: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for cell in report["cells"].as_array().unwrap() {
        for a in attempts(cell).iter().filter(|a| is_plain(a)) {
            let word = |field: &str| a[field].to_string();
            let line = format!(
                "{} {} {} {}",
                cell["id"],
                word("case"),
                word("pass"),
                word("outcome")
            );
            assert!(all.insert(line.clone()), "{line} is there twice");
        }
    }
    all
}

/// The findings: `kind case` to the ports that fail.
pub fn findings(report: &Value) -> BTreeMap<String, Vec<String>> {
    let list = report["verdict"]["findings"].as_array().unwrap();
    list.iter()
        .map(|f| {
            let ports = f["failing"].as_array().unwrap().iter();
            let ports = ports.map(|t| t["port"].to_string()).collect();
            (format!("{} {}", f["kind"], f["case"]), ports)
        })
        .collect()
}
