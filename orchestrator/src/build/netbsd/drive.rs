//! Runs `build.sh` stage by stage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use super::keys::Keys;
use super::log::BuildLog;
use super::progress::{Earlier, Progress};
use super::sandbox::Sandbox;
use super::signature::Places;
use super::space::{Record, Space};
use super::stage::{Stage, Target, words};
use crate::build::error::{BuildError, Doing, FailedStep};
use crate::build::run::{Ended, Log, run};
use crate::build::source::Series;
use crate::host::git::{self, GitTree};
use crate::host::machine::program_identity;
use crate::host::series;
use crate::model::{Key, Project};

/// The least room on the cache's file system that a stage begins with, in bytes.
const ROOM_BYTES: u64 = 2 << 30;

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
}

/// What the keys are made with: the compiler that the host's tools are built with.
fn compiler(project: &Project) -> String {
    let named = project.build.env.get("HOST_CC").map(String::as_str);
    let word = named
        .and_then(|w| w.split_whitespace().next())
        .unwrap_or("cc");
    program_identity(word).unwrap_or_else(|| word.to_owned())
}

/// Gives a stage, from its record where nothing that it depends on has changed. `progress` is told
/// what is being done, and how far that is, in milliseconds of the last such build. Dropping the
/// future ends the build; the next one goes on from there.
pub async fn build(request: &Request<'_>, progress: &Tell<'_>) -> Result<Vec<Made>, BuildError> {
    let (tree, keys) = prepare(request).await?;
    let space = Space::new(request.cache, &request.project.name, request.target);
    let found = |record| Made {
        record,
        cached: true,
    };
    if let Some(record) = space.done(request.stage, &keys.stage(request.stage)) {
        return Ok(vec![found(record)]);
    }
    let _lock = space.lock().await?;
    progress("checkout", None);
    let (to, index, checked) = (space.dirs.source.clone(), space.index(), tree.clone());
    blocking(move || Ok(git::checkout(&checked, &to, &index)?)).await?;
    space.prepare()?;
    let sandbox = Sandbox::probe().await;
    let mut stages = request.stage.before();
    stages.push(request.stage.clone());
    let mut made = Vec::new();
    for stage in &stages {
        let key = keys.stage(stage);
        if let Some(record) = space.done(stage, &key) {
            made.push(found(record));
            continue;
        }
        let one = One {
            request,
            space: &space,
            stage,
            key,
            sandbox,
        };
        let record = one.run(&tree, progress).await?;
        made.push(Made {
            record,
            cached: false,
        });
    }
    Ok(made)
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
        let keys = Keys::of(&tree, &target, &spec, &compiler)?;
        Ok((tree, keys))
    })
    .await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(std::io::Error::other(e)).doing("finish", Utf8Path::new("a build's thread")),
    }
}

/// One call of `build.sh`.
struct One<'a> {
    request: &'a Request<'a>,
    space: &'a Space,
    stage: &'a Stage,
    key: Key,
    sandbox: Sandbox,
}

