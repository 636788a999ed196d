//! The source of one side: a tree that is copied, and a patch series that is applied to the copy.
//!
//! Nothing of the user's checkout is touched. Version control's own directories, `target/` and what a
//! build left behind there (untracked and ignored by git) are neither copied nor hashed; a revision of a repository comes out of a bare mirror. Who unpacks a
//! distribution's source package or fills the mirror is the engine's business.

use std::fs;
use std::io;
use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::process::Command;

use super::error::{BuildError, Doing};
use crate::host::files::{content_hash, is_ignored, tree_hash};
use crate::host::git::{self, GitTree};
use crate::host::leftovers::Leftovers;
use crate::host::{series, text};
use crate::model::Key;

/// A source tree on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Where it is.
    pub origin: Origin,
    /// The hash of its content: [`tree_hash`]'s of a directory, [`GitTree::key`] of a git tree.
    pub hash: Key,
}

/// Where a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A directory.
    Dir(Utf8PathBuf),
    /// In a bare repository; there is no directory yet.
    Git(GitTree),
    /// A directory that has all of the tree and nothing else: what a node fetched of a git tree.
    Whole(Utf8PathBuf),
}

impl Tree {
    /// A git tree.
    pub fn git(tree: GitTree) -> Self {
        Self {
            hash: tree.key(),
            origin: Origin::Git(tree),
        }
    }

    /// The directory, or the repository: for people.
    pub fn place(&self) -> &Utf8Path {
        match &self.origin {
            Origin::Dir(dir) | Origin::Whole(dir) => dir,
            Origin::Git(tree) => &tree.repo,
        }
    }
}

/// A patch series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The quilt `series` file with the patches beside it, or a file of mails.
    pub path: Utf8PathBuf,
    /// The hash of its patches in their order, as [`series::hash`] makes it.
    pub hash: Key,
}

/// Hashes a plain tree. Blocks.
pub fn tree(dir: &Utf8Path) -> Result<Tree, BuildError> {
    if !dir.is_dir() {
        return Err(BuildError::Source {
            path: dir.to_owned(),
            why: "is not a directory: expected the project's source (source.path)".to_owned(),
        });
    }
    Ok(Tree {
        origin: Origin::Dir(dir.to_owned()),
        hash: tree_hash(dir)?,
    })
}

/// Hashes a series. Blocks.
pub fn series(path: &Utf8Path) -> Result<Series, BuildError> {
    Ok(Series {
        path: path.to_owned(),
        hash: series::hash(path)?,
    })
}

fn changed(path: &Utf8Path) -> BuildError {
    BuildError::Source {
        path: path.to_owned(),
        why: "changed since the run was planned: start the run again".to_owned(),
    }
}

/// Copies a tree to the new directory `to` and checks that it is what the plan was made with.
/// Blocks.
pub fn copy(tree: &Tree, to: &Utf8Path) -> Result<(), BuildError> {
    match &tree.origin {
        Origin::Dir(dir) => {
            copy_without(dir, Utf8Path::new(""), Some(&Leftovers::of(dir)), to)?;
            match content_hash(to)? == tree.hash {
                true => Ok(()),
                false => Err(changed(dir)),
            }
        }
        Origin::Git(tree) => {
            let index = to.with_extension("index");
            git::checkout(tree, to, &index)?;
            // make goes by times, and git keeps none: nothing is older than what it was made from.
            let now = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
            same_times(to, now)
        }
        // It was verified when it was fetched, and has the times of the checkout.
        Origin::Whole(dir) => copy_dir(dir, to),
    }
}

/// Gives all files below a directory the same time.
pub(super) fn same_times(dir: &Utf8Path, times: fs::FileTimes) -> Result<(), BuildError> {
    for entry in dir.read_dir_utf8().doing("read", dir)? {
        let entry = entry.doing("read", dir)?;
        let path = entry.path();
        let kind = entry.file_type().doing("read", path)?;
        if kind.is_dir() {
            same_times(path, times)?;
        } else if kind.is_file() {
            // Opened for reading: the owner may set times of a file that nobody may write.
            let file = fs::File::open(path).doing("open", path)?;
            file.set_times(times).doing("set the time of", path)?;
        }
    }
    Ok(())
}

/// Copies all of a directory to the new directory `to`.
pub(super) fn copy_dir(from: &Utf8Path, to: &Utf8Path) -> Result<(), BuildError> {
    copy_without(from, Utf8Path::new(""), None, to)
}

