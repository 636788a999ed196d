//! Trees of files: removed for good, and merged into one.

use camino::Utf8Path;

use super::super::error::IoContext;
use super::error::SourceError;

/// Removes a directory tree, read-only directories in it included. Failure is no matter: the next
/// start tries again.
pub fn remove_tree(path: &Utf8Path) {
    if let Err(e) = std::fs::remove_dir_all(path)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        // Some sources unpack directories without write permission.
        let _ = std::process::Command::new("chmod")
            .args(["-R", "u+rwX"])
            .arg(path)
            .status();
        let _ = std::fs::remove_dir_all(path);
    }
}

/// Merges the tree `from` into `into`: directories are made, files become hard links (copies on
/// another file system), symbolic links are made anew. What is there already is replaced.
pub fn merge_tree(from: &Utf8Path, into: &Utf8Path) -> Result<(), SourceError> {
    std::fs::create_dir_all(into).doing("create", into)?;
    for entry in from.read_dir_utf8().doing("list", from)? {
        let entry = entry.doing("list", from)?;
        let to = into.join(entry.file_name());
        let kind = entry.file_type().doing("look at", entry.path())?;
        if kind.is_dir() {
            merge_tree(entry.path(), &to)?;
            continue;
        }
        if to.symlink_metadata().is_ok() {
            std::fs::remove_file(&to).doing("replace", &to)?;
        }
        if kind.is_symlink() {
            let target = std::fs::read_link(entry.path()).doing("read", entry.path())?;
            std::os::unix::fs::symlink(target, &to).doing("link", &to)?;
        } else if std::fs::hard_link(entry.path(), &to).is_err() {
            std::fs::copy(entry.path(), &to).doing("copy to", &to)?;
        }
    }
    Ok(())
}
