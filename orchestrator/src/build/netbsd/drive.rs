//! Runs `build.sh` stage by stage.

use camino::{Utf8Path, Utf8PathBuf};

use super::ahead::{self, Ahead, Deed};
use super::ccache::Ccache;
use super::conf;
use super::keys::Keys;
use super::one::One;
use super::part::Checked;
use super::sandbox::Sandbox;
use super::space::{Record, Space};
use super::stage::{Dirs, Stage, Target};
use crate::build::error::{BuildError, Doing};
use crate::build::source::Series;
use crate::host::git::{self, GitTree};
use crate::host::machine::program_identity;
use crate::host::series;
use crate::model::{Key, Project};

/// What to build.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The project, of kind `netbsd`.
    pub project: &'a Project,
    /// Its source.
    pub tree: &'a GitTree,
    /// The patches that make the candidate; none for the baseline.
    pub patches: Option<&'a Series>,
    /// The port.
    pub target: &'a Target,
    /// The stage; those before it are built where they are stale.
    pub stage: &'a Stage,
    /// The user's cache: `$XDG_CACHE_HOME/fallout`.
    pub cache: &'a Utf8Path,
    /// Compilers at the same time.
    pub jobs: u32,
    /// All of the stage is built, whatever has changed.
    pub full: bool,
}

/// Is told what is being done and how far that is: done and total, in milliseconds of the last such
/// build.
pub type Tell<'a> = dyn Fn(&str, Option<(u64, u64)>) + Send + Sync + 'a;

/// A stage as it was found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Its record.
    pub record: Record,
    /// Whether `build.sh` was not called for it.
    pub cached: bool,
    /// The directories that were made in it, where that was enough.
    pub parts: Option<Vec<String>>,
    /// The comparison with a whole build, where there was one.
    pub checked: Option<Checked>,
}

impl Made {
    fn found(record: Record) -> Self {
        Self {
            record,
            cached: true,
            parts: None,
            checked: None,
        }
    }
}

/// What the keys are made with: the compiler that the host's tools are built with.
fn compiler(project: &Project) -> String {
    let named = project.build.env.get("HOST_CC").map(String::as_str);
    let word = named
        .and_then(|w| w.split_whitespace().next())
        .unwrap_or("cc");
    program_identity(word).unwrap_or_else(|| word.to_owned())
}

/// The identity of the compiler that a project's tools are built with.
pub fn host_compiler(project: &Project) -> Key {
    Key::of("host compiler", &[compiler(project).as_bytes()])
}

/// Where the source and the parts of a port's builds are.
pub fn dirs(cache: &Utf8Path, project: &str, target: &Target) -> Dirs {
    Space::new(cache, project, target).dirs
}

/// Says for a stage and those before it what would be done, and builds nothing.
pub async fn ahead(request: &Request<'_>) -> Result<Vec<Ahead>, BuildError> {
    let (tree, keys) = prepare(request).await?;
    let space = Space::new(request.cache, &request.project.name, request.target);
    let decide = |stage: &Stage| {
        let full = request.full && stage == request.stage;
        ahead::decide(&space, &tree, &keys, stage, full)
    };
    let asked = decide(request.stage);
    if matches!(asked.deed, Deed::Found(_)) {
        return Ok(vec![asked]);
    }
    let mut all: Vec<Ahead> = request.stage.before().iter().map(decide).collect();
    all.push(asked);
    Ok(all)
}

/// Gives a stage, from its record where nothing that it depends on has changed. `progress` is told
/// what is being done, and how far that is, in milliseconds of the last such build. Dropping the
/// future ends the build; the next one goes on from there.
pub async fn build(request: &Request<'_>, progress: &Tell<'_>) -> Result<Vec<Made>, BuildError> {
    let (tree, keys) = prepare(request).await?;
    let space = Space::new(request.cache, &request.project.name, request.target);
    let key = keys.stage(request.stage);
    if let Some(record) = space.done(request.stage, &key).filter(|_| !request.full) {
        return Ok(vec![Made::found(record)]);
    }
    let _lock = space.lock().await?;
    progress("checkout", None);
    let (to, index, checked) = (space.dirs.source.clone(), space.index(), tree.clone());
    blocking(move || Ok(git::checkout(&checked, &to, &index)?)).await?;
    space.prepare()?;
    let conf = configuration(request, &space).await?;
    let sandbox = Sandbox::probe().await;
    let env = &request.project.build.env;
    let ccache = Ccache::find(&request.cache.join("netbsd"), &space.dirs.port, env);
    if let Some(ccache) = &ccache {
        ccache.prepare(env)?;
    }
    let mut stages = request.stage.before();
    stages.push(request.stage.clone());
    let mut made = Vec::new();
    for stage in &stages {
        let full = request.full && stage == request.stage;
        let ahead = ahead::decide(&space, &tree, &keys, stage, full);
        let one = One {
            request,
            space: &space,
            stage,
            conf: conf.as_deref(),
            key: ahead.key,
            keys: &keys,
            tree: &tree,
            sandbox,
            ccache: ccache.as_ref(),
        };
        made.push(match ahead.deed {
            Deed::Found(record) => Made::found(*record),
            Deed::Renamed(record) => Made::found(one.rename(*record)?),
            Deed::Parts(parts, record) => one.parts(parts, record.parts + 1, progress).await?,
            Deed::Built => Made {
                cached: false,
                ..Made::found(one.run(None, progress).await?)
            },
        });
    }
    Ok(made)
}

/// The configuration of the kernel that is asked for, where it is none of the tree's.
async fn configuration(
    request: &Request<'_>,
    space: &Space,
) -> Result<Option<Utf8PathBuf>, BuildError> {
    let Stage::Kernel(name) = request.stage else {
        return Ok(None);
    };
    let (project, target, name) = (
        request.project.clone(),
        request.target.clone(),
        name.clone(),
    );
    let (source, dir) = (space.dirs.source.clone(), space.dirs.part("conf"));
    blocking(move || conf::find(&project, &target, &name, &source, &dir)).await
}

/// The tree with its patches, and the keys.
async fn prepare(request: &Request<'_>) -> Result<(GitTree, Keys), BuildError> {
    let base = request.tree.clone();
    let patches = request.patches.cloned();
    let (target, spec) = (request.target.clone(), request.project.build.clone());
    let compiler = compiler(request.project);
    blocking(move || {
        let tree = match patches {
            None => base,
            Some(series) => {
                let read = series::read(&series.path)?;
                git::patched(&base, &series.hash, &read)?
            }
        };
        let keys = Keys::of(&tree, &target, &spec, &compiler)?.with_kernels(&spec);
        Ok((tree, keys))
    })
    .await
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(std::io::Error::other(e)).doing("finish", Utf8Path::new("a build's thread")),
    }
}
