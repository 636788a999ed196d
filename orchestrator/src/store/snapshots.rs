//! Saved guests by key, in the cache: whoever needs a guest of the same image, emulator and machine
//! restores it instead of booting.
//!
//! ```text
//! CACHE/snapshots/KEY/{state,snapshot.json}   a saved guest: whole, or not there
//! CACHE/snapshots/KEY.new/                    one that is being saved
//! CACHE/snapshots/KEY.lock                    held shared by who restores, alone by who saves or
//!                                             removes; its time is that of the last use
//! ```
//!
//! One cell boots a guest and saves it, those who want the same meanwhile wait for it: a boot costs
//! an emulated machine's processor more than all that comes after it. Where that guest does not
//! come up, nobody of this process waits a second time. What is in use is never removed. What a
//! state file holds is the emulator's business; nothing here reads it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::{StoreError, write_atomically};
use crate::host::lock::{Hold, Lock, try_lock};
use crate::model::{Key, PortName};

/// Version of `snapshot.json`.
const FORMAT: u32 = 1;
const STATE: &str = "state";
const RECORD: &str = "snapshot.json";

/// `snapshot.json`: what was saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Version of this form: 1.
    pub format: u32,
    /// The hash of all that the state depends on.
    pub key: Key,
    /// Of which port.
    pub port: PortName,
    /// The image's key.
    pub image: Key,
    /// The state's length.
    pub size_bytes: u64,
    /// How long the boot took that is saved by it.
    pub boot: Duration,
}

/// The cache of saved guests. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Snapshots {
    dir: Utf8PathBuf,
    max_bytes: u64,
    /// Could not be restored or saved here: not tried again by this process.
    given_up: Arc<Mutex<BTreeSet<Key>>>,
    /// One that was to be saved did not come up: not waited for by this process.
    hopeless: Arc<Mutex<BTreeSet<Key>>>,
}

/// What whoever needs a guest is to do.
#[derive(Debug)]
pub enum Turn {
    /// Restore this one.
    Saved(Snapshot),
    /// Boot one, and save it for the others.
    Yours(Making),
    /// Ask again soon: another is booting the one that will be saved.
    Wait,
    /// Boot one for yourself.
    Alone,
}

/// A saved guest. While this lives it stays where it is.
#[derive(Debug)]
pub struct Snapshot {
    /// What is known of it.
    pub record: Record,
    dir: Utf8PathBuf,
    _lease: Lock,
}

impl Snapshot {
    /// The file for the emulator.
    pub fn state(&self) -> Utf8PathBuf {
        self.dir.join(STATE)
    }
}

/// The right to save a guest under a key; given back by dropping it.
#[derive(Debug)]
pub struct Making {
    key: Key,
    new: Utf8PathBuf,
    _alone: Lock,
}

impl Making {
    /// The file that the emulator is to write.
    pub fn state(&self) -> Utf8PathBuf {
        self.new.join(STATE)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        // Gone already where it was kept.
        let _ = fs::remove_dir_all(&self.new);
    }
}

impl Snapshots {
    /// Saved guests below the directory `cache`, together no larger than `max_bytes`; with 0
    /// nothing is ever found or saved.
    pub fn new(cache: &Utf8Path, max_bytes: u64) -> Self {
        Self {
            dir: cache.join("snapshots"),
            max_bytes,
            given_up: Arc::default(),
            hopeless: Arc::default(),
        }
    }

    fn lock_path(&self, key: &Key) -> Utf8PathBuf {
        self.dir.join(format!("{key}.lock"))
    }

    fn is_given_up(&self, key: &Key) -> bool {
        self.max_bytes == 0 || has(&self.given_up, key)
    }

    /// What is known of a saved guest, if it is there and whole.
    pub fn record(&self, key: &Key) -> Option<Record> {
        read(&self.dir.join(&key.0)).filter(|r| r.key == *key && !self.is_given_up(key))
    }

