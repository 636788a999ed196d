//! Which files of the archive a recipe's source means.
//!
//! What was resolved once stays so until a refresh is asked for: a warm run needs no network, and
//! two runs a day apart build the same.

use camino::{Utf8Path, Utf8PathBuf};

use super::super::apt::{Apt, ArchiveFile, Session};
use super::super::exec::Watch;
use super::super::lock::write_whole;
use super::error::SourceError;
use super::recipe::Origin;
use crate::model::ids::Key;

/// The architecture whose index is read. What sources are made of is for all architectures, so any
/// one's index has it.
pub const INDEX_ARCH: &str = "amd64";

/// What a source was resolved to last time.
pub fn noted(cache: &Utf8Path, suite: &str, origin: &Origin) -> Option<Vec<ArchiveFile>> {
    if *origin == Origin::Recipe {
        return Some(Vec::new());
    }
    let text = std::fs::read(place(cache, suite, origin)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Writes down what a source was resolved to.
pub fn note(
    cache: &Utf8Path,
    suite: &str,
    origin: &Origin,
    files: &[ArchiveFile],
) -> Result<(), SourceError> {
    let text = serde_json::to_vec_pretty(files).unwrap_or_default();
    Ok(write_whole(&place(cache, suite, origin), &text)?)
}

fn place(cache: &Utf8Path, suite: &str, origin: &Origin) -> Utf8PathBuf {
    let spec = serde_json::to_vec(origin).unwrap_or_default();
    let key = Key::of("resolved source 1", &[suite.as_bytes(), &spec]);
    cache.join(format!("resolved/source-{suite}-{}.json", key.short()))
}

/// The files of one source, from the notes or from the archive.
pub fn resolve(
    cache: &Utf8Path,
    suite: &str,
    origin: &Origin,
    watch: &Watch<'_>,
) -> Result<Vec<ArchiveFile>, SourceError> {
    if let Some(files) = noted(cache, suite, origin) {
        return Ok(files);
    }
    let apt = Apt::new(cache, suite, INDEX_ARCH, true);
    let files = ask(&apt.open(false, watch)?, origin, watch)?;
    note(cache, suite, origin, &files)?;
    Ok(files)
}

/// Asks the archive.
pub fn ask(
    session: &Session<'_>,
    origin: &Origin,
    watch: &Watch<'_>,
) -> Result<Vec<ArchiveFile>, SourceError> {
    let names = origin.packages();
    let mut files = match origin {
        Origin::SourcePackage { package } => session.resolve_source(package, watch)?,
        Origin::Recipe => Vec::new(),
        Origin::TarballPackage { .. } | Origin::Packages { .. } => {
            session.resolve_alone(&names, watch)?
        }
    };
    // In the recipe's order: the first package's version is the component's.
    files.sort_by_key(|f| names.iter().position(|n| *n == f.package));
    Ok(files)
}

/// The version of a source: that of its `.dsc` file, or of its first binary package.
pub fn version_of(files: &[ArchiveFile]) -> &str {
    files
        .iter()
        .find_map(|f| {
            let dsc = f.file.strip_suffix(".dsc");
            let in_name = dsc.and_then(|d| Some(d.split_once('_')?.1));
            in_name.or((!f.version.is_empty()).then_some(&f.version))
        })
        .unwrap_or_default()
}
