//! Fetched releases on disk, by content.
//!
//! ```text
//! CACHE/releases/files/SHA512            a file, whole and verified, or not there
//! CACHE/releases/parts/KEY               a file that is coming; stays for the next attempt
//! CACHE/releases/trees/KEY/PORT/binary/… a release as build.sh leaves it, its ports together: links to files
//! CACHE/releases/trees/KEY/PORT.json     what is there of a port, and where it came from
//! CACHE/releases/trees/KEY/PORT.lock     held alone by who fetches
//! CACHE/releases/known/KEY.json          which tree a source was last resolved to
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::error::{ReleaseError, io};
use super::sums::Sum;
use super::{Release, join, local};
use crate::host::files::write_atomic;
use crate::host::lock::{Hold, Lock, try_lock};
use crate::model::Key;

/// Version of `PORT.json`.
const FORMAT: u32 = 1;

/// One file of a fetched release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What the release says that it hashes to.
    pub sum: Sum,
    /// What it does hash to.
    pub sha512: String,
    /// How long it is.
    pub size_bytes: u64,
}

/// `PORT.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// As the user named it.
    pub source: String,
    /// The port's own directory there.
    pub from: String,
    /// The port.
    pub port: String,
    /// When it was fetched last.
    pub fetched: jiff::Timestamp,
    /// The patterns of which all that fits is here.
    pub patterns: BTreeSet<String>,
    /// The files, by paths relative to the port's own directory.
    pub files: BTreeMap<String, Kept>,
}

impl Record {
    /// One with nothing in it yet.
    pub fn new(source: &str, from: &str, port: &str) -> Self {
        Self {
            format: FORMAT,
            source: source.to_owned(),
            from: from.to_owned(),
            port: port.to_owned(),
            fetched: jiff::Timestamp::now(),
            patterns: BTreeSet::new(),
            files: BTreeMap::new(),
        }
    }
}

/// The cache's releases.
#[derive(Debug, Clone)]
pub struct Store {
    root: Utf8PathBuf,
}

/// One release of the cache; nobody else fetches into it meanwhile.
#[derive(Debug)]
pub struct Tree {
    dir: Utf8PathBuf,
    port: String,
    /// What is in it.
    pub record: Option<Record>,
    _alone: Lock,
}

impl Store {
    /// The one in this cache.
    pub fn new(cache: &Utf8Path) -> Self {
        Self {
            root: cache.join("releases"),
        }
    }

    /// Where a file of this content is.
    pub fn file(&self, sha512: &str) -> Utf8PathBuf {
        self.root.join("files").join(sha512)
    }

    /// Where a file that must hash to `sum` grows, and the lock on it.
    pub fn part(&self, sum: &Sum) -> Utf8PathBuf {
        let (Sum::Md5(digits) | Sum::Sha512(digits)) = sum;
        self.root.join("parts").join(digits)
    }

    /// Moves a finished and hashed part to its place.
    pub fn accept(&self, part: &Utf8Path, sha512: &str) -> Result<(), ReleaseError> {
        let place = self.file(sha512);
        if let Some(dir) = place.parent() {
            std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        }
        let whole = std::fs::File::open(part).and_then(|f| f.sync_all());
        whole.map_err(io("write", part))?;
        // It is linked into trees that people look at: what is there stays what it is.
        let own = std::fs::Permissions::from_mode(0o444);
        std::fs::set_permissions(part, own).map_err(io("protect", part))?;
        std::fs::rename(part, &place).map_err(io("rename to", &place))
    }

    /// The tree of what comes from `from`. Waits while another process fetches into it.
    pub async fn tree(&self, from: &str, port: &str) -> Result<Tree, ReleaseError> {
        // Ports of one release stand beside each other, as on a mirror.
        let root = release_of(from, port);
        let key = Key::of("release tree 1", &[root.as_bytes()]);
        let dir = self.root.join("trees").join(&key.0);
        let alone = alone(&dir.join(format!("{port}.lock"))).await?;
        let record = std::fs::read(dir.join(format!("{port}.json"))).ok();
        let record = record.and_then(|text| serde_json::from_slice::<Record>(&text).ok());
        Ok(Tree {
            record: record.filter(|r| r.format == FORMAT),
            dir,
            port: port.to_owned(),
            _alone: alone,
        })
    }

    fn known(&self, source: &str, port: &str) -> Utf8PathBuf {
        let key = Key::of("release source 1", &[source.as_bytes(), port.as_bytes()]);
        self.root.join("known").join(format!("{}.json", key.0))
    }

    /// Remembers what a source was resolved to.
    pub fn remember(&self, source: &str, port: &str, from: &str) -> Result<(), ReleaseError> {
        let path = self.known(source, port);
        let text = serde_json::to_vec(from).unwrap_or_default();
        write_atomic(&path, &text).map_err(|e| io("write", &path)(std::io::Error::other(e)))
    }

