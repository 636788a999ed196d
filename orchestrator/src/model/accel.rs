//! What runs a guest's instructions: the emulator's own translator, or the host's processor through the host's
//! kernel. Which it was is a fact about a result, and can explain a failure.

use serde::{Deserialize, Serialize};

/// The name under which a cell's result has its accelerator, and that of the trait made of it.
pub const ACCELERATOR: &str = "accelerator";

/// An accelerator, by the emulator's word for it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The emulator translates: every host can, and all do it alike.
    #[default]
    Tcg,
    /// Linux's.
    Kvm,
    /// NetBSD's.
    Nvmm,
    /// macOS'.
    Hvf,
}

impl Accel {
    /// The word of `-accel`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcg => "tcg",
            Self::Kvm => "kvm",
            Self::Nvmm => "nvmm",
            Self::Hvf => "hvf",
        }
    }
}

/// What a matrix or a cluster wishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelWish {
    /// Translation alone: the same on every host.
    #[default]
    Tcg,
    /// The best that the host has for a port, and translation where it has none.
    Auto,
    /// This for the ports that the host's processor runs, and a fault of the host where it is not to be had;
    /// translation for the other ports.
    Kvm,
    /// The same.
    Nvmm,
    /// The same.
    Hvf,
}

impl AccelWish {
    /// Whether every host does alike.
    pub fn is_tcg(&self) -> bool {
        *self == Self::Tcg
    }

    /// The word in a file.
    pub fn word(self) -> &'static str {
        self.only().map_or("auto", Accel::word)
    }

    /// The one accelerator that is insisted on.
    pub fn only(self) -> Option<Accel> {
        match self {
            Self::Tcg => Some(Accel::Tcg),
            Self::Auto => None,
            Self::Kvm => Some(Accel::Kvm),
            Self::Nvmm => Some(Accel::Nvmm),
            Self::Hvf => Some(Accel::Hvf),
        }
    }
}

/// The hosts whose processors run a port's instructions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Native {
    /// Their architectures, as `uname -m` says them: `x86_64`.
    pub hosts: Vec<String>,
    /// The emulator's `-cpu` there; that of `emulator` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}
