//! What can go wrong while an image is made.
//!
//! Nothing here is ever a fault of the system under test: a manifest, the archive or the host is
//! to blame, and the text says which, where, what was expected, and what to do.

use camino::{Utf8Path, Utf8PathBuf};

/// Why an image is not there.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A package named in a manifest is not in the archive.
    #[error("there is no package '{package}' for {arch} in {suite}{}", hint(.help))]
    UnknownPackage {
        /// The name asked for.
        package: String,
        /// The distribution's suite.
        suite: String,
        /// The architecture.
        arch: String,
        /// The nearest name that exists.
        help: Option<String>,
    },
    /// A kernel module named in a manifest is neither in the kernel's package nor built in.
    #[error("the kernel package {package} has no module '{module}', and it is not built in{}", hint(.help))]
    UnknownModule {
        /// The name asked for.
        module: String,
        /// The kernel's package.
        package: String,
        /// The nearest name that exists.
        help: Option<String>,
    },
    /// The archive could not be asked.
    #[error("cannot {doing} for {arch} in {suite} from {mirror}:\n{output}\n{}", archive_help(.output))]
    Archive {
        /// What was tried, as a verb.
        doing: String,
        /// The distribution's suite.
        suite: String,
        /// The architecture.
        arch: String,
        /// The mirror in use.
        mirror: String,
        /// What apt said.
        output: String,
    },
    /// A file of the archive could not be downloaded.
    #[error("cannot download {file} from {uri}:\n{output}")]
    Download {
        /// The file.
        file: String,
        /// Where it should be.
        uri: String,
        /// What apt said.
        output: String,
    },
    /// A file is not what the archive's index says; it was thrown away.
    #[error(
        "{file} is not what the archive's signed index says: expected {expected}, got {got}; \
         it was thrown away. Try again; if it stays so, the mirror is broken: choose another with FALLOUT_DEBIAN_MIRROR"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Size and hash expected.
        expected: String,
        /// Size and hash found.
        got: String,
    },
    /// A package's content cannot be used.
    #[error("package {package} cannot be unpacked: {message}")]
    BadPackage {
        /// The file's name.
        package: String,
        /// What is wrong.
        message: String,
    },
    /// A set of a release cannot be used.
    #[error("the set {set} cannot be unpacked ({file}): {message}")]
    BadSet {
        /// Its name.
        set: String,
        /// Its file.
        file: Utf8PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A manifest asks for something that cannot be assembled.
    #[error("the image of {port} cannot be assembled: {message}")]
    Assemble {
        /// The port.
        port: String,
        /// What is missing, and what to do.
        message: String,
    },
    /// A file in the cache is not what was once put there.
    #[error(
        "{path}: expected {expected}, got {got}; `fallout image build --refresh` makes it anew"
    )]
    CacheDamaged {
        /// The file.
        path: Utf8PathBuf,
        /// What image.json says.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A program of the host is missing.
    #[error(
        "the program '{tool}' is not installed: install the package {package} (ci/setup does it)"
    )]
    MissingTool {
        /// The program or file.
        tool: String,
        /// The package that has it on Debian and Ubuntu.
        package: String,
    },
    /// A program of the host failed.
    #[error("'{tool}' failed: {output}")]
    Tool {
        /// The program.
        tool: String,
        /// The end of what it said.
        output: String,
    },
    /// The disk that holds the cache is full.
    #[error("no space left for {path}: free some, for example with `fallout image gc`")]
    DiskFull {
        /// The file that could not be written.
        path: Utf8PathBuf,
    },
    /// The host cannot do something with a file.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// On what.
        path: Utf8PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A component could not be built from source.
    #[error("port {port}: {source}")]
    Component {
        /// The port.
        port: String,
        /// What the source recipe's stage said.
        source: Box<super::source::SourceError>,
    },
    /// A release, or a file of it, is not there.
    #[error(transparent)]
    Release(#[from] super::release::ReleaseError),
    /// The work was ended from outside.
    #[error("stopped")]
    Stopped,
}

fn hint(help: &Option<String>) -> String {
    help.as_ref().map_or_else(String::new, |h| format!("; {h}"))
}

/// What to do about an answer of the archive, by its commonest causes.
fn archive_help(output: &str) -> &'static str {
    if output.contains("Could not resolve")
        || output.contains("Temporary failure resolving")
        || output.contains("Could not connect")
        || output.contains("Connection failed")
    {
        "The archive cannot be reached: is there a network, and does apt know the proxy (Acquire::http::Proxy)? \
         Another mirror can be given in FALLOUT_DEBIAN_MIRROR"
    } else if output.contains("unexpected size") || output.contains("Hash Sum mismatch") {
        "The mirror's files do not agree with its signed Release file: it is being updated, or a cache before it is stale. \
         Try again later, or give another mirror in FALLOUT_DEBIAN_MIRROR"
    } else if output.contains("NO_PUBKEY") || output.contains("is not signed") {
        "The archive's signature cannot be checked: update the package debian-archive-keyring"
    } else {
        "Another mirror can be given in FALLOUT_DEBIAN_MIRROR"
    }
}

/// Adds what was tried, on which file, to an I/O error.
pub trait IoContext<T> {
    /// `doing` is a verb: `create`, `read`.
    fn doing(self, doing: &'static str, path: &Utf8Path) -> Result<T, ImageError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn doing(self, doing: &'static str, path: &Utf8Path) -> Result<T, ImageError> {
        self.map_err(|source| {
            if source.kind() == std::io::ErrorKind::StorageFull {
                ImageError::DiskFull {
                    path: path.to_owned(),
                }
            } else {
                ImageError::Io {
                    doing,
                    path: path.to_owned(),
                    source,
                }
            }
        })
    }
}
