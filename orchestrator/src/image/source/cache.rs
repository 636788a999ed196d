//! The cache of components: locks between processes, temporary directories, whole-or-not-at-all.
//!
//! ```text
//! CACHE/components/NAME-PORT-KEY/   a finished component
//! CACHE/components/.tmp-…-PID/      one being built; renamed when whole
//! CACHE/locks/NAME                  held by the process that builds or downloads it
//! ```
//!
//! Locks are the kernel's (`flock`): they go with their process, however it ends.

use std::fs::{File, TryLockError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::Watch;
use super::error::{IoContext, SourceError};

/// Holds a lock until dropped.
pub struct Lock {
    _file: File,
}

/// Takes the lock `name`, waiting for another process where it must.
pub fn lock(cache: &Utf8Path, name: &str, watch: &Watch<'_>) -> Result<Lock, SourceError> {
    let dir = cache.join("locks");
    std::fs::create_dir_all(&dir).doing("create", &dir)?;
    let path = dir.join(name);
    let file = File::create(&path).doing("create", &path)?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(e).doing("lock", &path),
        }
        if !told {
            (watch.progress)("wait for another fallout that does the same", None);
            told = true;
        }
        if (watch.stop)() {
            return Err(SourceError::Stopped);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Writes a file so that others see the old or the new, never a part.
pub fn write_whole(path: &Utf8Path, content: &[u8]) -> Result<(), SourceError> {
    let beside = Utf8PathBuf::from(format!("{path}.{}", std::process::id()));
    std::fs::write(&beside, content).doing("write", &beside)?;
    std::fs::rename(&beside, path).doing("rename to", path)
}

/// Removes what processes that are gone have left in `components/`.
pub fn clean_stale(cache: &Utf8Path) {
    let Ok(entries) = std::fs::read_dir(cache.join("components")) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(".tmp-") else {
            continue;
        };
        let alive = rest
            .rsplit_once('-')
            .and_then(|(_, pid)| pid.parse::<u32>().ok())
            .is_some_and(|pid| Utf8Path::new("/proc").join(pid.to_string()).exists());
        if !alive {
            remove_tree(&entry.path());
        }
    }
}

/// Removes a directory tree, read-only directories in it included. Failure is no matter: the next
/// start tries again.
pub fn remove_tree(path: &std::path::Path) {
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
