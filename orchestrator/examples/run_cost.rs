//! What a run cost: its wall time against what two (or N) busy cores would have needed for its
//! guests, boots apart.
//!
//! usage: cargo run --release --example run_cost -- REPORT.json [CORES]

use std::time::Duration;

use fallout::report;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, rest @ ..] = &args[..] else {
        return Err("usage: run_cost REPORT.json [CORES]".into());
    };
    let cores: f64 = rest.first().map_or(Ok(2.0), |n| n.parse())?;
    let run = report::json::read(&std::fs::read_to_string(path)?)?;
    let guests: Vec<_> = run
        .cells
        .iter()
        .filter(|c| !c.cached)
        .flat_map(|c| &c.guests)
        .collect();
    let sum = |of: fn(&fallout::model::GuestRecord) -> Duration| -> f64 {
        guests.iter().map(|g| of(g).as_secs_f64()).sum()
    };
    let (cpu, wall, boot) = (sum(|g| g.cpu), sum(|g| g.wall), sum(|g| g.boot));
    let attempts: usize = run.cells.iter().map(|c| c.attempts.len()).sum();
    println!(
        "{} guests, {attempts} attempts, run {:.1} s",
        guests.len(),
        run.took.as_secs_f64()
    );
    println!("guests: {cpu:.1} s CPU, {wall:.1} s wall, of which {boot:.1} s boots");
    println!(
        "run / (guests' CPU / {cores} cores): {:.2}",
        run.took.as_secs_f64() / (cpu / cores)
    );
    Ok(())
}
