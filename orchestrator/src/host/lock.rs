//! Locks between processes.
//!
//! They are the kernel's (`flock`) and go with their process, however it ends: nothing has to be
//! cleaned up after a crash. Nothing here waits; how long to wait, and what to say meanwhile, is
//! the business of whoever wants the lock.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Holds a lock until dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Notes in the lock's file that what it guards was used now.
    pub fn touch(&self) {
        let _ = self.file.set_modified(std::time::SystemTime::now());
    }
}

/// How a lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// With others that share it.
    Shared,
    /// Alone.
    Alone,
}

/// Takes the lock of the file at `path` where it is free now, and gives nothing where somebody
/// else has it. Makes the file and its directory. Whoever deletes a lock's file holds it alone; a
/// lock on a file that is no longer at its path locks nothing and is taken anew.
pub fn try_lock(path: impl AsRef<Path>, hold: Hold) -> io::Result<Option<Lock>> {
    let path = path.as_ref();
    loop {
        let file = open(path)?;
        let got = match hold {
            Hold::Shared => file.try_lock_shared(),
            Hold::Alone => file.try_lock(),
        };
        match got {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e),
        }
        let held = file.metadata()?;
        let there = std::fs::metadata(path).ok();
        if there.is_some_and(|t| (t.dev(), t.ino()) == (held.dev(), held.ino())) {
            return Ok(Some(Lock { file }));
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_locks_keep_out_the_one_that_wants_it_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks/l");
        let a = try_lock(&path, Hold::Shared).unwrap();
        let b = try_lock(&path, Hold::Shared).unwrap();
        assert!(a.is_some() && b.is_some());
        assert!(try_lock(&path, Hold::Alone).unwrap().is_none());
        drop((a, b));
        let alone = try_lock(&path, Hold::Alone).unwrap();
        assert!(alone.is_some());
        assert!(try_lock(&path, Hold::Alone).unwrap().is_none());
        assert!(try_lock(&path, Hold::Shared).unwrap().is_none());
    }

    #[test]
    fn a_deleted_lock_is_taken_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("l");
        let old = try_lock(&path, Hold::Alone).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(try_lock(&path, Hold::Alone).unwrap().is_some());
        drop(old);
    }
}
