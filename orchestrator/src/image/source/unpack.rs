//! From downloaded files to a source tree: unpack, then the patch series.

use std::process::Command;

use camino::{Utf8Path, Utf8PathBuf};

use super::super::apt::ArchiveFile;
use super::super::error::IoContext;
use super::super::exec::{Ran, Watch, run};
use super::super::fetch;
use super::error::SourceError;
use super::recipe::Origin;
use super::trees;

/// Unpacks `files` of the store in `cache` into the new directory `into`.
pub fn unpack(
    origin: &Origin,
    cache: &Utf8Path,
    files: &[ArchiveFile],
    into: &Utf8Path,
    scratch: &Utf8Path,
    watch: &Watch<'_>,
) -> Result<(), SourceError> {
    // The store knows files by hash; programs go by their names.
    let named = scratch.join("files");
    std::fs::create_dir_all(&named).doing("create", &named)?;
    let mut paths = Vec::new();
    for file in files {
        let path = named.join(&file.file);
        let stored = fetch::place(cache, file);
        std::os::unix::fs::symlink(&stored, &path).doing("link", &path)?;
        paths.push(path);
    }
    let files = paths.as_slice();
    match origin {
        Origin::SourcePackage { .. } => {
            let dsc = files
                .iter()
                .find(|f| f.extension() == Some("dsc"))
                .ok_or_else(|| SourceError::Unpack {
                    what: origin.packages().join(" "),
                    output: "the archive gave no .dsc file for it".into(),
                })?;
            // The files are verified against the archive's signed index already.
            let mut command = Command::new("dpkg-source");
            command
                .args(["--no-check", "--no-copy", "-x"])
                .args([dsc, into]);
            check(dsc, run(&mut command, "dpkg-dev", watch, &mut |_| {})?)
        }
        Origin::TarballPackage { tarball, .. } => {
            let scratch = scratch.join("package");
            debs(files, &scratch, watch)?;
            std::fs::create_dir_all(into).doing("create", into)?;
            let mut command = Command::new("tar");
            command
                .args(["--strip-components=1", "--no-same-owner", "-xf"])
                .arg(scratch.join(tarball))
                .args(["-C", into.as_str()]);
            check(
                Utf8Path::new(tarball),
                run(&mut command, "dpkg-dev", watch, &mut |_| {})?,
            )?;
            trees::remove_tree(&scratch);
            Ok(())
        }
        Origin::Packages { .. } => debs(files, into, watch),
        Origin::Recipe => Ok(std::fs::create_dir_all(into).doing("create", into)?),
    }
}

fn debs(files: &[Utf8PathBuf], into: &Utf8Path, watch: &Watch<'_>) -> Result<(), SourceError> {
    std::fs::create_dir_all(into).doing("create", into)?;
    for deb in files {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").args([deb.as_path(), into]);
        check(deb, run(&mut command, "dpkg-dev", watch, &mut |_| {})?)?;
    }
    Ok(())
}

fn check(what: &Utf8Path, ran: Ran) -> Result<(), SourceError> {
    if ran.ok {
        return Ok(());
    }
    Err(SourceError::Unpack {
        what: what.to_string(),
        output: tail(&ran),
    })
}

/// The last lines of what a program said.
fn tail(ran: &Ran) -> String {
    let lines: Vec<&str> = ran.out.lines().chain(ran.err.lines()).collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// Applies the series in order; the first patch that does not apply ends it.
pub fn apply(
    series: &[Utf8PathBuf],
    source: &Utf8Path,
    component: &str,
    version: &str,
    watch: &Watch<'_>,
) -> Result<(), SourceError> {
    for patch in series {
        let path = patch.canonicalize_utf8().doing("find", patch)?;
        let mut command = Command::new("patch");
        command
            .args(["-p1", "--forward", "--batch", "--no-backup-if-mismatch"])
            .args(["-d", source.as_str(), "-i", path.as_str()]);
        let ran = run(&mut command, "patch", watch, &mut |_| {})?;
        if !ran.ok {
            return Err(SourceError::Patch {
                patch: patch.clone(),
                component: component.to_owned(),
                version: version.to_owned(),
                output: tail(&ran),
            });
        }
    }
    Ok(())
}
