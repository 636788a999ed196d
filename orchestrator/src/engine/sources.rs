//! Source trees for builds: plain directories, source packages of a distribution, git revisions.

use camino::Utf8Path;

use crate::build::{self, Origin, Tree};
use crate::host::{files, git};
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
    if let Some(source) = &source.git {
        let known = git::known_tree(cache, &source.url, &source.revision)
            .map_err(|e| RunError::Input(e.to_string()))?;
        return Ok(known.map(|id| git::tree_key(&id)));
    }
    Ok(source
        .debian_source
        .as_ref()
        .and_then(|d| source::tree::known(cache, &d.suite, &d.package)))
}

/// The tree itself; a package is fetched, verified and unpacked where it is not there yet. Blocks.
pub fn ensure(source: &Source, cache: &Utf8Path, watch: &Watch<'_>) -> Result<Tree, RunError> {
    if let Some(path) = &source.path {
        return build::source::tree(path).map_err(|e| RunError::Input(e.to_string()));
    }
    if let Some(source) = &source.git {
        let tree = git::ensure(cache, &source.url, &source.revision)
            .map_err(|e| RunError::Host(e.to_string()))?;
        return Ok(Tree::git(tree));
    }
    let Some(debian) = &source.debian_source else {
        return Err(RunError::Input("a suite without a source".to_owned()));
    };
    let (dir, hash) = source::tree::ensure(cache, &debian.suite, &debian.package, watch)
        .map_err(|e| RunError::Host(e.to_string()))?;
    Ok(Tree {
        origin: Origin::Dir(dir),
        hash,
    })
}
