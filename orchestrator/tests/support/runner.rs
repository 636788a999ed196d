//! What run-suite is tried with: programs that end in every way, shells, and what it said as lines.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fallout::suite::{Runner, SuiteEvent};

pub const SHELLS: [&[&str]; 4] = [
    &["sh"],
    &["dash"],
    &["busybox", "ash"],
    &["bash", "--posix"],
];

/// An ATF program in plain sh: `-l`, `-r RESULT`, `-s SRCDIR`, `-v`, and a case.
pub const KINDS: &str = r#"#!/bin/sh
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

pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../images/linux/overlay/usr/libexec/fallout/run-suite")
}

/// Where a program is, by the PATH.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

/// A directory of nothing but these programs.
pub fn only(dir: &Path, programs: &[&str]) -> PathBuf {
    let tools = dir.join("tools");
    fs::create_dir(&tools).unwrap();
    for program in programs {
        let found = find(program).unwrap_or_else(|| panic!("no {program} here"));
        std::os::unix::fs::symlink(found, tools.join(program)).unwrap();
    }
    tools
}

/// A guest with busybox has busybox's tools too, and no others.
pub fn path_for(shell: &[&str], dir: &Path) -> std::ffi::OsString {
    if shell[0] != "busybox" {
        return std::env::var_os("PATH").unwrap();
    }
    let tools = only(dir, &["busybox"]);
    let mut install = Command::new(tools.join("busybox"));
    let done = install.args(["--install", "-s"]).arg(&tools).status();
    assert!(done.unwrap().success());
    tools.into()
}

pub fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A program of one case, which `body` ends by writing to "$r". `facts` are lines of its list.
pub fn one_case(facts: &str, body: &str) -> String {
    format!(
        "#!/bin/sh\nwhile getopts lr:s:v: o; do case $o in r) r=$OPTARG ;; l) \
         printf 'Content-Type: application/X-atf-tp; version=\"1\"\\n\\n{facts}'; exit ;;\n\
         esac; done; {body}\n"
    )
}

/// A suite, and a place to work in that anybody may enter.
pub fn suite() -> tempfile::TempDir {
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
pub fn run(shell: &[&str], dir: &Path, words: &[&str]) -> Vec<u8> {
    run_with(shell, &path_for(shell, dir), dir, words)
}

pub fn run_with(shell: &[&str], path: &std::ffi::OsStr, dir: &Path, words: &[&str]) -> Vec<u8> {
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
pub fn told(stream: &[u8]) -> String {
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

pub fn as_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}
