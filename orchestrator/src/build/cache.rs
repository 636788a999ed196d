//! Where builds are kept: `CACHE/builds/KEY/{tests.tar, log.zst, build.json}`.
//!
//! ```text
//! locks/KEY      held while KEY is built; stays for ever, it is empty
//! .work-KEY/     where it is built; of a dead builder if nobody has the lock
//! KEY/           appears whole, by a rename; a kernel's has kernel, System.map, config, kernel.json
//! failed/KEY.log.zst   the log of the last failure
//! ```

use std::fs;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::error::{BuildError, Doing};
use crate::host::files::write_atomic;
use crate::host::lock::{Hold, Lock, try_lock};
use crate::model::Key;

const TAR: &str = "tests.tar";
const LOG: &str = "log.zst";
const NOTE: &str = "build.json";

/// A build that is in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// The hash of all inputs.
    pub key: Key,
    /// The hash of the tar file: what later jobs depend on.
    pub output: Key,
    /// What to unpack at the guest's root; its length is a multiple of 512.
    pub tar: Utf8PathBuf,
    /// The tar file's length.
    pub size_bytes: u64,
    /// The whole output of the build, zstd.
    pub log: Utf8PathBuf,
    /// How long it took, when it was built.
    pub took: Duration,
}

/// `build.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Note {
    /// Version of this note's form: 1.
    pub format: u32,
    pub project: String,
    pub port: String,
    pub key: Key,
    pub output: Key,
    pub size_bytes: u64,
    pub entries: u64,
    pub took_ms: u64,
}

pub(super) fn builds(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("builds")
}

/// The build of a key, if the cache has it. Reads one small file. `cache` is the user's cache:
/// `$XDG_CACHE_HOME/fallout`.
pub fn cached(cache: &Utf8Path, key: &Key) -> Option<Built> {
    let dir = builds(cache).join(&key.0);
    let note: Note = serde_json::from_slice(&fs::read(dir.join(NOTE)).ok()?).ok()?;
    let tar = dir.join(TAR);
    let whole = fs::metadata(&tar).is_ok_and(|m| m.len() == note.size_bytes);
    (whole && note.format == 1 && &note.key == key).then(|| Built {
        key: note.key,
        output: note.output,
        size_bytes: note.size_bytes,
        tar,
        log: dir.join(LOG),
        took: Duration::from_millis(note.took_ms),
    })
}

/// A directory in which a key is built, alone. It is removed when this is dropped.
#[derive(Debug)]
pub(super) struct Work {
    builds: Utf8PathBuf,
    key: Key,
    lock: Option<Lock>,
}

impl Work {
    /// Waits until nobody else builds `key`, then makes its directory, empty.
    pub async fn begin(cache: &Utf8Path, key: &Key) -> Result<Self, BuildError> {
        let builds = builds(cache);
        let path = lock_path(&builds, key.0.as_str());
        let lock = loop {
            if let Some(lock) = try_lock(&path, Hold::Alone).doing("lock", &path)? {
                break lock;
            }
            // Not a blocking wait: a build that is given up while it waits leaves no thread.
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let work = Self {
            builds,
            key: key.clone(),
            lock: Some(lock),
        };
        discard(&work.dir());
        fs::create_dir_all(work.dir()).doing("create", &work.dir())?;
        Ok(work)
    }

    /// The directory.
    pub fn dir(&self) -> Utf8PathBuf {
        self.builds.join(format!(".work-{}", self.key))
    }

    /// Where a part of it is while it is worked on.
    pub fn path(&self, name: &str) -> Utf8PathBuf {
        self.dir().join(name)
    }

    /// The directory that becomes the cache's entry.
    pub fn out(&self) -> Utf8PathBuf {
        self.path("out")
    }

    /// The tar file to write.
    pub fn tar(&self) -> Utf8PathBuf {
        self.out().join(TAR)
    }

    /// The log to write.
    pub fn log(&self) -> Utf8PathBuf {
        self.out().join(LOG)
    }

    /// Keeps the log of a build that failed.
    pub fn keep_log(&self) -> Option<Utf8PathBuf> {
        let failed = self.builds.join("failed");
        let to = failed.join(format!("{}.{LOG}", self.key));
        fs::create_dir_all(&failed).ok()?;
        fs::rename(self.log(), &to).ok()?;
        Some(to)
    }

    /// Moves the entry into the cache, whatever it is, and gives its directory there.
    pub fn publish(&self) -> Result<Utf8PathBuf, BuildError> {
        let to = self.builds.join(&self.key.0);
        // What is there is not whole, or `cached` would have found it.
        discard(&to);
        fs::rename(self.out(), &to).doing("rename to", &to)?;
        // A failure of an earlier attempt is no longer news.
        let _ = fs::remove_file(self.builds.join(format!("failed/{}.{LOG}", self.key)));
        Ok(to)
    }

    /// Moves the entry of a build into the cache.
    pub fn finish(&self, cache: &Utf8Path, note: &Note) -> Result<Built, BuildError> {
        let text = serde_json::to_vec_pretty(note).map_err(std::io::Error::other);
        write_atomic(
            &self.out().join(NOTE),
            &text.doing("write", &self.out().join(NOTE))?,
        )?;
        let to = self.publish()?;
        cached(cache, &self.key)
            .ok_or_else(|| std::io::Error::other("what was just written cannot be read back"))
            .doing("read", &to)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let (dir, lock) = (self.dir(), self.lock.take());
        // A dropped future must not hold up the runtime while a tree is removed.
        let remove = move || {
            discard(&dir);
            drop(lock);
        };
        if let Err(e) = std::thread::Builder::new().spawn(remove) {
            tracing::debug!("no thread to remove a work directory: {e}");
        }
    }
}

/// Removes a directory. It is renamed first: a compiler that outlived its builder must not write
/// into what is made under the old name next.
fn discard(dir: &Utf8Path) {
    let Some((parent, name)) = dir.parent().zip(dir.file_name()) else {
        return;
    };
    let trash = parent.join(format!(".gone-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&trash);
    if fs::rename(dir, &trash).is_ok() {
        // What cannot be removed now goes with the next sweep.
        let _ = fs::remove_dir_all(&trash);
    }
}

fn lock_path(builds: &Utf8Path, key: &str) -> Utf8PathBuf {
    builds.join("locks").join(key)
}

/// Removes what builders that died left behind. Blocks.
pub fn sweep(cache: &Utf8Path) {
    let builds = builds(cache);
    let Ok(entries) = builds.read_dir_utf8() else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if let Some(key) = name.strip_prefix(".work-") {
            // Whoever builds has the lock.
            if let Ok(Some(_lock)) = try_lock(lock_path(&builds, key), Hold::Alone) {
                discard(entry.path());
            }
        } else if let Some(rest) = name.strip_prefix(".gone-") {
            let pid = rest.split('-').next().unwrap_or("");
            if !Utf8Path::new("/proc").join(pid).exists() {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
}
