//! Fetched releases in the cache: which there are, which files none of them has any more, and how they go.
//!
//! No manifest means a release, and to fetch one takes long: it goes by age or size or where all is to go,
//! never only because nothing asks for it. Its files are links to those of the store, which go once no release
//! has them.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::{Item, age_of, size_of};
use crate::host::lock::{Hold, Lock, try_lock};
use crate::image::error::{ImageError, IoContext};
use crate::image::release::store::Record;

/// A fetch puts its files into the store one by one and says at its end that they are a release's.
const SETTLE: Duration = Duration::from_secs(24 * 60 * 60);

/// The records of a release's ports.
fn records(tree: &Utf8Path) -> Vec<Record> {
    let Ok(entries) = tree.read_dir_utf8() else {
        return Vec::new();
    };
    let files = entries.flatten().map(|e| e.into_path());
    files
        .filter(|path| path.extension() == Some("json"))
        .filter_map(|path| serde_json::from_slice(&std::fs::read(path).ok()?).ok())
        .collect()
}

/// The files of the store that releases have, by hash.
fn hashes(trees: &[Utf8PathBuf]) -> BTreeSet<String> {
    let records = trees.iter().flat_map(|tree| records(tree));
    let files = records.flat_map(|record| record.files.into_values());
    files.map(|kept| kept.sha512).collect()
}

fn below(cache: &Utf8Path, name: &str) -> Vec<Utf8PathBuf> {
    let entries = cache.join("releases").join(name).read_dir_utf8();
    let paths = entries.into_iter().flatten().flatten();
    let mut paths: Vec<Utf8PathBuf> = paths.map(|e| e.into_path()).collect();
    paths.sort();
    paths
}

fn trees(cache: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut trees = below(cache, "trees");
    trees.retain(|path| path.is_dir());
    trees
}

/// Releases, and what is left of those that went or never came.
pub(super) fn items(cache: &Utf8Path) -> Vec<Item> {
    let mut items = Vec::new();
    for tree in trees(cache) {
        let ports = records(&tree).into_iter();
        let names: Vec<String> = ports
            .map(|r| format!("{} of {}", r.port, r.source))
            .collect();
        let size_bytes = size_of(&tree);
        items.push(item("release", names.join(", "), tree, size_bytes));
    }
    items.extend(unlinked(cache));
    items.extend(below(cache, "parts").into_iter().filter_map(|path| {
        let size_bytes = size_of(&path);
        let part = item("release file", "unfinished".to_owned(), path, size_bytes);
        (part.age > SETTLE).then_some(part)
    }));
    items
}

fn item(kind: &'static str, name: String, path: Utf8PathBuf, size_bytes: u64) -> Item {
    Item {
        kind,
        name,
        age: age_of(&path),
        path,
        size_bytes,
        wanted: false,
    }
}

/// Files of the store that no release has, and that none is about to have.
fn unlinked(cache: &Utf8Path) -> Vec<Item> {
    let named = hashes(&trees(cache));
    let files = below(cache, "files").into_iter();
    let files = files.filter(|path| !named.contains(path.file_name().unwrap_or_default()));
    let alone = |path: &Utf8PathBuf| std::fs::metadata(path).is_ok_and(|m| m.nlink() == 1);
    let items = files.filter(alone).map(|path| {
        let size_bytes = size_of(&path);
        item("release file", "of no release".to_owned(), path, size_bytes)
    });
    items.filter(|item| item.age > SETTLE).collect()
}

/// Removes a release, or a file of the store. False where somebody fetches into it.
pub(super) fn remove(cache: &Utf8Path, item: &Item, dry_run: bool) -> Result<bool, ImageError> {
    if item.kind != "release" {
        if !dry_run {
            std::fs::remove_file(&item.path).doing("remove", &item.path)?;
        }
        return Ok(true);
    }
    let Some(_alone) = locks(&item.path)? else {
        return Ok(false);
    };
    if dry_run {
        return Ok(true);
    }
    let had = hashes(std::slice::from_ref(&item.path));
    let doomed = cache.join("releases").join(format!(
        "{}.gone",
        item.path.file_name().unwrap_or_default()
    ));
    std::fs::rename(&item.path, &doomed).doing("rename", &item.path)?;
    std::fs::remove_dir_all(&doomed).doing("remove", &doomed)?;
    // What it alone had.
    let kept = hashes(&trees(cache));
    for sha512 in had.difference(&kept) {
        let file = cache.join("releases/files").join(sha512);
        if std::fs::metadata(&file).is_ok_and(|m| m.nlink() == 1) {
            std::fs::remove_file(&file).doing("remove", &file)?;
        }
    }
    Ok(true)
}

