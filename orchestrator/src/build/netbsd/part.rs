//! Parts of a distribution, made by the tree's own make in the DESTDIR of the last build, and the
//! proof that this is as good as making all of it.

use std::collections::BTreeMap;
use std::fs;

use camino::Utf8Path;

use super::stage::{Dirs, Target};
use crate::build::error::{BuildError, Doing};

/// So often in a row are only parts made; then all of it is, and both are compared.
pub(super) const CHECK_EVERY: u32 = 8;
/// Files that are named where parts and the whole differ.
const NAMED: usize = 20;

/// What `build.sh distribution` does, for some directories of the tree. Written for `sh`.
const SCRIPT: &str = r#"
make=$1 jobs=$2
shift 2
set -e
"$make" -C distrib/sets clean_METALOG
for part; do
	for target in obj dependall install; do
		"$make" -j "$jobs" -C "$part" "$target"
	done
done
"$make" do-obsolete
# etc/mtree/set.* have sizes and hashes of what is installed; old trees make them with the sets only.
if grep -q '^makesetfiles:' distrib/sets/Makefile; then
	"$make" -C distrib/sets makesetfiles
fi
"$make" postinstall-fix-obsolete
"$make" -C distrib/sets checkflist
"#;

/// The words of the command; it runs in the work tree.
pub(super) fn words(parts: &[String], target: &Target, dirs: &Dirs, jobs: u32) -> Vec<String> {
    let make = dirs.part("tools").join("bin");
    let make = make.join(format!("nbmake-{}", target.machine));
    let mut words = ["sh", "-c", SCRIPT, "sh"].map(str::to_owned).to_vec();
    words.extend([make.into_string(), jobs.max(1).to_string()]);
    words.extend(parts.iter().cloned());
    words
}

/// A comparison of what parts made with what all of it made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Files that were compared.
    pub files: usize,
    /// Files that the parts did not make as the whole did, some of them.
    pub missed: Vec<String>,
    /// How many of those there are.
    pub differ: usize,
}

/// What is in a DESTDIR, by path.
pub(super) type Contents = BTreeMap<String, blake3::Hash>;

/// Reads a DESTDIR but for what the build itself notes there. Blocks.
pub(super) fn contents(dest: &Utf8Path) -> Result<Contents, BuildError> {
    let mut found = Contents::new();
    walk(dest, "", &mut found)?;
    Ok(found)
}

fn walk(dir: &Utf8Path, shown: &str, found: &mut Contents) -> Result<(), BuildError> {
    for entry in dir.read_dir_utf8().doing("read", dir)? {
        let entry = entry.doing("read", dir)?;
        let kind = entry.file_type().doing("read", entry.path())?;
        let name = entry.file_name();
        let path = format!("{shown}{name}");
        if shown.is_empty() && (name.starts_with("METALOG") || name.starts_with("SETS.")) {
            continue;
        }
        if kind.is_dir() {
            walk(entry.path(), &format!("{path}/"), found)?;
        } else if kind.is_symlink() {
            let to = entry.path().read_link_utf8().doing("read", entry.path())?;
            found.insert(path, blake3::hash(to.as_str().as_bytes()));
        } else if kind.is_file() {
            let mut hasher = blake3::Hasher::new();
            let mut file = fs::File::open(entry.path()).doing("read", entry.path())?;
            std::io::copy(&mut file, &mut hasher).doing("read", entry.path())?;
            found.insert(path, hasher.finalize());
        }
    }
    Ok(())
}

/// Compares what parts left with what the whole left.
pub(super) fn compare(parts: &Contents, whole: &Contents) -> Checked {
    let paths: std::collections::BTreeSet<&String> = parts.keys().chain(whole.keys()).collect();
    let differing: Vec<&String> = paths
        .into_iter()
        .filter(|path| parts.get(*path) != whole.get(*path))
        .collect();
    Checked {
        files: whole.len(),
        differ: differing.len(),
        missed: differing.into_iter().take(NAMED).cloned().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_parts_missed_is_named() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        fs::create_dir_all(dir.join("usr/tests")).unwrap();
        for (path, text) in [("usr/tests/a", "1"), ("b", "1"), ("METALOG", "1")] {
            fs::write(dir.join(path), text).unwrap();
        }
        let before = contents(dir).unwrap();
        let same = compare(&before, &contents(dir).unwrap());
        assert_eq!((same.files, same.differ), (2, 0));
        fs::write(dir.join("usr/tests/a"), "2").unwrap();
        fs::write(dir.join("METALOG"), "2").unwrap();
        fs::write(dir.join("new"), "").unwrap();
        fs::remove_file(dir.join("b")).unwrap();
        let checked = compare(&before, &contents(dir).unwrap());
        assert_eq!(checked.missed, ["b", "new", "usr/tests/a"]);
        assert_eq!(checked.differ, 3);
    }
}
