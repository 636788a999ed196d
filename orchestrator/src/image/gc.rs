//! Takes out of the cache what is no longer wanted.
//!
//! What the current manifests mean is kept, and so is whatever a running process holds a lock on.
//! The rest goes: all of it, or only what was not used for a while, or the longest unused until the
//! cache is small enough. Everything here can be made again, at the price of time.
//!
//! Not here: components built from source and apt's states, which are dear to make and small.

mod releases;

use std::collections::BTreeSet;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::cache::{images, lock_path, read_record};
use super::error::{ImageError, IoContext};
use super::lock::remove_dead;
use super::{Dirs, Planned, fetch, planned_image, resolve, sysroot};
use crate::host::lock::{Hold, try_lock};
use crate::model::ids::Key;
use crate::model::port::Port;

/// What goes. With neither limit everything that is not wanted goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// Only what was not used for this long.
    pub max_age: Option<Duration>,
    /// Beyond that, the longest unused until the cache is no larger.
    pub max_bytes: Option<u64>,
    /// Also what the current manifests mean.
    pub all: bool,
    /// Only tell.
    pub dry_run: bool,
}

/// One thing that went, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// `image`, `sysroot`, `snapshot`, `package`, `lock`, `release`, `release file`.
    pub kind: &'static str,
    /// Of what: a port's name, a file's name.
    pub name: String,
    /// Its size on disk.
    pub size_bytes: u64,
}

/// What `gc` did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What went, or would.
    pub gone: Vec<Gone>,
    /// What could go and was left because a process uses it.
    pub in_use: u64,
    /// The size of what is left.
    pub left_bytes: u64,
}

/// Something in the cache.
#[derive(Debug, Clone)]
struct Item {
    kind: &'static str,
    name: String,
    path: Utf8PathBuf,
    size_bytes: u64,
    age: Duration,
    wanted: bool,
}

/// Chooses what goes, the longest unused first.
fn choose(items: &[Item], policy: &Policy) -> Vec<Item> {
    let mut may: Vec<&Item> = items.iter().filter(|i| policy.all || !i.wanted).collect();
    may.sort_by_key(|i| std::cmp::Reverse(i.age));
    let mut left: u64 = items.iter().map(|i| i.size_bytes).sum();
    let mut chosen = Vec::new();
    for item in may {
        let too_old = policy.max_age.is_some_and(|max| item.age > max);
        let too_large = policy.max_bytes.is_some_and(|max| left > max);
        let no_limit = policy.max_age.is_none() && policy.max_bytes.is_none();
        // Nothing means a release, and to fetch one takes long.
        let unasked = no_limit && (policy.all || item.kind != "release");
        if too_old || too_large || unasked {
            left -= item.size_bytes;
            chosen.push(item.clone());
        }
    }
    chosen
}

/// Removes what `policy` says. `ports` are the current manifests.
pub fn gc(dirs: &Dirs, ports: &[Port], policy: &Policy) -> Result<Report, ImageError> {
    if !policy.dry_run {
        remove_dead(&dirs.cache.join("tmp"));
    }
    let items = inventory(dirs, ports)?;
    let mut report = Report {
        left_bytes: items.iter().map(|i| i.size_bytes).sum(),
        ..Report::default()
    };
    // Held by whoever downloads or unpacks packages.
    let store = store_lock(&dirs.cache);
    let store = try_lock(&store, Hold::Alone).doing("lock", &store)?;
    for item in choose(&items, policy) {
        let free = match item.kind {
            "package" => store.is_some(),
            "release" | "release file" => releases::remove(&dirs.cache, &item, policy.dry_run)?,
            _ => remove_unused(&item, policy.dry_run)?,
        };
        if !free {
            report.in_use += 1;
            continue;
        }
        if item.kind == "package" && !policy.dry_run {
            std::fs::remove_file(&item.path).doing("remove", &item.path)?;
        }
        report.left_bytes -= item.size_bytes;
        report.gone.push(Gone {
            kind: item.kind,
            name: item.name,
            size_bytes: item.size_bytes,
        });
    }
    Ok(report)
}

/// The lock over the store of packages: shared by who needs files to stay, alone to remove some.
pub fn store_lock(cache: &Utf8Path) -> Utf8PathBuf {
    cache.join("debs.lock")
}

/// Removes a directory and its lock, or a lock of packages. False where a process uses it.
fn remove_unused(item: &Item, dry_run: bool) -> Result<bool, ImageError> {
    if item.kind == "lock" {
        if !dry_run {
            std::fs::remove_file(&item.path).doing("remove", &item.path)?;
        }
        return Ok(true);
    }
    let lock = lock_path(&item.path);
    let Some(_alone) = try_lock(&lock, Hold::Alone).doing("lock", &lock)? else {
        return Ok(false);
    };
    if !dry_run {
        // Out of the way first: a removal that is interrupted must not leave half an image.
        let doomed = Utf8PathBuf::from(format!("{}.gone", item.path));
        std::fs::rename(&item.path, &doomed).doing("rename", &item.path)?;
        std::fs::remove_dir_all(&doomed).doing("remove", &doomed)?;
        std::fs::remove_file(&lock).doing("remove", &lock)?;
    }
    Ok(true)
}

