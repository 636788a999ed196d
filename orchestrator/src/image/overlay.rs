//! The repository's own files for guests of a family: `images/FAMILY/overlay/`.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use camino::Utf8Path;

use super::error::{ImageError, IoContext};
use super::tree::Tree;
use crate::model::ids::Key;

/// One file of the overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the guest, without a leading slash.
    pub path: String,
    /// Whether it may be executed.
    pub executable: bool,
    /// Its content.
    pub content: Arc<Vec<u8>>,
}

/// Reads the overlay below `dir`, sorted by path; none where there is no such directory.
pub fn read(dir: &Utf8Path) -> Result<Vec<File>, ImageError> {
    let mut files = Vec::new();
    if dir.exists() {
        walk(dir, dir, &mut files)?;
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn walk(root: &Utf8Path, dir: &Utf8Path, files: &mut Vec<File>) -> Result<(), ImageError> {
    for entry in dir.read_dir_utf8().doing("read", dir)? {
        let entry = entry.doing("read", dir)?;
        let path = entry.path();
        let metadata = std::fs::metadata(path).doing("look at", path)?;
        if metadata.is_dir() {
            walk(root, path, files)?;
        } else {
            files.push(File {
                path: path.strip_prefix(root).unwrap_or(path).to_string(),
                executable: metadata.permissions().mode() & 0o100 != 0,
                content: Arc::new(std::fs::read(path).doing("read", path)?),
            });
        }
    }
    Ok(())
}

/// The hash of an overlay.
pub fn key(files: &[File]) -> Key {
    let mut parts: Vec<&[u8]> = Vec::new();
    for file in files {
        parts.push(file.path.as_bytes());
        parts.push(if file.executable { b"x" } else { b"-" });
        parts.push(&file.content);
    }
    Key::of("overlay 1", &parts)
}

/// Puts the overlay over what is in the tree.
pub fn add_to(tree: &mut Tree, files: &[File]) {
    for file in files {
        let mode = if file.executable { 0o755 } else { 0o644 };
        tree.add_file(&file.path, mode, file.content.clone());
    }
}
