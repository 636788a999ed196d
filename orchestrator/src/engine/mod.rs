//! Runs the plan's jobs; the only module that knows all stages.
//!
//! ```text
//! Setup --plan--> Plan --dispatch--> jobs --> events --> Bus --> log, watchers
//!   facts           schedule          |
//!                                     +-- image, build (jobs.rs), kernel (kernels.rs)
//!                                     +-- cell (cell.rs: how many guests; life.rs, session.rs: one guest;
//!                                     |             ledger.rs: what is owed)
//!                                     +-- any of these on a node of a cluster (cluster/)
//! ```

mod accounts;
mod adaptive;
pub mod ancestry;
pub mod baseline;
pub mod bench;
pub mod bisect;
pub mod breaks;
pub mod bus;
pub mod cell;
pub mod cluster;
pub mod earlier;
pub mod facts;
mod finish;
pub mod guests;
pub mod import;
pub mod install;
pub mod jobs;
pub mod kernels;
pub mod ledger;
mod life;
mod past;
pub mod polluter;
mod prepare;
pub mod probe;
pub mod repro;
pub mod revisions;
pub mod run;
mod session;
pub mod shards;
pub mod signoff;
pub mod sources;
mod start;
pub mod suspect;
pub mod trial;

pub use facts::{Memory, Setup};
pub use finish::ended;
pub use run::{Finished, execute};

use crate::store::StoreError;

/// Why a run could not be carried out. A failure of the system under test is never one of these.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// What the user gave is wrong.
    #[error("{0}")]
    Input(String),
    /// The host could not do its part.
    #[error("{0}")]
    Host(String),
    /// Stored data.
    #[error(transparent)]
    Store(#[from] StoreError),
}
