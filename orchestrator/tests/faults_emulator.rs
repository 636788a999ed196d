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
