//! How a port's system is installed by its own installation medium, as data.

use serde::{Deserialize, Serialize};

/// What is booted, and what the installer calls the disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstallSpec {
    /// The medium of the release that is booted, by its path below `installation`:
    /// `cdrom/boot-com.iso`; or `iso`, the release's own CD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium: Option<String>,
    /// A kernel of the release that has the installer in it and is handed to the emulator: `INSTALL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// What `-drive` says of the disk that is installed to: `if=ide,index=0`.
    pub disk_drive: String,
    /// The same of the medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medium_drive: Option<String>,
    /// The same of the CD with the sets.
    pub sets_drive: String,
    /// Further words of the emulator's command line: `-boot d`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// The disk, as the installer's kernel calls it: `wd0`.
    pub disk: String,
    /// The CD with the sets: `cd1a`.
    pub sets: String,
    /// Lines for `sh -e` in the new system that make it boot.
    pub boot: String,
}
