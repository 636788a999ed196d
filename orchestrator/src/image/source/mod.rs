//! Components cross-built from the distribution's source: a kernel, a userland, test libraries.
//!
//! For ports without binaries in the archive, and for kernels of our own. A component is a recipe
//! (data and a shell script in `images/linux/sources/NAME`) applied to a port:
//!
//! ```text
//! recipe + port -> resolve -> key --cached--------------------------> component
//!                              |                                        ^
//!                              +-> fetch -> unpack -> patch -> build.sh +
//! ```
//!
//! A component's key covers the recipe's files, the resolved source (name and SHA-256), the patch
//! series, the compiler's version, the port's facts and the keys of what it needs. Each component
//! is a cache entry of its own: a changed ATF does not rebuild the kernel.
//!
//! Builds run without root, without the network where the host lets us take it away, and with a
//! clean environment. Everything here blocks: call it from a thread that may.
//!
//! Deliberately not here: what an image is made of (that is the image's assembly), and any
//! knowledge of a port or a component by name.

mod archive;
mod build;
mod cache;
mod error;
mod recipe;
mod run;
mod script;
#[cfg(test)]
mod tests;
mod toolchain;
pub mod tree;
mod unpack;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

pub use archive::{Archive, SourceFile};
pub use cache::merge_tree;
pub use error::SourceError;
pub use recipe::{Loaded, Origin, Recipe};
pub use toolchain::{Flags, Toolchain, sysroot_flags};

use crate::model::ids::Key;
use crate::model::port::Port;

/// Told what is done now, in a few words, and done of total where that is known.
pub type Progress<'a> = dyn Fn(&str, Option<(u64, u64)>) + 'a;

/// How a build is watched and stopped.
pub struct Watch<'a> {
    /// Told what is done now.
    pub progress: &'a Progress<'a>,
    /// Asked about ten times a second; true ends the build.
    pub stop: &'a dyn Fn() -> bool,
}

/// Which of a port's components are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All: for an image.
    All,
    /// Those that tests are compiled against, and what these need.
    Sysroot,
}

/// What to build, and where.
pub struct Request<'a> {
    /// The port; its `image.sources` name the components.
    pub port: &'a Port,
    /// The directory of recipes: `images/linux/sources`.
    pub recipes: &'a Utf8Path,
    /// The cache's directory for this module; made if absent.
    pub cache: &'a Utf8Path,
    /// Patch series by component, applied in order.
    pub patches: &'a BTreeMap<String, Vec<Utf8PathBuf>>,
    /// Compilers to run at the same time.
    pub jobs: usize,
    /// Ask the archive anew which versions it has.
    pub refresh: bool,
}

impl<'a> Request<'a> {
    fn archive(&self) -> Archive<'a> {
        Archive {
            suite: &self.port.image.suite,
            cache: self.cache,
        }
    }
}

/// A component, ready in the cache. Any of the three trees may be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Version of this note's form: 1.
    pub format: u32,
    /// The recipe's name.
    pub name: String,
    /// The port's name.
    pub port: String,
    /// The hash of all inputs.
    pub key: Key,
    /// Its directory in the cache. `root/` goes into the guest, `sysroot/` is compiled against,
    /// `boot/` has `kernel`, `config`, `System.map`.
    pub dir: Utf8PathBuf,
    /// The files of the archive that it was made from.
    pub sources: Vec<SourceFile>,
    /// The compiler; empty where none was used.
    pub toolchain: String,
    /// How long each step took, when it was built.
    pub steps: Vec<Step>,
    /// True where this call built nothing.
    #[serde(skip)]
    pub cached: bool,
}

/// One step of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// `fetch`, `unpack`, or what the build script calls it.
    pub name: String,
    /// How long it took.
    pub took: Duration,
}

impl Component {
    /// The version of its source, as the archive has it.
    pub fn version(&self) -> &str {
        version_of(&self.sources)
    }

    /// What `uname -r` says in a guest that runs its kernel.
    pub fn kernel_release(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join("boot/release")).ok()?;
        Some(text.trim().to_owned())
    }

    /// One of its trees (`root`, `sysroot`, `boot`), where it has that.
    pub fn tree(&self, name: &str) -> Option<Utf8PathBuf> {
        let dir = self.dir.join(name);
        dir.is_dir().then_some(dir)
    }

    /// The kernel, where it has one.
    pub fn kernel(&self) -> Option<Utf8PathBuf> {
        let file = self.dir.join("boot/kernel");
        file.is_file().then_some(file)
    }
}

