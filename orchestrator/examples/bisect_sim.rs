//! What a noise-aware bisection costs beside a repeated `git bisect`, on drawn histories.
//!
//! `cargo run --release --example bisect_sim [HISTORIES]`

use fallout::verdict::bisect::simulate::{SEEN, World, cheapest_rule, least_runs, rival, search};

const RATES: [(f64, f64); 8] = [
    (0.3, 0.0),
    (0.3, 0.005),
    (0.3, 0.01),
    (0.3, 0.02),
    (0.3, 0.05),
    (0.5, 0.0),
    (0.1, 0.0),
    (1.0, 0.0),
];

fn main() {
    let trials = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let trials: u32 = trials.unwrap_or(1000);
    println!(
        "{trials} histories of 1024 commits, confidence 95%. Columns: right answers, runs each.\n\
         'told': the rates are known, as they are to the rivals; 'untold': {SEEN} attempts seen at \
         either end.\n\
         Rivals: git bisect with repeats, each step to its end, or until its answer is certain.\n\
         'limit': no procedure that is right in 95% can need fewer runs.\n"
    );
    println!(
        "bad   good  |   told        |  untold       |  rival, to the end      |  rival, early \
         end       | limit"
    );
    for (bad, good) in RATES {
        let world = World {
            revisions: 1024,
            bad,
            good,
            unbuildable: 0.0,
        };
        print!("{bad:<5} {good:<5} |");
        for known in [true, false] {
            let ours = search(world, known, 1, trials, 1);
            print!(
                " {:>5.1}% {:>6.1} |",
                100.0 * ours.accuracy(),
                ours.mean_runs()
            );
        }
        for early in [false, true] {
            match cheapest_rule(world, 0.95, early) {
                Some(rule) => {
                    let theirs = rival(world, rule, trials, 1);
                    print!(
                        " {:>2} of {:<3} {:>5.1}% {:>6.1} |",
                        rule.fails,
                        rule.repeats,
                        100.0 * theirs.accuracy(),
                        theirs.mean_runs()
                    );
                }
                None => print!(" more than 200 repeats   |"),
            }
        }
        println!(" {:>5.1}", least_runs(world, 0.95));
    }
}