    /// The saved guest of this key, if it is there; marks it as used.
    pub fn get(&self, key: &Key) -> Option<Snapshot> {
        self.record(key)?;
        let lease = try_lock(self.lock_path(key), Hold::Shared).ok()??;
        // Only now: before the lease somebody could have removed it.
        let record = self.record(key)?;
        lease.touch();
        Some(Snapshot {
            record,
            dir: self.dir.join(&key.0),
            _lease: lease,
        })
    }

    /// What to do for a guest of this key.
    pub fn turn(&self, key: &Key) -> Turn {
        if self.is_given_up(key) {
            return Turn::Alone;
        }
        if let Some(saved) = self.get(key) {
            return Turn::Saved(saved);
        }
        match try_lock(self.lock_path(key), Hold::Alone) {
            // Somebody kept it between the two looks.
            Ok(Some(_)) if self.record(key).is_some() => Turn::Wait,
            Ok(Some(alone)) => self.making(key, alone).map_or(Turn::Alone, Turn::Yours),
            Ok(None) if !has(&self.hopeless, key) => Turn::Wait,
            Ok(None) | Err(_) => Turn::Alone,
        }
    }

    fn making(&self, key: &Key, alone: Lock) -> Option<Making> {
        let new = self.dir.join(format!("{key}.new"));
        // What a dead process left.
        let _ = fs::remove_dir_all(&new);
        fs::create_dir_all(&new).ok()?;
        Some(Making {
            key: key.clone(),
            new,
            _alone: alone,
        })
    }

    /// The guest that was to be saved did not come up. Others of this process, whose guests may
    /// fare no better, find that out side by side and not one after the other.
    pub fn nobody_waits(&self, making: Making) {
        add(&self.hopeless, &making.key);
    }

    /// Keeps what was saved, and removes the longest unused until all are within the limit. False
    /// where it alone is beyond that.
    pub fn keep(
        &self,
        making: Making,
        port: &PortName,
        image: &Key,
        boot: Duration,
    ) -> Result<bool, StoreError> {
        let io = |what, path: &Utf8Path| {
            let path = path.as_std_path().to_owned();
            move |cause| StoreError::Io { what, path, cause }
        };
        let state = making.state();
        let size_bytes = fs::metadata(&state).map_err(io("read", &state))?.len();
        if size_bytes > self.max_bytes {
            self.give_up(&making.key);
            return Ok(false);
        }
        let record = Record {
            format: FORMAT,
            key: making.key.clone(),
            port: port.clone(),
            image: image.clone(),
            size_bytes,
            boot,
        };
        let place = making.new.join(RECORD);
        let bytes = serde_json::to_vec(&record).map_err(|e| StoreError::Form {
            path: place.clone().into(),
            cause: e.to_string(),
        })?;
        write_atomically(place.as_std_path(), &bytes)?;
        let dir = self.dir.join(&making.key.0);
        // A damaged one makes way.
        let _ = fs::remove_dir_all(&dir);
        fs::rename(&making.new, &dir).map_err(io("rename to", &dir))?;
        self.sweep(&making.key);
        drop(making);
        Ok(true)
    }

    /// Not to be tried again by this process.
    pub fn give_up(&self, key: &Key) {
        add(&self.given_up, key);
    }

    /// Removes a saved guest that could not be restored; others that read it just now keep what
    /// they have open.
    pub fn discard(&self, snapshot: Snapshot) {
        self.give_up(&snapshot.record.key);
        let _ = fs::remove_dir_all(&snapshot.dir);
    }

    /// All saved guests, the longest unused first.
    pub fn list(&self) -> Vec<Record> {
        let Ok(entries) = self.dir.read_dir_utf8() else {
            return Vec::new();
        };
        let mut found: Vec<(SystemTime, Record)> = entries
            .flatten()
            .filter_map(|entry| {
                let record = read(entry.path())?;
                let used = fs::metadata(self.lock_path(&record.key)).and_then(|m| m.modified());
                Some((used.unwrap_or(SystemTime::UNIX_EPOCH), record))
            })
            .collect();
        found.sort_by(|a, b| (a.0, &a.1.key).cmp(&(b.0, &b.1.key)));
        found.into_iter().map(|(_, record)| record).collect()
    }

