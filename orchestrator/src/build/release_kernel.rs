//! A kernel of a NetBSD tree as suites want one: by the plan's key, one file to boot; and the system
//! around it where that comes from the tree too, as a release of one kernel.
//!
//! The [`netbsd`] builder makes it, in the place of its project, where the next one goes on from its
//! objects; here it is kept beside the kernels of [`kernel`], and used as they are.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use super::cache::Work;
use super::error::{BuildError, Doing};
use super::kernel::{BuildRecord, KernelBuilt, Note, SYSTEM, cached};
use super::netbsd::{self, Made, Stage, Target, Tell};
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
    /// The system's name for the kernel where the system is built too: `GENERIC`.
    pub system: Option<&'a str>,
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
    let mut order = netbsd::Request {
        project: &project,
        tree,
        patches: request.patches,
        target: &target,
        stage: &stage,
        cache: request.cache,
        jobs: request.jobs,
        full: false,
    };
    let mut made = netbsd::build(&order, progress).await?;
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
    fs::create_dir_all(work.out()).doing("create", &work.out())?;
    let to = work.out().join("kernel");
    fs::write(&to, &bytes).doing("write", &to)?;
    let confined = record.confined.clone();
    let mut system = None;
    if let Some(name) = request.system {
        order.stage = &Stage::Sets;
        let sets = netbsd::build(&order, progress).await?;
        let own = work.out().join(SYSTEM).join(request.machine).join("binary");
        system = Some(keep(&sets, &own, &to, name)?);
        made.extend(sets);
    }
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
        ccache: confined.contains("ccache"),
        confined,
    };
    let note = Note::of(request.key, &bytes, ordered, record);
    let note = match system {
        Some(sets) => note.with_system(sets),
        None => note,
    };
    note.publish(&work, request.cache)
}

/// Copies the sets that were made, and the kernel as the one of this name, to where a release has them.
/// Gives the hash of the sets.
fn keep(made: &[Made], own: &Utf8Path, kernel: &Utf8Path, name: &str) -> Result<Key, BuildError> {
    let last = made.last().into_iter();
    let mut artifacts = last.flat_map(|made| &made.record.artifacts);
    let Some(from) = artifacts.find(|a| a.kind == "sets").map(|a| &a.path) else {
        let missing = std::io::Error::other("the build left no sets");
        return Err(missing).doing("read", own);
    };
    let (sets, kernels) = (own.join("sets"), own.join("kernel"));
    for dir in [&sets, &kernels] {
        fs::create_dir_all(dir).doing("create", dir)?;
    }
    let to = kernels.join(format!("netbsd-{name}"));
    fs::hard_link(kernel, &to).doing("link", &to)?;
    let mut files: Vec<Utf8PathBuf> = Vec::new();
    for entry in from.read_dir_utf8().doing("read", from)? {
        files.push(entry.doing("read", from)?.into_path());
    }
    files.sort();
    let mut hasher = blake3::Hasher::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default();
        let to = sets.join(name);
        fs::copy(file, &to).doing("copy", file)?;
        hasher.update(name.as_bytes());
        let mut set = fs::File::open(&to).doing("read", &to)?;
        std::io::copy(&mut set, &mut hasher).doing("read", &to)?;
    }
    Ok(Key(hasher.finalize().to_hex().to_string()))
}
