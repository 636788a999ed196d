//! Releases of NetBSD: which sets, kernels, installation media and images there are, and where.
//!
//! ```text
//! directory ────────────────▶ local ──┐
//! mirror ──▶ listing, sums ──▶ fetch ─┼──▶ layout ──▶ Release: files of this machine
//! ISO ─────▶ iso ────────────▶ fetch ─┘
//! ```
//!
//! Wherever a release comes from, what the rest of the program sees is a directory as `build.sh
//! release` leaves it ([`Release::dir`] is the port's own directory in it). Nothing is unpacked here.

pub mod cdrom;
pub mod download;
pub mod error;
pub mod iso;
pub mod layout;
pub mod listing;
pub mod local;
pub mod mirror;
pub mod prebuilt;
pub mod signature;
pub mod source;
pub mod store;
pub mod sums;
pub mod verify;
pub mod want;

pub use error::ReleaseError;
pub use layout::Layout;
pub use source::Source;
pub use store::Store;
pub use want::Want;

use camino::{Utf8Path, Utf8PathBuf};

/// A release for one port, with its files on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The port's own directory: the one with `binary/sets`.
    pub dir: Utf8PathBuf,
    /// What is in it, by paths relative to [`Self::dir`].
    pub layout: Layout,
}

impl Release {
    /// The file of a set: `base`, `kern-GENERIC`.
    pub fn set(&self, name: &str) -> Result<Utf8PathBuf, ReleaseError> {
        self.find("set", name, &self.layout.sets)
    }

    /// The file of a kernel: `GENERIC`, `INSTALL`, `GENERIC64.img`.
    pub fn kernel(&self, name: &str) -> Result<Utf8PathBuf, ReleaseError> {
        self.find("kernel", name, &self.layout.kernels)
    }

    fn find(
        &self,
        what: &'static str,
        name: &str,
        among: &layout::Files,
    ) -> Result<Utf8PathBuf, ReleaseError> {
        match among.get(name) {
            Some(file) => Ok(join(&self.dir, file)),
            None => Err(ReleaseError::missing(
                what,
                name,
                self.dir.as_str(),
                among.keys(),
            )),
        }
    }
}

/// `dir` and a path relative to it that can begin with `..`, without the detour.
pub(crate) fn join(dir: &Utf8Path, file: &Utf8Path) -> Utf8PathBuf {
    let mut dir = dir;
    let mut file = file;
    while let (Ok(rest), Some(above)) = (file.strip_prefix(".."), dir.parent()) {
        (dir, file) = (above, rest);
    }
    dir.join(file)
}

/// The names that a port's directory can have in a release: `evbarm-aarch64`, and `evbarm` in what
/// is built for one of a machine's ports alone.
pub fn directory_names(port: &str) -> Vec<&str> {
    let machine = port.split_once('-').map(|(machine, _)| machine);
    std::iter::once(port).chain(machine).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_named_with_the_nearest_that_is() {
        let paths = ["binary/sets/base.tgz", "binary/sets/kern-GENERIC.tgz"];
        let release = Release {
            dir: "/r/amd64".into(),
            layout: Layout::of("amd64", paths.map(Utf8PathBuf::from)),
        };
        assert_eq!(
            release.set("base").unwrap(),
            "/r/amd64/binary/sets/base.tgz"
        );
        assert_eq!(
            release.set("kern-GENERC").unwrap_err().to_string(),
            "there is no set 'kern-GENERC' in /r/amd64: expected one of base, kern-GENERIC; did you mean 'kern-GENERIC'?"
        );
        assert_eq!(
            release.kernel("GENERIC").unwrap_err().to_string(),
            "there is no kernel 'GENERIC' in /r/amd64, which has no kernel at all"
        );
        assert_eq!(
            directory_names("evbarm-aarch64"),
            ["evbarm-aarch64", "evbarm"]
        );
    }

    #[test]
    fn a_way_up_leads_up() {
        let at = |file: &str| join(Utf8Path::new("/r/amd64"), Utf8Path::new(file));
        assert_eq!(at("../images/x.iso"), "/r/images/x.iso");
        assert_eq!(at("binary/x"), "/r/amd64/binary/x");
    }
}
