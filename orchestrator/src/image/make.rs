//! From a port's manifest to its image: the composition of this stage, and its only public door.
//!
//! ```text
//! manifest -> resolved lock -> key -> in the cache? -> download -> assemble -> rename
//! ```
//!
//! The key needs no network once the lock is there, so a warm answer takes about a millisecond.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};

use super::assemble::{Parts, root};
use super::cache::{self, FORMAT, Image, Ingredient, Record, Stored};
use super::error::{ImageError, IoContext};
use super::exec::Watch;
use super::lock::{Hold, WorkDir, lock};
use super::modules::{Kernel, take};
use super::resolve::{Resolved, known, resolve};
use super::source::{Component, Wanted};
use super::{Dirs, Progress, components, cpio, fetch, gc, netbsd, overlay, sysroot};
use crate::model::ids::Key;
use crate::model::port::Port;

/// What making an image would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    /// It is in the cache.
    Cached(Key),
    /// It must be made; the reason is for people.
    Missing {
        /// The key, where the packages are resolved already.
        key: Option<Key>,
        /// Why.
        why: String,
    },
}

/// The key of an image: everything that its files depend on.
fn key(port: &Port, resolved: &Resolved, overlay: &Key, components: &[Key]) -> Key {
    let name = port.port.to_string();
    let modules = port.image.modules.join(" ");
    let mut parts: Vec<&[u8]> = vec![
        name.as_bytes(),
        port.family.as_bytes(),
        modules.as_bytes(),
        overlay.0.as_bytes(),
    ];
    parts.extend(resolved.kernel.iter().map(|f| f.sha256.as_bytes()));
    parts.push(b"guest");
    parts.extend(resolved.guest.iter().map(|f| f.sha256.as_bytes()));
    parts.push(b"components");
    parts.extend(components.iter().map(|c| c.0.as_bytes()));
    Key::of(&format!("image {FORMAT}"), &parts)
}

fn read_overlay(dirs: &Dirs, port: &Port) -> Result<Vec<overlay::File>, ImageError> {
    overlay::read(&dirs.images.join(&port.family).join("overlay"))
}

/// Whether the image of `port` is in the cache, and if not why. Asks nobody.
pub fn planned_image(port: &Port, dirs: &Dirs) -> Result<Planned, ImageError> {
    if let Some(release) = &port.image.release {
        return netbsd::planned(port, release, dirs);
    }
    let Some(resolved) = known(&dirs.cache, port) else {
        return Ok(Planned::Missing {
            key: None,
            why: "its packages were never resolved".to_owned(),
        });
    };
    let (components, built) = match components::known(port, dirs, Wanted::All) {
        Ok(Some(known)) => known,
        Ok(None) => {
            return Ok(Planned::Missing {
                key: None,
                why: "its sources were never resolved".to_owned(),
            });
        }
        // A missing compiler is told by the plan and stops the build, not the plan.
        Err(e) => {
            return Ok(Planned::Missing {
                key: None,
                why: e.to_string(),
            });
        }
    };
    let overlay = overlay::key(&read_overlay(dirs, port)?);
    let key = key(port, &resolved, &overlay, &components);
    if cache::is_there(&dirs.cache, &key) {
        return Ok(Planned::Cached(key));
    }
    let wanted: Vec<_> = resolved.kernel.iter().chain(&resolved.guest).collect();
    let missing = wanted
        .iter()
        .filter(|f| !fetch::have(&dirs.cache, f))
        .count();
    let why = match missing {
        0 if !built => "components are to be built from source".to_owned(),
        0 => "it is to be assembled".to_owned(),
        n => format!("{n} of {} packages are to be downloaded", wanted.len()),
    };
    Ok(Planned::Missing {
        key: Some(key),
        why,
    })
}

/// The image of `port`, made where it is not there yet. Blocks; [`ensure_image`] does not.
pub fn make(
    port: &Port,
    dirs: &Dirs,
    refresh: bool,
    watch: &Watch<'_>,
) -> Result<Image, ImageError> {
    if let Some(release) = &port.image.release {
        return netbsd::make(port, release, None, dirs, watch);
    }
    let had = known(&dirs.cache, port).is_some();
    let resolved = resolve(&dirs.cache, port, refresh, watch)?;
    match make_resolved(port, dirs, &resolved, refresh, watch) {
        // The archive keeps only its newest packages; what was pinned last month can be gone.
        Err(ImageError::Download { .. }) if had && !refresh => {
            (watch.progress)("a pinned package is gone: resolve anew", None);
            let resolved = resolve(&dirs.cache, port, true, watch)?;
            make_resolved(port, dirs, &resolved, false, watch)
        }
        other => other,
    }
}

