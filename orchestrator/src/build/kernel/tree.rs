//! The tree of one kernel build: made of the cache's own, patched, and read for its options. Blocks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};

use super::super::error::{BuildError, Doing};
use super::super::source::{self, Origin, Tree};
use super::config::Options;
use crate::host::files::tree_hash;
use crate::model::Key;

/// Older than any object.
const OLD: Duration = Duration::from_secs(315_532_800);

/// Makes the tree at `to`. A tree that the cache unpacked is shared with it by hard links, which
/// takes seconds and no room; any other is copied.
pub(super) fn place(tree: &Tree, cache: &Utf8Path, to: &Utf8Path) -> Result<(), BuildError> {
    if let Origin::Dir(dir) | Origin::Whole(dir) = &tree.origin
        && dir.starts_with(cache)
    {
        return link(dir, to);
    }
    source::copy(tree, to)?;
    // What objects were made from is older than they are, whenever it was copied.
    let old = fs::FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + OLD);
    source::same_times(to, old)
}

fn link(from: &Utf8Path, to: &Utf8Path) -> Result<(), BuildError> {
    fs::create_dir(to).doing("create", to)?;
    for entry in from.read_dir_utf8().doing("read", from)? {
        let entry = entry.doing("read", from)?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().doing("read", path)?;
        if kind.is_dir() {
            link(path, &target)?;
        } else if kind.is_symlink() {
            let link = fs::read_link(path).doing("read", path)?;
            std::os::unix::fs::symlink(link, &target).doing("create", &target)?;
        } else {
            fs::hard_link(path, &target).doing("link", path)?;
        }
    }
    Ok(())
}

/// Gives a file that is shared with the cache a content of its own, so that it can be changed.
pub(super) fn detach(file: &Utf8Path) -> Result<(), BuildError> {
    let Ok(meta) = fs::symlink_metadata(file) else {
        return Ok(());
    };
    if !meta.is_file() || meta.nlink() < 2 {
        return Ok(());
    }
    let own = Utf8PathBuf::from(format!("{file}.own"));
    fs::copy(file, &own).doing("copy", file)?;
    let time = meta.modified().doing("read", file)?;
    let times = fs::FileTimes::new().set_modified(time);
    let open = fs::File::options().write(true).open(&own);
    open.and_then(|f| f.set_times(times))
        .and_then(|()| fs::rename(&own, file))
        .doing("copy to", file)
}

/// The content of a file of a tree; none where there is none.
pub(super) fn content(tree: &Utf8Path, path: &Utf8Path) -> Option<Key> {
    let file = tree.join(path);
    file.is_file().then(|| tree_hash(&file).ok()).flatten()
}

/// The content of the files that the patches touch.
pub(super) fn contents(
    tree: &Utf8Path,
    touched: &[Utf8PathBuf],
) -> BTreeMap<Utf8PathBuf, Option<Key>> {
    let contents = touched
        .iter()
        .map(|path| (path.clone(), content(tree, path)));
    contents.collect()
}

/// All options that the tree's Kconfig files define.
pub(super) fn options(tree: &Utf8Path) -> Result<Options, BuildError> {
    let mut options = Options::default();
    let mut dirs = vec![Utf8PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        let here = tree.join(&dir);
        for entry in here.read_dir_utf8().doing("read", &here)? {
            let entry = entry.doing("read", &here)?;
            let path = dir.join(entry.file_name());
            let kind = entry.file_type().doing("read", entry.path())?;
            // The object directory is in the tree and has no options of its own.
            if kind.is_dir() && path != "obj" {
                dirs.push(path);
            } else if kind.is_file() && entry.file_name().starts_with("Kconfig") {
                let text = fs::read(entry.path()).doing("read", entry.path())?;
                options.read(path.as_str(), &String::from_utf8_lossy(&text));
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_file_is_changed_alone() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let from = root.join("trees/t");
        fs::create_dir_all(from.join("lib")).unwrap();
        fs::write(from.join("lib/a.c"), "one").unwrap();
        fs::write(from.join("Kconfig"), "config A\n").unwrap();
        std::os::unix::fs::symlink("lib/a.c", from.join("link")).unwrap();
        let tree = source::tree(&from).unwrap();
        let to = root.join("work");
        place(&tree, root, &to).unwrap();
        assert_eq!(fs::metadata(to.join("lib/a.c")).unwrap().nlink(), 2);
        let before = content(&to, "lib/a.c".into());
        detach(&to.join("lib/a.c")).unwrap();
        let time = |dir: &Utf8Path| {
            fs::metadata(dir.join("lib/a.c"))
                .unwrap()
                .modified()
                .unwrap()
        };
        assert_eq!(time(&to), time(&from));
        fs::write(to.join("lib/a.c"), "two").unwrap();
        assert_eq!(fs::read_to_string(from.join("lib/a.c")).unwrap(), "one");
        assert_ne!(content(&to, "lib/a.c".into()), before);
        let touched = ["lib/a.c", "lib/none.c"].map(Utf8PathBuf::from);
        assert_eq!(contents(&to, &touched)[Utf8Path::new("lib/none.c")], None);
        detach(&to.join("lib/none.c")).unwrap();
        assert!(options(&to).unwrap() != Options::default());
        // A tree of the user's is copied.
        let other = root.join("other");
        place(&tree, Utf8Path::new("/nowhere"), &other).unwrap();
        assert_eq!(fs::metadata(other.join("lib/a.c")).unwrap().nlink(), 1);
    }
}
