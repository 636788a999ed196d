//! A source package as a tree of its own, unpacked once: for systems under test that are packages.

use camino::{Utf8Path, Utf8PathBuf};

use super::super::apt::ArchiveFile;
use super::super::error::IoContext;
use super::super::exec::Watch;
use super::super::fetch;
use super::super::lock::{Hold, WorkDir, lock, write_whole};
use super::error::SourceError;
use super::recipe::Origin;
use super::{archive, trees, unpack};
use crate::host::files::content_hash;
use crate::model::ids::Key;

fn origin(package: &str) -> Origin {
    Origin::SourcePackage {
        package: package.to_owned(),
    }
}

fn key(files: &[ArchiveFile]) -> Key {
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
    let files = archive::noted(cache, suite, &origin(package))?;
    noted(&place(cache, &key(&files)))
}

/// The tree, fetched and unpacked where it is not there yet, and the hash of its content. Blocks.
pub fn ensure(
    cache: &Utf8Path,
    suite: &str,
    package: &str,
    watch: &Watch<'_>,
) -> Result<(Utf8PathBuf, Key), SourceError> {
    let origin = origin(package);
    let files = archive::resolve(cache, suite, &origin, watch)?;
    let key = key(&files);
    let dir = place(cache, &key);
    if let Some(hash) = noted(&dir) {
        return Ok((dir, hash));
    }
    let lock_path = Utf8PathBuf::from(format!("{dir}.lock"));
    let _lock = lock(&lock_path, Hold::Alone, watch)?;
    if let Some(hash) = noted(&dir) {
        return Ok((dir, hash));
    }
    fetch::fetch(cache, &files, watch)?;
    let work = WorkDir::new(cache)?;
    let (fresh, scratch) = (work.path().join("tree"), work.path().join("scratch"));
    unpack::unpack(&origin, cache, &files, &fresh, &scratch, watch)?;
    trees::remove_tree(&dir);
    std::fs::rename(&fresh, &dir).doing("rename", &dir)?;
    let hash = content_hash(&dir)
        .map_err(|e| e.cause)
        .doing("hash", &dir)?;
    write_whole(&note(&dir), hash.0.as_bytes())?;
    Ok((dir, hash))
}
