//! The `make` builder.
//!
//! ```text
//! lock -> copy -> patch -> sh -e commands -> make -> make install -> sh -e finish -> pack -> rename
//! ```
//!
//! Every command runs in a copy of the tree, without the user's environment, with a home and a
//! directory for temporary files of its own, in a process group that ends with the build. Dropping
//! the future ends the build and leaves nothing behind.
//!
//! Deliberately not here: isolation from the host beyond that. A makefile runs as the user.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use tokio::process::Command;

use super::cache::{Built, Note, Work, cached, sweep};
use super::error::{BuildError, Doing, FailedStep};
use super::run::{Ended, Log, run};
use super::source::{self, Series, Tree};
use super::toolchain::{Tools, tools};
use super::{messages, pack};
use crate::host::files::find_program;
use crate::model::project::{BuildKind, BuildSpec};
use crate::model::{Key, Port, Project};

/// The same for every build: 1980, the first year that all archive formats can tell.
const SOURCE_DATE_EPOCH: &str = "315532800";

/// What to build, for what, and where.
#[derive(Debug, Clone)]
pub struct BuildRequest<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its source.
    pub tree: &'a Tree,
    /// The patches that make the candidate; none for the baseline.
    pub patches: Option<&'a Series>,
    /// The port.
    pub port: &'a Port,
    /// What the cross compiler needs of the port, unpacked.
    pub sysroot: &'a Utf8Path,
    /// The user's cache: `$XDG_CACHE_HOME/fallout`.
    pub cache: &'a Utf8Path,
    /// The hash of all inputs, as the planner made it.
    pub key: &'a Key,
    /// Compilers at the same time.
    pub jobs: u32,
}

/// The image has the cases already: an archive with nothing in it.
async fn nothing(
    request: &BuildRequest<'_>,
    work: Work,
    start: Instant,
) -> Result<Built, BuildError> {
    let mut log = Log::create(&work.log(), &work.path("tree")).doing("write", &work.log())?;
    log.heading("the image has the cases")
        .doing("write", &work.log())?;
    log.finish().doing("write", &work.log())?;
    let (destdir, tar) = (work.path("destdir"), work.tar());
    let packed = blocking(move || pack::pack(&destdir, &tar).doing("pack", &destdir)).await?;
    finish(request, work, packed, start)
}

/// Gives the build of the request's key from the cache, or makes it. A build of the same key by
/// somebody else is waited for. `progress` is told the step that begins: `make`.
pub async fn build(
    request: &BuildRequest<'_>,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<Built, BuildError> {
    if let Some(built) = cached(request.cache, request.key) {
        return Ok(built);
    }
    let work = Work::begin(request.cache, request.key).await?;
    // Whoever held the lock may have made it.
    if let Some(built) = cached(request.cache, request.key) {
        return Ok(built);
    }
    let cache = request.cache.to_owned();
    blocking(move || {
        sweep(&cache);
        Ok(())
    })
    .await?;
    let start = Instant::now();
    let tree = work.path("tree");
    for dir in ["home", "tmp", "destdir", "out"] {
        let dir = work.path(dir);
        std::fs::create_dir_all(&dir).doing("create", &dir)?;
    }
    if request.project.build.kind == BuildKind::Installed {
        return nothing(request, work, start).await;
    }
    progress("copy");
    let (from, to) = (request.tree.clone(), tree.clone());
    blocking(move || source::copy(&from, &to)).await?;
    if let Some(series) = request.patches {
        progress("patch");
        let (series, dir) = (series.clone(), work.path("patches"));
        let copied = dir.clone();
        let names = blocking(move || source::copy_series(&series, &copied)).await?;
        source::apply(&names, &dir, &tree).await?;
    }
    let mut steps = Steps::prepare(request, &work, &tree).await?;
    steps.all(progress).await?;
    progress("pack");
    let (destdir, tar) = (work.path("destdir"), work.tar());
    let packed = blocking(move || pack::pack(&destdir, &tar).doing("pack", &destdir)).await?;
    if packed.entries == 0 {
        let command = format!("make {}", request.project.build.install.join(" "));
        let status = "nothing is installed below DESTDIR".to_owned();
        return Err(steps.failed("install", command, status));
    }
    steps.log.finish().doing("write", &work.log())?;
    finish(request, work, packed, start)
}

