//! A source package as a tree of its own, unpacked once: for systems under test that are packages.

use camino::{Utf8Path, Utf8PathBuf};

use super::archive::{Archive, SourceFile};
use super::error::{IoContext, SourceError};
use super::recipe::Origin;
use super::{Watch, cache, unpack};
use crate::model::ids::Key;

fn origin(package: &str) -> Origin {
    Origin::SourcePackage {
        package: package.to_owned(),
    }
}

fn key(files: &[SourceFile]) -> Key {
    let parts: Vec<&[u8]> = files.iter().map(|f| f.sha256.as_bytes()).collect();
    Key::of("source tree 1", &parts)
}

/// The tree's identity, where the archive was asked before.
pub fn known(cache: &Utf8Path, suite: &str, package: &str) -> Option<Key> {
    let archive = Archive { suite, cache };
    Some(key(&archive.noted(&origin(package))?))
}

/// The tree, fetched and unpacked where it is not there yet, and its identity. Blocks.
pub fn ensure(
    cache: &Utf8Path,
    suite: &str,
    package: &str,
    watch: &Watch<'_>,
) -> Result<(Utf8PathBuf, Key), SourceError> {
    let archive = Archive { suite, cache };
    let origin = origin(package);
    let files = archive.resolve(&origin, false, watch)?;
    let key = key(&files);
    let dir = cache.join("trees").join(&key.0);
    if dir.is_dir() {
        return Ok((dir, key));
    }
    let paths = archive.fetch(&files, watch)?;
    let _lock = cache::lock(cache, &format!("tree-{}", key.short()), watch)?;
    if dir.is_dir() {
        return Ok((dir, key));
    }
    let trees = cache.join("trees");
    std::fs::create_dir_all(&trees).doing("create", &trees)?;
    let fresh = trees.join(format!(".tmp-{}-{}", key.short(), std::process::id()));
    let scratch = trees.join(format!(".scratch-{}-{}", key.short(), std::process::id()));
    cache::remove_tree(fresh.as_std_path());
    unpack::unpack(&origin, &paths, &fresh, &scratch, watch)?;
    std::fs::rename(&fresh, &dir).doing("rename", &dir)?;
    Ok((dir, key))
}