    /// What a source was resolved to last.
    pub fn recall(&self, source: &str, port: &str) -> Option<String> {
        let text = std::fs::read(self.known(source, port)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// All releases of the cache, by port and source.
    pub fn list(&self) -> Vec<Record> {
        let Ok(entries) = self.root.join("trees").read_dir_utf8() else {
            return Vec::new();
        };
        let ports = entries
            .flatten()
            .filter_map(|e| e.path().read_dir_utf8().ok());
        let files = ports.flat_map(|files| files.flatten().map(|f| f.into_path()));
        let records = files
            .filter(|path| path.extension() == Some("json"))
            .filter_map(|path| {
                let text = std::fs::read(path).ok()?;
                serde_json::from_slice::<Record>(&text).ok()
            });
        let mut found: Vec<Record> = records.collect();
        found.sort_by(|a, b| (&a.port, &a.source, &a.from).cmp(&(&b.port, &b.source, &b.from)));
        found
    }
}

/// The release that a port's own directory belongs to, by its address.
fn release_of<'a>(from: &'a str, port: &str) -> &'a str {
    let own = format!("{port}/");
    let machine = port
        .split_once('-')
        .map_or(own.clone(), |(m, _)| format!("{m}/"));
    let root = from
        .strip_suffix(&own)
        .or_else(|| from.strip_suffix(&machine));
    root.filter(|r| r.ends_with('/')).unwrap_or(from)
}

impl Tree {
    /// The release: the directory in which its ports are.
    pub fn root(&self) -> &Utf8Path {
        &self.dir
    }

    /// The port's own directory.
    pub fn own(&self) -> Utf8PathBuf {
        self.dir.join(&self.port)
    }

    /// The files among `wanted` that are here as they should be.
    pub fn has(&self, store: &Store, path: &str, sum: &Sum) -> Option<Kept> {
        let kept = self.record.as_ref()?.files.get(path)?;
        let size = |at: &Utf8Path| std::fs::metadata(at).ok().map(|m| m.len());
        let is_there = size(&store.file(&kept.sha512)) == Some(kept.size_bytes)
            && size(&join(&self.own(), Utf8Path::new(path))) == Some(kept.size_bytes);
        (kept.sum == *sum && is_there).then(|| kept.clone())
    }

    /// Puts a file of the store into the tree.
    pub fn put(&self, store: &Store, path: &str, sha512: &str) -> Result<(), ReleaseError> {
        let place = join(&self.own(), Utf8Path::new(path));
        if let Some(dir) = place.parent() {
            std::fs::create_dir_all(dir).map_err(io("create", dir))?;
        }
        let beside = Utf8PathBuf::from(format!("{place}.new"));
        let _ = std::fs::remove_file(&beside);
        let from = store.file(sha512);
        // The same file twice takes no room; where links do not work it is copied.
        let linked = std::fs::hard_link(&from, &beside)
            .or_else(|_| std::fs::copy(&from, &beside).map(|_| ()));
        linked.map_err(io("write", &beside))?;
        std::fs::rename(&beside, &place).map_err(io("rename to", &place))
    }

    /// Writes what is in the tree, once all of it is there.
    pub fn seal(&mut self, record: Record) -> Result<(), ReleaseError> {
        // What an earlier state of the release had and this one has not.
        if let Some(old) = &self.record {
            for path in old.files.keys().filter(|p| !record.files.contains_key(*p)) {
                let _ = std::fs::remove_file(join(&self.own(), Utf8Path::new(path)));
            }
        }
        let path = self.dir.join(format!("{}.json", self.port));
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|e| io("write", &path)(std::io::Error::other(e)))?;
        write_atomic(&path, &text).map_err(|e| io("write", &path)(std::io::Error::other(e)))?;
        self.record = Some(record);
        Ok(())
    }

    /// The release as everybody else reads one.
    pub fn release(&self) -> Result<Release, ReleaseError> {
        local::read(&self.dir, &self.port, &[])
    }
}

/// Waits for a lock.
pub(super) async fn alone(path: &Utf8Path) -> Result<Lock, ReleaseError> {
    loop {
        if let Some(lock) = try_lock(path, Hold::Alone).map_err(io("lock", path))? {
            return Ok(lock);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_one_release_are_together() {
        assert_eq!(
            release_of("http://m/NetBSD-10.1/amd64/", "amd64"),
            "http://m/NetBSD-10.1/"
        );
        assert_eq!(
            release_of("http://m/r/evbarm/", "evbarm-aarch64"),
            "http://m/r/"
        );
        assert_eq!(release_of("http://m/r/", "amd64"), "http://m/r/");
        assert_eq!(release_of("http://m/xamd64/", "amd64"), "http://m/xamd64/");
    }
}
