//! Exit codes, and what a command failed with. `docs/exit-codes.md` is the users' side of this.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::host::dirs::DirsError;
use crate::host::yaml::{BadFile, YamlError};
use crate::store::StoreError;

/// How the program ends. The numbers are an interface: they never change their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All was done, and nothing was found.
    Clean = 0,
    /// All was done, and there are findings.
    Findings = 1,
    /// The command line, a matrix, a manifest or a name of the user's is wrong.
    Usage = 2,
    /// The host or an emulator did not do its part: some cells say nothing.
    Host = 3,
    /// The user ended it; `fallout resume` goes on.
    Interrupted = 4,
    /// A signature does not fit.
    Signature = 5,
    /// A fault of fallout itself.
    Internal = 70,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What every subcommand returns.
pub type Outcome = Result<Exit, Failure>;

/// Why a command ended early: a message for the user, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What to print on standard error; empty where there is nothing to say.
    pub message: String,
}

impl Failure {
    /// The user's input is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The host is at fault.
    pub fn host(message: impl fmt::Display) -> Self {
        Self::new(Exit::Host, message)
    }

    /// The user ended it.
    pub fn interrupted(message: impl fmt::Display) -> Self {
        Self::new(Exit::Interrupted, message)
    }

    /// A signature does not fit.
    pub fn signature(message: impl fmt::Display) -> Self {
        Self::new(Exit::Signature, message)
    }

    /// fallout is at fault.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Exit::Internal, message)
    }

    /// A command that this version does not have yet.
    pub fn not_built_yet(command: &str) -> Self {
        Self::internal(format!("'{command}' is not built yet"))
    }

    fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }
}

impl From<BadFile> for Failure {
    fn from(bad: BadFile) -> Self {
        Self::usage(bad)
    }
}

impl From<YamlError> for Failure {
    fn from(error: YamlError) -> Self {
        Self::usage(error)
    }
}

impl From<DirsError> for Failure {
    fn from(error: DirsError) -> Self {
        Self::usage(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NoSuchRun { .. } | StoreError::Imported { .. } | StoreError::Busy(_) => {
                Self::usage(error)
            }
            StoreError::Io { .. } | StoreError::Form { .. } | StoreError::Db { .. } => {
                Self::host(error)
            }
        }
    }
}

/// Writing to standard output failed. A reader that has seen enough (`| head`) is no fault.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Clean, ""),
            _ => Self::host(format!("cannot write the output: {error}")),
        }
    }
}