/// The version of the file that decides: the source package's, or the first binary package's.
fn version_of(sources: &[SourceFile]) -> &str {
    let deciding = |f: &&SourceFile| f.name.ends_with(".dsc") || f.name.ends_with(".deb");
    let file = sources.iter().find(deciding);
    file.map_or("", SourceFile::version)
}

/// A component with its key, before anything is downloaded or built.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The recipe.
    pub loaded: Loaded,
    /// The files of its source.
    pub sources: Vec<SourceFile>,
    /// The compiler's version; empty where none is used.
    pub toolchain: String,
    /// The hash of all inputs.
    pub key: Key,
    /// Whether the cache has it.
    pub cached: bool,
}

/// Resolves the port's components, with what they need, in the order of building. Needs the
/// network only for sources that were never resolved, or on `refresh`.
pub fn plan(
    request: &Request<'_>,
    wanted: Wanted,
    watch: &Watch<'_>,
) -> Result<Vec<Planned>, SourceError> {
    let archive = request.archive();
    keys(request, wanted, watch, |loaded| {
        (watch.progress)(&format!("resolve {}", loaded.name), None);
        archive
            .resolve(&loaded.recipe.source, request.refresh, watch)
            .map(Some)
    })
    .map(Option::unwrap_or_default)
}

/// Like [`plan`], from the notes alone: `None` where a source was never resolved. Asks nobody.
pub fn known(
    request: &Request<'_>,
    wanted: Wanted,
    watch: &Watch<'_>,
) -> Result<Option<Vec<Planned>>, SourceError> {
    let archive = request.archive();
    keys(request, wanted, watch, |loaded| {
        Ok(archive.noted(&loaded.recipe.source))
    })
}

fn keys(
    request: &Request<'_>,
    wanted: Wanted,
    watch: &Watch<'_>,
    mut resolve: impl FnMut(&Loaded) -> Result<Option<Vec<SourceFile>>, SourceError>,
) -> Result<Option<Vec<Planned>>, SourceError> {
    let port = request.port;
    let toolchain = Toolchain::probe(port, watch)?;
    let mut recipes = recipe::load_all(request.recipes, &port.image.sources, port)?;
    if wanted == Wanted::Sysroot {
        let roots = recipes.into_iter().filter(|l| l.recipe.sysroot);
        let names: Vec<String> = roots.map(|l| l.name).collect();
        recipes = recipe::load_all(request.recipes, &names, port)?;
    }
    let mut planned: Vec<Planned> = Vec::new();
    for loaded in recipes {
        let Some(sources) = resolve(&loaded)? else {
            return Ok(None);
        };
        let needs: Vec<&Key> = loaded
            .recipe
            .needs
            .iter()
            .filter_map(|n| planned.iter().find(|p| &p.loaded.name == n))
            .map(|p| &p.key)
            .collect();
        let key = build::key(request, &loaded, &sources, &toolchain, &needs)?;
        let cached = build::lookup(request.cache, port, &loaded.name, &key).is_some();
        let used = match loaded.recipe.no_compiler {
            true => String::new(),
            false => toolchain.version.clone(),
        };
        planned.push(Planned {
            loaded,
            sources,
            toolchain: used,
            key,
            cached,
        });
    }
    Ok(Some(planned))
}

/// Gives the wanted components of the port, built where the cache does not have them, in the order
/// of building. A component that another process is building is waited for.
pub fn build_components(
    request: &Request<'_>,
    wanted: Wanted,
    watch: &Watch<'_>,
) -> Result<Vec<Component>, SourceError> {
    let build_all = |request: &Request<'_>| {
        let mut done: Vec<Component> = Vec::new();
        for plan in &plan(request, wanted, watch)? {
            let component = build::build(request, plan, &done, watch)?;
            done.push(component);
        }
        Ok(done)
    };
    match build_all(request) {
        // The archive keeps only its newest files; what was pinned last month can be gone.
        Err(SourceError::Archive { .. }) if !request.refresh => {
            (watch.progress)("a pinned source is gone: resolve anew", None);
            build_all(&Request {
                refresh: true,
                ..*request
            })
        }
        result => result,
    }
}
