//! The shell runner of the images, run on the host over programs that speak ATF's interface: it
//! needs no emulator and no ATF, only a shell. Every shell that is installed has its turn, since a
//! guest's may be any of them. What it prints goes through the TPS parser, as it does in a run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fallout::model::CaseId;
use std::collections::BTreeMap;

use fallout::suite::{Runner, SuiteEvent, parse_list};

const SHELLS: [&[&str]; 4] = [
    &["sh"],
    &["dash"],
    &["busybox", "ash"],
    &["bash", "--posix"],
];

/// An ATF program in plain sh: `-l`, `-r RESULT`, `-s SRCDIR`, `-v`, and a case.
const KINDS: &str = r#"#!/bin/sh
list=no result=/dev/stdout source=. vars=
while getopts lr:s:v: option; do
  case $option in
    l) list=yes ;;
    r) result=$OPTARG ;;
    s) source=$OPTARG ;;
    v) vars="$vars $OPTARG " ;;
    *) exit 1 ;;
  esac
done
shift $((OPTIND - 1))
if [ $list = yes ]; then
  cat <<END
Content-Type: application/X-atf-tp; version="1"

ident: pass
descr: passes

ident: fail

ident: skip

ident: quiet_exit

ident: crash

ident: lies

ident: xfail

ident: xexit

ident: xexit_other

ident: xsignal

ident: xsignal_other

ident: xdeath

ident: xtimeout
timeout: 1

ident: hang
timeout: 1
has.cleanup: true

ident: cleaned
has.cleanup: true

ident: uncleaned
has.cleanup: true

ident: no_newline

ident: two_lines

ident: odd_word

ident: no_prog
require.progs: sh no-such-program

ident: no_file
require.files: / /no/such/file

ident: no_arch
require.arch: vax pdp11

ident: no_machine
require.machine: vax

ident: no_memory
require.memory: 4000t

ident: no_config
require.config: nothing

ident: config
require.config: something

ident: user
require.user: unprivileged

ident: surroundings
X-ours: ignored

ident: leftover

ident: interrupt
END
  exit 0
fi
say() { echo "$*" >"$result"; }
case $1 in
  pass) echo out; echo err >&2; say passed ;;
  fail) say "failed: 1 != 2, really"; exit 1 ;;
  skip) say "skipped: not here" ;;
  quiet_exit) exit 3 ;;
  crash) printf 'no end of line'; kill -SEGV $$ ;;
  lies) say passed; exit 1 ;;
  xfail) say "expected_failure: PR 1: known" ;;
  xexit) say "expected_exit(3): exits"; exit 3 ;;
  xexit_other) say "expected_exit(3): exits"; exit 4 ;;
  xsignal) say "expected_signal(15): dies"; kill -TERM $$ ;;
  xsignal_other) say "expected_signal(15): dies"; kill -USR1 $$ ;;
  xdeath) say "expected_death: somehow"; exit 9 ;;
  xtimeout) say "expected_timeout: too slow"; sleep 60 ;;
  hang) echo waiting; sleep 60 & sleep 60 ;;
  hang:cleanup) echo "cleaned up after" ;;
  cleaned) echo x >made; say passed ;;
  cleaned:cleanup) cat made ;;
  uncleaned) say passed ;;
  uncleaned:cleanup) exit 1 ;;
  no_newline) printf passed >"$result" ;;
  two_lines) printf 'passed\npassed\n' >"$result" ;;
  odd_word) say "splendid" ;;
  config) case $vars in *' something=a/b '*) say passed ;; *) say "failed: $vars"; exit 1 ;; esac ;;
  user)
    if [ "$(id -u)" != 0 ] && : >mine; then say passed; else say "failed: root"; exit 1; fi ;;
  surroundings)
    why=
    [ "$HOME" = "$PWD" ] || why="HOME $HOME"
    [ "$TMPDIR" = "$PWD" ] || why="TMPDIR $TMPDIR"
    [ -z "$(ls -A)" ] || why="not empty"
    [ "$(umask)" -eq 22 ] || why="umask $(umask)"
    [ "${LANG-none}${LC_ALL-none}$TZ" = nonenoneUTC ] || why="LANG, LC_ALL or TZ"
    [ -f "$source/t_kinds" ] || why="srcdir $source"
    [ -z "$(cat)" ] || why="standard input"
    [ -z "$why" ] || { say "failed: $why"; exit 1; }
    say passed ;;
  leftover) mkdir -p a/b && chmod 0 a/b; sleep 60 & say passed ;;
  interrupt) say "expected_signal(2): SIGINT is not ignored"; kill -INT $$ ;;
