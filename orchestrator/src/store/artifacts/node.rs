//! A node's cache of fetched artifacts: each is fetched once, kept while it is used, and goes when the
//! cache is too large and nobody has used it for longest.
//!
//! ```text
//! CACHE/KIND/KEY/            the directory, as if it had been made here
//! CACHE/fetched/KIND-KEY     its lock; holds its size; its time is that of the last use
//! ```
//!
//! What was made here and not fetched is nothing of this module's: it is not counted and stays.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{ArtifactError, Artifacts, Kind, Name, Result};
use crate::host::lock::{Hold, Lock, try_lock};

/// An artifact that stays where it is while this lives.
#[derive(Debug)]
pub struct Fetched {
    /// Its directory.
    pub dir: PathBuf,
    _lease: Option<Lock>,
}

/// The cache.
#[derive(Debug, Clone)]
pub struct NodeCache {
    cache: PathBuf,
    max_bytes: u64,
}

impl NodeCache {
    /// The cache below `cache`, of at most so many fetched bytes.
    pub fn new(cache: PathBuf, max_bytes: u64) -> Self {
        Self { cache, max_bytes }
    }

    fn dir(&self, (kind, key): &Name) -> PathBuf {
        self.cache.join(kind.word()).join(&key.0)
    }

    fn lock(&self, (kind, key): &Name) -> PathBuf {
        let name = format!("{}-{}", kind.word(), key.0);
        self.cache.join("fetched").join(name)
    }

    /// The artifact's directory, fetched where it is not here yet. None where the store has none
    /// either.
    pub async fn get(&self, from: &Artifacts, name: &Name) -> Result<Option<Fetched>> {
        let (dir, lock) = (self.dir(name), self.lock(name));
        let failed = || ArtifactError::io("lock", &lock);
        loop {
            if dir.is_dir() {
                let lease = match try_lock(&lock, Hold::Shared).map_err(failed())? {
                    Some(lease) => lease,
                    None => {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                };
                // Before the lease somebody could have removed it.
                if dir.is_dir() {
                    lease.touch();
                    return Ok(Some(Fetched {
                        dir,
                        _lease: Some(lease),
                    }));
                }
            }
            let Some(alone) = try_lock(&lock, Hold::Alone).map_err(failed())? else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if dir.is_dir() {
                continue;
            }
            let Some(bytes) = from.fetch(name, &dir, &self.tmp()).await? else {
                return Ok(None);
            };
            let written = std::fs::write(&lock, bytes.to_string());
            written.map_err(ArtifactError::io("write", &lock))?;
            drop(alone);
            self.trim();
        }
    }

    /// Where packs are while they are worked on.
    pub fn tmp(&self) -> PathBuf {
        self.cache.join("tmp-artifacts")
    }

    /// Removes what was not used for longest until the rest is within the limit. What is used stays.
    /// Returns what is left.
    pub fn trim(&self) -> u64 {
        let mut all: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        let Ok(entries) = std::fs::read_dir(self.cache.join("fetched")) else {
            return 0;
        };
        for entry in entries.flatten() {
            let size = std::fs::read_to_string(entry.path());
            let size = size.ok().and_then(|text| text.trim().parse().ok());
            let used = entry.metadata().and_then(|m| m.modified());
            // Without a size it was not fetched: a lock alone.
            if let (Some(size), Ok(used)) = (size, used) {
                all.push((used, size, entry.path()));
            }
        }
        all.sort();
        let mut left: u64 = all.iter().map(|(_, size, _)| size).sum();
        for (_, size, lock) in all {
            if left <= self.max_bytes {
                break;
            }
            if self.remove(&lock) {
                left -= size;
            }
        }
        left
    }

    fn remove(&self, lock: &Path) -> bool {
        let name = lock.file_name().and_then(|n| n.to_str());
        let Some((kind, key)) = name.and_then(|n| n.split_once('-')) else {
            return false;
        };
        let kinds = [Kind::Images, Kind::Sysroots, Kind::Builds, Kind::Trees];
        if !kinds.iter().any(|k| k.word() == kind) || key.contains('/') {
            return false;
        }
        let Ok(Some(_alone)) = try_lock(lock, Hold::Alone) else {
            return false;
        };
        let dir = self.cache.join(kind).join(key);
        // Other parts of fallout hold images by a lock beside them.
        let Ok(Some(_beside)) = try_lock(dir.with_extension("lock"), Hold::Alone) else {
            return false;
        };
        let gone = self
            .tmp()
            .join(format!("gone-{}", uuid::Uuid::now_v7().simple()));
        let moved = std::fs::create_dir_all(self.tmp()).and_then(|()| std::fs::rename(&dir, &gone));
        if moved.is_err() && dir.exists() {
            return false;
        }
        let _ = std::fs::remove_dir_all(&gone);
        let _ = std::fs::remove_file(dir.with_extension("lock"));
        std::fs::remove_file(lock).is_ok()
    }
}
