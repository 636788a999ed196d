//! Builders: the system under test for a port, from a tree and a patch series.
//!
//! ```text
//! tree (dir + hash) -> copy -> patch series -> commands -> make -> make install -> finish -> pack
//! ```
//!
//! What comes out is one tar file, `tests.tar`, laid out from the guest's root, in a directory of
//! the cache that is named by the job's key. The key is the planner's business; that the copied
//! source is the one that the key was made of is checked here.
//!
//! A kernel is built by [`kernel`], a NetBSD release by [`netbsd`], a kernel of its tree by [`release_kernel`].
//!
//! Deliberately not here: getting a source package or a sysroot (the engine hands in prepared
//! directories), and any knowledge of a port by name.

pub mod cache;
pub mod compat;
pub mod error;
pub mod kernel;
pub mod make;
pub mod messages;
pub mod netbsd;
mod pack;
pub mod release_kernel;
mod run;
pub mod sets;
pub mod sets_tree;
pub mod source;
mod toolchain;

pub use cache::{Built, cached};
pub use error::{BuildError, FailedStep};
pub use kernel::{KernelBuilt, KernelRequest};
pub use make::{BuildRequest, build};
pub use messages::CompilerMessage;
pub use source::{Origin, Series, Tree};
