//! What the cross compiler needs of a port: headers and libraries, unpacked into a directory.
//!
//! The directory is an artifact of its own, because building the system under test does not wait
//! for the guest's image.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

use super::apt::ArchiveFile;
use super::error::{ImageError, IoContext};
use super::exec::Watch;
use super::lock::{Hold, Lock, WorkDir, lock};
use super::source::{Wanted, merge_tree};
use super::tree::Tree;
use super::{Dirs, components, fetch, gc, resolve, unpack};
use crate::model::ids::Key;
use crate::model::port::Port;

/// A directory for `--sysroot=`.
#[derive(Debug)]
pub struct Sysroot {
    /// The hash of all that is in it.
    pub key: Key,
    /// The directory.
    pub dir: Utf8PathBuf,
    /// Versions by package.
    pub versions: BTreeMap<String, String>,
    _lease: Lock,
}

fn key(files: &[ArchiveFile], components: &[Key]) -> Key {
    let mut parts: Vec<&[u8]> = files.iter().map(|f| f.sha256.as_bytes()).collect();
    parts.push(b"components");
    parts.extend(components.iter().map(|c| c.0.as_bytes()));
    Key::of("sysroot 2", &parts)
}

/// The key of the sysroot of `port`, where its packages are resolved. Asks nobody.
pub fn planned(dirs: &Dirs, port: &Port) -> Option<(Key, bool)> {
    let resolved = resolve::known(&dirs.cache, port)?;
    let (components, _) = components::known(port, dirs, Wanted::Sysroot).ok()??;
    let key = key(&resolved.sysroot, &components);
    let there = dirs.cache.join("sysroots").join(&key.0).exists();
    Some((key, there))
}

fn is_kept(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or(path);
    // Autoconf's macros of a library stand beside its headers.
    let wanted = top.starts_with("lib")
        || ["usr/include/", "usr/lib", "usr/share/aclocal/"]
            .iter()
            .any(|dir| path.starts_with(dir));
    wanted && !path.contains("/gconv/") && !path.contains("/engines-")
}

/// The sysroot of `port`, made where it is not there yet. Blocks.
pub fn ensure(port: &Port, dirs: &Dirs, watch: &Watch<'_>) -> Result<Sysroot, ImageError> {
    let resolved = resolve::resolve(&dirs.cache, port, false, watch)?;
    let parent = dirs.cache.join("sysroots");
    let planned = key(
        &resolved.sysroot,
        &components::keys(port, dirs, Wanted::Sysroot, false, watch)?,
    );
    let (key, trees) = if parent.join(&planned.0).exists() {
        (planned, Vec::new())
    } else {
        let built = components::ensure(port, dirs, Wanted::Sysroot, watch)?;
        let keys: Vec<Key> = built.iter().map(|c| c.key.clone()).collect();
        let trees = built.iter().filter_map(|c| c.tree("sysroot")).collect();
        (key(&resolved.sysroot, &keys), trees)
    };
    let dir = parent.join(&key.0);
    let lease_path = super::cache::lock_path(&dir);
    let lease = loop {
        if !dir.exists() {
            let _alone = lock(&lease_path, Hold::Alone, watch)?;
            if !dir.exists() {
                unpack_into(&dir, dirs, &resolved.sysroot, &trees, watch)?;
            }
        }
        let lease = lock(&lease_path, Hold::Shared, watch)?;
        // Between the two locks it can be removed again: then once more.
        if dir.exists() {
            break lease;
        }
    };
    lease.touch();
    Ok(Sysroot {
        key,
        dir,
        versions: resolved
            .sysroot
            .into_iter()
            .map(|f| (f.package, f.version))
            .collect(),
        _lease: lease,
    })
}

fn unpack_into(
    dir: &Utf8Path,
    dirs: &Dirs,
    files: &[ArchiveFile],
    trees: &[Utf8PathBuf],
    watch: &Watch<'_>,
) -> Result<(), ImageError> {
    let _store = lock(&gc::store_lock(&dirs.cache), Hold::Shared, watch)?;
    fetch::fetch(&dirs.cache, files, watch)?;
    (watch.progress)("unpack the sysroot", None);
    let mut tree = Tree::default();
    for file in files {
        unpack::add_to(
            &mut tree,
            &fetch::place(&dirs.cache, file),
            &file.file,
            watch,
            &is_kept,
        )?;
    }
    tree.add_merge_links();
    let work = WorkDir::new(&dirs.cache)?;
    let made = work.path().join("sysroot");
    tree.write_to(&made)?;
    for tree in trees {
        merge_tree(tree, &made).map_err(|e| ImageError::Tool {
            tool: "merging of sysroots".to_owned(),
            output: e.to_string(),
        })?;
    }
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).doing("create", parent)?;
    }
    std::fs::rename(&made, dir).doing("rename to", dir)
}
