//! Runs, events, cached results and durations on disk.
//!
//! A run is a directory; its log of events is the truth and everything else in it can be made
//! again from the log and the cache. Results of cells are kept a second time by key, in the cache,
//! where later runs find them. The [`index`] over all runs is made from the logs and can be deleted;
//! the [`queue`] of the daemon cannot.

pub mod artifacts;
pub mod benches;
pub mod cells;
pub mod durations;
pub mod events;
pub mod index;
pub mod outbox;
pub mod queue;
pub mod retention;
pub mod runs;
pub mod signoffs;
pub mod snapshots;

use std::io;
use std::path::{Path, PathBuf};

/// What can go wrong with stored data. Always a fault of the host, never of the system under test.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Reading or writing failed.
    #[error("cannot {what} {path}: {cause}")]
    Io {
        /// `read`, `write`, `create`.
        what: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        cause: io::Error,
    },
    /// A stored file does not have the form that this version writes.
    #[error("{path} is not readable by this version: {cause}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        cause: String,
    },
    /// No run answers to the name.
    #[error("no run '{name}' in {dir}: expected 'last' or the beginning of a run's id{hint}")]
    NoSuchRun {
        /// What was asked for.
        name: String,
        /// Where runs are kept.
        dir: PathBuf,
        /// The nearest ids, or that there are none.
        hint: String,
    },
    /// A database did not do its part.
    #[error("cannot {what} {path}: {cause}")]
    Db {
        /// `open`, `read`, `write`, `migrate`.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// The driver's answer.
        cause: sqlx::Error,
    },
    /// It was made elsewhere: there is nothing here to go on with.
    #[error("run {run} was imported (it ran on {host}): it cannot be run again from here")]
    Imported {
        /// The run.
        run: String,
        /// Where it ran.
        host: String,
    },
    /// Another process works on the run.
    #[error("run {0} is in use by another fallout process")]
    Busy(String),
}

impl StoreError {
    pub(crate) fn db(what: &'static str, path: &Path, cause: sqlx::Error) -> Self {
        Self::Db {
            what,
            path: path.to_owned(),
            cause,
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path, cause: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            cause,
        }
    }
}

/// Writes a file so that a reader sees the old content or the new one, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let utf8 = camino::Utf8Path::from_path(path)
        .ok_or_else(|| StoreError::io("write", path, io::ErrorKind::InvalidFilename.into()))?;
    crate::host::files::write_atomic(utf8, bytes).map_err(|e| StoreError::io(e.what, path, e.cause))
}