/// Puts what was packed in its place in the cache.
fn finish(
    request: &BuildRequest<'_>,
    work: Work,
    packed: pack::Packed,
    start: Instant,
) -> Result<Built, BuildError> {
    work.finish(
        request.cache,
        &Note {
            format: 1,
            project: request.project.name.clone(),
            port: request.port.port.to_string(),
            key: request.key.clone(),
            output: packed.hash,
            size_bytes: packed.size_bytes,
            entries: packed.entries,
            took_ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
        },
    )
}

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(std::io::Error::other(e)).doing("finish", Utf8Path::new("a build's thread")),
    }
}

/// The commands of one build and what they share.
struct Steps<'a> {
    spec: &'a BuildSpec,
    work: &'a Work,
    tree: &'a Utf8Path,
    dir: Utf8PathBuf,
    env: Vec<(String, String)>,
    /// Words that keep a makefile's own `CC = cc` from winning over the environment.
    tool_words: Vec<String>,
    jobs: u32,
    limit: Duration,
    deadline: tokio::time::Instant,
    log: Log,
}

impl<'a> Steps<'a> {
    async fn prepare(
        request: &BuildRequest<'a>,
        work: &'a Work,
        tree: &'a Utf8Path,
    ) -> Result<Self, BuildError> {
        let spec = &request.project.build;
        for (program, package) in [("make", "make"), ("sh", "dash")] {
            if find_program(program).is_none() {
                return Err(BuildError::ToolMissing {
                    program: program.to_owned(),
                    package: package.to_owned(),
                });
            }
        }
        let dir = tree.join(&spec.dir);
        if !dir.is_dir() {
            return Err(BuildError::Source {
                path: request.tree.place().join(&spec.dir),
                why: "is not a directory: expected what build.dir names".to_owned(),
            });
        }
        let work_dir = work.dir();
        // The tree comes last: of several that fit, the compiler takes the last.
        let tools = tools(request.port, request.sysroot, [&work_dir, tree]).await?;
        let log = Log::create(&work.log(), tree).doing("write", &work.log())?;
        let configured = !spec.commands.is_empty();
        Ok(Self {
            spec,
            work,
            tree,
            dir,
            env: environment(request, work, &tools),
            tool_words: match configured {
                true => Vec::new(),
                false => tools.vars.iter().map(|(n, v)| format!("{n}={v}")).collect(),
            },
            jobs: request.jobs.max(1),
            limit: spec.timeout,
            deadline: tokio::time::Instant::now() + spec.timeout,
            log,
        })
    }

    async fn all(&mut self, progress: &(dyn Fn(&str) + Send + Sync)) -> Result<(), BuildError> {
        let spec = self.spec;
        if !spec.commands.is_empty() {
            progress("commands");
            self.shell("commands", &spec.commands).await?;
        }
        progress("make");
        self.make("make", &spec.targets, &[]).await?;
        progress("install");
        let places = ["DESTDIR", "PREFIX"].map(|name| {
            let value = self.env.iter().find(|(n, _)| n == name);
            format!("{name}={}", value.map_or("", |(_, v)| v))
        });
        self.make("install", &spec.install, &places).await?;
        if !spec.finish.is_empty() {
            progress("finish");
            self.shell("finish", &spec.finish).await?;
        }
        Ok(())
    }

    async fn shell(&mut self, step: &'static str, lines: &[String]) -> Result<(), BuildError> {
        let script = lines.join("\n");
        let mut command = Command::new("sh");
        // With -x the log tells which line was the last.
        command.args(["-ex", "-c", &script]);
        self.step(step, command, script).await
    }

