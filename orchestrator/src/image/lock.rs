//! Locks between processes, working directories, files that are whole or not there.
//!
//! Locks are the kernel's (`flock`): they go with their process, however it ends, so that nothing
//! has to be cleaned up after a crash but the working directories, whose owner's lock is then free.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::{ImageError, IoContext};
use super::exec::Watch;

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

fn open(path: &Utf8Path) -> Result<File, ImageError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).doing("create", dir)?;
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .doing("open", path)
}

/// Takes the lock where it is free now. Whoever deletes a lock's file holds it alone; a lock on a
/// file that is no longer at its path locks nothing and is taken anew.
pub fn try_lock(path: &Utf8Path, hold: Hold) -> Result<Option<Lock>, ImageError> {
    loop {
        let file = open(path)?;
        let got = match hold {
            Hold::Shared => file.try_lock_shared(),
            Hold::Alone => file.try_lock(),
        };
        match got {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(e)) => return Err(e).doing("lock", path),
        }
        let held = file.metadata().doing("look at", path)?;
        let there = std::fs::metadata(path).ok();
        if there.is_some_and(|t| (t.dev(), t.ino()) == (held.dev(), held.ino())) {
            return Ok(Some(Lock { file }));
        }
    }
}

/// Takes the lock, waiting for other processes where it must.
pub fn lock(path: &Utf8Path, hold: Hold, watch: &Watch<'_>) -> Result<Lock, ImageError> {
    let mut told = false;
    loop {
        if let Some(lock) = try_lock(path, hold)? {
            return Ok(lock);
        }
        watch.check()?;
        if !told {
            (watch.progress)("wait for another that does the same", None);
            told = true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Writes a file so that others see the old or the new, never a part.
pub fn write_whole(path: &Utf8Path, content: &[u8]) -> Result<(), ImageError> {
    let beside = Utf8PathBuf::from(format!("{path}.{}", uuid::Uuid::now_v7().simple()));
    let written = (|| {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).doing("create", dir)?;
        }
        std::fs::write(&beside, content).doing("write", &beside)?;
        std::fs::rename(&beside, path).doing("rename to", path)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written
}

/// A directory for work in progress, gone when dropped. It is on the cache's file system, so that
/// what is finished can be renamed to its place.
pub struct WorkDir {
    path: Utf8PathBuf,
    _alive: Lock,
}

const ALIVE: &str = ".alive";

impl WorkDir {
    /// Makes one in `cache/tmp`, and removes those of processes that are gone.
    pub fn new(cache: &Utf8Path) -> Result<Self, ImageError> {
        let parent = cache.join("tmp");
        remove_dead(&parent);
        let path = parent.join(uuid::Uuid::now_v7().simple().to_string());
        std::fs::create_dir_all(&path).doing("create", &path)?;
        let alive = try_lock(&path.join(ALIVE), Hold::Alone)?.ok_or_else(|| ImageError::Io {
            doing: "lock",
            path: path.clone(),
            source: std::io::ErrorKind::WouldBlock.into(),
        })?;
        Ok(Self {
            path,
            _alive: alive,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// A directory whose owner has not taken its lock yet must not be taken for a dead one's.
const SETTLE: Duration = Duration::from_secs(60);

/// Removes the working directories below `parent` whose owner is gone.
pub fn remove_dead(parent: &Utf8Path) {
    let Ok(entries) = parent.read_dir_utf8() else {
        return;
    };
    for entry in entries.flatten() {
        let dir = entry.path();
        let young = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().unwrap_or_default() < SETTLE);
        let lock = dir.join(ALIVE);
        if lock.exists() {
            if !matches!(try_lock(&lock, Hold::Alone), Ok(Some(_))) {
                continue;
            }
        } else if young {
            continue;
        }
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn temp() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    #[test]
    fn shared_locks_keep_out_the_one_that_wants_it_alone() {
        let (_guard, dir) = temp();
        let path = dir.join("l");
        let a = try_lock(&path, Hold::Shared).unwrap();
        let b = try_lock(&path, Hold::Shared).unwrap();
        assert!(a.is_some() && b.is_some());
        assert!(try_lock(&path, Hold::Alone).unwrap().is_none());
        drop((a, b));
        assert!(try_lock(&path, Hold::Alone).unwrap().is_some());
    }

    #[test]
    fn a_deleted_lock_is_taken_anew() {
        let (_guard, dir) = temp();
        let path = dir.join("l");
        let old = try_lock(&path, Hold::Alone).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(try_lock(&path, Hold::Alone).unwrap().is_some());
        drop(old);
    }

    #[test]
    fn what_the_dead_left_goes_and_what_the_living_use_stays() {
        let (_guard, dir) = temp();
        let dead = dir.join("tmp/dead");
        std::fs::create_dir_all(&dead).unwrap();
        std::fs::write(dead.join(ALIVE), "").unwrap();
        let living = WorkDir::new(&dir).unwrap();
        let _other = WorkDir::new(&dir).unwrap();
        assert!(!dead.exists());
        assert!(living.path().exists());
    }
}