fn copy_without(
    from: &Utf8Path,
    below: &Utf8Path,
    left: Option<&Leftovers>,
    to: &Utf8Path,
) -> Result<(), BuildError> {
    fs::create_dir(to).doing("create", to)?;
    for entry in from.read_dir_utf8().doing("read", from)? {
        let entry = entry.doing("read", from)?;
        let below = below.join(entry.file_name());
        if left.is_some_and(|left| is_ignored(entry.path()) || left.contains(&below)) {
            continue;
        }
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(path).doing("read", path)?;
        if meta.is_symlink() {
            let link = fs::read_link(path).doing("read", path)?;
            std::os::unix::fs::symlink(link, &target).doing("create", &target)?;
        } else if meta.is_dir() {
            copy_without(path, &below, left, &target)?;
        } else if meta.is_file() {
            copy_file(path, &target, &meta).doing("copy", path)?;
        }
    }
    Ok(())
}

fn copy_file(from: &Utf8Path, to: &Utf8Path, meta: &fs::Metadata) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::copy(from, to)?;
    // Patches must be able to change it.
    let mode = meta.permissions().mode() & 0o777 | 0o600;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    // make goes by times: what a release shipped as generated must not be older than its source.
    let times = fs::FileTimes::new().set_modified(meta.modified()?);
    fs::File::options().write(true).open(to)?.set_times(times)
}

/// Writes the patches of a series into the new directory `to`, checks that it is what the plan was
/// made with, and gives the patches' names. Blocks.
pub(super) fn copy_series(series: &Series, to: &Utf8Path) -> Result<Vec<Utf8PathBuf>, BuildError> {
    let patches = series::read(&series.path)?;
    if series::hash(&series.path)? != series.hash {
        return Err(changed(&series.path));
    }
    let mut names = Vec::new();
    for patch in patches {
        let path = to.join(&patch.name);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).doing("create", dir)?;
        }
        fs::write(&path, &patch.bytes).doing("write", &path)?;
        names.push(Utf8PathBuf::from(patch.name));
    }
    Ok(names)
}

/// Copies a series as it is into the directory `to`, where it keeps its name. Blocks.
pub fn keep_series(series: &Series, to: &Utf8Path) -> Result<(), BuildError> {
    let kept = series::copy(&series.path, to)?;
    match series::hash(&kept)? == series.hash {
        true => Ok(()),
        false => Err(changed(&series.path)),
    }
}

/// Applies the patches (below `patches`) to `tree`, in order, without fuzz.
pub(super) async fn apply(
    names: &[Utf8PathBuf],
    patches: &Utf8Path,
    tree: &Utf8Path,
) -> Result<(), BuildError> {
    for name in names {
        let mut command = Command::new("patch");
        command
            .args(["-p1", "--forward", "--batch", "--fuzz=0"])
            .args(["--no-backup-if-mismatch", "--reject-file=-"])
            .args(["-d", tree.as_str(), "-i", patches.join(name).as_str()])
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = match command.output().await {
            Ok(output) => output,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(BuildError::ToolMissing {
                    program: "patch".to_owned(),
                    package: "patch".to_owned(),
                });
            }
            Err(e) => return Err(e).doing("run patch on", name),
        };
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            let lines = text::head(&said, 40, 300).join("\n");
            if lines.contains("No space left on device") {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                return Err(full).doing("patch", tree);
            }
            let (file, hunk) = blame(&lines);
            return Err(BuildError::PatchFailed {
                patch: name.clone(),
                file,
                hunk,
                output: lines,
            });
        }
    }
    Ok(())
}

/// The file and the hunk out of what patch(1) says: `patching file a.c`, `Hunk #2 FAILED at 40.`
fn blame(said: &str) -> (Option<String>, Option<String>) {
    let mut file = None;
    for line in said.lines() {
        if let Some(name) = line
            .strip_prefix("patching file ")
            .or_else(|| line.strip_prefix("checking file "))
        {
            file = Some(name.trim_matches('\'').to_owned());
        } else if let Some(rest) = line.strip_prefix("Hunk #") {
            let failed = rest.split_once(" FAILED at ");
            if let Some((number, at)) = failed {
                let at = at.trim_end_matches('.');
                return (file, Some(format!("#{number} at line {at}")));
            }
        } else if line.starts_with("can't find file to patch") {
            return (named_in_header(said), None);
        } else if line.starts_with("Reversed (or previously applied) patch detected") {
            return (file, None);
        }
    }
    (file, None)
}

/// The file of the patch's header, which patch(1) quotes when it does not find it.
fn named_in_header(said: &str) -> Option<String> {
    let line = said.lines().find_map(|l| l.strip_prefix("|+++ "))?;
    let path = line.split('\t').next()?.split(' ').next()?;
    Some(
        path.split_once('/')
            .map_or(path, |(_, rest)| rest)
            .to_owned(),
    )
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
