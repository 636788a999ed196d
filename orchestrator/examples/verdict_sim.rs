//! Measures the judge in a world where it is known what every case is bound to, beside the rule
//! that everybody uses. Draws are numbered by their seeds, so the figures can be had again.
//!
//! usage: `verdict_sim [DRAWS [FIRST_SEED [passes]]]`; 100 draws from seed 1 by default

use std::time::Instant;

use fallout::verdict::sim::{Draw, Score, SideBySide, World, by_judge, by_obvious_rule, score};

fn main() {
    let mut words = std::env::args().skip(1).map(|w| w.parse::<u64>().ok());
    let mut next = |default: u64| words.next().flatten().unwrap_or(default);
    let (draws, first, passes) = (next(100), next(1), next(1));
    let world = World {
        passes: passes as u32,
        ..World::full()
    };
    println!("{world:#?}");
    println!(
        "draws {draws}, seeds {first} to {}, budget 10 % extra attempts\n",
        first + draws.saturating_sub(1)
    );
    let (mut judge, mut rule) = (Score::default(), Score::default());
    let began = Instant::now();
    for seed in first..first + draws {
        let draw = Draw::new(&world, seed);
        let (said, spent) = by_judge(&draw, draw.attempts / 10, seed);
        judge.add(&score(&draw, &said, spent));
        let (said, spent) = by_obvious_rule(&draw, seed);
        rule.add(&score(&draw, &said, spent));
    }
    print!("{}", SideBySide(&judge, &rule));
    println!("\n{:.1} s", began.elapsed().as_secs_f64());
}
