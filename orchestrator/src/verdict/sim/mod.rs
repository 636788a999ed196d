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

#[cfg(test)]
mod tests;