fn make_resolved(
    port: &Port,
    dirs: &Dirs,
    resolved: &Resolved,
    refresh: bool,
    watch: &Watch<'_>,
) -> Result<Image, ImageError> {
    let overlay = read_overlay(dirs, port)?;
    let component_keys = components::keys(port, dirs, Wanted::All, refresh, watch)?;
    let mut key = key(port, resolved, &overlay::key(&overlay), &component_keys);
    if let Some(image) = cache::find(&dirs.cache, &key)? {
        return Ok(image);
    }
    let components = components::ensure(port, dirs, Wanted::All, watch)?;
    // A pinned source that is gone from the archive is resolved anew by the build.
    let component_keys: Vec<Key> = components.iter().map(|c| c.key.clone()).collect();
    key = self::key(port, resolved, &overlay::key(&overlay), &component_keys);
    let dir = cache::images(&dirs.cache).join(&key.0);
    loop {
        {
            let _alone = lock(&cache::lock_path(&dir), Hold::Alone, watch)?;
            // Another process may have made it while this one waited. A damaged one makes way.
            if !cache::is_there(&dirs.cache, &key) {
                if dir.exists() {
                    std::fs::remove_dir_all(&dir).doing("remove the damaged", &dir)?;
                }
                let _store = lock(&gc::store_lock(&dirs.cache), Hold::Shared, watch)?;
                let wanted: Vec<_> = resolved
                    .kernel
                    .iter()
                    .chain(&resolved.guest)
                    .cloned()
                    .collect();
                fetch::fetch(&dirs.cache, &wanted, watch)?;
                let work = WorkDir::new(&dirs.cache)?;
                let made = assemble(
                    port,
                    dirs,
                    resolved,
                    &overlay,
                    &components,
                    &key,
                    work.path(),
                    watch,
                )?;
                std::fs::rename(&made, &dir).doing("rename to", &dir)?;
            }
        }
        // Between the two locks the image can be removed again: then once more.
        if let Some(image) = cache::find(&dirs.cache, &key)? {
            return Ok(image);
        }
        watch.check()?;
    }
}

#[allow(clippy::too_many_arguments)]
fn assemble(
    port: &Port,
    dirs: &Dirs,
    resolved: &Resolved,
    overlay: &[overlay::File],
    components: &[Component],
    key: &Key,
    work: &Utf8Path,
    watch: &Watch<'_>,
) -> Result<Utf8PathBuf, ImageError> {
    (watch.progress)("take the kernel", None);
    let kernel = if resolved.kernel.is_empty() {
        component_kernel(port, components)?
    } else {
        let debs: Vec<_> = resolved
            .kernel
            .iter()
            .map(|f| (fetch::place(&dirs.cache, f), f.package.as_str()))
            .collect();
        take(&debs, &port.image.modules, watch)?
    };
    let tree = root(
        &Parts {
            port,
            cache: &dirs.cache,
            packages: &resolved.guest,
            components,
            overlay,
            kernel: &kernel,
        },
        watch,
    )?;
    (watch.progress)("write the image", None);
    let made = work.join("image");
    std::fs::create_dir(&made).doing("create", &made)?;
    let place = made.join("kernel");
    std::fs::write(&place, &kernel.kernel).doing("write", &place)?;
    let place = made.join("initrd");
    write_initrd(&tree, &place).doing("write", &place)?;
    let mut names = vec!["kernel", "initrd"];
    // Whoever watches the console gives names to bare addresses with it.
    let symbols = || components.iter().find_map(Component::kernel_symbols);
    if let Some(map) = resolved.kernel.is_empty().then(symbols).flatten() {
        std::fs::copy(&map, made.join("System.map")).doing("copy", &map)?;
        names.push("System.map");
    }
    let mut files = BTreeMap::new();
    for name in names {
        let (size_bytes, sha256) = fetch::hash_file(&made.join(name))?;
        files.insert(name.to_owned(), Stored { size_bytes, sha256 });
    }
    let packages = resolved.kernel.iter().chain(&resolved.guest).map(|f| {
        let ingredient = Ingredient {
            version: f.version.clone(),
            sha256: Some(f.sha256.clone()),
        };
        (f.package.clone(), ingredient)
    });
    let built = components.iter().map(|c| {
        // What has no source but its recipe has no version but its key.
        let version = match c.version() {
            "" => c.key.short(),
            version => version,
        };
        let ingredient = Ingredient {
            version: version.to_owned(),
            sha256: None,
        };
        (c.name.clone(), ingredient)
    });
    let record = Record {
        format: FORMAT,
        port: port.port.to_string(),
        key: key.clone(),
        made: jiff::Timestamp::now(),
        kernel: super::kernel::identify(&kernel.kernel, &kernel.release, kernel.config.as_deref()),
        files,
        ingredients: packages.chain(built).collect(),
    };
    let place = made.join("image.json");
    let text = serde_json::to_vec_pretty(&record).map_err(std::io::Error::other);
    std::fs::write(&place, text.doing("write", &place)?).doing("write", &place)?;
    Ok(made)
}

