//! A kernel of a NetBSD tree as suites want one: by the plan's key, one file to boot.
//!
//! The [`netbsd`] builder makes it, in the place of its project, where the next one goes on from its
//! objects; here it is kept beside the kernels of [`kernel`], and used as they are.

use std::fs;

use camino::Utf8Path;

use super::cache::Work;
use super::error::{BuildError, Doing};
use super::kernel::{BuildRecord, KernelBuilt, Note, cached};
use super::netbsd::{self, Stage, Target, Tell};
use super::source::{Origin, Series, Tree};
use crate::model::{KernelOrdered, KernelVariant, Key, Project};

/// What to build.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The project, of kind `netbsd`.
    pub project: &'a Project,
    /// Its source, a revision of a repository.
    pub tree: &'a Tree,
    /// The patches that make the candidate; none for the baseline.
    pub patches: Option<&'a Series>,
    /// The port as its manifest calls it.
    pub port: &'a str,
    /// The port as the tree calls it: `amd64`, `evbarm-earmv7hf`.
    pub machine: &'a str,
    /// The configuration's name: the tree's, or that of the variant.
    pub name: &'a str,
    /// The variant, where it is none of the tree's.
    pub variant: Option<KernelVariant>,
    /// Reads out of a kernel's file what it is.
    pub identify: fn(&[u8]) -> Option<KernelOrdered>,
    /// The user's cache: `$XDG_CACHE_HOME/fallout`.
    pub cache: &'a Utf8Path,
    /// The hash of all inputs, as the planner made it.
    pub key: &'a Key,
    /// Compilers at the same time.
    pub jobs: u32,
}

/// Builds the kernel, or finds it in the cache.
pub async fn build(request: &Request<'_>, progress: &Tell<'_>) -> Result<KernelBuilt, BuildError> {
    if let Some(built) = cached(request.cache, request.key) {
        return Ok(built);
    }
    let work = Work::begin(request.cache, request.key).await?;
    // Whoever held the lock may have made it.
    if let Some(built) = cached(request.cache, request.key) {
        return Ok(built);
    }
    let refused = |why: String| BuildError::Source {
        path: request.tree.place().to_owned(),
        why,
    };
    let Origin::Git(tree) = &request.tree.origin else {
        let why = "is no revision of a repository: expected source.git, which build.sh is run on";
        return Err(refused(why.to_owned()));
    };
    let mut project = request.project.clone();
    if let Some(variant) = &request.variant {
        let kernels = &mut project.build.kernels;
        kernels.insert(request.name.to_owned(), variant.clone());
    }
    let target: Target = request.machine.parse().map_err(refused)?;
    let stage = Stage::Kernel(request.name.to_owned());
    let made = netbsd::build(
        &netbsd::Request {
            project: &project,
            tree,
            patches: request.patches,
            target: &target,
            stage: &stage,
            cache: request.cache,
            jobs: request.jobs,
            full: false,
        },
        progress,
    )
    .await?;
    let last = made.last().map(|made| &made.record);
    // Others of its artifacts have debugging data, or are for other ways of booting.
    let kernel = last.and_then(|record| {
        let mut files = record.artifacts.iter().map(|a| a.path.as_path());
        Some((
            record,
            files.find(|path| path.file_name() == Some("netbsd"))?,
        ))
    });
    let Some((record, file)) = kernel else {
        let missing = std::io::Error::other("the build left no file of this name");
        return Err(missing).doing("read", Utf8Path::new("netbsd"));
    };
    let bytes = fs::read(file).doing("read", file)?;
    let Some(ordered) = (request.identify)(&bytes) else {
        let unknown = std::io::Error::other("it does not say which kernel it is");
        return Err(unknown).doing("read", file);
    };
    let record = BuildRecord {
        project: project.name,
        port: request.port.to_owned(),
        from: None,
        compiled: None,
        took_ms: made
            .iter()
            .filter(|m| !m.cached)
            .map(|m| m.record.took_ms)
            .sum(),
        confined: record.confined.clone(),
        ccache: record.confined.contains("ccache"),
    };
    fs::create_dir_all(work.out()).doing("create", &work.out())?;
    let to = work.out().join("kernel");
    fs::write(&to, &bytes).doing("write", &to)?;
    Note::of(request.key, &bytes, ordered, record).publish(&work, request.cache)
}
