//! Jobs on a cluster: the policy alone. What is submitted when, what a queue's listing means, when a
//! job counts as lost. No I/O: [`crate::engine::cluster`] runs the commands and reads the files.
//!
//! ```text
//! settings --class--> desk --Submission--> argv ==> sbatch
//!                      ^                             squeue ==> listing --rows--> desk
//! ```
//!
//! The scheduler is Slurm's. fallout hands over what is ready, and no more than the site's limits
//! allow. It does not give the graph to Slurm (`--dependency`): the key of a cell is the hash of what
//! its build made, and a build that made the same as before leaves the cells behind it cached.

pub mod desk;
pub mod listing;
pub mod settings;
pub mod sim;
pub mod submit;

pub use desk::{Desk, Handle, Loss, Submission};
pub use listing::{Phase, Row, parse_listing};
pub use settings::Cluster;
pub use submit::{Class, Refusal};
