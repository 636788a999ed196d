//! Kills fallout and its emulators at random moments, many times, over a small matrix on real
//! emulators, and checks after every run that nothing was lost, nothing is left and the verdict is
//! that of an undisturbed run.
//!
//! ```text
//! cargo build --release && cargo run --release --example kill_storm -- 200 arm64,s390x 1
//! cargo run --release --example kill_storm -- 200 matrices/test.yaml 1 hints
//! ```
//!
//! Instead of ports it takes a matrix. The words after the seed name cases whose outcome is a matter
//! of chance, such as a planted flake.

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
    let subject = word(1, "arm64,s390x");
    let seed = word(2, "1").parse().expect("a seed");
    let here = std::env::current_exe().expect("the program's own path");
    let beside = here
        .parent()
        .and_then(|p| p.parent())
        .expect("a target directory");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let given = std::path::Path::new(&subject);
    let over = storm::Over {
        matrix: &match given.extension() {
            Some(_) => given.canonicalize().expect("a matrix"),
            None => storm::suite(dir.path(), &subject.replace(',', ", ")),
        },
        chancy: words.get(3..).unwrap_or_default(),
        kills,
        pause: Duration::from_secs(4),
        seed,
    };
    let began = Instant::now();
    let tally = storm::rage(&beside.join("fallout"), &over, &mut std::io::stdout());
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
