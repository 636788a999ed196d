//! What fallout adds to a guest: time until it answers against the same command line run raw, and
//! fallout's own CPU time beside the emulators', at boot and while a console is flooded.
//!
//! usage: cargo run --release --example guest_cost -- MANIFEST KERNEL INITRD [ROUNDS]

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fallout::crash::Recogniser;
use fallout::guest::{Guest, GuestSpec, Limits, Output, command};
use fallout::host::dirs::Dirs;
use fallout::host::process::cpu_of;
use fallout::model::Port;

const LIMITS: Limits = Limits {
    boot: Duration::from_secs(300),
    idle: Duration::from_secs(60),
};

type Failure = Box<dyn std::error::Error>;

/// The emulator with the same words and nobody but a reader of its sockets: until the greeting.
fn raw(spec: &GuestSpec, dir: &Path) -> Result<(Duration, Duration), Failure> {
    let (agent, qmp) = (dir.join("a"), dir.join("q"));
    let _ = (std::fs::remove_file(&agent), std::fs::remove_file(&qmp));
    let (agent_socket, _qmp_socket) = (UnixListener::bind(&agent)?, UnixListener::bind(&qmp)?);
    let text = |p: &Path| p.to_string_lossy().into_owned();
    let (kernel, initrd) = (text(&spec.kernel), text(&spec.initrd));
    let (agent, qmp) = (text(&agent), text(&qmp));
    let paths = command::Paths {
        kernel: &kernel,
        initrd: &initrd,
        exchange: "",
        agent: &agent,
        qmp: &qmp,
    };
    let emulator = &spec.port.emulator;
    let begun = Instant::now();
    let mut child = Command::new(&emulator.program)
        .args(command::arguments(emulator, &paths, true))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let (stream, _) = agent_socket.accept()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let (wall, cpu) = (begun.elapsed(), cpu_of(child.id()));
    child.kill()?;
    child.wait()?;
    Ok((wall, cpu))
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [manifest, kernel, initrd, rest @ ..] = &args[..] else {
        return Err("usage: guest_cost MANIFEST KERNEL INITRD [ROUNDS]".into());
    };
    let rounds: u32 = rest.first().map_or(Ok(5), |n| n.parse())?;
    let port: Port = serde_yaml::from_str(&std::fs::read_to_string(manifest)?)?;
    let dir = tempfile::tempdir()?;
    let spec = GuestSpec {
        port,
        kernel: kernel.into(),
        initrd: initrd.into(),
        label: "guest_cost".to_owned(),
        run_base: Dirs::from_env()?.runtime.into(),
        console_file: dir.path().join("console"),
        console_cap_bytes: 64 << 20,
    };
    let own = || cpu_of(std::process::id());

    println!("round  raw wall/cpu s   fallout wall/cpu s");
    let (mut raw_cpu, mut our_cpu) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=rounds {
        let (wall, cpu) = raw(&spec, dir.path())?;
        let guest = Guest::boot(&spec, LIMITS, Box::new(Recogniser::new())).await?;
        let (our_wall, guest_cpu) = (guest.boot_time(), cpu_of(guest.pid()));
        println!(
            "{round:5}  {:.3}/{:.2}  {:.3}/{:.2}",
            wall.as_secs_f64(),
            cpu.as_secs_f64(),
            our_wall.as_secs_f64(),
            guest_cpu.as_secs_f64()
        );
        raw_cpu += cpu;
        our_cpu += guest_cpu;
        guest.end(false).await;
    }
    println!(
        "emulator CPU to the greeting, fallout / raw: {:.3}",
        our_cpu.as_secs_f64() / raw_cpu.as_secs_f64()
    );

    let before = own();
    let boot = || Guest::boot(&spec, LIMITS, Box::new(Recogniser::new()));
    let (first, second) = tokio::join!(boot(), boot());
    let (mut first, second) = (first?, second?);
    let emulators = cpu_of(first.pid()) + cpu_of(second.pid());
    report("two guests booted", own() - before, emulators);

    for (what, command) in [
        (
            "console flood",
            "timeout 10 yes 0123456789abcdef0123456789abcdef >/dev/console",
        ),
        (
            "agent flood",
            "timeout 10 yes 0123456789abcdef0123456789abcdef",
        ),
    ] {
        let (before, guest_before) = (own(), cpu_of(first.pid()));
        let console_before = first.console().pulse().bytes;
        let mut bytes = 0;
        let mut stream = first.run(command, LIMITS.idle, LIMITS.boot).await?;
        while let Output::Chunk(chunk) = stream.next().await? {
            bytes += chunk.len() as u64;
        }
        bytes += first.console().pulse().bytes - console_before;
        println!("{what}: {:.1} MiB", bytes as f64 / f64::from(1 << 20));
        report(what, own() - before, cpu_of(first.pid()) - guest_before);
    }
    first.end(false).await;
    second.end(false).await;
    Ok(())
}

fn report(what: &str, own: Duration, emulators: Duration) {
    println!(
        "{what}: fallout {:.2} s CPU, emulators {:.2} s: {:.2}%",
        own.as_secs_f64(),
        emulators.as_secs_f64(),
        100.0 * own.as_secs_f64() / emulators.as_secs_f64()
    );
}
