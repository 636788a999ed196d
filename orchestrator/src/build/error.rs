//! What can go wrong while a system under test is built, and whose fault it is.
//!
//! The first line of each text is the same on every port where the fault is the same: the verdict
//! puts ports together by it.

use std::io;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};

use super::kernel::Unmet;
use super::messages::CompilerMessage;
use super::netbsd::Broken;
use crate::host::files::FileError;
use crate::host::git::GitError;
use crate::model::StageResult;

/// Why there is no build.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A step of the build ended with an error: the product's fault.
    #[error("{} failed: {}{}", .step.name, said(.message.as_ref(), .status), more(.step, .status))]
    Failed {
        /// The step.
        step: Box<FailedStep>,
        /// How it ended: `exit status 2`.
        status: String,
        /// The first complaint of a compiler, a linker or make.
        message: Option<CompilerMessage>,
    },
    /// `build.sh` failed: the product's fault. The first line is the failure's signature.
    #[error("{stage} failed: {}{}{}", .broken.signature, broken_at(.broken), more(.step, .status))]
    Release {
        /// The stage: `kernel`.
        stage: &'static str,
        /// What its output told.
        broken: Box<Broken>,
        /// The step.
        step: Box<FailedStep>,
        /// How it ended.
        status: String,
    },
    /// A kernel's configuration does not come out as it was asked for: the product's fault.
    #[error("configure failed: {}{}", listed(.unmet), more(.step, "not compiled"))]
    Options {
        /// The step.
        step: Box<FailedStep>,
        /// The options, at least one.
        unmet: Vec<Unmet>,
    },
    /// A patch of the series does not apply: the product's fault.
    #[error("patch {patch} does not apply{}{}", place(.file.as_deref(), .hunk.as_deref()), indent(.output))]
    PatchFailed {
        /// The patch as the series names it.
        patch: Utf8PathBuf,
        /// The file of the tree that it is for.
        file: Option<String>,
        /// The first hunk that fails: `#2 at line 40`.
        hunk: Option<String>,
        /// The end of what patch(1) said.
        output: String,
    },
    /// The build took longer than its project allows: the product's fault.
    #[error("{} was not done within the build's time limit of {}{}", .step.name, span(.after), more(.step, "ended"))]
    TimedOut {
        /// The step that was under way.
        step: Box<FailedStep>,
        /// The limit.
        after: Duration,
    },
    /// The compat libraries that a release installed are not what the tree says: the product's fault.
    #[error("compat libraries failed: {}\n  the whole log: zstdcat {log}", .problems.join("; "))]
    Compat {
        /// Directory and what is wrong with it, at least one.
        problems: Vec<String>,
        /// The log of the build that installed them.
        log: Utf8PathBuf,
    },
    /// The build took more room than its project allows: the product's fault.
    #[error("{} took more than the {} GiB on disk that it may{}", .step.name, .limit_bytes >> 30, more(.step, "ended"))]
    TooLarge {
        /// The step that was under way.
        step: Box<FailedStep>,
        /// The limit, in bytes.
        limit_bytes: u64,
    },
    /// A program of the host is missing.
    #[error(
        "the program '{program}' is not installed: install the package {package} (ci/setup does it)"
    )]
    ToolMissing {
        /// The program.
        program: String,
        /// The package that has it on Debian and Ubuntu.
        package: String,
    },
    /// The source is not what the plan was made with, or cannot be used.
    #[error("{path}: {why}")]
    Source {
        /// The directory or file.
        path: Utf8PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The host ran out of something while the build used it.
    #[error("{} failed for want of room or memory on this machine: {line}{}", .step.name, more(.step, "failed"))]
    Exhausted {
        /// The step.
        step: Box<FailedStep>,
        /// The line that says so.
        line: String,
    },
    /// The host could not do its part.
    #[error("cannot {doing} {path}: {cause}")]
    Host {
        /// `copy`, `run`.
        doing: &'static str,
        /// What.
        path: Utf8PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// The step at which a build ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStep {
    /// `commands`, `make`, `install`, `finish`.
    pub name: &'static str,
    /// The directory of the tree in which it ran.
    pub dir: Utf8PathBuf,
    /// What was run, for people.
    pub command: String,
    /// The last lines of the output, free of escapes.
    pub tail: String,
    /// The whole log, where it could be kept.
    pub log: Option<Utf8PathBuf>,
}

impl BuildError {
    /// The result of the cell that this build was for.
    pub fn stage(&self) -> StageResult {
        match self {
            Self::Release { broken, .. } if broken.is_sets_mismatch() => StageResult::SetsMismatch,
            Self::Release { .. } => StageResult::BuildFailed,
            Self::Failed { .. }
            | Self::Options { .. }
            | Self::PatchFailed { .. }
            | Self::TooLarge { .. }
            | Self::Compat { .. }
            | Self::TimedOut { .. } => StageResult::BuildFailed,
            Self::ToolMissing { .. }
            | Self::Source { .. }
            | Self::Exhausted { .. }
            | Self::Host { .. } => StageResult::HostFailed,
        }
    }

    /// The step at which it happened, where there is one.
    fn step(&self) -> Option<&FailedStep> {
        match self {
            Self::Failed { step, .. }
            | Self::Options { step, .. }
            | Self::Release { step, .. }
            | Self::TimedOut { step, .. }
            | Self::TooLarge { step, .. }
            | Self::Exhausted { step, .. } => Some(step),
            _ => None,
        }
    }

    /// Whether it is of a step of this name.
    pub fn is_of(&self, name: &str) -> bool {
        self.step().is_some_and(|step| step.name == name)
    }

    /// Where the whole log is.
    pub fn log(&self) -> Option<&Utf8Path> {
        match self {
            Self::Compat { log, .. } => Some(log),
            _ => self.step()?.log.as_deref(),
        }
    }
}

impl From<GitError> for BuildError {
    fn from(e: GitError) -> Self {
        match e {
            GitError::Missing => Self::ToolMissing {
                program: "git".to_owned(),
                package: "git".to_owned(),
            },
            GitError::Host(cause) => Self::Host {
                doing: "run",
                path: "git".into(),
                cause,
            },
            GitError::File(e) => e.into(),
            GitError::Patch { name, said } => Self::PatchFailed {
                patch: name.into(),
                file: None,
                hunk: None,
                output: said,
            },
            e @ (GitError::NoRevision { .. } | GitError::Failed { .. }) => Self::Source {
                path: "source.git".into(),
                why: e.to_string(),
            },
        }
    }
}

impl From<FileError> for BuildError {
    fn from(e: FileError) -> Self {
        Self::Host {
            doing: e.what,
            path: e.path,
            cause: e.cause,
        }
    }
}

/// Says what was tried when the system refuses.
pub(super) trait Doing<T> {
    /// Turns the system's refusal into [`BuildError::Host`].
    fn doing(self, doing: &'static str, path: &Utf8Path) -> Result<T, BuildError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Utf8Path) -> Result<T, BuildError> {
        self.map_err(|cause| BuildError::Host {
            doing,
            path: path.to_owned(),
            cause,
        })
    }
}

fn said(message: Option<&CompilerMessage>, status: &str) -> String {
    message.map_or_else(|| status.to_owned(), ToString::to_string)
}

fn broken_at(broken: &Broken) -> String {
    let mut text = String::new();
    if let Some(message) = &broken.message {
        text += &format!("\n  {message}");
    }
    if let Some(target) = &broken.target {
        let dir = broken.dir.as_deref().unwrap_or("?");
        text += &format!("\n  target {target} in {dir}");
    }
    text
}

/// All of them in the first line, which is what tells two failures apart.
fn listed(unmet: &[Unmet]) -> String {
    let all: Vec<String> = unmet.iter().map(ToString::to_string).collect();
    all.join("; ")
}

fn more(step: &FailedStep, status: &str) -> String {
    let command = step.command.replace('\n', "; ");
    let mut text = format!("\n  in {}: {command} ({status})", step.dir);
    if let Some(log) = &step.log {
        text += &format!("\n  the whole log: zstdcat {log}");
    }
    text + &indent(&step.tail)
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("\n  | {line}")).collect()
}

fn place(file: Option<&str>, hunk: Option<&str>) -> String {
    let mut text = file.map(|f| format!(" to {f}")).unwrap_or_default();
    if let Some(hunk) = hunk {
        text += &format!(": hunk {hunk} fails");
    }
    text
}

fn span(limit: &Duration) -> String {
    let seconds = limit.as_secs();
    match seconds {
        0 => format!("{} ms", limit.as_millis()),
        1..120 => format!("{seconds} s"),
        _ => format!("{} min", seconds / 60),
    }
}
