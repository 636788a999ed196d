//! A sign-off from the command line: no go for the right reasons, then go, signed, and refused once a
//! byte is changed. Runs are written as the engine writes them; no guest is needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fallout::model::{CellResult, FindingKind, News};
use fallout::report::RunReport;

#[path = "support/kept.rs"]
mod kept;
#[path = "support/sample.rs"]
#[expect(dead_code, reason = "others use the rest")]
mod sample;

struct Place(tempfile::TempDir);

const TABLE: &str = "1\tSTD\t{ void|sys||exit(int rval); }\n";

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.git(&["init", "-q", "-b", "main", "."]);
        place.write("tree/sys/kern/syscalls.master", TABLE);
        place.write("tree/lib/libx/shlib_version", "major=1\nminor=0\n");
        place.write("tree/distrib/sets/lists/base/mi", "./x\tbase\n");
        place.commit("base");
        place.git(&["branch", "base"]);
        place.git(&["checkout", "-q", "-b", "release"]);
        place.write("tree/fix", "1");
        place.commit("fix");
        place.policy("");
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn git(&self, args: &[&str]) -> String {
        std::fs::create_dir_all(self.path("tree")).unwrap();
        let out = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@x", "-C"])
            .arg(self.path("tree"))
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "{args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn commit(&self, what: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", what]);
    }

    fn policy(&self, more: &str) {
        let text = format!(
            "format: 1\nname: release\nrepository: tree\nports: [s390x]\n\
             variants: [{{name: stock}}, {{name: diagnostic, options: [DIAGNOSTIC]}}]\nsuites: [portable]\n\
             freeze:\n  since: base\n  abi: {{base: old, now: new}}\n{more}"
        );
        self.write("policy.yaml", &text);
    }

    fn fallout(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fallout"))
            .args(args)
            .current_dir(self.0.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .output()
            .unwrap()
    }

    /// A run of the branch's newest commit.
    fn run(&self, report: RunReport) -> String {
        let head = self.git(&["rev-parse", "HEAD"]);
        kept::run(&self.path("state/fallout/runs"), &head, report)
    }

    fn sign(&self) -> (Option<i32>, String) {
        let out = self.fallout(&["signoff", "release", "--policy", "policy.yaml"]);
        let said = String::from_utf8(out.stdout).unwrap();
        (
            out.status.code(),
            said + &String::from_utf8_lossy(&out.stderr),
        )
    }
}

/// The sample's cells of one port, in two variants, with every case passed.
fn clean() -> RunReport {
    let cells = sample::cells(0).into_iter();
    let stock: Vec<CellResult> = cells
        .filter(|c| c.id.to_string() == "portable/s390x/stock/candidate")
        .map(|mut c| {
            for attempt in &mut c.attempts {
                attempt.outcome = fallout::model::Outcome::Passed;
            }
            c
        })
        .collect();
    let debug = stock.iter().cloned().map(|mut c| {
        c.id.variant = "diagnostic".into();
        c
    });
    let mut report = sample::report(stock.iter().cloned().chain(debug).collect());
    report.verdict.findings.clear();
    report.variants = [(
        "diagnostic".to_owned(),
        [("DIAGNOSTIC".to_owned(), "y".to_owned())].into(),
    )]
    .into();
    report
}

fn library(place: &Place, dir: &str, source: &str) {
    place.write(&format!("{dir}/x.c"), source);
    let lib = place.path(dir).join("usr/lib");
    std::fs::create_dir_all(&lib).unwrap();
    let status = Command::new("gcc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(lib.join("libx.so.1"))
        .arg(place.path(dir).join("x.c"))
        .status()
        .unwrap();
    assert!(status.success());
}

fn newest(place: &Place) -> PathBuf {
    let all = place.path("state/fallout/signoffs");
    let mut ids: Vec<PathBuf> = std::fs::read_dir(all)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    ids.sort();
    ids.pop().unwrap()
}

fn has(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part} in\n{said}");
    }
}

