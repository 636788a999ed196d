//! How often a paired benchmark is wrong, and what it finds, on drawn measurements.
//!
//! `cargo run --release --example bench_sim [TRIALS]`

use fallout::verdict::bench::simulate::{Noise, trials};

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let count: u32 = count.unwrap_or(1000);
    println!(
        "{count} benchmarks of each kind: B called different where it is identical, and slower where it is\n"
    );
    println!(
        "{:<22} {:>5} | {:>9} | {:>7} {:>7} {:>7}",
        "noise", "pairs", "identical", "+0.1%", "+1%", "+5%"
    );
    for pairs in [10, 30] {
        for (name, noise) in [
            ("normal 3%", Noise::Normal(0.03)),
            ("normal 3%, outliers", Noise::Outliers(0.03)),
            ("Cauchy 3%", Noise::Cauchy(0.03)),
            ("normal 3%, drift 2%", Noise::Drift(0.03, 0.02)),
            ("counts, 0.0034%", Noise::Count(0.000_034)),
        ] {
            let (slower, faster) = trials(noise, 1.0, pairs, count, 1);
            print!(
                "{name:<22} {pairs:>5} | {:>8.2}% |",
                100.0 * f64::from(slower + faster) / f64::from(count)
            );
            for ratio in [1.001, 1.01, 1.05] {
                let (slower, _) = trials(noise, ratio, pairs, count / 5, 2);
                print!(
                    " {:>6.1}%",
                    100.0 * f64::from(slower) / f64::from((count / 5).max(1))
                );
            }
            println!();
        }
    }
}
