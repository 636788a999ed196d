//! Kills fallout and its emulators at random moments, many times, over a small matrix on real
//! emulators, and checks after every run that nothing was lost, nothing is left and the verdict is
//! that of an undisturbed run.
//!
//! ```text
//! cargo build --release && cargo run --release --example kill_storm -- 200 arm64,s390x 1
//! ```

#[path = "../tests/support/storm.rs"]
mod storm;
#[path = "../tests/support/tiny.rs"]
#[allow(dead_code, reason = "shared with tests that use more of it")]
mod tiny;

use std::time::{Duration, Instant};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or(default.to_owned());
    let kills = word(0, "200").parse().expect("number of kills");
    let ports = word(1, "arm64,s390x").replace(',', ", ");
    let seed = word(2, "1").parse().expect("a seed");
    let here = std::env::current_exe().expect("the program's own path");
    let beside = here
        .parent()
        .and_then(|p| p.parent())
        .expect("a target directory");
    let binary = words.get(3).map_or(beside.join("fallout"), Into::into);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let matrix = storm::suite(dir.path(), &ports);
    let began = Instant::now();
    let pause = Duration::from_secs(4);
    let tally = storm::rage(&binary, &matrix, kills, pause, seed, &mut std::io::stdout());
    println!(
        "{} kills of fallout, {} of emulators, {} runs, {} resumes in {:.0} s: nothing lost, nothing \
         left behind, the same verdict every time",
        tally.of_fallout,
        tally.of_emulators,
        tally.runs,
        tally.resumes,
        began.elapsed().as_secs_f64()
    );
}
