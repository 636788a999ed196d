//! The resolved lock: which files of the archive a manifest means, pinned until a refresh.
//!
//! A lock is kept for each port and each content of those manifest fields that it answers. While it
//! is there the archive is asked for nothing: a second build or run needs no network, and two runs
//! a week apart use the same packages. Locks of older manifests stay until `gc`, so that switching
//! between two branches does not resolve anew.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::apt::{Apt, ArchiveFile};
use super::error::ImageError;
use super::exec::Watch;
use super::lock::write_whole;
use crate::model::ids::Key;
use crate::model::port::Port;

const FORMAT: u32 = 2;

/// What a manifest's package lists resolved to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resolved {
    /// Version of this form.
    pub format: u32,
    /// The port, for people.
    pub port: String,
    /// When the archive was asked.
    pub at: jiff::Timestamp,
    /// The packages that hold the kernel and its modules, where any do.
    pub kernel: Vec<ArchiveFile>,
    /// The guest's packages with all that they depend on.
    pub guest: Vec<ArchiveFile>,
    /// The cross compiler's packages with all that they depend on.
    pub sysroot: Vec<ArchiveFile>,
}

impl Resolved {
    /// Versions by package, kernel included.
    pub fn versions(&self) -> BTreeMap<String, String> {
        self.kernel
            .iter()
            .chain(&self.guest)
            .map(|f| (f.package.clone(), f.version.clone()))
            .collect()
    }
}

/// Where the lock of `port` is kept.
pub fn place(cache: &Utf8Path, port: &Port) -> Utf8PathBuf {
    let spec = &port.image;
    let lists = serde_json::json!([
        spec.suite,
        spec.arch,
        spec.kernel_package,
        spec.packages,
        spec.sysroot_packages,
    ]);
    let key = Key::of("resolved packages 1", &[lists.to_string().as_bytes()]);
    cache
        .join("resolved")
        .join(format!("{}-{}.json", port.port, key.short()))
}

fn empty(port: &Port) -> Resolved {
    Resolved {
        format: FORMAT,
        port: port.port.to_string(),
        at: jiff::Timestamp::now(),
        kernel: Vec::new(),
        guest: Vec::new(),
        sysroot: Vec::new(),
    }
}

/// The lock, if there is one. Asks nobody. A port without packages has nothing to resolve.
pub fn known(cache: &Utf8Path, port: &Port) -> Option<Resolved> {
    let spec = &port.image;
    let lists = [&spec.packages, &spec.sysroot_packages];
    if spec.kernel_package.is_none() && lists.iter().all(|l| l.is_empty()) {
        return Some(empty(port));
    }
    let text = std::fs::read(place(cache, port)).ok()?;
    let resolved: Resolved = serde_json::from_slice(&text).ok()?;
    (resolved.format == FORMAT).then_some(resolved)
}

/// The lock, made by asking the archive where there is none or `refresh` asks for a new one.
pub fn resolve(
    cache: &Utf8Path,
    port: &Port,
    refresh: bool,
    watch: &Watch<'_>,
) -> Result<Resolved, ImageError> {
    let is_empty = |resolved: &Resolved| {
        resolved.kernel.is_empty() && resolved.guest.is_empty() && resolved.sysroot.is_empty()
    };
    if let Some(resolved) = known(cache, port).filter(|r| !refresh || is_empty(r)) {
        return Ok(resolved);
    }
    let spec = &port.image;
    let mut resolved = empty(port);
    let apt = Apt::new(cache, &spec.suite, &spec.arch, false);
    let session = apt.open(refresh, watch)?;
    // Another process may have done it while this one waited for the session.
    if !refresh && let Some(resolved) = known(cache, port) {
        return Ok(resolved);
    }
    (watch.progress)("resolve packages", None);
    if let Some(package) = &spec.kernel_package {
        resolved.kernel = session.resolve_kernel(package, watch)?;
    }
    resolved.guest = session.resolve(&spec.packages, watch)?;
    resolved.sysroot = session.resolve(&spec.sysroot_packages, watch)?;
    let text = serde_json::to_vec_pretty(&resolved).map_err(|e| ImageError::Assemble {
        port: port.port.to_string(),
        message: e.to_string(),
    })?;
    write_whole(&place(cache, port), &text)?;
    Ok(resolved)
}