fn write_initrd(tree: &super::tree::Tree, place: &Utf8Path) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(place)?);
    cpio::write(tree, &mut out)?;
    out.flush()
}

/// The kernel that a component brings. It has what the guest needs built in.
fn component_kernel(port: &Port, components: &[Component]) -> Result<Kernel, ImageError> {
    for component in components {
        if let Some(path) = component.kernel() {
            return Ok(Kernel {
                kernel: std::fs::read(&path).doing("read", &path)?,
                release: component.kernel_release().unwrap_or_default(),
                config: component.kernel_config(),
                modules: Vec::new(),
            });
        }
    }
    Err(ImageError::Assemble {
        port: port.port.to_string(),
        message: "it has no kernel: image.kernel_package, or a component in image.sources that has one, was expected".to_owned(),
    })
}

/// Ends the blocking work when the future that waits for it is dropped.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

async fn off_thread<T: Send + 'static>(
    progress: impl Fn(Progress) + Send + Sync + 'static,
    work: impl FnOnce(&Watch<'_>) -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    let stop = Arc::new(AtomicBool::new(false));
    let _guard = StopOnDrop(stop.clone());
    let task = tokio::task::spawn_blocking(move || {
        work(&Watch {
            progress: &|doing, done| {
                progress(Progress {
                    doing: doing.to_owned(),
                    done,
                });
            },
            stop: &|| stop.load(Ordering::Relaxed),
        })
    });
    task.await.unwrap_or_else(|e| {
        if e.is_panic() {
            std::panic::resume_unwind(e.into_panic());
        }
        Err(ImageError::Stopped)
    })
}

/// The image of `port`: from the cache, or downloaded, verified and assembled now. Dropping the
/// future stops the work.
pub async fn ensure_image(
    port: &Port,
    dirs: &Dirs,
    refresh: bool,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Image, ImageError> {
    let (port, dirs) = (port.clone(), dirs.clone());
    off_thread(progress, move |watch| make(&port, &dirs, refresh, watch)).await
}

/// The image of a release's `port` that boots the kernel in `file`, with the release's own beside it;
/// like [`ensure_image`]. None where the port's system comes from no release: a guest is given its kernel
/// from the host's side then.
pub async fn ensure_with_kernel(
    port: &Port,
    file: &Utf8Path,
    dirs: &Dirs,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<Option<Image>, ImageError> {
    let Some(release) = port.image.release.clone() else {
        return Ok(None);
    };
    let (port, file, dirs) = (port.clone(), file.to_owned(), dirs.clone());
    let work =
        move |watch: &Watch<'_>| netbsd::make(&port, &release, Some(&file), &dirs, watch).map(Some);
    off_thread(progress, work).await
}

/// The headers and libraries that the cross compiler needs for `port`; like [`ensure_image`].
pub async fn ensure_sysroot(
    port: &Port,
    dirs: &Dirs,
    progress: impl Fn(Progress) + Send + Sync + 'static,
) -> Result<sysroot::Sysroot, ImageError> {
    let (port, dirs) = (port.clone(), dirs.clone());
    off_thread(progress, move |watch| sysroot::ensure(&port, &dirs, watch)).await
}
