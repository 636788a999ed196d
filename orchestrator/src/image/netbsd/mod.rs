//! Images of NetBSD: a release's sets assembled to a disk on the host, without root and without a boot.
//!
//! ```text
//! release ──▶ sets (unpacked, two at once) ──┐
//! etc/MAKEDEV -s (confined) ──▶ devices ─────┼──▶ spec ──▶ makefs ──▶ boot blocks, label ──▶ disk
//! manifest, overlay ──▶ config ──────────────┘
//! ```
//!
//! What the system's own installer would ask for stands in the manifest and in [`config`]. The file
//! system is written by `makefs` of the host (or `nbmakefs`, where it is in PATH); label and boot blocks
//! are ours to place. The kernel stands beside the disk, so that a guest can be held to it.

pub mod config;
mod devices;
mod disk;
mod kernel;
mod label;
mod make;
mod sets;
mod spec;

pub use kernel::identify;
pub use make::{make, planned};
