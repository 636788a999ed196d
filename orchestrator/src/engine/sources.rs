//! Source trees for builds: plain directories, and source packages of a distribution.

use camino::Utf8Path;

use crate::build::Tree;
use crate::host::files;
use crate::image::source::{self, Watch};
use crate::model::Key;
use crate::model::project::Source;

use super::RunError;

/// The tree's hash, where it is known without asking an archive.
pub fn known_hash(source: &Source, cache: &Utf8Path) -> Result<Option<Key>, RunError> {
    if let Some(path) = &source.path {
        return files::tree_hash(path)
            .map(Some)
            .map_err(|e| RunError::Input(e.to_string()));
    }
    Ok(source
        .debian_source
        .as_ref()
        .and_then(|d| source::tree::known(cache, &d.suite, &d.package)))
}

/// The tree itself; a package is fetched, verified and unpacked where it is not there yet. Blocks.
pub fn ensure(source: &Source, cache: &Utf8Path, watch: &Watch<'_>) -> Result<Tree, RunError> {
    if let Some(path) = &source.path {
        let hash = files::tree_hash(path).map_err(|e| RunError::Input(e.to_string()))?;
        return Ok(Tree {
            dir: path.clone(),
            hash,
        });
    }
    let Some(debian) = &source.debian_source else {
        return Err(RunError::Input("a suite without a source".to_owned()));
    };
    let (dir, hash) = source::tree::ensure(cache, &debian.suite, &debian.package, watch)
        .map_err(|e| RunError::Host(e.to_string()))?;
    Ok(Tree { dir, hash })
}
