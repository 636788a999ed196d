//! YAML in, a graph of jobs out: pure.
//!
//! [`matrix`] is the file's shape, [`resolve`] joins it with projects and manifests, [`graph`]
//! makes [`job`]s of it, and [`schedule`] says which of them start next. Files are read, hashes
//! made and caches asked elsewhere; what they say is handed in as values.

pub mod baseline;
pub mod cluster;
pub mod graph;
pub mod job;
pub mod kernels;
pub mod matrix;
pub mod policy;
pub mod release;
pub mod resolve;
pub mod schedule;
pub mod share;
pub mod slowness;

pub use baseline::Baseline;
pub use graph::{Facts, ImageFact, SourceFact, plan};
pub use job::{Inputs, Job, JobIx, Plan, Todo, Work};
pub use kernels::{KernelFact, System};
pub use matrix::Matrix;
pub use policy::{Adaptive, Order, Repeats, Shards, memory_byte};
pub use resolve::{Resolved, Suite};
pub use schedule::{Capacity, Schedule, Skip, forecast};
