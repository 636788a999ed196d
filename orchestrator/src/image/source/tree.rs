//! A source package as a tree of its own, unpacked once: for systems under test that are packages.

use camino::{Utf8Path, Utf8PathBuf};

use super::archive::{Archive, SourceFile};
use super::error::{IoContext, SourceError};
use super::recipe::Origin;
use super::{Watch, cache, unpack};
use crate::host::files::tree_hash;
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

fn place(cache: &Utf8Path, key: &Key) -> Utf8PathBuf {
    cache.join("trees").join(&key.0)
}

/// The note that goes with a tree: its content's hash. Written last, so that a tree without it is
/// not there.
fn note(dir: &Utf8Path) -> Utf8PathBuf {
    dir.with_extension("hash")
}

fn noted(dir: &Utf8Path) -> Option<Key> {
    let text = std::fs::read_to_string(note(dir)).ok()?;
    Some(Key(text.trim().to_owned()))
}

/// The hash of the tree's content, where it was unpacked before.
pub fn known(cache: &Utf8Path, suite: &str, package: &str) -> Option<Key> {
    let archive = Archive { suite, cache };
    noted(&place(cache, &key(&archive.noted(&origin(package))?)))
}

/// The tree, fetched and unpacked where it is not there yet, and the hash of its content. Blocks.
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
    let dir = place(cache, &key);
    if let Some(hash) = noted(&dir) {
        return Ok((dir, hash));
    }
    let paths = archive.fetch(&files, watch)?;
    let _lock = cache::lock(cache, &format!("tree-{}", key.short()), watch)?;
    if let Some(hash) = noted(&dir) {
        return Ok((dir, hash));
    }
    let trees = cache.join("trees");
    std::fs::create_dir_all(&trees).doing("create", &trees)?;
    let fresh = trees.join(format!(".tmp-{}-{}", key.short(), std::process::id()));
    let scratch = trees.join(format!(".scratch-{}-{}", key.short(), std::process::id()));
    cache::remove_tree(fresh.as_std_path());
    unpack::unpack(&origin, &paths, &fresh, &scratch, watch)?;
    cache::remove_tree(dir.as_std_path());
    std::fs::rename(&fresh, &dir).doing("rename", &dir)?;
    let hash = tree_hash(&dir).map_err(|e| e.cause).doing("hash", &dir)?;
    cache::write_whole(&note(&dir), hash.0.as_bytes())?;
    Ok((dir, hash))
}
