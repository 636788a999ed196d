//! Drawn measurements of two variants with a known difference, and how often it is found. Pure.

use super::{Answer, compare};
use crate::verdict::dice::Dice;

/// What disturbs a measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// Normal, with this relative spread.
    Normal(f64),
    /// Normal with this relative spread, and now and then (one in ten) three times as long.
    Outliers(f64),
    /// Without a mean: the ratio of two normal numbers, with this scale.
    Cauchy(f64),
    /// Normal, and slower and slower: the host heats up. Relative spread, and drift for each pair.
    Drift(f64, f64),
    /// A count of instructions: normal with this relative spread, in whole steps of a thousand in
    /// two hundred million.
    Count(f64),
}

impl Noise {
    fn value(self, dice: &mut Dice, at: usize) -> f64 {
        match self {
            Self::Normal(spread) => 1.0 + spread * dice.normal(),
            Self::Outliers(spread) => {
                let long = if dice.chance(0.1) { 3.0 } else { 1.0 };
                long * (1.0 + spread * dice.normal())
            }
            Self::Cauchy(scale) => (scale * dice.normal() / dice.normal()).exp(),
            Self::Drift(spread, drift) => 1.0 + drift * at as f64 + spread * dice.normal(),
            Self::Count(spread) => {
                let count = 2e5 * (1.0 + spread * dice.normal());
                count.round() / 2e5
            }
        }
    }
}

/// Of so many benchmarks with `pairs` pairs each, with B longer by the factor `ratio`: how many
/// called B slower, and how many called it faster.
pub fn trials(noise: Noise, ratio: f64, pairs: usize, trials: u32, seed: u64) -> (u32, u32) {
    let mut dice = Dice::new(seed);
    let (mut slower, mut faster) = (0, 0);
    for trial in 0..trials {
        let measured: Vec<(f64, f64)> = (0..pairs)
            .map(|i| {
                // A and B change places from pair to pair, as in a real benchmark.
                let (first, second) = (
                    noise.value(&mut dice, 2 * i),
                    noise.value(&mut dice, 2 * i + 1),
                );
                let (a, b) = if i % 2 == 0 {
                    (first, second)
                } else {
                    (second, first)
                };
                (a.max(1e-9), b.max(1e-9) * ratio)
            })
            .collect();
        match compare(&measured, u64::from(trial)).answer {
            Answer::Slower => slower += 1,
            Answer::Faster => faster += 1,
            Answer::NoDifference | Answer::TooFew => {}
        }
    }
    (slower, faster)
}