esac
"#;

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../images/linux/overlay/usr/libexec/fallout/run-suite")
}

/// Where a program is, by the PATH.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// A directory of nothing but these programs.
fn only(dir: &Path, programs: &[&str]) -> PathBuf {
    let tools = dir.join("tools");
    fs::create_dir(&tools).unwrap();
    for program in programs {
        let found = find(program).unwrap_or_else(|| panic!("no {program} here"));
        std::os::unix::fs::symlink(found, tools.join(program)).unwrap();
    }
    tools
}

/// A guest with busybox has busybox's tools too, and no others.
fn path_for(shell: &[&str], dir: &Path) -> std::ffi::OsString {
    if shell[0] != "busybox" {
        return std::env::var_os("PATH").unwrap();
    }
    let tools = only(dir, &["busybox"]);
    let mut install = Command::new(tools.join("busybox"));
    let done = install.args(["--install", "-s"]).arg(&tools).status();
    assert!(done.unwrap().success());
    tools.into()
}

fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A suite, and a place to work in that anybody may enter.
fn suite() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    put(dir.path(), "suite/t_kinds", KINDS);
    put(dir.path(), "suite/sub/plain_ok", "#!/bin/sh\necho fine\n");
    put(dir.path(), "suite/sub/plain_bad", "#!/bin/sh\nexit 7\n");
    put(
        dir.path(),
        "suite/sub/t_nolist",
        "#!/bin/sh\necho no list >&2\nexit 5\n",
    );
    put(
        dir.path(),
        "suite/Kyuafile",
        "-- A comment: atf_test_program{name=\"t_none\"}\nsyntax(2)\ntest_suite('ours')\n\
         include(\"sub/Kyuafile\")\natf_test_program{name=\"t_kinds\",\n    timeout=60}\n",
    );
    put(
        dir.path(),
        "suite/sub/Kyuafile",
        "syntax(2)\ntest_suite(\"ours\")\nplain_test_program{name='plain_ok'}\n\
         plain_test_program{name=\"plain_bad\", required_user=\"\"}\n\
         atf_test_program{name=\"t_nolist\"}\n\
         plain_test_program{required_programs=\"/no/such\", name=\"plain_ok\"}\n\
         tap_test_program{name=\"tapped\"}\n",
    );
    dir
}

/// Runs it under `shell`; gives what it printed.
fn run(shell: &[&str], dir: &Path, words: &[&str]) -> Vec<u8> {
    run_with(shell, &path_for(shell, dir), dir, words)
}

fn run_with(shell: &[&str], path: &std::ffi::OsStr, dir: &Path, words: &[&str]) -> Vec<u8> {
    let out = Command::new(find(shell[0]).unwrap())
        .args(&shell[1..])
        .arg(script())
        .args([
            "--work",
            dir.join("work").to_str().unwrap(),
            "--user",
            "nobody",
        ])
        .args(words)
        .env("LANG", "de_DE.UTF-8")
        .env("PATH", path)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&out.stderr)
            .lines()
            .filter(
                |line| !["sub/t_nolist: ", "t_gone: "].iter().any(|known| line
                    .strip_prefix("run-suite: ")
                    .is_some_and(|l| l.starts_with(known)))
            )
            .collect::<String>(),
        "",
        "under {shell:?}"
    );
    let left: Vec<_> = fs::read_dir(dir.join("work")).unwrap().collect();
    assert!(left.is_empty(), "under {shell:?} it leaves {left:?}");
    out.stdout
}

/// What the stream says, a line an event, without what differs from run to run.
fn told(stream: &[u8]) -> String {
    let mut parser = Runner::Sh.parser();
    let mut events = parser.feed(stream);
    events.extend(parser.finish());
    assert_eq!(parser.open_case(), None);
    let mut lines = Vec::new();
    for event in events {
        match event {
            SuiteEvent::Info { .. } | SuiteEvent::CaseStarted { .. } => {}
            SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                duration,
                output,
            } => {
                assert!(duration.is_some(), "{case}");
                let output = output.map_or(String::new(), |o| format!(" {o:?}"));
                let reason = reason.map_or(String::new(), |r| format!(": {r}"));
                lines.push(format!("{case} {outcome}{reason}{output}"));
            }
            SuiteEvent::Output { .. } => {}
            other => lines.push(format!("{other:?}")),
        }
    }
    // What the machine is called and how much memory it has.
    let machine = Command::new("uname").arg("-m").output().unwrap().stdout;
    let machine = String::from_utf8(machine).unwrap();
    let text = lines
        .join("\n")
        .replace(&format!("'{}'", machine.trim()), "'MACHINE'");
    match text.split_once("but only ") {
        Some((head, tail)) => format!(
            "{head}but only SOME{}",
            tail.trim_start_matches(|c: char| c.is_ascii_digit())
        ),
        None => text,
    }
}

