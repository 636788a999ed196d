//! Source trees for builds: plain directories, source packages of a distribution, git revisions.

use camino::Utf8Path;

use crate::build::{self, Origin, Tree};
use crate::host::{files, git};
use crate::image::source::{self, Origin as Package, Watch};
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
    if *source == Source::default() {
        return Ok(Some(no_source()));
    }
    Ok(package(source).and_then(|(suite, origin)| source::tree::known(cache, suite, &origin)))
}

/// The tree of a suite that the image has: there is none.
fn no_source() -> Key {
    Key::of("no source", &[])
}

/// What the archive knows a source by, where it is of the archive's: its suite and its packages.
fn package(source: &Source) -> Option<(&str, Package)> {
    if let Some(debian) = &source.debian_source {
        let package = debian.package.clone();
        return Some((&debian.suite, Package::SourcePackage { package }));
    }
    let debian = source.debian_tarball.as_ref()?;
    let package = Package::TarballPackage {
        package: debian.package.clone(),
        tarball: debian.tarball.to_string(),
    };
    Some((&debian.suite, package))
}

/// The version of a source: the archive's, or the first digits of the tree's hash.
pub fn version(source: &Source, cache: &Utf8Path, tree: &Tree) -> String {
    package(source)
        .and_then(|(suite, origin)| source::tree::version(cache, suite, &origin))
        .unwrap_or_else(|| tree.hash.short().to_owned())
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
    if *source == Source::default() {
        let dir = cache.join("no-source");
        let made = std::fs::create_dir_all(&dir);
        made.map_err(|e| RunError::Host(format!("cannot create {dir}: {e}")))?;
        return Ok(Tree {
            origin: Origin::Dir(dir),
            hash: no_source(),
        });
    }
    let Some((suite, origin)) = package(source) else {
        return Err(RunError::Input("a suite without a source".to_owned()));
    };
    let (dir, hash) = source::tree::ensure(cache, suite, &origin, watch)
        .map_err(|e| RunError::Host(e.to_string()))?;
    Ok(Tree {
        origin: Origin::Dir(dir),
        hash,
    })
}
