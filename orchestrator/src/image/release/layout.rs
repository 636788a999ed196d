//! What a release's paths mean: pure.
//!
//! Paths are relative to the port's own directory; what stands beside that directory (images, ISOs,
//! sources) begins with `..`. A path that means nothing is passed by: a release has notes, sums and
//! pages that nobody asks for. Sets are `.tgz` or `.tar.xz` by port and age, so their names are what
//! is left without either.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};

/// Files of one kind, by what they are asked for by.
pub type Files = BTreeMap<String, Utf8PathBuf>;

/// What there is of one port's release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    /// The version, where an image's name says it: `10.1`.
    pub version: Option<String>,
    /// Sets by name: `base`, `kern-GENERIC`; sources too: `syssrc`.
    pub sets: Files,
    /// Kernels by configuration and form: `GENERIC`, `GENERIC64.img`, `VEXPRESS_A15.ub`.
    pub kernels: Files,
    /// Installation media by their path below `installation`: `cdrom/boot-com.iso`.
    pub media: Files,
    /// Ready disks and CDs by what they are: `live`, `install`, `iso`, and board images by their
    /// file's name: `arm64.img`.
    pub images: Files,
}

/// The endings of sets, the better one last.
const SETS: [&str; 2] = [".tgz", ".tar.xz"];

/// Files that say something about others.
const ABOUT: [&str; 6] = ["MD5", "SHA512", "SHA1", "BSDSUM", "CKSUM", "SYSVSUM"];

impl Layout {
    /// Reads the paths of a port's release. Where a set is there in both forms, the last of the
    /// paths counts: a caller who knows their times gives the newer one last.
    pub fn of(port: &str, paths: impl IntoIterator<Item = Utf8PathBuf>) -> Self {
        let mut layout = Self::default();
        for path in paths {
            layout.take(port, path);
        }
        layout
    }

    fn take(&mut self, port: &str, path: Utf8PathBuf) {
        let Some(name) = path.file_name().map(str::to_owned) else {
            return;
        };
        let dir = path.parent().unwrap_or(Utf8Path::new("")).as_str();
        if is_about(&name) {
            return;
        }
        match dir {
            "binary/sets" | "../source/sets" | "../shared/ALL/sets" | "../shared/sets" => {
                if let Some(set) = set_name(&name) {
                    self.sets.insert(set.to_owned(), path);
                }
            }
            "binary/kernel" => {
                if let Some(kernel) = kernel_name(&name) {
                    self.kernels.insert(kernel.to_owned(), path);
                }
            }
            "binary/gzimg" => {
                let image = name.strip_suffix(".gz").unwrap_or(&name);
                self.images.insert(image.to_owned(), path);
            }
            "../images" | "../iso" | "images" => {
                if let Some((version, kind)) = image_name(port, &name) {
                    self.version.get_or_insert_with(|| version.to_owned());
                    self.images.insert(kind.to_owned(), path);
                }
            }
            _ => {
                if let Ok(below) = path.strip_prefix("installation") {
                    self.media.insert(below.as_str().to_owned(), path.clone());
                }
            }
        }
    }

    /// True where nothing of a release is there.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
            && self.kernels.is_empty()
            && self.media.is_empty()
            && self.images.is_empty()
    }

    /// Every file, in a fixed order.
    pub fn files(&self) -> impl Iterator<Item = &Utf8PathBuf> {
        let parts = [&self.sets, &self.kernels, &self.media, &self.images];
        parts.into_iter().flat_map(BTreeMap::values)
    }
}

/// True for sums and pages that a mirror makes of a directory.
pub fn is_about(name: &str) -> bool {
    ABOUT.contains(&name) || name.ends_with(".html") || name.starts_with('.')
}

/// The set that a file is: `base` of `base.tar.xz`.
pub fn set_name(file: &str) -> Option<&str> {
    let name = SETS.iter().find_map(|end| file.strip_suffix(end))?;
    (!name.is_empty()).then_some(name)
}

