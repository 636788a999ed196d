//! The source of one side: a tree that is copied, and a patch series that is applied to the copy.
//!
//! Nothing of the user's checkout is touched. Version control's own directories and `target/` are
//! neither copied nor hashed. A prepared directory is all that is wanted here: who unpacks a
//! distribution's source package into one is the engine's business.

use std::fs;
use std::io;
use std::process::Stdio;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use tokio::process::Command;

use super::error::{BuildError, Doing};
use crate::host::files::{is_ignored, series_hash, series_patches, tree_hash};
use crate::host::text;
use crate::model::Key;

/// A source tree on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its directory.
    pub dir: Utf8PathBuf,
    /// The hash of its content, as [`tree_hash`] makes it.
    pub hash: Key,
}

/// A quilt series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// The `series` file; the patches are beside it.
    pub path: Utf8PathBuf,
    /// The hash of its patches in their order, as [`series_hash`] makes it.
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
        dir: dir.to_owned(),
        hash: tree_hash(dir)?,
    })
}

/// Hashes a series. Blocks.
pub fn series(path: &Utf8Path) -> Result<Series, BuildError> {
    Ok(Series {
        path: path.to_owned(),
        hash: series_hash(path)?,
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
pub(super) fn copy(tree: &Tree, to: &Utf8Path) -> Result<(), BuildError> {
    copy_dir(&tree.dir, to)?;
    if tree_hash(to)? != tree.hash {
        return Err(changed(&tree.dir));
    }
    Ok(())
}

fn copy_dir(from: &Utf8Path, to: &Utf8Path) -> Result<(), BuildError> {
    fs::create_dir(to).doing("create", to)?;
    for entry in from.read_dir_utf8().doing("read", from)? {
        let entry = entry.doing("read", from)?;
        if is_ignored(entry.path()) {
            continue;
        }
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let meta = fs::symlink_metadata(path).doing("read", path)?;
        if meta.is_symlink() {
            let link = fs::read_link(path).doing("read", path)?;
            std::os::unix::fs::symlink(link, &target).doing("create", &target)?;
        } else if meta.is_dir() {
            copy_dir(path, &target)?;
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

/// Copies a series and its patches to the new directory `to`, checks that it is what the plan was
/// made with, and gives the patches as the series names them. Blocks.
pub(super) fn copy_series(series: &Series, to: &Utf8Path) -> Result<Vec<Utf8PathBuf>, BuildError> {
    let from = series.path.parent().unwrap_or(Utf8Path::new(""));
    let mut names = Vec::new();
    for patch in series_patches(&series.path)? {
        let name = patch.strip_prefix(from).unwrap_or(&patch).to_owned();
        let plain = |c: Utf8Component<'_>| matches!(c, Utf8Component::Normal(_));
        if !name.components().all(plain) {
            return Err(BuildError::Source {
                path: series.path.clone(),
                why: format!("'{name}' is not beside the series: expected a relative path"),
            });
        }
        copy_below(&patch, &to.join(&name))?;
        names.push(name);
    }
    let copied = to.join("series");
    copy_below(&series.path, &copied)?;
    if series_hash(&copied)? != series.hash {
        return Err(changed(&series.path));
    }
    Ok(names)
}

fn copy_below(from: &Utf8Path, to: &Utf8Path) -> Result<(), BuildError> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).doing("create", dir)?;
    }
    fs::copy(from, to).map(|_| ()).doing("read", from)
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
