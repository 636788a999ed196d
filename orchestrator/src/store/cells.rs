//! Results of cells by key, in the cache: a later run that needs the same cell finds it here.
//!
//! Only results that say something about the system under test are kept; a fault of the host or
//! an interruption is asked again.

use std::path::{Path, PathBuf};

use crate::model::{CellResult, Key, StageResult};

use super::{StoreError, write_atomically};

/// The cache of cells below one directory.
#[derive(Debug, Clone)]
pub struct CellCache {
    dir: PathBuf,
}

impl CellCache {
    /// The cache in `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    fn entry(&self, key: &Key) -> PathBuf {
        self.dir.join(&key.0)
    }

    /// Whether a result is there.
    pub fn has(&self, key: &Key) -> bool {
        self.entry(key).join("result.json").exists()
    }

    /// The result, and the directory with its consoles. An unreadable entry counts as absent:
    /// it is made again.
    pub fn get(&self, key: &Key) -> Option<(CellResult, PathBuf)> {
        let dir = self.entry(key);
        let bytes = std::fs::read(dir.join("result.json")).ok()?;
        let mut result: CellResult = serde_json::from_slice(&bytes).ok()?;
        result.cached = true;
        (result.key == *key).then_some((result, dir))
    }

    /// Keeps a result with the console files that lie in `consoles_dir`.
    pub fn put(&self, result: &CellResult, consoles_dir: &Path) -> Result<(), StoreError> {
        if result.stage.is_host_fault() || result.stage == StageResult::TimedOut {
            return Ok(());
        }
        let dir = self.entry(&result.key);
        for guest in &result.guests {
            copy(consoles_dir, &dir, &guest.console)?;
        }
        let bytes = serde_json::to_vec(result).map_err(|e| StoreError::Form {
            path: dir.clone(),
            cause: e.to_string(),
        })?;
        // The result goes last: an entry without it does not exist.
        write_atomically(&dir.join("result.json"), &bytes)
    }
}

/// Copies one console file between cell directories, with the marks of its times where there are any;
/// by link where the file system can.
pub fn copy(from: &Path, to: &Path, name: &str) -> Result<(), StoreError> {
    copy_file(from, to, name)?;
    let times = Path::new(name).with_extension("times");
    copy_file(from, to, &times.to_string_lossy())
}

fn copy_file(from: &Path, to: &Path, name: &str) -> Result<(), StoreError> {
    let (source, target) = (from.join(name), to.join(name));
    if !source.exists() || target.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(to).map_err(|e| StoreError::io("create", to, e))?;
    if std::fs::hard_link(&source, &target).is_err() {
        std::fs::copy(&source, &target).map_err(|e| StoreError::io("write", &target, e))?;
    }
    Ok(())
}