/// The kernel that a file is: `GENERIC64.img` of `netbsd-GENERIC64.img.gz`. Symbols and debugging
/// information are no kernels.
fn kernel_name(file: &str) -> Option<&str> {
    let name = file.strip_prefix("netbsd-")?;
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let is_kernel = !name.is_empty() && !name.ends_with(".symbols") && !name.ends_with(".debug");
    is_kernel.then_some(name)
}

/// Version and kind of an image of this port: `("10.1", "live")` of `NetBSD-10.1-amd64-live.img.gz`.
fn image_name<'a>(port: &str, file: &'a str) -> Option<(&'a str, &'a str)> {
    let (version, rest) = file.strip_prefix("NetBSD-")?.split_once('-')?;
    let rest = rest.strip_prefix(port)?;
    let name = rest.strip_suffix(".gz").unwrap_or(rest);
    match name.strip_suffix(".img") {
        Some(kind) => kind.strip_prefix('-').map(|kind| (version, kind)),
        // NetBSD-10.1-amd64.iso, NetBSD-6.1-sparc64.iso, NetBSD-9.0-i386-dvd.iso
        None => name.strip_suffix(".iso").map(|kind| {
            let kind = kind.strip_prefix('-').unwrap_or("iso");
            (version, kind)
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(files: &Files) -> String {
        let line = |(name, path): (&String, &Utf8PathBuf)| format!("{name} = {path}");
        files.iter().map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_release_is_read_by_its_paths() {
        let paths = [
            "binary/sets/base.tgz",
            "binary/sets/base.tar.xz",
            "binary/sets/kern-GENERIC.NOACPI.tgz",
            "binary/sets/MD5",
            "binary/sets/.tgz",
            "binary/kernel/netbsd-GENERIC.gz",
            "binary/kernel/netbsd-GENERIC.symbols.gz",
            "binary/kernel/netbsd-VEXPRESS_A15.ub.gz",
            "binary/gzimg/armv7.img.gz",
            "installation/cdrom/boot-com.iso",
            "installation/miniroot/miniroot.kmod",
            "installation/cdrom/index.html",
            "../images/NetBSD-10.1-amd64.iso",
            "../images/NetBSD-10.1-amd64-live.img.gz",
            "../images/NetBSD-10.1-amd64-uefi-install.img.gz",
            "../images/NetBSD-10.1-amd64x-live.img.gz",
            "../images/NetBSD-10.1-i386.iso",
            "../source/sets/syssrc.tgz",
            "INSTALL.txt",
        ];
        let layout = Layout::of("amd64", paths.map(Utf8PathBuf::from));
        assert_eq!(layout.version.as_deref(), Some("10.1"));
        insta::assert_snapshot!(show(&layout.sets), @r"
        base = binary/sets/base.tar.xz
        kern-GENERIC.NOACPI = binary/sets/kern-GENERIC.NOACPI.tgz
        syssrc = ../source/sets/syssrc.tgz
        ");
        insta::assert_snapshot!(show(&layout.kernels), @r"
        GENERIC = binary/kernel/netbsd-GENERIC.gz
        VEXPRESS_A15.ub = binary/kernel/netbsd-VEXPRESS_A15.ub.gz
        ");
        insta::assert_snapshot!(show(&layout.media), @r"
        cdrom/boot-com.iso = installation/cdrom/boot-com.iso
        miniroot/miniroot.kmod = installation/miniroot/miniroot.kmod
        ");
        insta::assert_snapshot!(show(&layout.images), @r"
        armv7.img = binary/gzimg/armv7.img.gz
        iso = ../images/NetBSD-10.1-amd64.iso
        live = ../images/NetBSD-10.1-amd64-live.img.gz
        uefi-install = ../images/NetBSD-10.1-amd64-uefi-install.img.gz
        ");
    }

    proptest! {
        #[test]
        fn any_path_is_taken_or_passed_by(port in ".{0,8}", paths in prop::collection::vec("(\\.\\./)?[a-zA-Z0-9./-]{0,40}", 0..20)) {
            let given: Vec<Utf8PathBuf> = paths.into_iter().map(Utf8PathBuf::from).collect();
            let layout = Layout::of(&port, given.clone());
            prop_assert!(layout.files().all(|f| given.contains(f)));
        }
    }
}
