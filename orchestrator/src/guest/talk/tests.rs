//! Talks with a stand-in for an emulator: a shell script that has a console and nothing else.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::super::bare::{Bare, BareSpec, arguments};
use super::*;
use crate::model::port::Emulator;
use crate::model::{ConsoleWatch, Crash};

/// Sees no crash.
struct Blind;

impl ConsoleWatch for Blind {
    fn feed(&mut self, _: &[u8]) {}
    fn finish(&mut self) {}
    fn is_dead(&self) -> bool {
        false
    }
    fn crash(&self) -> Option<Crash> {
        None
    }
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    fn last_lines(&self) -> Vec<String> {
        Vec::new()
    }
}

fn spec(dir: &Path, script: &str) -> BareSpec {
    let program = dir.join("emulator");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/linux/i386.yaml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let port: crate::model::Port = serde_yaml::from_str(&text).unwrap();
    BareSpec {
        emulator: Emulator {
            program: program.to_str().unwrap().to_owned(),
            ..port.emulator
        },
        kernel: None,
        drives: vec![("if=ide,index=0".to_owned(), "/d/a,b.img".into())],
        args: vec!["-boot".to_owned(), "d".to_owned()],
        label: "test".to_owned(),
        run_base: dir.join("run"),
        console_file: dir.join("console"),
        console_cap_bytes: 1 << 20,
    }
}

const STEPS: &str = r##"
- name: the menu
  limit: 20s
  on:
    - {see: "Terminal type", keys: "vt100\n", then: stay}
    - {see: "?: Exit", keys: "?\n"}
    - {see: "panic: ", then: fail}
- name: a prompt
  limit: 500ms
  on:
    - {see: "# ", last: true, keys: "halt\n"}
"##;

async fn outcome(script: &str) -> (Result<(), TalkError>, Vec<String>, String) {
    let dir = tempfile::tempdir().unwrap();
    let steps: Vec<Step> = serde_yaml::from_str(STEPS).unwrap();
    let spec = spec(dir.path(), script);
    let mut machine = Bare::start(&spec, Box::new(Blind)).await.unwrap();
    let mut heard = Vec::new();
    let done = talk(&mut machine.console, &steps, &mut |s| {
        heard.push(s.to_owned())
    })
    .await;
    if done.is_ok() {
        assert!(machine.ended(Duration::from_secs(20)).await.is_some());
    }
    let (said, _) = machine.end().await;
    (done, heard, said)
}

#[tokio::test]
async fn a_script_is_carried_through() {
    let (done, heard, _) = outcome(
        "printf 'boot\\r\\nTerminal type? '; read t; [ \"$t\" = vt100 ] || exit 1\n\
         printf '\\033[2J\\033[5;3Ha: Install\\033[6;3Hq:  Exit\\r\\n'; read m; [ \"$m\" = q ] || exit 1\n\
         printf '# '; read c; [ \"$c\" = halt ] || exit 1; printf 'halted\\r\\n'",
    )
    .await;
    assert_eq!(done, Ok(()));
    assert_eq!(heard, ["the menu", "a prompt"]);
}

#[tokio::test]
async fn a_step_that_fails_shows_the_screen_and_what_was_waited_for() {
    let (done, ..) = outcome(
        "printf 'q: Exit\\r\\n'; read m; printf '\\033[2J\\033[3;5Hlost\\r\\n> '; exec sleep 60",
    )
    .await;
    let said = done.unwrap_err().to_string();
    assert_eq!(
        said,
        "a prompt: '# ' did not come within 0.5 s; the screen:\n    lost\n>"
    );
    let (done, ..) = outcome("printf 'panic: no memory\\r\\n'; exec sleep 60").await;
    let said = done.unwrap_err();
    assert_eq!(said.step, "the menu");
    assert_eq!(said.why, "the console says 'panic: no memory'");
}

#[tokio::test]
async fn an_emulator_that_ends_is_told() {
    let (done, _, said) = outcome("echo 'no such machine' >&2; exit 1").await;
    let error = done.unwrap_err().to_string();
    assert!(
        error.starts_with("the menu: the emulator ended while 'Terminal type' or "),
        "{error}"
    );
    assert!(error.ends_with("nothing was on the console"), "{error}");
    assert_eq!(said, "no such machine");
}

#[test]
fn a_bare_machine_has_disks_and_no_network() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), "");
    spec.kernel = Some("/k/netbsd".into());
    let line = arguments(&spec).join(" ");
    assert!(
        line.starts_with("-nodefaults -no-user-config -display none -M pc -cpu qemu32 "),
        "{line}"
    );
    for words in [
        "-no-reboot -chardev stdio,id=console,signal=off -serial chardev:console",
        "-kernel /k/netbsd -append console=",
        "-drive file=/d/a,,b.img,format=raw,if=ide,index=0 -boot d",
    ] {
        assert!(line.contains(words), "{words} in {line}");
    }
    assert!(!line.contains("-net") && !line.contains("-nic"), "{line}");
}
