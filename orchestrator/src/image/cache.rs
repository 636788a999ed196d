//! The cache of finished images.
//!
//! ```text
//! CACHE/images/KEY/{kernel,initrd,image.json}   a finished image: whole, or not there
//! CACHE/images/KEY.lock                         held shared by who uses it, alone by who makes or
//!                                               removes it; its time is that of the last use
//! CACHE/sysroots/KEY/                           headers and libraries for the cross compiler
//! CACHE/debs/SHA256.deb                         downloaded packages
//! CACHE/resolved/PORT-KEY.json                  resolved locks
//! CACHE/apt/SUITE-ARCH/                         private apt states
//! CACHE/tmp/                                    work in progress
//! ```

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::error::{ImageError, IoContext};
use super::exec::Watch;
use super::fetch::hash_file;
use crate::host::lock::{Hold, Lock, try_lock};
use crate::model::KernelOrdered;
use crate::model::ids::Key;

/// Version of `image.json` and of what is in an image; part of every key.
pub const FORMAT: u32 = 3;

/// One package or component in an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ingredient {
    /// Its version.
    pub version: String,
    /// The hash of its package; none for a component built here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// One file of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its length.
    pub size_bytes: u64,
    /// Its hash.
    pub sha256: String,
}

/// `image.json`: what an image is and what it was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The port's name.
    pub port: String,
    /// The image's key.
    pub key: Key,
    /// When it was made.
    pub made: jiff::Timestamp,
    /// What its kernel is: a guest that runs another is refused.
    pub kernel: KernelOrdered,
    /// `kernel`, and `initrd` or `disk`.
    pub files: BTreeMap<String, Stored>,
    /// What it was made of, by package or component.
    pub ingredients: BTreeMap<String, Ingredient>,
}

/// A finished image. While this lives, `gc` leaves the image alone.
#[derive(Debug)]
pub struct Image {
    /// The hash of all that it was made of.
    pub key: Key,
    /// The file for the emulator's `-kernel`.
    pub kernel: Utf8PathBuf,
    /// The guest's root: the file for the emulator's `-initrd`, or the disk.
    pub initrd: Utf8PathBuf,
    /// Versions by package or component.
    pub versions: BTreeMap<String, String>,
    /// All that is known of it.
    pub record: Record,
    _lease: Lock,
}

/// Where images are.
pub fn images(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("images")
}

/// The lock of an image or a sysroot, beside its directory.
pub fn lock_path(dir: &Utf8Path) -> Utf8PathBuf {
    Utf8PathBuf::from(format!("{dir}.lock"))
}

/// True where an image of this key is there and its files have their lengths. Content is checked
/// when it is made and by [`verify`], not at each use: hashing nine images takes seconds.
pub fn is_there(cache: &Utf8Path, key: &Key) -> bool {
    read_record(&images(cache).join(&key.0)).is_ok_and(|r| lengths_agree(cache, &r))
}

/// The name of the file that has the guest's root.
pub fn root_of(record: &Record) -> &'static str {
    match record.files.contains_key("disk") {
        true => "disk",
        false => "initrd",
    }
}

fn lengths_agree(cache: &Utf8Path, record: &Record) -> bool {
    let dir = images(cache).join(&record.key.0);
    record.format == FORMAT
        && ["kernel", root_of(record)].iter().all(|name| {
            let stored = record.files.get(*name).map(|s| s.size_bytes);
            stored.is_some() && std::fs::metadata(dir.join(name)).ok().map(|m| m.len()) == stored
        })
}

/// Reads `image.json` in `dir`.
pub fn read_record(dir: &Utf8Path) -> Result<Record, ImageError> {
    let path = dir.join("image.json");
    let text = std::fs::read(&path).doing("read", &path)?;
    serde_json::from_slice(&text).map_err(|e| ImageError::CacheDamaged {
        path,
        expected: "an image's record".to_owned(),
        got: e.to_string(),
    })
}

/// The image of this key, if it is there; marks it as used.
pub fn find(cache: &Utf8Path, key: &Key) -> Result<Option<Image>, ImageError> {
    let dir = images(cache).join(&key.0);
    if !dir.exists() {
        return Ok(None);
    }
    let lock = lock_path(&dir);
    let Some(lease) = try_lock(&lock, Hold::Shared).doing("lock", &lock)? else {
        return Ok(None);
    };
    // Only now: before the lease somebody could have removed it.
    let Ok(record) = read_record(&dir) else {
        return Ok(None);
    };
    if !lengths_agree(cache, &record) {
        return Ok(None);
    }
    lease.touch();
    Ok(Some(Image {
        key: key.clone(),
        kernel: dir.join("kernel"),
        initrd: dir.join(root_of(&record)),
        versions: record
            .ingredients
            .iter()
            .map(|(name, i)| (name.clone(), i.version.clone()))
            .collect(),
        record,
        _lease: lease,
    }))
}

/// An image of the cache, for people.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// What is known of it.
    pub record: Record,
    /// Its size on disk.
    pub size_bytes: u64,
    /// When it was last used.
    pub used: jiff::Timestamp,
}

/// All images of the cache, by port, the newest first.
pub fn list(cache: &Utf8Path) -> Vec<Listed> {
    let Ok(entries) = images(cache).read_dir_utf8() else {
        return Vec::new();
    };
    let mut found: Vec<Listed> = entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .filter_map(|e| {
            let record = read_record(e.path()).ok()?;
            Some(Listed {
                size_bytes: record.files.values().map(|f| f.size_bytes).sum(),
                used: last_used(e.path()).unwrap_or(record.made),
                record,
            })
        })
        .collect();
    found.sort_by(|a, b| (&a.record.port, b.record.made).cmp(&(&b.record.port, a.record.made)));
    found
}

/// When a directory of the cache was last used, by its lock's time.
pub fn last_used(dir: &Utf8Path) -> Option<jiff::Timestamp> {
    let modified = std::fs::metadata(lock_path(dir)).ok()?.modified().ok()?;
    jiff::Timestamp::try_from(modified).ok()
}

/// Hashes the files of an image anew and compares them with its record.
pub fn verify(cache: &Utf8Path, record: &Record, watch: &Watch<'_>) -> Result<(), ImageError> {
    let dir = images(cache).join(&record.key.0);
    for (name, stored) in &record.files {
        watch.check()?;
        let path = dir.join(name);
        let (size_bytes, sha256) = hash_file(&path)?;
        if (size_bytes, &sha256) != (stored.size_bytes, &stored.sha256) {
            return Err(ImageError::CacheDamaged {
                path,
                expected: format!("{} bytes, sha256 {}", stored.size_bytes, stored.sha256),
                got: format!("{size_bytes} bytes, sha256 {sha256}"),
            });
        }
    }
    Ok(())
}
