//! The `kbuild` builder: a Linux kernel from a tree, a patch series and configuration fragments.
//!
//! ```text
//! lock -> tree (links) -> patch -> objects of the nearest ancestor -> configure -> compile -> keep
//!                                     objects.rs                      config.rs
//! ```
//!
//! How the kernel's makefiles are driven stands in one script, which the images' kernels are built by
//! too. The object directory lies in the tree, so that every path in it is relative and it can be used
//! elsewhere again. What was built is known by the key, which the kernel itself carries in its release.
//!
//! Deliberately not here: modules, and what is in an image beside the kernel.

pub mod config;
mod drive;
pub mod objects;
pub mod touched;
mod tree;

pub use config::{Options, Unmet};
pub use drive::build;

use std::fs;
use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::cache::{Work, builds};
use super::error::{BuildError, Doing};
use super::source::{Series, Tree};
use crate::host::files::write_atomic;
use crate::model::{KernelOption, KernelOrdered, Key, Port, Project};

const NOTE: &str = "kernel.json";

/// What to build, for what, and where.
#[derive(Debug, Clone)]
pub struct KernelRequest<'a> {
    /// The project, of kind `kbuild`.
    pub project: &'a Project,
    /// Its source.
    pub tree: &'a Tree,
    /// The source's version, which the kernel will tell: `6.1.176-1`.
    pub version: &'a str,
    /// The patches that make the candidate; none for the baseline.
    pub patches: Option<&'a Series>,
    /// The port.
    pub port: &'a Port,
    /// The fragments of the configuration for the port, the later wins.
    pub fragments: &'a [Utf8PathBuf],
    /// Options beyond the fragments.
    pub options: &'a [KernelOption],
    /// What drives the kernel's makefiles: the recipe's `build.sh`.
    pub script: &'a Utf8Path,
    /// The cross compiler's identity.
    pub compiler: &'a str,
    /// The user's cache: `$XDG_CACHE_HOME/fallout`.
    pub cache: &'a Utf8Path,
    /// The hash of all inputs, as the planner made it.
    pub key: &'a Key,
    /// Compilers at the same time.
    pub jobs: u32,
}

/// A kernel that is in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelBuilt {
    /// The hash of all inputs.
    pub key: Key,
    /// The hash of the file to boot: what later jobs depend on.
    pub output: Key,
    /// The file for the emulator's `-kernel`; `System.map` and `config` are beside it.
    pub kernel: Utf8PathBuf,
    /// What a guest that runs it must say.
    pub ordered: KernelOrdered,
    /// What was done when it was built.
    pub record: BuildRecord,
    /// A directory as `build.sh release` leaves it, with the system that was built with the kernel.
    pub system: Option<Utf8PathBuf>,
}

/// `kernel.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// Version of this note's form: 1.
    format: u32,
    key: Key,
    output: Key,
    size_bytes: u64,
    ordered: KernelOrdered,
    record: BuildRecord,
    /// The hash of the system's sets, where they were built too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<Key>,
}

/// The directory with the system, beside the kernel.
pub(super) const SYSTEM: &str = "release";

impl Note {
    pub(super) fn of(key: &Key, file: &[u8], ordered: KernelOrdered, record: BuildRecord) -> Self {
        Self {
            format: 1,
            key: key.clone(),
            output: Key::of("kernel", &[file]),
            size_bytes: file.len() as u64,
            ordered,
            record,
            system: None,
        }
    }

    /// The same with the system whose sets have this hash.
    pub(super) fn with_system(mut self, sets: Key) -> Self {
        let parts = [self.output.0.as_bytes(), sets.0.as_bytes()];
        self.output = Key::of("kernel and system", &parts);
        self.system = Some(sets);
        self
    }

    /// Moves what was built into the cache, `kernel` and this note among it.
    pub(super) fn publish(&self, work: &Work, cache: &Utf8Path) -> Result<KernelBuilt, BuildError> {
        let file = work.out().join(NOTE);
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::other);
        write_atomic(&file, &text.doing("write", &file)?)?;
        let dir = work.publish()?;
        cached(cache, &self.key)
            .ok_or_else(|| io::Error::other("what was just written cannot be read back"))
            .doing("read", &dir)
    }
}

/// How a kernel was built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuildRecord {
    /// The project's name.
    pub project: String,
    /// The port's.
    pub port: String,
    /// The kernel from whose objects it went on, and how many options and files differed.
    pub from: Option<(Key, usize, usize)>,
    /// Files that were compiled or assembled; none where the tree's own build does not say.
    pub compiled: Option<u64>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// What confined it.
    pub confined: String,
    /// Whether `ccache` was used.
    pub ccache: bool,
}

impl BuildRecord {
    /// How long it took.
    pub fn took(&self) -> Duration {
        Duration::from_millis(self.took_ms)
    }
}

/// One line for people.
impl std::fmt::Display for BuildRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(compiled) = self.compiled else {
            return write!(f, "built in {:.0} s", self.took().as_secs_f64());
        };
        write!(f, "{compiled} files compiled")?;
        match &self.from {
            None => f.write_str(", from nothing"),
            Some((key, options, files)) => write!(
                f,
                ", from the objects of {} ({options} options and {files} files differ)",
                key.short()
            ),
        }
    }
}

/// The kernel of a key, if the cache has it. Reads one small file.
pub fn cached(cache: &Utf8Path, key: &Key) -> Option<KernelBuilt> {
    let dir = builds(cache).join(&key.0);
    let note: Note = serde_json::from_slice(&fs::read(dir.join(NOTE)).ok()?).ok()?;
    let kernel = dir.join("kernel");
    let whole = fs::metadata(&kernel).is_ok_and(|m| m.len() == note.size_bytes);
    let system = note.system.map(|_| dir.join(SYSTEM));
    let whole = whole && system.as_ref().is_none_or(|dir| dir.is_dir());
    (whole && note.format == 1 && note.key == *key).then_some(KernelBuilt {
        key: note.key,
        output: note.output,
        kernel,
        ordered: note.ordered,
        record: note.record,
        system,
    })
}
