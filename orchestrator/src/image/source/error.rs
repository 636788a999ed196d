//! What can go wrong while a component is built from source.
//!
//! Nothing here is ever a fault of the system under test: a recipe, the archive or the host is to
//! blame, and the text says which, where, and what to do.

use camino::Utf8PathBuf;

use super::super::error::ImageError;

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
    /// The host or the archive, or the user who ended it.
    #[error(transparent)]
    Image(Box<ImageError>),
}

impl From<ImageError> for SourceError {
    fn from(e: ImageError) -> Self {
        Self::Image(Box::new(e))
    }
}

fn hint(near: &Option<String>) -> String {
    near.as_ref()
        .map(|n| format!("; did you mean '{n}'?"))
        .unwrap_or_default()
}
