//! Kernels that are killed for real: the same death has the same title and signature on machines of
//! both byte orders and both word sizes. The images of the ports are needed.

// Not all of what the tests of guests share is needed here.
#[allow(dead_code)]
#[path = "support/guests.rs"]
mod guests;

use fallout::crash::Recogniser;
use fallout::guest::{Guest, GuestError};
use fallout::model::{Crash, CrashKind};
use guests::{LIMITS, spec, try_output};

/// Boots a guest, kills it with a command, and gives the crash.
async fn death(port: &str, command: &str) -> Crash {
    let dir = tempfile::tempdir().unwrap();
    let spec = spec(port, dir.path());
    let mut guest = Guest::boot(&spec, LIMITS, Box::new(Recogniser::new()))
        .await
        .unwrap_or_else(|e| panic!("{port}: {e:?}"));
    match try_output(&mut guest, command).await {
        (_, Err(GuestError::Crashed(crash))) => *crash,
        other => panic!("{port}: {other:?}"),
    }
}

#[tokio::test]
async fn one_death_has_one_name_on_all_machines() {
    // The shell eats all memory, and the kernel may not choose a victim.
    let hog = "echo 2 >/proc/sys/vm/panic_on_oom; x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";
    let mut seen: Vec<(String, String)> = Vec::new();
    for port in ["amd64", "s390x", "i386"] {
        let crash = death(port, hog).await;
        assert_eq!(crash.kind, CrashKind::Panic, "{port}");
        let telling = crash.telling().join("\n");
        assert!(telling.contains("compulsory panic_on_oom"), "{telling}");
        seen.push((crash.title, crash.signature));
    }
    assert_eq!(
        seen[0].0,
        "kernel panic: Out of memory: compulsory panic_on_oom is enabled"
    );
    assert!(seen.iter().all(|one| *one == seen[0]), "{seen:?}");
}
