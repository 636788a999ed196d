//! Images: manifests, verified download, assembly without root, cache.
//!
//! ```text
//! manifest -> resolve (apt) -> fetch -> unpack, modules -> assemble -> cpio -> cache
//! ```
//!
//! An image is a kernel and an initial RAM disk that holds the whole guest. It is made of packages
//! whose hashes the archive's signature covers, of components built from source, and of the
//! repository's own overlay; its key is the hash of all these. This stage does not start emulators
//! and does not know what a suite is.

pub mod apt;
pub mod assemble;
pub mod cache;
pub mod components;
pub mod cpio;
pub mod error;
pub mod exec;
pub mod fetch;
pub mod gc;
pub mod install;
pub mod kernel;
pub mod lock;
pub mod make;
pub mod manifest;
pub mod modules;
pub mod netbsd;
pub mod overlay;
pub mod release;
pub mod resolve;
pub mod source;
pub mod sysroot;
pub mod tree;
pub mod unpack;

pub use cache::Image;
pub use error::ImageError;
pub use exec::Watch;
pub use make::{Planned, ensure_image, ensure_sysroot, ensure_with_kernel, make, planned_image};
pub use sysroot::Sysroot;

use camino::Utf8PathBuf;

/// Where this stage reads and writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// The repository's `images/`: manifests, overlays, source recipes.
    pub images: Utf8PathBuf,
    /// The user's cache: `$XDG_CACHE_HOME/fallout`.
    pub cache: Utf8PathBuf,
}

/// What a job does now, and how much of it is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// A few words: `download packages`.
    pub doing: String,
    /// Done of total, where that is known.
    pub done: Option<(u64, u64)>,
}
