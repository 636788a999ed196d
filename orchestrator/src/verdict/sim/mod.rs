//! A simulated world in which it is known what every case is bound to: what the judge is measured
//! with, and a source of matrices for tests.
//!
//! ```text
//! world   ports, variants, cases and their planted causes, by seed; attempts by rates
//! play    the judge with its repeats, and the obvious rule, each over the same draws
//! score   who said what of which planted cause
//! ```
//!
//! The world was written down before the judge was tried in it, with a reason for each number
//! ([`world::World`]), and its shapes are not the judge's: the judge's priors know neither its
//! rates nor its numbers of causes. Same seed, same draw, on every machine.

mod play;
mod score;
mod world;

pub use play::{Said, by_judge, by_obvious_rule};
pub use score::{Score, SideBySide, score};
pub use world::{Cause, Draw, Planted, World};

/// A small generator of random numbers whose sequence will never change (SplitMix64).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Starts at a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between 0 and 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True with this chance.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Below `n`, which must not be 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize % n
    }

    /// One of several.
    pub fn pick<'t, T>(&mut self, items: &'t [T]) -> &'t T {
        &items[self.below(items.len())]
    }

    /// Between two numbers.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }

    /// From the normal distribution.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests;
