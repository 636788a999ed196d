//! The `netbsd` builder: a release, or a part of it, by the tree's own `build.sh`.
//!
//! ```text
//! revision + series -> git tree -> keys of the stages ── all known? -> nothing is run
//!                          │
//!                     work tree (only what differs is written)
//!                          │
//!        tools -> kernel=CONF | distribution -> sets | release -> images
//!                          │  log.rs: steps, failure; progress.rs: how far
//!                     record + artifacts
//! ```
//!
//! Everything of a project is in one place of the cache, `netbsd/PROJECT/`: the work tree, and for each
//! port its object directory, tools, DESTDIR and release, which later builds go on from (`build.sh -u`).
//! A stage whose key is that of its last record is not run at all. One build at a time uses a
//! project's place; another one waits.
//!
//! Deliberately not here: what a change could leave stale *within* a stage. That is make's business,
//! and what an updating build leaves in DESTDIR from earlier revisions stays there.

mod ahead;
mod ccache;
mod conf;
mod disk;
mod drive;
mod keys;
mod log;
mod one;
mod part;
mod progress;
pub(super) mod sandbox;
pub(super) mod signature;
mod space;
mod stage;
mod stale;
mod variant;

pub use ahead::{Ahead, Deed};
pub use drive::{Made, Request, Tell, ahead, build, dirs, host_compiler};
pub use keys::Keys;
pub use log::{Broken, BuildLog, Step};
pub use part::Checked;
pub use progress::{Earlier, Progress};
pub use signature::Places;
pub use space::{Artifact, Record};
pub use stage::{Dirs, Stage, Target, words};
pub use stale::{Reason, Work};

#[cfg(test)]
mod log_tests;
#[cfg(test)]
mod tests;
