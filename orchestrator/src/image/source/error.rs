//! What can go wrong while a component is built from source.
//!
//! Nothing here is ever a fault of the system under test: a recipe, the archive or the host is to
//! blame, and the text says which, where, and what to do.

use camino::Utf8PathBuf;

/// Why a component is not there.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A recipe that cannot be used as it stands.
    #[error("{path}: {message}")]
    Recipe {
        /// The file or directory.
        path: Utf8PathBuf,
        /// What is wrong in it, and what was expected.
        message: String,
    },
    /// A manifest or a recipe names a component that has no recipe.
    #[error("there is no source recipe '{name}' in {dir}{}", hint(.near))]
    UnknownComponent {
        /// The name asked for.
        name: String,
        /// Where recipes are.
        dir: Utf8PathBuf,
        /// The nearest name that exists.
        near: Option<String>,
    },
    /// The port's manifest lacks a fact that the recipe needs.
    #[error("port {port}: component {component} needs '{field}' in the port's manifest")]
    MissingFact {
        /// The port.
        port: String,
        /// The component.
        component: String,
        /// The manifest's field.
        field: &'static str,
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
    /// A program of the host is missing.
    #[error(
        "the program '{tool}' is not installed: install the package {package} (ci/setup does it)"
    )]
    MissingTool {
        /// The program.
        tool: String,
        /// The package that has it on Debian and Ubuntu.
        package: String,
    },
    /// The distribution's archive did not give what was asked for.
    #[error(
        "the archive ({suite}) did not give {what}: is it reachable, and the name right?\n{output}"
    )]
    Archive {
        /// The suite.
        suite: String,
        /// What was asked for.
        what: String,
        /// The end of what apt said.
        output: String,
    },
    /// A downloaded file could not be unpacked.
    #[error("cannot unpack {what}:\n{output}")]
    Unpack {
        /// The file.
        what: String,
        /// The end of what the program said.
        output: String,
    },
    /// A patch of the series does not apply.
    #[error("patch {patch} does not apply to the source of {component} ({version}):\n{output}")]
    Patch {
        /// The patch file.
        patch: Utf8PathBuf,
        /// The component.
        component: String,
        /// The source's version.
        version: String,
        /// What patch(1) said.
        output: String,
    },
    /// The recipe's build script failed.
    #[error("building {component} for {port} failed at '{step}'; the whole log is {log}\n{tail}")]
    Build {
        /// The component.
        component: String,
        /// The port.
        port: String,
        /// The last step that the script had named.
        step: String,
        /// The log.
        log: Utf8PathBuf,
        /// Its end.
        tail: String,
    },
    /// The user ended it.
    #[error("stopped")]
    Stopped,
}

fn hint(near: &Option<String>) -> String {
    near.as_ref()
        .map(|n| format!("; did you mean '{n}'?"))
        .unwrap_or_default()
}

/// Turns an I/O result into ours, with what was tried.
pub(super) trait IoContext<T> {
    fn doing(self, doing: &'static str, path: &camino::Utf8Path) -> Result<T, SourceError>;
}

impl<T> IoContext<T> for std::io::Result<T> {
    fn doing(self, doing: &'static str, path: &camino::Utf8Path) -> Result<T, SourceError> {
        self.map_err(|source| SourceError::Io {
            doing,
            path: path.to_owned(),
            source,
        })
    }
}