#[test]
fn a_release_is_no_go_for_the_right_reasons_and_then_go_and_signed() {
    let place = Place::new();
    library(
        &place,
        "old",
        "int offered(void) { return 1; } int table[4];",
    );
    library(&place, "new", "int other(void) { return 1; } int table[8];");
    // A new system call, a library's version, a set list, no DIAGNOSTIC, and a finding.
    let more = format!("{TABLE}502\tSTD\t{{ int|sys||spawn(int a); }}\n");
    place.write("tree/sys/kern/syscalls.master", &more);
    place.write("tree/lib/libx/shlib_version", "major=1\nminor=1\n");
    place.write("tree/distrib/sets/lists/base/mi", "./x\tbase\n./y\tbase\n");
    place.commit("too much");
    let mut report = clean();
    report.cells.retain(|c| c.id.variant == "stock");
    let finding = fallout::model::Finding::new(
        FindingKind::ArchOnly,
        News::New,
        "portable",
        None,
        "`wire/t_pack:big_endian` fails on s390x only".into(),
    );
    report.verdict.findings = vec![finding];
    let run = place.run(report);
    let (code, said) = place.sign();
    assert_eq!(code, Some(1), "{said}");
    has(
        &said,
        &[
            "no-go    variants.s390x.diagnostic: 1 run of this revision, none with the variant diagnostic on s390x",
            "no-go    findings.arch_only: 1 finding",
            "- `wire/t_pack:big_endian` fails on s390x only",
            "no-go    freeze.syscalls: 1 difference",
            "- sys/kern/syscalls.master: new: 502 spawn STD { int|sys||spawn(int a); }",
            "- lib/libx/shlib_version: changed: minor 0 -> 1",
            "- distrib/sets/lists/base/mi: new: ./y base",
            "- usr/lib/libx.so.1: new: other (function)",
            "- usr/lib/libx.so.1: changed: table (object, 16 bytes) -> (object, 32 bytes)",
            "- usr/lib/libx.so.1: gone: offered (function)",
            "go       suites.portable.s390x.stock",
            "not signed: there is no key",
        ],
    );
    let cited = fallout::store::signoffs::cited(&place.path("state/fallout/signoffs")).unwrap();
    assert_eq!(cited, [run].into());

    // Mended, and run again whole; the library's change is answered for.
    place.git(&["revert", "--no-edit", "HEAD"]);
    place.policy("waivers: [{line: freeze.abi, by: releng, reason: agreed on the list, until: 2999-01-01}]\n");
    place.run(clean());
    let made = place.fallout(&["key", "new"]);
    assert!(made.status.success(), "{made:?}");
    let public = String::from_utf8(made.stdout).unwrap().trim().to_owned();
    assert_eq!(place.fallout(&["key", "new"]).status.code(), Some(2));
    let (code, said) = place.sign();
    assert_eq!(code, Some(0), "{said}");
    has(
        &said,
        &[
            "go: 1 waived",
            "waived by releng until 2999-01-01",
            &format!("signed by {public}"),
        ],
    );

    let dir = newest(&place);
    for name in ["signoff.json", "signoff.html"] {
        let file = dir.join(name);
        let verify =
            |key: &str| place.fallout(&["signoff", "verify", file.to_str().unwrap(), "--key", key]);
        let own = place.fallout(&["signoff", "verify", file.to_str().unwrap()]);
        assert_eq!(own.status.code(), Some(0), "{own:?}");
        assert_eq!(verify(&public).status.code(), Some(0));
        // Nobody else's, and not after one byte.
        let digits = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(verify(digits).status.code(), Some(5));
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let changed = verify(&public);
        assert_eq!(changed.status.code(), Some(5));
        let said = String::from_utf8_lossy(&changed.stderr).into_owned();
        assert!(said.contains("was changed"), "{said}");
    }
    secret_stays(&place);
}

/// The key's digits are nowhere but in its file.
fn secret_stays(place: &Place) {
    let text = std::fs::read_to_string(place.path("state/fallout/keys/signoff.key")).unwrap();
    let secret = text.lines().nth(1).unwrap().to_owned();
    let mut dirs = vec![place.path("state")];
    let mut holders = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if contains(&path, &secret) {
                holders += 1;
            }
        }
    }
    assert_eq!(holders, 1);
}

fn contains(path: &Path, text: &str) -> bool {
    String::from_utf8_lossy(&std::fs::read(path).unwrap()).contains(text)
}

#[test]
fn mistakes_are_told_in_their_place() {
    let place = Place::new();
    let code = |args: &[&str]| {
        let out = place.fallout(args);
        (
            out.status.code(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    let (exit, said) = code(&["signoff", "relase", "--policy", "policy.yaml"]);
    assert_eq!(exit, Some(2));
    has(
        &said,
        &["tree has no 'relase': expected a branch, a tag or a commit"],
    );
    place.policy("waivers: [{line: freeze.syscals, by: x, reason: y, until: 2999-01-01}]\n");
    let (exit, said) = code(&["signoff", "release", "--policy", "policy.yaml"]);
    assert_eq!(exit, Some(2));
    has(
        &said,
        &["waivers[0].line", "did you mean 'freeze.syscalls'?"],
    );
    let (exit, said) = code(&["signoff", "verify", "policy.yaml"]);
    assert_eq!(exit, Some(2));
    has(&said, &["there is no key on this machine"]);
    // Without a run nothing is known of the branch, and that is no go.
    place.policy("");
    let (exit, said) = place.sign();
    assert_eq!(exit, Some(1));
    has(
        &said,
        &["unknown  findings.new: no finished run of this revision"],
    );
}