    /// Removes the longest unused, and never `but`, until the rest is within the limit.
    fn sweep(&self, but: &Key) {
        let all = self.list();
        let mut left: u64 = all.iter().map(|r| r.size_bytes).sum();
        for record in all.iter().filter(|r| r.key != *but) {
            if left <= self.max_bytes {
                return;
            }
            if let Ok(Some(_alone)) = try_lock(self.lock_path(&record.key), Hold::Alone) {
                let _ = fs::remove_dir_all(self.dir.join(&record.key.0));
                let _ = fs::remove_file(self.lock_path(&record.key));
                left -= record.size_bytes;
            }
        }
    }
}

fn has(keys: &Mutex<BTreeSet<Key>>, key: &Key) -> bool {
    let keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
    keys.contains(key)
}

fn add(keys: &Mutex<BTreeSet<Key>>, key: &Key) {
    let mut keys = keys.lock().unwrap_or_else(PoisonError::into_inner);
    keys.insert(key.clone());
}

/// The record in `dir`, if the state beside it is as long as that says.
fn read(dir: &Utf8Path) -> Option<Record> {
    let bytes = fs::read(dir.join(RECORD)).ok()?;
    let record: Record = serde_json::from_slice(&bytes).ok()?;
    let is_whole = |path: &Path| fs::metadata(path).is_ok_and(|m| m.len() == record.size_bytes);
    (record.format == FORMAT && is_whole(dir.join(STATE).as_std_path())).then_some(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    fn key(name: &str) -> Key {
        Key::of("test", &[name.as_bytes()])
    }

    fn begin(snapshots: &Snapshots, name: &str) -> Option<Making> {
        match snapshots.turn(&key(name)) {
            Turn::Yours(making) => Some(making),
            _ => None,
        }
    }

    fn save(snapshots: &Snapshots, name: &str, bytes: usize) -> bool {
        let making = begin(snapshots, name).unwrap();
        fs::write(making.state(), vec![0; bytes]).unwrap();
        snapshots
            .keep(making, &"p".into(), &key("image"), Duration::from_secs(5))
            .unwrap()
    }

    fn names(snapshots: &Snapshots, all: &[&'static str]) -> Vec<&'static str> {
        let there = |n: &&&str| snapshots.record(&key(n)).is_some();
        all.iter().filter(there).copied().collect()
    }

    #[test]
    fn one_saves_and_the_others_wait_for_it() {
        let (_guard, dir) = cache();
        let snapshots = Snapshots::new(&dir, 1000);
        assert!(snapshots.get(&key("a")).is_none());
        let making = begin(&snapshots, "a").unwrap();
        // Another process, or another cell of this one.
        let other = Snapshots::new(&dir, 1000);
        assert!(matches!(other.turn(&key("a")), Turn::Wait));
        assert!(matches!(snapshots.turn(&key("a")), Turn::Wait));
        assert!(other.get(&key("a")).is_none());
        fs::write(making.state(), "state").unwrap();
        let kept = snapshots.keep(making, &"p".into(), &key("image"), Duration::from_secs(5));
        assert!(kept.unwrap());
        let found = other.get(&key("a")).unwrap();
        assert_eq!(fs::read_to_string(found.state()).unwrap(), "state");
        assert_eq!(found.record.boot, Duration::from_secs(5));
        // It is there: nobody saves it again, however many read it.
        assert!(matches!(other.turn(&key("a")), Turn::Saved(_)));
        drop(found);
        assert!(matches!(other.turn(&key("a")), Turn::Saved(_)));
    }

    #[test]
    fn where_the_first_did_not_come_up_nobody_waits_again() {
        let (_guard, dir) = cache();
        let snapshots = Snapshots::new(&dir, 1000);
        let first = begin(&snapshots, "a").unwrap();
        assert!(matches!(snapshots.turn(&key("a")), Turn::Wait));
        snapshots.nobody_waits(first);
        // The next one may save its guest; who comes while it boots does the same for himself.
        let second = begin(&snapshots, "a").unwrap();
        assert!(matches!(snapshots.turn(&key("a")), Turn::Alone));
        // Another process knows nothing of it, nor has another key to do with it.
        assert!(matches!(
            Snapshots::new(&dir, 1000).turn(&key("a")),
            Turn::Wait
        ));
        let _other = begin(&snapshots, "b").unwrap();
        assert!(matches!(snapshots.turn(&key("b")), Turn::Wait));
        drop(second);
        assert!(save(&snapshots, "a", 10));
        assert!(matches!(snapshots.turn(&key("a")), Turn::Saved(_)));
    }

    #[test]
    fn one_that_is_given_back_leaves_nothing() {
        let (_guard, dir) = cache();
        let snapshots = Snapshots::new(&dir, 1000);
        let making = begin(&snapshots, "a").unwrap();
        fs::write(making.state(), "half").unwrap();
        drop(making);
        assert!(snapshots.get(&key("a")).is_none());
        assert!(begin(&snapshots, "a").is_some());
        assert_eq!(snapshots.list(), []);
    }

    #[test]
    fn a_truncated_one_is_not_there_and_is_made_again() {
        let (_guard, dir) = cache();
        let snapshots = Snapshots::new(&dir, 1000);
        save(&snapshots, "a", 10);
        let state = snapshots.get(&key("a")).unwrap().state();
        fs::write(state, "cut").unwrap();
        assert!(snapshots.get(&key("a")).is_none());
        assert!(save(&snapshots, "a", 10));
        assert!(snapshots.get(&key("a")).is_some());
    }

    #[test]
    fn what_could_not_be_restored_is_removed_and_not_tried_again_here() {
        let (_guard, dir) = cache();
        let snapshots = Snapshots::new(&dir, 1000);
        save(&snapshots, "a", 10);
        let bad = snapshots.get(&key("a")).unwrap();
        snapshots.discard(bad);
        assert!(snapshots.get(&key("a")).is_none());
        assert!(matches!(snapshots.turn(&key("a")), Turn::Alone));
        // Another process may have more luck.
        assert!(begin(&Snapshots::new(&dir, 1000), "a").is_some());
    }

    #[test]
    fn the_longest_unused_goes_and_what_is_in_use_stays() {
        let (_guard, dir) = cache();
        let snapshots = Snapshots::new(&dir, 25);
        let all = ["a", "b", "c", "d"];
        save(&snapshots, "a", 10);
        save(&snapshots, "b", 10);
        // Whatever the file system's clock: a was used last week, b yesterday.
        for (name, days) in [("a", 7), ("b", 1)] {
            let then = SystemTime::now() - Duration::from_secs(days * 86400);
            let lock = fs::File::options()
                .write(true)
                .open(snapshots.lock_path(&key(name)));
            lock.unwrap().set_modified(then).unwrap();
        }
        save(&snapshots, "c", 10);
        assert_eq!(names(&snapshots, &all), ["b", "c"]);
        let used = snapshots.get(&key("b")).unwrap();
        save(&snapshots, "d", 10);
        assert_eq!(names(&snapshots, &all), ["b", "d"]);
        drop(used);
        // Larger than everything: not kept, and nothing makes way for it.
        assert!(!save(&snapshots, "a", 26));
        assert_eq!(names(&snapshots, &all), ["b", "d"]);
    }

    #[test]
    fn with_no_room_nothing_is_saved_or_found() {
        let (_guard, dir) = cache();
        save(&Snapshots::new(&dir, 100), "a", 10);
        let none = Snapshots::new(&dir, 0);
        assert!(none.get(&key("a")).is_none());
        assert!(matches!(none.turn(&key("b")), Turn::Alone));
    }
}
