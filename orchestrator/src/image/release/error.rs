//! What can go wrong with a release: each in one sentence that names the file and what to do.

use camino::Utf8PathBuf;

use super::sums::Sum;
use crate::model::problem::did_you_mean;

/// Why a release, or a file of it, is not there.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A place has nothing of a release in it.
    #[error(
        "{place} has no release for {port}: expected binary/sets in it or in one of its directories {expected}{}",
        found(.has)
    )]
    NoRelease {
        /// The directory or address.
        place: String,
        /// The port.
        port: String,
        /// The names that the port's directory can have.
        expected: String,
        /// The directories that are there.
        has: Vec<String>,
    },
    /// A file that was asked for by name is not in the release.
    #[error("there is no {what} '{name}' in {place}{help}")]
    Missing {
        /// `set`, `kernel`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The release.
        place: String,
        /// What is there.
        help: String,
    },
    /// A server does not have it.
    #[error("{url} is not there (status {status})")]
    NotThere {
        /// The address.
        url: String,
        /// 404 or 410.
        status: u16,
    },
    /// A server does not give it.
    #[error("{url}: the server answers with status {status}")]
    Refused {
        /// The address.
        url: String,
        /// The status.
        status: u16,
    },
    /// A server sends a page in the place of a file.
    #[error(
        "{url}: the server sends a page in the place of the file{}; another mirror may have it",
        titled(.title)
    )]
    ErrorPage {
        /// The address.
        url: String,
        /// The page's title.
        title: String,
    },
    /// What came is not what it should be.
    #[error("{url} {what}; another mirror may have it right")]
    Wrong {
        /// The address.
        url: String,
        /// What it is instead.
        what: String,
    },
    /// A file is not what the release's hashes say.
    #[error(
        "{url} is not what {sums} says: expected {expected}, got {got} ({size_bytes} bytes); it was thrown away, \
         the mirror may be in the middle of an update"
    )]
    Corrupt {
        /// The address, or the path in an ISO.
        url: String,
        /// The file of hashes.
        sums: String,
        /// The hash expected.
        expected: Sum,
        /// The hash found.
        got: Sum,
        /// How much came.
        size_bytes: u64,
    },
    /// A server was tried, and tried again.
    #[error("{url}: {why}; given up after {attempts} attempts without progress{}", kept(.kept_bytes))]
    Unreachable {
        /// The address.
        url: String,
        /// What happened last.
        why: String,
        /// How often it was tried.
        attempts: u32,
        /// What has come of it stays, and the next attempt goes on behind it.
        kept_bytes: u64,
    },
    /// There is nothing to verify a directory's files by.
    #[error("{url} has neither SHA512 nor MD5: its files cannot be verified")]
    NoSums {
        /// The directory.
        url: String,
    },
    /// A pattern fits nothing.
    #[error("nothing in {place} fits {patterns}")]
    NothingWanted {
        /// The release.
        place: String,
        /// The patterns.
        patterns: String,
    },
    /// A pattern cannot be read.
    #[error("'{pattern}' is no pattern: {why}")]
    BadPattern {
        /// As it was given.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// An ISO cannot be read.
    #[error("{path} {why}")]
    BadIso {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong with it, as the rest of a sentence.
        why: String,
    },
    /// The network may not be used, and the cache does not have it.
    #[error(
        "the cache does not have {from} for {port}{}; fetch it once with a network",
        missing_files(.files)
    )]
    NotCached {
        /// The address.
        from: String,
        /// The port.
        port: String,
        /// The files that are missing; none where nothing is there.
        files: Vec<String>,
    },
    /// A signature cannot be verified.
    #[error("{what}: {why}")]
    Signature {
        /// The signed file.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// The host cannot do something with a file.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// A verb.
        doing: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl ReleaseError {
    /// A name that is not among those that are there.
    pub fn missing<'a>(
        what: &'static str,
        name: &str,
        place: &str,
        has: impl Iterator<Item = &'a String>,
    ) -> Self {
        let has: Vec<&str> = has.map(String::as_str).collect();
        let help = match has.is_empty() {
            true => format!(", which has no {what} at all"),
            false => {
                let near = did_you_mean(name, has.iter().copied());
                let near = near.map_or(String::new(), |h| format!("; {h}"));
                format!(": expected one of {}{near}", has.join(", "))
            }
        };
        Self::Missing {
            what,
            name: name.to_owned(),
            place: place.to_owned(),
            help,
        }
    }
}

fn found(has: &[String]) -> String {
    match has {
        [] => String::new(),
        names => format!("; it has {}", names.join(", ")),
    }
}

fn titled(title: &str) -> String {
    match title {
        "" => String::new(),
        title => format!(", '{title}'"),
    }
}

fn kept(bytes: &u64) -> String {
    match bytes {
        0 => String::new(),
        bytes => format!("; {bytes} bytes are kept and not asked for again"),
    }
}

fn missing_files(files: &[String]) -> String {
    match files {
        [] => String::new(),
        files => format!(" (missing: {})", files.join(", ")),
    }
}

/// Adds what was tried, on which file, to an I/O error.
pub(super) fn io(
    doing: &'static str,
    path: &camino::Utf8Path,
) -> impl FnOnce(std::io::Error) -> ReleaseError {
    let path = path.to_owned();
    move |source| ReleaseError::Io {
        doing,
        path,
        source,
    }
}
