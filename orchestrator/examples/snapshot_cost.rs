//! What a saved guest spares: boots and restores of one guest in turns, and what saving costs.
//!
//! usage: cargo run --release --example snapshot_cost -- MANIFEST KERNEL INITRD [ROUNDS]

use std::time::{Duration, Instant};

use fallout::crash::Recogniser;
use fallout::guest::{Guest, GuestSpec, Limits};
use fallout::host::dirs::Dirs;
use fallout::host::process::cpu_of;
use fallout::model::Port;

const LIMITS: Limits = Limits {
    boot: Duration::from_secs(300),
    idle: Duration::from_secs(60),
};

type Failure = Box<dyn std::error::Error>;

/// Until the first answer, until the guest is ready for a suite, and the emulator's CPU time.
#[derive(Default)]
struct Cost {
    answer: Duration,
    ready: Duration,
    cpu: Duration,
}

impl Cost {
    fn of(guest: &Guest, begun: Instant) -> Self {
        Self {
            answer: guest.boot_time(),
            ready: begun.elapsed(),
            cpu: cpu_of(guest.pid()),
        }
    }

    fn add(&mut self, other: &Self) {
        self.answer += other.answer;
        self.ready += other.ready;
        self.cpu += other.cpu;
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [manifest, kernel, initrd, rest @ ..] = &args[..] else {
        return Err("usage: snapshot_cost MANIFEST KERNEL INITRD [ROUNDS]".into());
    };
    let rounds: u32 = rest.first().map_or(Ok(3), |n| n.parse())?;
    let port: Port = serde_yaml::from_str(&std::fs::read_to_string(manifest)?)?;
    let name = port.port.clone();
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("state");
    let spec = GuestSpec {
        port,
        kernel: kernel.into(),
        initrd: initrd.into(),
        label: "snapshot_cost".to_owned(),
        run_base: Dirs::from_env()?.runtime.into(),
        console_file: dir.path().join("console"),
        console_cap_bytes: 64 << 20,
    };
    let watch = || Box::new(Recogniser::new());
    let (mut booted, mut restored) = (Cost::default(), Cost::default());
    let mut save = Duration::ZERO;
    for _ in 0..rounds {
        let begun = Instant::now();
        let mut guest = Guest::boot(&spec, LIMITS, watch()).await?;
        booted.add(&Cost::of(&guest, begun));
        let begun = Instant::now();
        guest.save(&state).await?;
        save += begun.elapsed();
        guest.end(false).await;
        let begun = Instant::now();
        let guest = Guest::restore(&spec, LIMITS, watch(), &state).await?;
        restored.add(&Cost::of(&guest, begun));
        guest.end(false).await;
    }
    let mean = |time: Duration| time.as_secs_f64() / f64::from(rounds);
    let ratio = |a: Duration, b: Duration| a.as_secs_f64() / b.as_secs_f64();
    println!(
        "{name:<9} answers {:6.2} / {:.2} s = {:4.1}  ready {:6.2} / {:.2} s = {:4.1}  CPU {:5.2} / {:.2} s = {:4.1}  save {:.2} s  file {} MiB",
        mean(booted.answer),
        mean(restored.answer),
        ratio(booted.answer, restored.answer),
        mean(booted.ready),
        mean(restored.ready),
        ratio(booted.ready, restored.ready),
        mean(booted.cpu),
        mean(restored.cpu),
        ratio(booted.cpu, restored.cpu),
        mean(save),
        std::fs::metadata(&state)?.len() >> 20
    );
    Ok(())
}
