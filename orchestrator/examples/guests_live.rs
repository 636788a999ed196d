//! How much memory fallout itself needs while many guests are live: boots one guest of each port
//! at once, lets them stand at their prompt, reads its own resident memory, then runs a command in
//! all of them at once and reads it again.
//!
//! usage: cargo run --release --example guests_live -- [PORT ...]     all ports by default

#[path = "../tests/support/guests.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod support;

use std::time::Duration;

use fallout::crash::Recogniser;
use fallout::guest::{Guest, Limits, Output};

type Failure = Box<dyn std::error::Error>;

/// Nine guests on two cores need their time.
const LIMITS: Limits = Limits {
    boot: Duration::from_secs(900),
    idle: Duration::from_secs(300),
};

/// Resident memory of this process, now and at most, in MiB.
fn resident_mib() -> Result<(f64, f64), Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let mib = |field: &str| -> Result<f64, Failure> {
        let line = text.lines().find_map(|l| l.strip_prefix(field));
        let kib = line.and_then(|l| l.trim().strip_suffix("kB"));
        Ok(kib.ok_or("no such field")?.trim().parse::<f64>()? / 1024.0)
    };
    Ok((mib("VmRSS:")?, mib("VmHWM:")?))
}

fn show(when: &str) -> Result<(), Failure> {
    let (now, most) = resident_mib()?;
    println!("{when}: fallout has {now:.1} MiB resident, at most {most:.1} MiB so far");
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut ports: Vec<String> = std::env::args().skip(1).collect();
    if ports.is_empty() {
        ports = support::ports();
    }
    let dir = tempfile::tempdir()?;
    show("before")?;
    let mut booting = tokio::task::JoinSet::new();
    for port in &ports {
        let spec = support::spec(port, dir.path());
        booting.spawn(async move { Guest::boot(&spec, LIMITS, Box::new(Recogniser::new())).await });
    }
    let mut guests = Vec::new();
    while let Some(guest) = booting.join_next().await {
        guests.push(guest??);
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    show(&format!("{} guests live, at their prompts", guests.len()))?;

    let mut talking = tokio::task::JoinSet::new();
    for mut guest in guests {
        talking.spawn(async move {
            let mut bytes = 0;
            let command = "head -c 4194304 /dev/urandom | od -v";
            let mut stream = guest.run(command, LIMITS.idle, LIMITS.boot).await?;
            while let Output::Chunk(chunk) = stream.next().await? {
                bytes += chunk.len();
            }
            Ok::<_, fallout::guest::GuestError>((guest, bytes))
        });
    }
    let (mut guests, mut bytes) = (Vec::new(), 0);
    while let Some(done) = talking.join_next().await {
        let (guest, n) = done??;
        guests.push(guest);
        bytes += n;
    }
    show(&format!(
        "{} guests live, {} MiB read from them at once",
        guests.len(),
        bytes >> 20
    ))?;
    for guest in guests {
        guest.end(false).await;
    }
    Ok(())
}
