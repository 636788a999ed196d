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
mod error;
mod recipe;
mod script;
#[cfg(test)]
mod tests;
mod toolchain;
pub mod tree;
mod trees;
mod unpack;

use std::collections::BTreeMap;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

pub use error::SourceError;
pub use recipe::{Loaded, Origin, Recipe};
pub use toolchain::{Flags, Toolchain, sysroot_flags};
pub use trees::merge_tree;

use super::apt::{Apt, ArchiveFile};
use super::error::ImageError;
pub use super::exec::Watch;

use crate::model::ids::Key;
use crate::model::port::Port;

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
    /// The cache: `$XDG_CACHE_HOME/fallout`.
    pub cache: &'a Utf8Path,
    /// Patch series by component, applied in order.
    pub patches: &'a BTreeMap<String, Vec<Utf8PathBuf>>,
    /// Compilers to run at the same time.
    pub jobs: usize,
    /// Ask the archive anew which versions it has.
    pub refresh: bool,
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
    pub sources: Vec<ArchiveFile>,
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
        archive::version_of(&self.sources)
    }

    /// What `uname -r` says in a guest that runs its kernel.
    pub fn kernel_release(&self) -> Option<String> {
        let text = std::fs::read_to_string(self.dir.join("boot/release")).ok()?;
        Some(text.trim().to_owned())
    }

    /// The configuration of its kernel, where it has one.
    pub fn kernel_config(&self) -> Option<String> {
        std::fs::read_to_string(self.dir.join("boot/config")).ok()
    }

    /// The table of its kernel's symbols, where the build left one.
    pub fn kernel_symbols(&self) -> Option<Utf8PathBuf> {
        let file = self.dir.join("boot/System.map");
        file.is_file().then_some(file)
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

/// A component with its key, before anything is downloaded or built.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The recipe.
    pub loaded: Loaded,
    /// The files of its source.
    pub sources: Vec<ArchiveFile>,
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
    let (cache, suite) = (request.cache, request.port.image.suite.as_str());
    let apt = Apt::new(cache, suite, archive::INDEX_ARCH, true);
    let mut session = None;
    let planned = keys(request, wanted, watch, |loaded| {
        let origin = &loaded.recipe.source;
        let given = *origin == Origin::Recipe;
        if (given || !request.refresh)
            && let Some(files) = archive::noted(cache, suite, origin)
        {
            return Ok(Some(files));
        }
        // One session for all: a refresh reads the index once.
        let session = match &mut session {
            Some(session) => session,
            none => none.insert(apt.open(request.refresh, watch)?),
        };
        (watch.progress)(&format!("resolve {}", loaded.name), None);
        let files = archive::ask(session, origin, watch)?;
        archive::note(cache, suite, origin, &files)?;
        Ok(Some(files))
    })?;
    Ok(planned.unwrap_or_default())
}

/// Like [`plan`], from the notes alone: `None` where a source was never resolved. Asks nobody.
pub fn known(
    request: &Request<'_>,
    wanted: Wanted,
    watch: &Watch<'_>,
) -> Result<Option<Vec<Planned>>, SourceError> {
    let suite = &request.port.image.suite;
    keys(request, wanted, watch, |loaded| {
        let origin = &loaded.recipe.source;
        Ok(archive::noted(request.cache, suite, origin))
    })
}

fn keys(
    request: &Request<'_>,
    wanted: Wanted,
    watch: &Watch<'_>,
    mut resolve: impl FnMut(&Loaded) -> Result<Option<Vec<ArchiveFile>>, SourceError>,
) -> Result<Option<Vec<Planned>>, SourceError> {
    let port = request.port;
    let mut recipes = recipe::load_all(request.recipes, &port.image.sources, port)?;
    // Asking a compiler takes longer than all the rest of a plan: it is not asked for nothing.
    let toolchain = match recipes.iter().all(|l| l.recipe.no_compiler) {
        true => Toolchain::default(),
        false => Toolchain::probe(port, watch)?,
    };
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
        Err(SourceError::Image(e))
            if !request.refresh && matches!(*e, ImageError::Download { .. }) =>
        {
            (watch.progress)("a pinned source is gone: resolve anew", None);
            build_all(&Request {
                refresh: true,
                ..*request
            })
        }
        result => result,
    }
}
