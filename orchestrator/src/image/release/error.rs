//! What can go wrong with a release: each in one sentence that names the file and what to do.

use camino::Utf8PathBuf;

use crate::model::problem::did_you_mean;

/// Why a release, or a file of it, is not there.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A directory has nothing of a release in it.
    #[error(
        "{dir} has no release for {port}: expected binary/sets in it or in one of its directories {expected}{}",
        found(.has)
    )]
    NoRelease {
        /// The directory.
        dir: String,
        /// The port.
        port: String,
        /// The names that the port's directory can have.
        expected: String,
        /// The ports that are there.
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
        ports => format!("; it has one for {}", ports.join(", ")),
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
