//! fallout finds the fallout of an operating-system change on every architecture.
//!
//! The modules below stand in the order of the pipeline:
//!
//! ```text
//! trigger -> plan -> build -> image -> guest -> suite -> crash -> verdict -> report
//! ```
//!
//! [`model`] holds what they hand over; [`engine`] composes them and is the only one that knows
//! them all; [`store`] keeps every event; [`host`] has every side effect on the host; [`web`] is the
//! daemon's pages and API; [`cli`] is what people type. Stages never import each other: a test in `tests/` checks the edges.

// Test support is shared with the examples, which know this crate by its name.
#[cfg(test)]
extern crate self as fallout;

pub mod model;

pub mod build;
pub mod crash;
pub mod guest;
pub mod image;
pub mod plan;
pub mod report;
pub mod signoff;
pub mod suite;
pub mod tell;
pub mod trigger;
pub mod verdict;

pub mod engine;
pub mod host;
pub mod store;

pub mod web;

pub mod cli;
