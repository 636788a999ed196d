//! Reads what the set-list doctor looks at: a tree's lists, the files of a DESTDIR, the reports that
//! `checkflist` left there.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use camino::Utf8Path;

use super::error::{BuildError, Doing};
use super::sets::{Lists, Reported};

/// The largest list, in bytes.
const MAX_LIST_BYTES: u64 = 64 << 20;

const LISTS: &str = "distrib/sets/lists";

/// Reads `distrib/sets/lists` of a tree. Blocks.
pub fn lists(tree: &Utf8Path) -> Result<Lists, BuildError> {
    let root = tree.join(LISTS);
    let mut lists = Lists::default();
    for set in root.read_dir_utf8().doing("read", &root)? {
        let set = set.doing("read", &root)?;
        if !set.path().is_dir() || set.file_name() == "CVS" {
            continue;
        }
        for file in set.path().read_dir_utf8().doing("read", set.path())? {
            let file = file.doing("read", set.path())?;
            if !file.file_type().doing("read", file.path())?.is_file() {
                continue;
            }
            let name = format!("{}/{}", set.file_name(), file.file_name());
            let text = text(file.path())?;
            lists
                .files
                .insert(name, text.lines().map(str::to_owned).collect());
        }
    }
    Ok(lists)
}

/// A file of text, bounded. Blocks.
pub fn text(path: &Utf8Path) -> Result<String, BuildError> {
    let size = fs::metadata(path).doing("read", path)?.len();
    if size > MAX_LIST_BYTES {
        let most = MAX_LIST_BYTES >> 20;
        let error = io::Error::other(format!("is larger than {most} MiB"));
        return Err(error).doing("read", path);
    }
    let bytes = fs::read(path).doing("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files, directories and links of a DESTDIR, as `./usr/bin/x`; `.` is the directory itself.
/// Blocks.
pub fn files(destdir: &Utf8Path) -> Result<BTreeSet<String>, BuildError> {
    let mut found = BTreeSet::from([".".to_owned()]);
    walk(destdir, ".", &mut found)?;
    Ok(found)
}

fn walk(dir: &Utf8Path, shown: &str, found: &mut BTreeSet<String>) -> Result<(), BuildError> {
    for entry in dir.read_dir_utf8().doing("read", dir)? {
        let entry = entry.doing("read", dir)?;
        let kind = entry.file_type().doing("read", entry.path())?;
        let shown = format!("{shown}/{}", entry.file_name());
        if kind.is_dir() {
            walk(entry.path(), &shown, found)?;
        }
        if kind.is_dir() || kind.is_file() || kind.is_symlink() {
            found.insert(shown);
        }
    }
    Ok(())
}

/// What `checkflist` left in a DESTDIR; none where it did not run. Blocks.
pub fn reported(destdir: &Utf8Path) -> Result<Option<Reported>, BuildError> {
    let read = |name: &str| -> Result<Option<BTreeSet<String>>, BuildError> {
        let path = destdir.join(name);
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(text(&path)?.lines().map(str::to_owned).collect()))
    };
    let (Some(extra), Some(missing)) = (read("SETS.destdir.extra")?, read("SETS.destdir.missing")?)
    else {
        return Ok(None);
    };
    let mut found = Reported::default();
    found.sets.extra = extra;
    found.sets.missing = missing;
    // Without a METALOG everything would be missing in it.
    if destdir.join("SETS.mlist").exists() {
        found.metalog.extra = read("SETS.metalog.extra")?.unwrap_or_default();
        found.metalog.missing = read("SETS.metalog.missing")?.unwrap_or_default();
    }
    Ok(Some(found))
}

/// Whether a tree's lists were written after `checkflist` last looked at a DESTDIR. Blocks.
pub fn is_older(destdir: &Utf8Path, tree: &Utf8Path) -> Result<bool, BuildError> {
    let changed = |path: &Utf8Path| {
        let time = fs::metadata(path).and_then(|meta| meta.modified());
        time.doing("look at", path)
    };
    let looked = changed(&destdir.join("SETS.destdir.extra"))?;
    let dir = tree.join(LISTS);
    for name in lists(tree)?.files.keys() {
        if changed(&dir.join(name))? > looked {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destdir_and_its_reports_are_read() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        fs::create_dir_all(dir.join("usr/bin")).unwrap();
        fs::write(dir.join("usr/bin/x"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.join("link")).unwrap();
        let want = [".", "./link", "./usr", "./usr/bin", "./usr/bin/x"];
        assert_eq!(files(dir).unwrap(), want.map(str::to_owned).into());
        assert_eq!(reported(dir).unwrap(), None);
        fs::write(dir.join("SETS.destdir.extra"), "./usr/bin/x\n").unwrap();
        fs::write(dir.join("SETS.destdir.missing"), "").unwrap();
        fs::write(dir.join("SETS.metalog.missing"), "./usr/bin/x\n").unwrap();
        let got = reported(dir).unwrap().unwrap();
        assert_eq!(got.sets.extra, ["./usr/bin/x".to_owned()].into());
        assert!(got.sets.missing.is_empty());
        assert!(got.metalog.missing.is_empty(), "there was no METALOG");
        fs::write(dir.join("SETS.mlist"), "").unwrap();
        let got = reported(dir).unwrap().unwrap();
        assert_eq!(got.metalog.missing.len(), 1);
    }

    #[test]
    fn lists_that_were_changed_after_the_check_are_told() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let list = dir.join(LISTS).join("comp/mi");
        fs::create_dir_all(list.parent().unwrap()).unwrap();
        fs::write(&list, "./a\tb\n").unwrap();
        let report = fs::File::create(dir.join("SETS.destdir.extra")).unwrap();
        let list = fs::File::options().append(true).open(&list).unwrap();
        let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        report.set_modified(at(2000)).unwrap();
        list.set_modified(at(1000)).unwrap();
        assert!(!is_older(dir, dir).unwrap());
        list.set_modified(at(3000)).unwrap();
        assert!(is_older(dir, dir).unwrap());
    }

    #[test]
    fn lists_are_read_without_version_controls_files() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let root = dir.join("distrib/sets/lists");
        fs::create_dir_all(root.join("comp/CVS")).unwrap();
        fs::create_dir_all(root.join("CVS")).unwrap();
        fs::write(root.join("CVS/Root"), "x").unwrap();
        fs::write(root.join("comp/mi"), "# head\n./a\tb\n").unwrap();
        let lists = lists(dir).unwrap();
        assert_eq!(lists.files.len(), 1);
        assert_eq!(lists.files["comp/mi"], ["# head", "./a\tb"]);
        assert!(super::lists(&dir.join("none")).is_err());
    }
}
