//! What a build left behind in somebody's checkout: untracked files that the repository is told to
//! ignore.
//!
//! Such files are no source. Were they hashed, a `make` typed by hand would change what is built; were
//! they copied, objects of the host would be linked for another machine. Git knows best what they are;
//! outside of a repository nothing is left out, because a release's tree may name as ignored what it
//! ships as generated.

use std::collections::HashSet;
use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

use super::git;

/// The paths below a directory that are left out, relative to it; directories whole.
#[derive(Debug, Clone, Default)]
pub struct Leftovers(HashSet<Utf8PathBuf>);

impl Leftovers {
    /// Asks git. Empty outside of a work tree, and where git does not answer. Blocks.
    pub fn of(root: &Utf8Path) -> Self {
        let Ok(real) = root.canonicalize_utf8() else {
            return Self::default();
        };
        if !real.is_dir() || !real.ancestors().any(|dir| dir.join(".git").exists()) {
            return Self::default();
        }
        let mut command = Command::new("git");
        for name in git::LEADING {
            command.env_remove(name);
        }
        command
            .args(["-c", "core.fsmonitor=false", "-C", real.as_str()])
            .args(["ls-files", "-z", "--others", "--ignored"])
            .args(["--exclude-standard", "--directory"])
            .stdin(Stdio::null());
        let Ok(out) = git::output(command, "list what is ignored") else {
            return Self::default();
        };
        let paths: HashSet<Utf8PathBuf> = out
            .split('\0')
            .filter(|path| !path.is_empty())
            .map(|path| Utf8PathBuf::from(path.trim_end_matches('/')))
            .collect();
        // The whole of it is ignored by a repository around it, which is none of ours.
        if paths.contains(Utf8Path::new(".")) {
            return Self::default();
        }
        Self(paths)
    }

    /// Whether the path, relative to the root, is one of them.
    pub fn contains(&self, relative: &Utf8Path) -> bool {
        self.0.contains(relative)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Utf8Path, args: &[&str]) {
        let mut command = Command::new("git");
        for name in git::LEADING {
            command.env_remove(name);
        }
        let status = command
            .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"])
            .arg(dir)
            .args(args)
            .status()
            .unwrap();
        assert!(status.success());
    }

    #[test]
    fn what_is_ignored_and_not_tracked_is_left_out() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let put = |name: &str| {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, name).unwrap();
        };
        for name in ["lib/a.c", "lib/a.o", "lib/out/x", "lib/kept.o", "lib/new.c"] {
            put(name);
        }
        std::fs::write(dir.join(".gitignore"), "*.o\nout/\n").unwrap();
        let lib = dir.join("lib");
        assert!(Leftovers::of(&lib).0.is_empty());
        git(dir, &["init", "--quiet"]);
        git(dir, &["add", "--force", "lib/a.c", "lib/kept.o"]);
        let left = Leftovers::of(&lib);
        let named = |name: &str| left.contains(Utf8Path::new(name));
        assert!(named("a.o") && named("out"));
        assert!(!named("kept.o") && !named("new.c") && !named("a.c"));
        // A directory that the repository around it ignores as a whole is a source of its own.
        std::fs::write(dir.join(".gitignore"), "other/\n").unwrap();
        put("other/src/b.c");
        let other = Leftovers::of(&dir.join("other/src"));
        assert!(!other.contains(Utf8Path::new("b.c")), "{other:?}");
    }
}