    async fn make(
        &mut self,
        step: &'static str,
        targets: &[String],
        places: &[String],
    ) -> Result<(), BuildError> {
        let mut command = Command::new("make");
        command
            .arg(format!("-j{}", self.jobs))
            .args(&self.tool_words);
        command.args(places).args(&self.spec.args).args(targets);
        let words: Vec<&str> = std::iter::once("make")
            .chain(self.spec.args.iter().map(String::as_str))
            .chain(targets.iter().map(String::as_str))
            .collect();
        self.step(step, command, words.join(" ")).await
    }

    async fn step(
        &mut self,
        step: &'static str,
        mut command: Command,
        shown: String,
    ) -> Result<(), BuildError> {
        command.current_dir(&self.dir).env_clear();
        command.envs(self.env.iter().map(|(n, v)| (n, v)));
        self.log
            .heading(&format!("{step}: {}", shown.replace('\n', "; ")))
            .doing("write", &self.work.log())?;
        let ended = run(command, &mut self.log, self.deadline)
            .await
            .doing("run", Utf8Path::new(&shown))?;
        match ended {
            Ended::Exited(status) if status.success() => Ok(()),
            Ended::Exited(status) => {
                let status = status.to_string().replace("exit status: ", "exit status ");
                Err(self.failed(step, shown, status))
            }
            Ended::OutOfTime => Err(BuildError::TimedOut {
                step: self.close(step, shown),
                after: self.limit,
            }),
        }
    }

    /// Ends the log and keeps it.
    fn close(&mut self, name: &'static str, command: String) -> Box<FailedStep> {
        // An error on the way must not hide the one that is told.
        let _ = self.log.finish();
        Box::new(FailedStep {
            name,
            dir: self.spec.dir.clone(),
            command,
            tail: self.log.tail().replace(&format!("{}/", self.tree), ""),
            log: self.work.keep_log(),
        })
    }

    fn failed(&mut self, name: &'static str, command: String, status: String) -> BuildError {
        let step = self.close(name, command);
        let scanner = &self.log.scanner;
        if let Some(line) = scanner.exhausted() {
            let line = line.to_owned();
            return BuildError::Exhausted { step, line };
        }
        if let Some((program, package)) = scanner.missing().and_then(messages::host_tool) {
            return BuildError::ToolMissing {
                program: program.to_owned(),
                package: package.to_owned(),
            };
        }
        BuildError::Failed {
            step,
            status,
            message: scanner.message().cloned(),
        }
    }
}

/// The whole environment of every command.
fn environment(request: &BuildRequest<'_>, work: &Work, tools: &Tools) -> Vec<(String, String)> {
    let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
    let spec = &request.project.build;
    let text = |value: &str| value.to_owned();
    let fixed = [
        ("PATH", path),
        ("HOME", work.path("home").into_string()),
        ("TMPDIR", work.path("tmp").into_string()),
        ("LC_ALL", text("C")),
        ("TZ", text("UTC")),
        ("SOURCE_DATE_EPOCH", text(SOURCE_DATE_EPOCH)),
        ("CFLAGS", text("-O2 -g")),
        ("CXXFLAGS", text("-O2 -g")),
        ("LDFLAGS", String::new()),
        ("PKG_CONFIG_PATH", tools.pkg_config.clone()),
        // Instead of the host's own directories, not beside them.
        ("PKG_CONFIG_LIBDIR", tools.pkg_config.clone()),
        ("PKG_CONFIG_SYSROOT_DIR", request.sysroot.to_string()),
        ("SYSROOT", request.sysroot.to_string()),
        ("TRIPLET", request.port.toolchain.triplet.clone()),
        ("PORT", request.port.port.to_string()),
        ("PREFIX", spec.prefix.clone()),
        ("DESTDIR", work.path("destdir").into_string()),
        ("JOBS", request.jobs.max(1).to_string()),
    ];
    let tools = tools.vars.iter().map(|(n, v)| ((*n).to_owned(), v.clone()));
    let fixed = fixed.into_iter().map(|(n, v)| (n.to_owned(), v));
    // The project's own come last and win.
    let own = spec.env.iter().map(|(n, v)| (n.clone(), v.clone()));
    fixed.chain(tools).chain(own).collect()
}

#[cfg(test)]
#[path = "make_tests.rs"]
mod tests;
