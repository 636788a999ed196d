//! Locks that are waited for, working directories, files that are whole or not there.
//!
//! A lock goes with its process, however it ends, so that nothing has to be cleaned up after a
//! crash but the working directories, whose owner's lock is then free.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

pub use crate::host::lock::{Hold, Lock};

use crate::host::lock::try_lock;

use super::error::{ImageError, IoContext};
use super::exec::Watch;

/// Takes the lock, waiting for other processes where it must.
pub fn lock(path: &Utf8Path, hold: Hold, watch: &Watch<'_>) -> Result<Lock, ImageError> {
    let mut told = false;
    loop {
        if let Some(lock) = try_lock(path, hold).doing("lock", path)? {
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
        let alive = try_lock(path.join(ALIVE), Hold::Alone)
            .and_then(|lock| lock.ok_or_else(|| std::io::ErrorKind::WouldBlock.into()))
            .doing("lock", &path)?;
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
