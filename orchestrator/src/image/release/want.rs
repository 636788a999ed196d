//! Which files of a release are wanted: pure.
//!
//! Patterns are over paths relative to the port's own directory, as [`super::layout`] reads them:
//! `binary/sets/base.*`, `../images/*-live.img.gz`. `*` stays within a directory, `**` does not.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use super::error::ReleaseError;

/// The directories of a release that files are taken from; each has hashes of its own.
pub const DIRECTORIES: [&str; 12] = [
    "binary/sets",
    "binary/kernel",
    "binary/gzimg",
    "installation/cdrom",
    "installation/floppy",
    "installation/instkernel",
    "installation/miniroot",
    "installation/misc",
    "installation/netboot",
    "installation/ramdisk",
    "../images",
    "../source/sets",
];

/// What a test system needs of any port: all sets but X11, debugging information, games of
/// firmware and pages in HTML; the kernels that are booted and installed from.
pub const USUAL: [&str; 3] = [
    "binary/sets/[!dxmg]*",
    "binary/sets/{m[!a],mo,mi,man.,ga}*",
    "binary/kernel/netbsd-{GENERIC,INSTALL}*",
];

/// Files that are wanted.
#[derive(Debug, Clone)]
pub struct Want {
    patterns: Vec<String>,
    set: GlobSet,
}

impl Want {
    /// Files that fit any of these patterns.
    pub fn of(patterns: Vec<String>) -> Result<Self, ReleaseError> {
        let mut builder = GlobSetBuilder::new();
        for pattern in &patterns {
            let glob = GlobBuilder::new(pattern).literal_separator(true).build();
            let glob = glob.map_err(|e| ReleaseError::BadPattern {
                pattern: pattern.clone(),
                why: e.kind().to_string(),
            })?;
            builder.add(glob);
        }
        let set = builder.build().map_err(|e| ReleaseError::BadPattern {
            pattern: patterns.join(", "),
            why: e.kind().to_string(),
        })?;
        Ok(Self { patterns, set })
    }

    /// What a test system needs, and what else fits one of `more`.
    pub fn usual(more: &[String]) -> Result<Self, ReleaseError> {
        let usual = USUAL.map(str::to_owned).into_iter();
        Self::of(usual.chain(more.iter().cloned()).collect())
    }

    /// Whether a file is wanted.
    pub fn has(&self, path: &str) -> bool {
        self.set.is_match(path)
    }

    /// The directories that a wanted file can be in.
    pub fn directories(&self) -> Vec<&'static str> {
        let may = |dir: &&&str| {
            self.patterns.iter().any(|pattern| {
                // Up to its first sign that is no letter, a pattern is a path.
                let fixed = pattern
                    .split(['*', '?', '[', '{'])
                    .next()
                    .unwrap_or_default();
                let inside = format!("{dir}/");
                fixed.starts_with(&inside) || inside.starts_with(fixed)
            })
        };
        DIRECTORIES.iter().filter(may).copied().collect()
    }

    /// The patterns.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_is_what_a_test_system_needs() {
        let want = Want::usual(&[]).unwrap();
        let sets = [
            "base.tgz",
            "base32.tar.xz",
            "comp.tgz",
            "debug.tgz",
            "etc.tgz",
            "games.tgz",
            "gpufw.tgz",
            "kern-GENERIC.tgz",
            "man.tgz",
            "manhtml.tgz",
            "misc.tgz",
            "modules.tgz",
            "rescue.tgz",
            "tests.tgz",
            "text.tgz",
            "xbase.tgz",
            "xdebug.tgz",
        ];
        let got: Vec<&str> = sets
            .into_iter()
            .filter(|s| want.has(&format!("binary/sets/{s}")))
            .collect();
        assert_eq!(
            got.join(" "),
            "base.tgz base32.tar.xz comp.tgz etc.tgz games.tgz kern-GENERIC.tgz man.tgz misc.tgz \
             modules.tgz rescue.tgz tests.tgz text.tgz"
        );
        assert!(want.has("binary/kernel/netbsd-GENERIC64.img.gz"));
        assert!(!want.has("binary/kernel/netbsd-XEN3_DOMU.gz"));
        assert_eq!(want.directories(), ["binary/sets", "binary/kernel"]);
    }

    #[test]
    fn more_can_be_wanted_and_a_wrong_pattern_is_told() {
        let want =
            Want::usual(&["../images/*live*".to_owned(), "installation/**".to_owned()]).unwrap();
        assert!(want.has("../images/NetBSD-10.1-amd64-live.img.gz"));
        assert!(want.has("installation/cdrom/boot-com.iso"));
        assert!(want.directories().contains(&"../images"));
        assert!(want.directories().contains(&"installation/misc"));
        let wrong = Want::of(vec!["[a".to_owned()]).unwrap_err();
        assert!(
            wrong.to_string().starts_with("'[a' is no pattern: "),
            "{wrong}"
        );
    }
}
