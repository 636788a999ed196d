//! One stage: its command, what is read of its output, and what is noted of its end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};

use super::ccache::Ccache;
use super::disk::{Disk, Full};
use super::drive::{Made, Request, Tell, blocking};
use super::keys::Keys;
use super::log::BuildLog;
use super::part;
use super::progress::{Earlier, Progress};
use super::sandbox::Sandbox;
use super::signature::Places;
use super::space::{Record, Space};
use super::stage::{Stage, words};
use crate::build::compat;
use crate::build::error::{BuildError, Doing, FailedStep};
use crate::build::run::{Ended, Log, run};
use crate::build::sets::Machine;
use crate::build::sets_tree;
use crate::host::git::GitTree;
use crate::model::{Key, StageResult};

/// How often the room on disk is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// One call of `build.sh`.
pub(super) struct One<'a> {
    pub request: &'a Request<'a>,
    pub space: &'a Space,
    pub stage: &'a Stage,
    /// Of a kernel that is none of the tree's.
    pub conf: Option<&'a Utf8Path>,
    pub key: Key,
    pub keys: &'a Keys,
    pub tree: &'a GitTree,
    pub sandbox: Sandbox,
    pub ccache: Option<&'a Ccache>,
}

impl One<'_> {
    /// The record is as good for this tree: nothing that it was made from has changed.
    pub fn rename(&self, record: Record) -> Result<Record, BuildError> {
        let record = Record {
            key: self.key.clone(),
            tree: self.tree.id.clone(),
            ..record
        };
        self.space.put(self.stage, &record, &Earlier::default())?;
        Ok(record)
    }

    /// Makes some directories; now and then all of them, to see whether that would differ.
    pub async fn parts(
        &self,
        parts: Vec<String>,
        count: u32,
        progress: &Tell<'_>,
    ) -> Result<Made, BuildError> {
        let mut record = self.run(Some((&parts, count)), progress).await?;
        let mut checked = None;
        if count >= part::CHECK_EVERY {
            let dest = self.space.dirs.part("dest");
            let read = || {
                let dest = dest.clone();
                blocking(move || part::contents(&dest))
            };
            let by_parts = read().await?;
            record = self.run(None, progress).await?;
            checked = Some(part::compare(&by_parts, &read().await?));
        }
        Ok(Made {
            cached: false,
            parts: Some(parts),
            checked,
            record,
        })
    }

    /// The command: of `build.sh`, or of the tree's make where only parts are made.
    fn words(&self, parts: Option<&[String]>) -> Vec<String> {
        let (dirs, jobs) = (&self.space.dirs, self.request.jobs);
        if let Some(parts) = parts {
            return part::words(parts, self.request.target, dirs, jobs);
        }
        let variables = &self.request.project.build.variables;
        let mut args = words(self.stage, self.request.target, dirs, variables, jobs);
        if let (Stage::Kernel(_), Some(conf)) = (self.stage, self.conf) {
            args.pop();
            args.push(format!("kernel={conf}"));
        }
        args.splice(0..0, ["sh", "build.sh"].map(str::to_owned));
        args
    }

    /// Runs the stage, or `parts` of it for the so-and-so-manieth time.
    pub async fn run(
        &self,
        parts: Option<(&[String], u32)>,
        progress: &Tell<'_>,
    ) -> Result<Record, BuildError> {
        let dirs = &self.space.dirs;
        let spec = &self.request.project.build;
        let disk = Disk::begin(&dirs.port, spec.disk_bytes)?;
        let line = self.words(parts.map(|(parts, _)| parts));
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut writable: Vec<&Utf8Path> = vec![&dirs.port];
        writable.extend(self.ccache.map(|ccache| ccache.dir.as_path()));
        let mut command = self.sandbox.command(&line, &writable, &[&dirs.source]);
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
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut full = None;
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
                    _ = looks.tick() => {
                        full = disk.look()?;
                        if full.is_some() {
                            break Ok(Ended::OutOfTime);
                        }
                    }
                }
            }
        };
        let took = start.elapsed();
        log.watch = None;
        log.finish().doing("write", &path)?;
        let ended = ended.doing("run", Utf8Path::new("build.sh"))?;
        let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
        match full {
            Some(Full::Limit) => {
                return Err(BuildError::TooLarge {
                    step: self.step(&log, shown, path),
                    limit_bytes: spec.disk_bytes,
                });
            }
            Some(Full::Host) => {
                return Err(BuildError::Exhausted {
                    step: self.step(&log, shown, path),
                    line: "the file system is full".to_owned(),
                });
            }
            None => {}
        }
        match ended {
            Ended::Exited(status) if status.success() => {
                self.record(&reader, took, path, parts.map(|(_, count)| count))
            }
            Ended::Exited(status) => {
                let error = self.failed(&reader, &log, shown, path.clone(), status.to_string());
                if error.stage() == StageResult::SetsMismatch {
                    // The check is the last that is done: with other lists nothing needs to be built.
                    let count = parts.map_or(0, |(_, count)| count);
                    self.put_distribution(&self.record_of(took, path, count, true)?)?;
                }
                Err(error)
            }
            Ended::OutOfTime => Err(BuildError::TimedOut {
                step: self.step(&log, shown, path),
                after: spec.timeout,
            }),
        }
    }

    fn record(
        &self,
        reader: &BuildLog,
        took: Duration,
        log: Utf8PathBuf,
        parts: Option<u32>,
    ) -> Result<Record, BuildError> {
        let record = self.record_of(took, log, parts.unwrap_or(0), false)?;
        self.check_compat(&record)?;
        let steps = match parts {
            // What a part took says nothing of the whole.
            Some(_) => Earlier::default(),
            None => Earlier {
                steps: reader.steps().to_vec(),
                total_ms: record.took_ms,
                tree: self.tree.id.clone(),
            },
        };
        self.space.put(self.stage, &record, &steps)?;
        if *self.stage == Stage::Release {
            // It made the distribution on its way.
            self.put_distribution(&record)?;
        }
        Ok(record)
    }

    fn record_of(
        &self,
        took: Duration,
        log: Utf8PathBuf,
        parts: u32,
        unlisted: bool,
    ) -> Result<Record, BuildError> {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let artifacts = match unlisted {
            true => Vec::new(),
            false => self
                .space
                .collect(self.stage, self.request.target, &self.key)?,
        };
        Ok(Record {
            format: 1,
            stage: self.stage.to_string(),
            key: self.key.clone(),
            tree: self.tree.id.clone(),
            settings: self.keys.settings.clone(),
            parts,
            unlisted,
            took_ms,
            confined: match self.ccache {
                Some(_) => format!("{}; compilers through ccache", self.sandbox.words()),
                None => self.sandbox.words().to_owned(),
            },
            artifacts,
            log,
        })
    }

    /// Notes what a stage left in DESTDIR as the distribution that it is.
    fn put_distribution(&self, record: &Record) -> Result<(), BuildError> {
        let stage = Stage::Distribution;
        let key = self.keys.stage(&stage);
        let distribution = Record {
            stage: stage.to_string(),
            artifacts: self.space.collect(&stage, self.request.target, &key)?,
            key,
            ..record.clone()
        };
        self.space.put(&stage, &distribution, &Earlier::default())
    }

    /// The compat libraries are there and made for what the tree says, where a release has some.
    fn check_compat(&self, record: &Record) -> Result<(), BuildError> {
        let off = self.request.project.build.variables.get("MKCOMPAT");
        let whole = matches!(self.stage, Stage::Distribution | Stage::Release);
        if !whole || off.is_some_and(|value| value == "no") {
            return Ok(());
        }
        let dirs = &self.space.dirs;
        let Ok(build_sh) = sets_tree::text(&dirs.source.join("build.sh")) else {
            return Ok(());
        };
        // A port that the tree does not know has failed before.
        let Ok(port) = Machine::of(&self.request.target.to_string(), &build_sh) else {
            return Ok(());
        };
        let found = compat::check(&dirs.source, &port, &dirs.part("dest"))?;
        let problems: Vec<String> = found
            .iter()
            .flat_map(|c| c.problems.iter().map(|p| format!("{} {p}", c.dir)))
            .collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(BuildError::Compat {
                problems,
                log: record.log.clone(),
            }),
        }
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
        if let Some(ccache) = self.ccache {
            ccache.add_to(&mut env);
        }
        env
    }
}