impl One<'_> {
    async fn run(&self, tree: &GitTree, progress: &Tell<'_>) -> Result<Record, BuildError> {
        let dirs = &self.space.dirs;
        self.room()?;
        let spec = &self.request.project.build;
        let args = words(
            self.stage,
            self.request.target,
            dirs,
            &spec.variables,
            self.request.jobs,
        );
        let mut line = vec!["sh", "build.sh"];
        line.extend(args.iter().map(String::as_str));
        let mut command = self.sandbox.command(&line, &[&dirs.port]);
        command
            .current_dir(&dirs.source)
            .env_clear()
            .envs(self.environment());
        let path = self.space.log(self.stage, &self.key);
        let mut log = Log::create(&path, &dirs.source).doing("write", &path)?;
        let shown = line.join(" ");
        log.heading(&shown).doing("write", &path)?;
        // The reader is fed where the output is read; what it tells is picked up here.
        let reader = Arc::new(Mutex::new(BuildLog::new(self.places())));
        let (heard, mut news) = tokio::sync::mpsc::unbounded_channel::<String>();
        let start = Instant::now();
        log.watch = Some(Box::new({
            let reader = Arc::clone(&reader);
            move |line: &[u8]| {
                let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(doing) = reader.line(line, start.elapsed()) {
                    // Nobody listens any more: the build is being given up.
                    let _ = heard.send(doing);
                }
            }
        }));
        self.space.forget(self.stage, &self.key)?;
        let mut along = Progress::new(&self.space.earlier(self.stage));
        let stage = self.stage.to_string();
        progress(&stage, along.step(""));
        let deadline = tokio::time::Instant::now() + spec.timeout;
        let ended = {
            let work = run(command, &mut log, deadline);
            tokio::pin!(work);
            loop {
                tokio::select! {
                    ended = &mut work => break ended,
                    Some(doing) = news.recv() => {
                        let far = along.step(&doing);
                        progress(&format!("{stage}: {doing}"), far);
                    }
                }
            }
        };
        let took = start.elapsed();
        log.watch = None;
        log.finish().doing("write", &path)?;
        let ended = ended.doing("run", Utf8Path::new("build.sh"))?;
        let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ended::Exited(status) if status.success() => self.record(tree, &reader, took, path),
            Ended::Exited(status) => {
                Err(self.failed(&reader, &log, shown, path, status.to_string()))
            }
            Ended::OutOfTime => Err(BuildError::TimedOut {
                step: self.step(&log, shown, path),
                after: spec.timeout,
            }),
        }
    }

    fn record(
        &self,
        tree: &GitTree,
        reader: &BuildLog,
        took: Duration,
        log: Utf8PathBuf,
    ) -> Result<Record, BuildError> {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let record = Record {
            format: 1,
            stage: self.stage.to_string(),
            key: self.key.clone(),
            tree: tree.id.clone(),
            took_ms,
            confined: self.sandbox.words().to_owned(),
            artifacts: self
                .space
                .collect(self.stage, self.request.target, &self.key)?,
            log,
        };
        let steps = Earlier {
            steps: reader.steps().to_vec(),
            total_ms: took_ms,
        };
        self.space.put(self.stage, &record, &steps)?;
        Ok(record)
    }

    /// The stage's word without what follows it, as errors name steps.
    fn word(&self) -> &'static str {
        match self.stage {
            Stage::Tools => "tools",
            Stage::Kernel(_) => "kernel",
            Stage::Distribution => "distribution",
            Stage::Sets => "sets",
            Stage::Release => "release",
            Stage::Image(_) => "image",
        }
    }

    fn step(&self, log: &Log, command: String, path: Utf8PathBuf) -> Box<FailedStep> {
        Box::new(FailedStep {
            name: self.word(),
            dir: ".".into(),
            command,
            tail: log.tail(),
            log: Some(path),
        })
    }

    fn failed(
        &self,
        reader: &BuildLog,
        log: &Log,
        command: String,
        path: Utf8PathBuf,
        status: String,
    ) -> BuildError {
        let mut step = self.step(log, command, path);
        let status = status.replace("exit status: ", "exit status ");
        if let Some(line) = log.scanner.exhausted() {
            let line = line.to_owned();
            return BuildError::Exhausted { step, line };
        }
        match reader.broken() {
            Some(broken) => {
                if !broken.excerpt.is_empty() {
                    step.tail = broken.excerpt.join("\n");
                }
                BuildError::Release {
                    stage: self.word(),
                    broken: Box::new(broken),
                    step,
                    status,
                }
            }
            None => BuildError::Failed {
                message: log.scanner.message().cloned(),
                step,
                status,
            },
        }
    }

    fn room(&self) -> Result<(), BuildError> {
        let dir = &self.space.dirs.port;
        let stat = rustix::fs::statvfs(dir.as_std_path())
            .map_err(std::io::Error::from)
            .doing("look at", dir)?;
        if stat.f_bavail.saturating_mul(stat.f_frsize) < ROOM_BYTES {
            let error = std::io::Error::other(format!(
                "less than {} GiB are free on its file system",
                ROOM_BYTES >> 30
            ));
            return Err(error).doing("build in", dir);
        }
        Ok(())
    }

    fn places(&self) -> Places {
        let dirs = &self.space.dirs;
        Places {
            source: dirs.source.to_string(),
            objects: dirs.part("obj").into_string(),
            others: ["dest", "tools", "release"]
                .map(|p| dirs.part(p).into_string())
                .into(),
            machine: self.request.target.machine.clone(),
        }
    }

    /// The whole environment: nothing of the user's but the path.
    fn environment(&self) -> BTreeMap<String, String> {
        let dirs = &self.space.dirs;
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/bin:/bin".to_owned());
        let mut env: BTreeMap<String, String> = [
            ("PATH", path),
            ("HOME", dirs.part("home").into_string()),
            ("TMPDIR", dirs.part("tmp").into_string()),
            ("LC_ALL", "C".to_owned()),
            ("TZ", "UTC".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(self.request.project.build.env.clone());
        env
    }
}
