//! Emulators that misbehave: scripts in the place of the real program. What a real one does is
//! tested with real ones; these do what those do once in a year.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use fallout::crash::Recogniser;
use fallout::guest::{Guest, GuestError, GuestSpec, Limits};
use fallout::model::StageResult;

const PORT: &str = "
format: 1
port: fake
family: linux
status: for tests
traits: {}
emulator:
  program: PROGRAM
  packages: [fake-emulator, other-emulator]
  machine: none
  mem_mib: 1
  append: quiet
  channel: none
  boot_timeout: 1s
toolchain: {triplet: none}
image: {suite: none, arch: none, runner: sh}
";

fn spec(dir: &Path, script: Option<&str>) -> GuestSpec {
    let program = dir.join("emulator");
    if let Some(script) = script {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let port = PORT.replace("PROGRAM", program.to_str().unwrap());
    GuestSpec {
        port: serde_yaml::from_str(&port).unwrap(),
        kernel: "/none/kernel".into(),
        initrd: "/none/initrd".into(),
        label: "fake".to_owned(),
        run_base: dir.join("r"),
        console_file: dir.join("console"),
        console_cap_bytes: 100_000,
    }
}

async fn boot(dir: &Path, script: Option<&str>, boot: Duration) -> GuestError {
    let limits = Limits {
        boot,
        idle: Duration::from_secs(60),
    };
    Guest::boot(&spec(dir, script), limits, Box::new(Recogniser::new()))
        .await
        .expect_err("a script is no emulator")
}

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_missing_one_names_its_package() {
    let dir = tempfile::tempdir().unwrap();
    let error = boot(dir.path(), None, LONG).await;
    let GuestError::EmulatorMissing { package, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(package, "fake-emulator or other-emulator");
}

#[tokio::test]
async fn one_that_does_not_take_a_saved_guest_is_no_fault_of_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let script = "case $* in *'-incoming file:/none/state'*) ;; *) exit 9 ;; esac; \
                  echo 'load of migration failed: Invalid argument' >&2; exit 1";
    let limits = Limits {
        boot: LONG,
        idle: LONG,
    };
    let (spec, watch) = (spec(dir.path(), Some(script)), Box::new(Recogniser::new()));
    let error = Guest::restore(&spec, limits, watch, Path::new("/none/state"))
        .await
        .expect_err("a script is no emulator");
    assert!(
        error.to_string().contains("load of migration failed"),
        "{error:?}"
    );
    assert_ne!(error.boot_result(), StageResult::BootFailed);
}

#[tokio::test]
async fn one_that_exits_at_once_is_quoted_without_escapes() {
    let dir = tempfile::tempdir().unwrap();
    let script = "printf '\\033[31mbad machine\\033[0m\\n' >&2; exit 1";
    let error = boot(dir.path(), Some(script), LONG).await;
    let GuestError::EmulatorRefused { stderr } = error else {
        panic!("{error:?}");
    };
    assert_eq!(stderr, "bad machine");
    // Nothing is left in the run directory.
    assert_eq!(std::fs::read_dir(dir.path().join("r")).unwrap().count(), 0);
}

#[tokio::test]
async fn one_without_a_sandbox_is_started_without() {
    let dir = tempfile::tempdir().unwrap();
    let script = "case \"$*\" in *-sandbox*) echo '-sandbox: not supported' >&2; exit 1;; esac
        echo 'second try' >&2; exit 1";
    let error = boot(dir.path(), Some(script), LONG).await;
    let GuestError::EmulatorRefused { stderr } = error else {
        panic!("{error:?}");
    };
    assert_eq!(stderr, "second try");
}

#[tokio::test]
async fn one_that_never_answers_is_shown_by_its_last_screen() {
    let dir = tempfile::tempdir().unwrap();
    let script = "printf 'garbage \\033[2J\\033[Hloading...\\r\\n'; exec sleep 1000";
    let error = boot(dir.path(), Some(script), SHORT).await;
    let GuestError::BootTimedOut { last_screen, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(last_screen, ["loading..."]);
}

#[tokio::test]
async fn one_that_floods_uses_bounded_disk() {
    let dir = tempfile::tempdir().unwrap();
    let error = boot(dir.path(), Some("exec yes flooding"), SHORT).await;
    assert!(
        matches!(error, GuestError::BootTimedOut { .. }),
        "{error:?}"
    );
    let text = std::fs::read_to_string(dir.path().join("console")).unwrap();
    assert!(text.len() < 100_100, "{}", text.len());
    assert!(text.contains("[fallout: "));
}

#[tokio::test]
async fn a_console_that_cannot_be_written_is_the_hosts_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec(dir.path(), Some("exec sleep 1000"));
    spec.console_file = dir.path().join("none/console");
    let limits = Limits {
        boot: LONG,
        idle: LONG,
    };
    let error = Guest::boot(&spec, limits, Box::new(Recogniser::new()))
        .await
        .unwrap_err();
    assert!(matches!(error, GuestError::Host { .. }), "{error:?}");
}

/// A recorded boot that asks for its root, cut where the kernel waits for an answer.
fn recorded_boot() -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/consoles");
    let bytes = std::fs::read(dir.join("netbsd-6.99.16-sparc64.run1.console")).unwrap();
    let mut rest = String::from_utf8_lossy(&bytes).into_owned();
    let mut pieces = Vec::new();
    for question in [
        "root device: ",
        "dump device (default wd0b): ",
        "file system (default generic): ",
        "init path (default /sbin/init): ",
    ] {
        let end = rest.find(question).unwrap() + question.len();
        let behind = rest.split_off(end);
        pieces.push(std::mem::replace(&mut rest, behind));
    }
    pieces.push(rest.split_once("login: ").unwrap().0.to_owned());
    pieces
}