/// The locks of a release's ports, where nobody else holds one.
fn locks(tree: &Utf8Path) -> Result<Option<Vec<Lock>>, ImageError> {
    let entries = tree.read_dir_utf8().doing("list", tree)?;
    let files = entries.flatten().map(|e| e.into_path());
    let mut held = Vec::new();
    for path in files.filter(|path| path.extension() == Some("lock")) {
        match try_lock(&path, Hold::Alone).doing("lock", &path)? {
            Some(lock) => held.push(lock),
            None => return Ok(None),
        }
    }
    Ok(Some(held))
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, gc};
    use super::*;
    use crate::image::Dirs;

    /// A release of the cache with two files, one of them shared by all that are made so.
    fn fetched(cache: &Utf8Path, name: &str) {
        let releases = cache.join("releases");
        let tree = releases.join("trees").join(name);
        std::fs::create_dir_all(tree.join("amd64")).unwrap();
        std::fs::create_dir_all(releases.join("files")).unwrap();
        let mut files = Vec::new();
        for sha512 in [name, "shared"] {
            let file = releases.join("files").join(sha512);
            if !file.exists() {
                std::fs::write(&file, "content").unwrap();
            }
            std::fs::hard_link(&file, tree.join("amd64").join(sha512)).unwrap();
            files.push(format!(
                r#""{sha512}": {{"sum": {{"md5": "0"}}, "sha512": "{sha512}", "size_bytes": 7}}"#
            ));
        }
        let record = format!(
            r#"{{"format": 1, "source": "{name}", "from": "{name}/amd64/", "port": "amd64",
                "fetched": "2026-11-30T00:00:00Z", "patterns": [], "files": {{{}}}}}"#,
            files.join(", ")
        );
        let _: Record = serde_json::from_str(&record).unwrap();
        std::fs::write(tree.join("amd64.json"), record).unwrap();
        std::fs::write(tree.join("amd64.lock"), "").unwrap();
    }

    #[test]
    fn a_release_goes_by_age_or_size_with_the_files_that_it_alone_has() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let dirs = Dirs {
            images: cache.join("none"),
            cache: cache.clone(),
        };
        fetched(&cache, "one");
        fetched(&cache, "two");
        let files = || below(&cache, "files").len();
        assert_eq!(gc(&dirs, &[], &Policy::default()).unwrap().gone, []);
        let one = cache.join("releases/trees/one/amd64.lock");
        let held = try_lock(&one, Hold::Alone).unwrap();
        let all = Policy {
            max_bytes: Some(0),
            ..Policy::default()
        };
        let dry = Policy {
            dry_run: true,
            ..all
        };
        assert_eq!(gc(&dirs, &[], &dry).unwrap().gone.len(), 1);
        assert_eq!((trees(&cache).len(), files()), (2, 3));
        let report = gc(&dirs, &[], &all).unwrap();
        assert_eq!(report.gone[0].name, "amd64 of two");
        assert_eq!((report.gone[0].kind, report.in_use), ("release", 1));
        // What the other one has too stays.
        assert_eq!((trees(&cache).len(), files()), (1, 2));
        drop(held);
        gc(
            &dirs,
            &[],
            &Policy {
                all: true,
                ..Policy::default()
            },
        )
        .unwrap();
        assert_eq!((trees(&cache).len(), files()), (0, 0));
    }

    #[test]
    fn what_a_fetch_left_goes_once_it_is_old() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        let old = std::time::SystemTime::now() - 2 * SETTLE;
        for (name, is_old) in [
            ("files/new", false),
            ("files/old", true),
            ("parts/old", true),
        ] {
            let path = cache.join("releases").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = std::fs::File::create(&path).unwrap();
            if is_old {
                file.set_modified(old).unwrap();
            }
        }
        let names: Vec<String> = items(&cache).into_iter().map(|i| i.name).collect();
        assert_eq!(names, ["of no release", "unfinished"]);
    }
}