fn as_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

#[test]
fn every_way_to_end_under_every_shell() {
    let shells: Vec<_> = SHELLS
        .into_iter()
        .filter(|s| find(s[0]).is_some())
        .collect();
    assert!(!shells.is_empty());
    // The cases that hang take their time: all shells at once.
    let told_by: Vec<(&[&str], String)> = std::thread::scope(|scope| {
        let threads: Vec<_> = shells
            .into_iter()
            .map(|shell| {
                scope.spawn(move || {
                    let dir = suite();
                    let words = ["-v", "something=a/b", "run"];
                    let place = dir.path().join("suite");
                    let words = [&words[..], &[place.to_str().unwrap()]].concat();
                    (shell, told(&run(shell, dir.path(), &words)))
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    for (shell, told) in &told_by {
        assert_eq!(
            told, &told_by[0].1,
            "{shell:?} and {:?} differ",
            told_by[0].0
        );
    }
    insta::assert_snapshot!(told_by[0].1);
}

#[test]
fn the_list_is_the_cases() {
    let dir = suite();
    let place = dir.path().join("suite");
    let list = parse_list(&run(
        &["sh"],
        dir.path(),
        &["list", place.to_str().unwrap()],
    ));
    assert_eq!(list.notes, Vec::<String>::new());
    assert_eq!(list.cases.len(), 35);
    assert_eq!(list.cases[0], CaseId::new("sub/plain_ok", "main"));
    let limits: BTreeMap<String, u64> = list
        .limits
        .iter()
        .map(|(case, limit)| (case.to_string(), limit.as_secs()))
        .collect();
    insta::assert_debug_snapshot!(limits);
    assert_eq!(
        list.cases[2],
        CaseId::new("sub/t_nolist", "__test_cases_list__")
    );
    assert_eq!(list.cases[5], CaseId::new("t_kinds", "pass"));
}

#[test]
fn a_list_is_run_in_its_own_order() {
    let dir = suite();
    put(
        dir.path(),
        "list",
        "t_kinds:skip\nt_kinds:pass\nsub/plain_bad:main\nt_kinds:skip\nt_kinds:gone\n\
         ../out:x\nt_gone:x\nt_kinds:fail",
    );
    let place = dir.path().join("suite");
    let words = [
        "run",
        place.to_str().unwrap(),
        dir.path().join("list").to_str().unwrap(),
    ]
    .map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let told = told(&run(&["sh"], dir.path(), &words));
    let told = told.replace(place.to_str().unwrap(), "DIR");
    insta::assert_snapshot!(told, @r##"
    ProgramStarted { program: "t_kinds", cases: 2 }
    t_kinds:skip skipped: not here
    t_kinds:pass passed "out\nerr\n"
    ProgramEnded { program: "t_kinds", reason: None }
    ProgramStarted { program: "sub/plain_bad", cases: 1 }
    sub/plain_bad:main failed: Returned non-success exit status 7
    ProgramEnded { program: "sub/plain_bad", reason: None }
    Note("# run-suite: ignored in the list: an odd name")
    ProgramStarted { program: "t_kinds", cases: 2 }
    t_kinds:skip skipped: not here
    t_kinds:gone broken: The program has no such case
    ProgramEnded { program: "t_kinds", reason: None }
    ProgramStarted { program: "t_gone", cases: 0 }
    ProgramEnded { program: "t_gone", reason: Some("no such program in DIR") }
    ProgramStarted { program: "t_kinds", cases: 1 }
    t_kinds:fail failed: 1 != 2, really
    ProgramEnded { program: "t_kinds", reason: None }
    "##);
}

#[test]
fn an_atffile_will_do() {
    let dir = suite();
    let place = dir.path().join("suite");
    for file in ["Kyuafile", "sub/Kyuafile"] {
        fs::remove_file(place.join(file)).unwrap();
    }
    let head =
        "Content-Type: application/X-atf-atffile; version=\"1\"\n\nprop: test-suite = ours\n\n";
    put(
        &place,
        "Atffile",
        &format!("{head}tp: sub\n# tp: t_no\ntp: t_gone\n"),
    );
    put(&place, "sub/Atffile", &format!("{head}tp-glob: t_*\n"));
    put(
        &place,
        "sub/t_one",
        "#!/bin/sh\necho 'Content-Type: application/X-atf-tp; version=\"1\"'\necho\necho 'ident: a'\n",
    );
    let list = parse_list(&run(
        &["sh"],
        dir.path(),
        &["list", place.to_str().unwrap()],
    ));
    let cases: Vec<String> = list.cases.iter().map(ToString::to_string).collect();
    assert_eq!(
        cases,
        [
            "sub/t_nolist:__test_cases_list__",
            "sub/t_one:a",
            "t_gone:__test_cases_list__"
        ]
    );
}

#[test]
fn a_cases_surroundings_are_those_of_its_runner() {
    let dir = suite();
    // Its directory's mode, and that what waits beside it is not called sleep.
    let program = "#!/bin/sh\nwhile getopts lr:s:v: o; do case $o in r) r=$OPTARG ;; l) \
        printf 'Content-Type: application/X-atf-tp; version=\"1\"\\n\\nident: a\\n'; exit ;;\n\
        esac; done; set -- $(ls -ld .); [ -h ../run-suite-pause ] && what=pause || what=sleep\n\
        echo \"skipped: ${1%.} $what\" >\"$r\"\n";
    put(dir.path(), "suite/t_look", program);
    let place = dir.path().join("suite");
    let words = ["run", place.to_str().unwrap()];
    let kyuafile = "syntax(2)\natf_test_program{name=\"t_look\"}\n";
    put(dir.path(), "suite/Kyuafile", kyuafile);
    let said = told(&run(&["sh"], dir.path(), &words));
    assert!(said.contains("skipped: drwxr-xr-x pause"), "{said}");
    fs::remove_file(place.join("Kyuafile")).unwrap();
    let head =
        "Content-Type: application/X-atf-atffile; version=\"1\"\n\nprop: test-suite = ours\n\n";
    put(dir.path(), "suite/Atffile", &format!("{head}tp: t_look\n"));
    let said = told(&run(&["sh"], dir.path(), &words));
    assert!(said.contains("skipped: drwx------ pause"), "{said}");
}

/// NetBSD's shell kept a file open for each program and could start nothing after some fifty; here no shell may.
#[test]
fn many_programs_need_few_descriptors() {
    for shell in SHELLS.iter().filter(|s| find(s[0]).is_some()) {
        let dir = suite();
        let mut kyuafile = "syntax(2)\n".to_owned();
        for n in 0..30 {
            let name = format!("t_{n}");
            put(
                &dir.path().join("suite"),
                &name,
                "#!/bin/sh\nwhile getopts lr:s:v: o; do case $o in r) r=$OPTARG ;; l) \
                 printf 'Content-Type: application/X-atf-tp; version=\"1\"\\n\\nident: a\\n'; exit ;;\n\
                 esac; done; echo passed >\"$r\"\n",
            );
            kyuafile += &format!("atf_test_program{{name=\"{name}\"}}\n");
        }
        put(dir.path(), "suite/Kyuafile", &kyuafile);
        let place = dir.path().join("suite");
        let limited = format!("ulimit -n 20; exec {} \"$@\"", shell.join(" "));
        let words = ["run", place.to_str().unwrap()];
        let under = ["sh", "-c", &limited, "sh"];
        let said = told(&run(&under, dir.path(), &words));
        assert_eq!(said.matches(":a passed").count(), 30, "{shell:?}: {said}");
    }
}

#[test]
fn limits_are_stretched() {
    let dir = suite();
    put(dir.path(), "list", "t_slow:nap\n");
    put(
        dir.path(),
        "suite/t_slow",
        "#!/bin/sh\nwhile getopts lr:s:v: o; do case $o in r) r=$OPTARG ;; l) \
         printf 'Content-Type: application/X-atf-tp; version=\"1\"\\n\\nident: nap\\ntimeout: 1\\n'; exit ;;\n\
         esac; done; sleep 3; echo passed >\"$r\"\n",
    );
    put(
        dir.path(),
        "suite/Kyuafile",
        "syntax(2)\natf_test_program{name=\"t_slow\"}\n",
    );
    let place = dir.path().join("suite");
    let words = ["--scale", "5000", "run", place.to_str().unwrap()];
    assert!(told(&run(&["sh"], dir.path(), &words)).contains("t_slow:nap passed"));
}

/// Debian's atf-sh, where it is installed: the real interface.
#[test]
fn programs_of_atf_sh() {
    if find("atf-sh").is_none() {
        eprintln!("no atf-sh here");
        return;
    }
    let dir = suite();
    put(
        dir.path(),
        "suite/Kyuafile",
        "syntax(2)\natf_test_program{name=\"t_sh\"}\n",
    );
    put(
        dir.path(),
        "suite/t_sh",
        "#!/usr/bin/env atf-sh\n\
         atf_test_case check\ncheck_body() { atf_check -o inline:'a\\n' echo a; atf_check_equal 1 2; }\n\
         atf_test_case known cleanup\nknown_head() { atf_set require.progs sh; }\n\
         known_body() { atf_expect_fail 'PR 1'; atf_fail 'yes'; }\nknown_cleanup() { echo bye; }\n\
         atf_test_case dies\ndies_body() { atf_expect_signal 9 'gone'; kill -9 $$; }\n\
         atf_test_case source\nsource_body() { [ -f \"$(atf_get_srcdir)/t_sh\" ] || atf_fail no; }\n\
         atf_init_test_cases() { for c in check known dies source; do atf_add_test_case $c; done; }\n",
    );
    let place = dir.path().join("suite");
    let told = told(&run(&["sh"], dir.path(), &["run", place.to_str().unwrap()]));
    insta::assert_snapshot!(told, @r#"
    Count(1)
    ProgramStarted { program: "t_sh", cases: 4 }
    t_sh:check failed: 1 != 2 (1 != 2) "Executing command [ echo a ]\n"
    t_sh:known expected_failure: PR 1: yes "bye\n"
    t_sh:dies expected_signal: gone
    t_sh:source passed
    ProgramEnded { program: "t_sh", reason: None }
    "#);
}

#[test]
fn unprivileged_cases_are_not_root() {
    // As root the case runs as `nobody`, else as whoever we are; in both ways it passes.
    let dir = suite();
    put(dir.path(), "list", "t_kinds:user\n");
    let place = dir.path().join("suite");
    let list = dir.path().join("list");
    let words = ["run", place.to_str().unwrap(), list.to_str().unwrap()];
    let told_text = told(&run(&["sh"], dir.path(), &words));
    assert!(
        told_text.contains("t_kinds:user passed"),
        "{told_text} (root: {})",
        as_root()
    );
}

/// As on a BSD whose su does not work, because PAM lacks a module: its chroot can become a user too.
#[test]
fn unprivileged_cases_run_by_a_chroot_that_changes_users() {
    if !as_root() {
        eprintln!("only root can become another user");
        return;
    }
    let dir = suite();
    let tools = only(
        dir.path(),
        &[
            "awk", "cat", "chmod", "chown", "cp", "date", "id", "ls", "mkdir", "ps", "rm", "sh",
            "sleep", "tail", "uname",
        ],
    );
    // Options and the new root of its directory as NetBSD's chroot(8) has them.
    let setpriv = find("setpriv").unwrap();
    let chroot = format!(
        "#!/bin/sh\n[ \"$1 $3 $5 $7\" = '-u -g -G /' ] || exit 1\nid=$(id -u $2) || exit 1\nshift 7\ncd /\n\
         exec {} --reuid=$id --regid=65534 --clear-groups \"$@\"\n",
        setpriv.display()
    );
    put(&tools, "chroot", &chroot);
    put(dir.path(), "list", "t_kinds:user\n");
    let place = dir.path().join("suite");
    let list = dir.path().join("list");
    let words = ["run", place.to_str().unwrap(), list.to_str().unwrap()];
    insta::assert_snapshot!(told(&run_with(&["sh"], tools.as_os_str(), dir.path(), &words)), @r#"
    ProgramStarted { program: "t_kinds", cases: 1 }
    t_kinds:user passed
    ProgramEnded { program: "t_kinds", reason: None }
    "#);
}

/// As on a BSD: a case's processes have no group of their own and must be found.
#[test]
fn without_setsid_a_hung_case_is_ended_all_the_same() {
    let dir = suite();
    let tools = only(
        dir.path(),
        &[
            "awk", "cat", "chmod", "chown", "cp", "date", "id", "ls", "mkdir", "ps", "rm", "sh",
            "sleep", "su", "tail", "uname",
        ],
    );
    put(dir.path(), "list", "t_kinds:hang\nt_kinds:crash\n");
    let place = dir.path().join("suite");
    let list = dir.path().join("list");
    let words = ["run", place.to_str().unwrap(), list.to_str().unwrap()];
    insta::assert_snapshot!(told(&run_with(&["sh"], tools.as_os_str(), dir.path(), &words)), @r#"
    ProgramStarted { program: "t_kinds", cases: 2 }
    t_kinds:hang hung: Test case body timed out (limit 1 s) "waiting\ncleaned up after\n"
    t_kinds:crash broken: Premature exit; test case received signal 11 "no end of line\n"
    ProgramEnded { program: "t_kinds", reason: None }
    "#);
}
