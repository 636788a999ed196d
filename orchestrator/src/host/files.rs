//! Files: written whole or not at all, hashed by content; programs by name.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use camino::{Utf8Path, Utf8PathBuf};

use super::leftovers::Leftovers;
use crate::model::Key;

/// What went wrong with a file of the host's.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {path}: {cause}")]
pub struct FileError {
    /// `read`, `write`.
    pub what: &'static str,
    /// Which.
    pub path: Utf8PathBuf,
    /// What the system said.
    pub cause: io::Error,
}

fn failed(what: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |cause| FileError { what, path, cause }
}

/// Writes a file so that a reader, and a machine that loses power, sees the old content or the
/// new and never a part. Makes the directory if it is missing.
pub fn write_atomic(path: &Utf8Path, bytes: &[u8]) -> Result<(), FileError> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_str().is_empty() => dir,
        _ => Utf8Path::new("."),
    };
    let write = || {
        fs::create_dir_all(dir)?;
        let mut file = tempfile::Builder::new()
            .prefix(".writing-")
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(failed("write", path))
}

/// What belongs to version control and is no source, wherever it is.
const VERSION_CONTROL: [&str; 5] = [".git", ".hg", ".svn", ".bzr", "CVS"];

/// What [`tree_hash`] passes by, and a copy of a tree leaves out: version control's own files, and
/// `target` where it is a build's output (it has a `CACHEDIR.TAG`) rather than a directory of
/// sources that bears that name.
pub fn is_ignored(path: &Utf8Path) -> bool {
    let name = path.file_name().unwrap_or("");
    VERSION_CONTROL.contains(&name) || (name == "target" && path.join("CACHEDIR.TAG").exists())
}

/// The hash of a tree's content: relative paths in byte order, each with its kind, its
/// executable bit and its bytes; a symbolic link is its target's text. Times, owners and other
/// permissions do not count. What [`is_ignored`] is passed by, and what a build [left
/// behind](Leftovers) in a checkout. A single file can be given too.
pub fn tree_hash(root: &Utf8Path) -> Result<Key, FileError> {
    hash_without(root, &Leftovers::of(root))
}

/// The same of a tree that is nobody's checkout: everything counts.
pub fn content_hash(root: &Utf8Path) -> Result<Key, FileError> {
    hash_without(root, &Leftovers::default())
}

fn hash_without(root: &Utf8Path, left: &Leftovers) -> Result<Key, FileError> {
    let mut entries = Vec::new();
    list(root, Utf8Path::new(""), left, &mut entries)?;
    // Whole paths are sorted, not directories one by one: the order is that of the text.
    entries.sort();
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    part(b"tree 1");
    for relative in entries {
        let path = match relative.as_str() {
            "" => root.to_owned(),
            _ => root.join(&relative),
        };
        let meta = fs::symlink_metadata(&path).map_err(failed("read", &path))?;
        let (kind, content): (&[u8], Vec<u8>) = if meta.is_symlink() {
            let target = fs::read_link(&path).map_err(failed("read", &path))?;
            (b"l", target.into_os_string().into_encoded_bytes())
        } else if meta.is_file() {
            let kind = if meta.permissions().mode() & 0o111 == 0 {
                b"f"
            } else {
                b"x"
            };
            let mut file = blake3::Hasher::new();
            let read = File::open(&path).and_then(|f| file.update_reader(f).map(|_| ()));
            read.map_err(failed("read", &path))?;
            (kind, file.finalize().as_bytes().to_vec())
        } else {
            // Sockets and the like are no source.
            continue;
        };
        part(relative.as_str().as_bytes());
        part(kind);
        part(&content);
    }
    Ok(Key(hasher.finalize().to_hex().to_string()))
}

fn list(
    root: &Utf8Path,
    below: &Utf8Path,
    left: &Leftovers,
    into: &mut Vec<Utf8PathBuf>,
) -> Result<(), FileError> {
    let here = if below.as_str().is_empty() {
        root.to_owned()
    } else {
        root.join(below)
    };
    let meta = fs::symlink_metadata(&here).map_err(failed("read", &here))?;
    // The root may be a link to a directory; links below it are content.
    let root_link = below.as_str().is_empty() && here.is_dir();
    if !(meta.is_dir() || root_link) {
        into.push(below.to_owned());
        return Ok(());
    }
    for entry in here.read_dir_utf8().map_err(failed("read", &here))? {
        let entry = entry.map_err(failed("read", &here))?;
        let path = below.join(entry.file_name());
        if !is_ignored(entry.path()) && !left.contains(&path) {
            list(root, &path, left, into)?;
        }
    }
    Ok(())
}

/// Where a program is: the first executable file of that name in `PATH`.
pub fn find_program(name: &str) -> Option<Utf8PathBuf> {
    let path = std::env::var("PATH").ok()?;
    find_in(&path, name)
}

fn find_in(path: &str, name: &str) -> Option<Utf8PathBuf> {
    path.split(':')
        .filter(|dir| dir.starts_with('/'))
        .map(|dir| Utf8Path::new(dir).join(name))
        .find(|file| {
            fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
mod tests;