fn inventory(dirs: &Dirs, ports: &[Port]) -> Result<Vec<Item>, ImageError> {
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for port in ports {
        if let Planned::Cached(key) = planned_image(port, dirs)? {
            wanted.insert(images(&dirs.cache).join(key.0).into_string());
        }
        if let Some((key, _)) = sysroot::planned(dirs, port) {
            wanted.insert(dirs.cache.join("sysroots").join(key.0).into_string());
        }
        if let Some(resolved) = resolve::known(&dirs.cache, port) {
            wanted.insert(resolve::place(&dirs.cache, port).into_string());
            let files = resolved
                .kernel
                .iter()
                .chain(&resolved.guest)
                .chain(&resolved.sysroot);
            wanted.extend(files.map(|f| fetch::place(&dirs.cache, f).into_string()));
        }
    }
    let mut items = releases::items(&dirs.cache);
    for (kind, below) in [
        ("image", "images"),
        ("sysroot", "sysroots"),
        ("snapshot", "snapshots"),
        ("package", "debs"),
        ("lock", "resolved"),
    ] {
        let Ok(entries) = dirs.cache.join(below).read_dir_utf8() else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.into_path();
            let is_dir = path.is_dir();
            // One that is being saved has its maker's lock, not one of its own name.
            if kind == "snapshot" && path.extension() == Some("new") {
                continue;
            }
            if is_dir != matches!(kind, "image" | "sysroot" | "snapshot") {
                continue;
            }
            let name = match kind {
                "image" => read_record(&path).map_or_else(|_| "damaged".to_owned(), |r| r.port),
                "snapshot" => saved(&path).map_or_else(|| "damaged".to_owned(), |s| s.port),
                _ => path
                    .file_name()
                    .unwrap_or_default()
                    .chars()
                    .take(24)
                    .collect(),
            };
            items.push(Item {
                kind,
                name,
                size_bytes: size_of(&path),
                age: age_of(&path),
                // A saved guest is wanted as long as its image is.
                wanted: match kind {
                    "snapshot" => saved(&path).is_some_and(|s| {
                        wanted.contains(images(&dirs.cache).join(s.image.0).as_str())
                    }),
                    _ => wanted.contains(path.as_str()),
                },
                path,
            });
        }
    }
    Ok(items)
}

/// What is read here of a saved guest's record.
#[derive(Deserialize)]
struct Saved {
    port: String,
    image: Key,
}

fn saved(dir: &Utf8Path) -> Option<Saved> {
    let bytes = std::fs::read(dir.join("snapshot.json")).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn age_of(path: &Utf8Path) -> Duration {
    let times = [lock_path(path), path.to_owned()];
    let modified = |p: &Utf8PathBuf| std::fs::metadata(p).and_then(|m| m.modified()).ok();
    times
        .iter()
        .find_map(modified)
        .and_then(|t| t.elapsed().ok())
        .unwrap_or_default()
}

/// The bytes of all files at and below `path`.
fn size_of(path: &Utf8Path) -> u64 {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let Ok(entries) = path.read_dir_utf8() else {
        return 0;
    };
    entries.flatten().map(|e| size_of(e.path())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(name: &str, size_bytes: u64, age_s: u64, wanted: bool) -> Item {
        Item {
            kind: "image",
            name: name.to_owned(),
            path: name.into(),
            size_bytes,
            age: Duration::from_secs(age_s),
            wanted,
        }
    }

    fn names(policy: Policy) -> Vec<String> {
        let items = [
            item("new", 10, 1, false),
            item("old", 10, 100, false),
            item("older", 10, 200, false),
            item("current", 10, 300, true),
        ];
        choose(&items, &policy)
            .into_iter()
            .map(|i| i.name)
            .collect()
    }

    #[test]
    fn without_a_limit_all_that_is_not_wanted_goes() {
        assert_eq!(names(Policy::default()), ["older", "old", "new"]);
    }

    #[test]
    fn age_and_size_choose_the_longest_unused() {
        let age = Policy {
            max_age: Some(Duration::from_secs(150)),
            ..Policy::default()
        };
        assert_eq!(names(age), ["older"]);
        let size = Policy {
            max_bytes: Some(25),
            ..Policy::default()
        };
        assert_eq!(names(size), ["older", "old"]);
        let all = Policy { all: true, ..size };
        assert_eq!(names(all), ["current", "older"]);
    }

    #[test]
    fn what_a_process_uses_stays() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let dirs = Dirs {
            images: cache.join("none"),
            cache: cache.clone(),
        };
        // A guest that was saved of an image that no manifest means.
        let snapshot = cache.join("snapshots/old");
        std::fs::create_dir_all(&snapshot).unwrap();
        let record = r#"{"port": "p", "image": "free"}"#;
        std::fs::write(snapshot.join("snapshot.json"), record).unwrap();
        for key in ["used", "free"] {
            std::fs::create_dir_all(images(&cache).join(key)).unwrap();
            std::fs::write(images(&cache).join(key).join("kernel"), "kernel").unwrap();
        }
        let lease = try_lock(lock_path(&images(&cache).join("used")), Hold::Shared).unwrap();
        let tried = Policy {
            dry_run: true,
            ..Policy::default()
        };
        assert_eq!(gc(&dirs, &[], &tried).unwrap().gone.len(), 2);
        assert!(images(&cache).join("free").exists());
        let report = gc(&dirs, &[], &Policy::default()).unwrap();
        assert_eq!(
            (report.gone.len(), report.in_use, report.left_bytes),
            (2, 1, 6)
        );
        assert!(images(&cache).join("used/kernel").exists());
        assert!(!images(&cache).join("free").exists() && !snapshot.exists());
        drop(lease);
        assert_eq!(gc(&dirs, &[], &Policy::default()).unwrap().gone.len(), 1);
        let left: Vec<_> = images(&cache).read_dir_utf8().unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