/// Connects to the agent's socket as an emulator does. Once the console says `when`, greets as an agent
/// does and ends every request.
fn agent(dir: &Path, when: &'static str) -> std::thread::JoinHandle<()> {
    use std::io::{BufRead, BufReader, Write};
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        let moment = || std::thread::sleep(Duration::from_millis(10));
        let mut stream = loop {
            let runs = std::fs::read_dir(dir.join("r")).into_iter().flatten();
            let sockets = runs.flatten().map(|run| run.path().join("agent"));
            let mut connected =
                sockets.filter_map(|path| std::os::unix::net::UnixStream::connect(path).ok());
            match connected.next() {
                Some(stream) => break stream,
                None => moment(),
            }
        };
        let said = || std::fs::read(dir.join("console")).unwrap_or_default();
        while dir.exists() && !String::from_utf8_lossy(&said()).contains(when) {
            moment();
        }
        if stream.write_all(b"@fallout-agent 1 NetBSD\n").is_err() {
            return;
        }
        for line in BufReader::new(stream.try_clone().unwrap()).lines() {
            let line = line.unwrap_or_default();
            let nonce = line.split(' ').nth(1).unwrap_or_default();
            let _ = write!(stream, "\n@fallout-end {nonce} 0\n");
        }
    })
}

/// Boots the script with the questions of sparc64's manifest.
async fn boot_with_questions(
    dir: &Path,
    script: &str,
    when: &'static str,
) -> Result<Guest, GuestError> {
    let mut spec = spec(dir, Some(script));
    let manifest =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../images/netbsd/netbsd-sparc64.yaml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let real: fallout::model::Port = serde_yaml::from_str(&text).unwrap();
    spec.port.emulator.boot_dialogue = real.emulator.boot_dialogue;
    // The first question comes at once here.
    spec.port.emulator.boot_dialogue[0].limit = Duration::from_secs(5);
    let limits = Limits {
        boot: LONG,
        idle: LONG,
    };
    let agent = agent(dir, when);
    let guest = Guest::boot(&spec, limits, Box::new(Recogniser::new())).await;
    if guest.is_err() {
        std::fs::write(dir.join("console"), when).unwrap();
        agent.join().unwrap();
    }
    guest
}

#[tokio::test]
async fn a_recorded_boot_gets_its_answers() {
    let dir = tempfile::tempdir().unwrap();
    for (n, piece) in recorded_boot().iter().enumerate() {
        std::fs::write(dir.path().join(n.to_string()), piece).unwrap();
    }
    let at = dir.path().display();
    let script = format!(
        "cd {at}; cat 0; read a; [ \"$a\" = wd0a ] || exit 3
        for n in 1 2 3; do cat $n; read a; [ -z \"$a\" ] || exit 4; done
        cat 4; exec sleep 1000"
    );
    let guest = boot_with_questions(dir.path(), &script, "Updating motd.").await;
    let guest = guest.unwrap();
    assert_eq!(guest.kernel(), "NetBSD");
    guest.end(false).await;
}

#[tokio::test]
async fn a_boot_that_does_not_ask_what_it_should_is_told_by_step_and_screen() {
    let dir = tempfile::tempdir().unwrap();
    let script =
        "printf 'root device: '; read a; printf 'use one of: wd0[a-h]\\r\\n'; exec sleep 1000";
    let error = boot_with_questions(dir.path(), script, "never").await;
    let error = error.map(drop).unwrap_err();
    assert_eq!(error.boot_result(), StageResult::BootFailed);
    assert_eq!(
        error.to_string(),
        "no boot: the question for the dump device: the console says 'use one of: wd0[a-h]'"
    );
    let GuestError::BootStuck { last_screen, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(last_screen, ["root device: use one of: wd0[a-h]"]);

    let dir = tempfile::tempdir().unwrap();
    let script = "printf 'Trying disk:a...\\r\\n0 > '; exec sleep 1000";
    let error = boot_with_questions(dir.path(), script, "never").await;
    let said = error.map(drop).unwrap_err().to_string();
    assert_eq!(
        said,
        "no boot: the question for the root device: 'root device:' did not come within 5 s"
    );
}

#[tokio::test]
async fn what_ends_a_boot_explains_more_than_a_question_that_did_not_come() {
    let dir = tempfile::tempdir().unwrap();
    let panic = "panic: no console\\r\\nStopped at      lose:   ta 1\\r\\ndb> ";
    let script = format!("printf 'root device: '; read a; printf '{panic}'; exec sleep 1000");
    let error = boot_with_questions(dir.path(), &script, "never").await;
    let error = error.map(drop).unwrap_err();
    assert!(matches!(error, GuestError::Crashed(_)), "{error:?}");

    let dir = tempfile::tempdir().unwrap();
    let script = "printf 'root device: '; read a; sleep 1; exit 7";
    let error = boot_with_questions(dir.path(), script, "never").await;
    let error = error.map(drop).unwrap_err();
    let GuestError::EmulatorExited { status, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(status, "status 7");
}
