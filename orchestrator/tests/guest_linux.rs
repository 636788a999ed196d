//! Real Linux guests, on every port that has a manifest. They need the images that
//! `fallout image build` makes, and fail without them.

#[path = "support/guests.rs"]
mod guests;

use std::time::{Duration, SystemTime};

use fallout::crash::Recogniser;
use fallout::guest::{Guest, GuestError, GuestReport, Output, State, rundir};
use fallout::model::CrashKind;
use guests::{LIMITS, image, output, port, ports, spec, try_output};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const MINUTE: Duration = Duration::from_secs(60);

async fn boot(name: &str, dir: &std::path::Path) -> Guest {
    Guest::boot(&spec(name, dir), LIMITS, Box::new(Recogniser::new()))
        .await
        .unwrap_or_else(|e| panic!("{name}: {e:?}"))
}

fn tar_of(name: &str, content: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, name, content).unwrap();
    tar.into_inner().unwrap()
}

/// A whole life: requests of each kind, then a panic that must win over the emulator's exit.
async fn life(name: &str) -> GuestReport {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot(name, dir.path()).await;
    assert!(guest.kernel().starts_with("Linux "), "{}", guest.kernel());

    assert_eq!(output(&mut guest, "exit 3").await, (String::new(), 3));
    assert_eq!(
        output(&mut guest, "printf part").await,
        ("part".to_owned(), 0)
    );
    assert_eq!(output(&mut guest, "echo a; echo b >&2").await.0, "a\nb\n");
    assert_eq!(output(&mut guest, "kill -9 $$").await.1, 137);
    assert_eq!(
        output(&mut guest, "echo \"a  b\" '$x'").await.0,
        "a  b $x\n"
    );

    let clock: u64 = output(&mut guest, "date +%s")
        .await
        .0
        .trim()
        .parse()
        .unwrap();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(now.as_secs().abs_diff(clock) < 600, "{clock}");

    let content: Vec<u8> = (0..3_000_001_u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    guest
        .put_tar("/tmp/new dir", &tar_of("sub/file", &content))
        .await
        .unwrap();
    let back = guest.get("/tmp/new dir/sub/file", 1 << 30).await.unwrap();
    assert!(back.as_deref() == Some(&content[..]));
    assert_eq!(guest.get("/tmp/new dir/sub/file", 100).await.unwrap(), None);
    assert_eq!(guest.get("/tmp/none", 100).await.unwrap(), None);
    let refused = guest.put_tar("/proc/none", &tar_of("f", b"x")).await;
    assert!(
        matches!(refused, Err(GuestError::PutFailed { .. })),
        "{refused:?}"
    );
    let two_lines = guest.run("a\nb", MINUTE, MINUTE).await.err();
    assert!(
        matches!(two_lines, Some(GuestError::BadRequest { .. })),
        "{two_lines:?}"
    );

    let last_words = "echo last words; echo c >/proc/sysrq-trigger; sleep 1000";
    let (said, end) = try_output(&mut guest, last_words).await;
    assert_eq!(said, "last words\n");
    let Err(GuestError::Crashed(crash)) = end else {
        panic!("{name}: {end:?}");
    };
    assert_eq!(crash.kind, CrashKind::Panic);
    assert_eq!(crash.title, "kernel panic: sysrq triggered crash");
    assert!(
        crash.excerpt.iter().any(|l| l.contains("Trigger a crash")),
        "{crash:#?}"
    );
    assert_eq!(guest.state(), State::Ended);
    let again = guest.run("true", MINUTE, MINUTE).await.err();
    assert!(
        matches!(again, Some(GuestError::IllegalTransition { .. })),
        "{again:?}"
    );
    let file = dir.path().join(format!("{name}.console"));
    assert!(
        std::fs::read_to_string(file)
            .unwrap()
            .contains("sysrq triggered crash")
    );
    let report = guest.end(false).await;
    assert!(report.cpu > Duration::from_millis(100) && report.boot > Duration::ZERO);
    report
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_port_lives_and_dies() {
    let mut waiting = ports();
    let mut running = tokio::task::JoinSet::new();
    let mut failed = 0;
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < 2
            && let Some(name) = waiting.pop()
        {
            running.spawn(async move {
                let report = life(&name).await;
                println!("{name}: {report:?}");
            });
        }
        // Every port has its say before the first failure counts.
        if let Some(Err(_)) = running.join_next().await {
            failed += 1;
        }
    }
    assert_eq!(failed, 0, "ports that failed: see above");
}

#[tokio::test]
async fn a_partial_line_is_seen_at_once_and_silence_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot("amd64", dir.path()).await;
    let idle = Duration::from_secs(2);
    let mut stream = guest
        .run("printf 'tc-start: x'; sleep 1000", idle, MINUTE)
        .await
        .unwrap();
    let first = stream.next().await.unwrap();
    assert_eq!(first, Output::Chunk(b"tc-start: x".to_vec()));
    let error = stream.next().await.unwrap_err();
    let crash = error.crash().expect("silence counts as a hang");
    let GuestError::Silent {
        total: false,
        evidence,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert_eq!(
        (crash.kind, crash.title.as_str()),
        (CrashKind::Hang, "hang")
    );
    let lines: Vec<&str> = evidence
        .iter()
        .flat_map(|s| &s.lines)
        .map(String::as_str)
        .collect();
    let all = lines.join("\n");
    assert!(all.contains("status: running"), "{all}");
    let asked = |name: &str| evidence.iter().any(|s| s.name.contains(name));
    assert!(
        asked("sysrq-l") && asked("sysrq-t") && !asked("sysrq-d"),
        "{evidence:#?}"
    );
    assert!(all.contains("RIP=") || all.contains("EIP="), "{all}");
    assert!(all.contains("sysrq: "), "{all}");
    assert_eq!(guest.end(false).await.exit, "signal 9");
}

#[tokio::test]
async fn a_command_that_talks_for_ever_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot("amd64", dir.path()).await;
    let mut stream = guest
        .run("yes", MINUTE, Duration::from_secs(2))
        .await
        .unwrap();
    let error = loop {
        match stream.next().await {
            Ok(Output::Chunk(_)) => {}
            Ok(Output::End(status)) => panic!("yes ended with {status}"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, GuestError::Silent { total: true, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn whoever_turns_the_machine_off_is_named() {
    for (command, expected) in [
        ("poweroff -f", "guest-shutdown"),
        ("reboot -f", "guest-reset"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut guest = boot("amd64", dir.path()).await;
        let (_, end) = try_output(&mut guest, command).await;
        let Err(GuestError::ShutDown { reason }) = end else {
            panic!("{command}: {end:?}");
        };
        assert_eq!(reason, expected);
    }
}

#[tokio::test]
async fn the_emulators_death_is_not_the_guests() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot("amd64", dir.path()).await;
    let pid = rustix::process::Pid::from_raw(guest.pid().try_into().unwrap()).unwrap();
    let mut stream = guest
        .run("echo a; sleep 1000", MINUTE, MINUTE)
        .await
        .unwrap();
    assert_eq!(stream.next().await.unwrap(), Output::Chunk(b"a".to_vec()));
    rustix::process::kill_process(pid, rustix::process::Signal::SEGV).unwrap();
    let error = loop {
        match stream.next().await {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    let GuestError::EmulatorExited { status, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(status, "signal 11");
}

#[tokio::test]
async fn a_test_that_ends_the_agent_costs_this_guest_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = boot("amd64", dir.path()).await;
    let (_, end) = try_output(&mut guest, "kill -9 $PPID").await;
    assert!(matches!(end, Err(GuestError::AgentLost { .. })), "{end:?}");
}

#[tokio::test]
async fn people_attach_to_the_console() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec("amd64", dir.path());
    spec.label = format!("attach {}", std::process::id());
    let guest = Guest::boot(&spec, LIMITS, Box::new(Recogniser::new()))
        .await
        .unwrap();
    let live = rundir::live(&spec.run_base);
    let ours = live.iter().find(|l| l.record.label == spec.label).unwrap();
    let mut socket = tokio::net::UnixStream::connect(&ours.console)
        .await
        .unwrap();
    socket.write_all(b"echo $((40+2))th\n").await.unwrap();
    let mut seen = Vec::new();
    let mut piece = [0; 512];
    let read = async {
        while !String::from_utf8_lossy(&seen).contains("42th") {
            let n = socket.read(&mut piece).await.unwrap();
            assert_ne!(n, 0, "the console closed");
            seen.extend_from_slice(&piece[..n]);
        }
    };
    tokio::time::timeout(MINUTE, read).await.unwrap();
    assert!(guest.console().screen().join("\n").contains("42th"));
    guest.end(false).await;
    assert!(
        !rundir::live(&spec.run_base)
            .iter()
            .any(|l| l.record.label == spec.label)
    );
}

#[tokio::test]
async fn a_flooded_console_is_cut_and_still_watched() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec("amd64", dir.path());
    spec.console_cap_bytes = 200_000;
    let mut guest = Guest::boot(&spec, LIMITS, Box::new(Recogniser::new()))
        .await
        .unwrap();
    let flood = "yes flood | head -c 2000000 >/dev/console; echo c >/proc/sysrq-trigger";
    let (_, end) = try_output(&mut guest, flood).await;
    assert!(matches!(end, Err(GuestError::Crashed(_))), "{end:?}");
    let report = guest.end(false).await;
    assert!(report.console.bytes > 2_000_000 && report.console.cut_bytes > 1_500_000);
    let text = std::fs::read_to_string(&spec.console_file).unwrap();
    assert!(text.len() < 200_100);
    assert!(text.contains(" bytes cut here]") && text.contains("sysrq triggered crash"));
}

#[tokio::test]
async fn a_refused_machine_and_a_missing_kernel_are_the_hosts_fault() {
    let dir = tempfile::tempdir().unwrap();
    let mut bad_machine = spec("amd64", dir.path());
    bad_machine.port.emulator.machine = "no-such-machine".to_owned();
    let mut no_kernel = spec("amd64", dir.path());
    no_kernel.kernel = image("amd64").join("none");
    for (spec, expected) in [(bad_machine, "no-such-machine"), (no_kernel, "none")] {
        let refused = Guest::boot(&spec, LIMITS, Box::new(Recogniser::new())).await;
        let Err(GuestError::EmulatorRefused { stderr }) = refused else {
            panic!("{refused:?}");
        };
        assert!(stderr.contains(expected), "{stderr}");
    }
}

#[tokio::test]
async fn a_system_without_an_agent_is_shown_by_its_last_screen() {
    let dir = tempfile::tempdir().unwrap();
    let mut spec = spec("amd64", dir.path());
    spec.port.emulator.append = port("amd64")
        .emulator
        .append
        .replace("quiet", "rdinit=/bin/sh");
    let limits = fallout::guest::Limits {
        boot: Duration::from_secs(40),
        ..LIMITS
    };
    let late = Guest::boot(&spec, limits, Box::new(Recogniser::new())).await;
    let Err(GuestError::BootTimedOut { last_screen, .. }) = late else {
        panic!("{late:?}");
    };
    assert!(last_screen.join("\n").contains("Linux") || !last_screen.is_empty());
}
