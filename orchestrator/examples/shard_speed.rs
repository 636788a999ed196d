//! How much faster two guests of a cell are than one: the same suite of equal cases with `shards: 1`
//! and `shards: 2` in turns, on two cores.
//!
//! ```text
//! cargo build --release && cargo run --release --example shard_speed -- arm64 3
//! ```
//!
//! The time is the cell's, from its first guest's start to its end, boots among it; and, beside it,
//! what is left without the first boot, because one boot is the price of a cell however it is cut.

#[path = "../tests/support/tiny.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod tiny;

use tiny::Fallout;

/// Seconds of a log's first event of a kind, and of its last.
fn when(log: &str, event: &str) -> Option<jiff::Timestamp> {
    let marker = format!("\"event\":\"{event}\"");
    let line = log.lines().find(|line| line.contains(&marker))?;
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value["at"].as_str()?.parse().ok()
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let port = words.first().map_or("arm64", String::as_str);
    let rounds: u32 = words
        .get(1)
        .map_or(3, |w| w.parse().expect("a number of rounds"));
    let here = std::env::current_exe().expect("the program's own path");
    let beside = here
        .parent()
        .and_then(|p| p.parent())
        .expect("a target directory");
    let binary = words.get(2).map_or(beside.join("fallout"), Into::into);
    // Work that keeps an emulated processor busy: equal in all cases.
    let body =
        |_| "volatile unsigned x = 1; for (int i = 0; i < 20000000; i++) x = x * 5 + 1;".to_owned();
    let programs = tiny::programs(40, 10, body);
    let mut sums = [[0.0; 2]; 2];
    for round in 1..=rounds {
        for shards in 1..=2_usize {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let field = format!("shards: {shards}");
            let matrix = tiny::write(dir.path(), &programs, port, &[&field], "");
            let fallout = Fallout::new(&binary);
            let report = fallout.run(&matrix, 2);
            assert_eq!(tiny::outcomes(&report).len(), 400);
            let log = fallout.log();
            let at = |event| when(&log, event).unwrap_or_else(|| panic!("no {event}"));
            let seconds =
                |from: jiff::Timestamp| at("cell_finished").duration_since(from).as_secs_f64();
            // The job of the cell starts with its first guest.
            let job = log
                .lines()
                .filter(|l| l.contains("\"event\":\"job_started\"") && l.contains("cell "))
                .find_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
            let job = job.and_then(|v| v["at"].as_str()?.parse().ok());
            let times = [
                seconds(job.expect("a cell's job")),
                seconds(at("suite_listed")),
            ];
            println!(
                "round {round}, shards {shards}: {:.1} s, {:.1} s without boot",
                times[0], times[1]
            );
            for (sum, time) in sums.iter_mut().zip(times) {
                sum[shards - 1] += time;
            }
        }
    }
    for (what, [one, two]) in ["the cell", "after the first boot"].iter().zip(sums) {
        println!(
            "{what}: two guests are {:.2} times as fast as one",
            one / two
        );
    }
}
