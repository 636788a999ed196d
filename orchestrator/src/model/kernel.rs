//! Which kernel it is: what was ordered, what a guest says it runs, and whether these are the same.
//!
//! Three marks are compared, each only where both sides have it: the release (`uname -r`), the
//! version (`uname -v`), and the GNU build id, which no two different builds share. A kernel's file
//! holds several build ids, those of the small libraries that it maps into programs among them; the
//! guest's must be one of these. This compares and says what differs; it reads no file and no guest.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What the image's kernel is, as it was found when the image was assembled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelOrdered {
    /// What `uname -r` must say.
    pub release: String,
    /// What `uname -v` must say, where the kernel's file tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The GNU build ids in the kernel's file, in hexadecimal; none where it cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub build_ids: Vec<String>,
    /// Options of its configuration that make a kernel check itself, with their values, as far as
    /// they are set: `CONFIG_KASAN` is `y`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, String>,
}

/// What a guest says about the kernel that it runs. Untrusted text, bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelFound {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// The GNU build id, where the guest can tell it, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<String>,
    /// As in [`KernelOrdered::checks`], where the guest can tell its configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub checks: BTreeMap<String, String>,
}

impl KernelOrdered {
    /// Why `found` is not this kernel, with both identities; `None` where it is.
    pub fn refuses(&self, found: &KernelFound) -> Option<String> {
        let version = self.version.as_ref();
        let other_id = found
            .build_id
            .as_ref()
            .is_some_and(|id| !self.build_ids.is_empty() && !self.build_ids.contains(id));
        let what = if self.release != found.release {
            "release"
        } else if version.is_some_and(|v| *v != found.version) {
            "version"
        } else if other_id {
            "build id"
        } else {
            return None;
        };
        Some(format!(
            "the guest runs another kernel than the one ordered, by its {what}: ordered {self}, found {found}"
        ))
    }
}

impl fmt::Display for KernelOrdered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}", self.release)?;
        if let Some(version) = &self.version {
            write!(f, " {version}")?;
        }
        f.write_str("'")?;
        match &self.build_ids[..] {
            [] => Ok(()),
            ids => {
                let ids: Vec<&str> = ids.iter().map(|id| short(id)).collect();
                write!(f, " (build ids in its file: {})", ids.join(", "))
            }
        }
    }
}

impl fmt::Display for KernelFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{} {}'", self.release, self.version)?;
        match &self.build_id {
            Some(id) => write!(f, " (build id {})", short(id)),
            None => Ok(()),
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// The build ids among ELF notes, or anywhere in a kernel's file: each stands behind lengths, a
/// type and the name `GNU`, in either byte order.
pub fn build_ids(bytes: &[u8]) -> Vec<String> {
    const ID_BYTES: usize = 20;
    const LITTLE: &[u8] = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";
    const BIG: &[u8] = b"\0\0\0\x04\0\0\0\x14\0\0\0\x03GNU\0";
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = find(&bytes[from..], b"GNU\0") {
        let end = from + at + 4;
        from = end;
        let head = &bytes[end.saturating_sub(LITTLE.len())..end];
        if (head == LITTLE || head == BIG)
            && let Some(id) = bytes.get(end..end + ID_BYTES)
        {
            let id: String = id.iter().map(|b| format!("{b:02x}")).collect();
            if !found.contains(&id) {
                found.push(id);
            }
        }
    }
    found
}

/// Release and version out of a kernel's file, by its banner:
/// `Linux version RELEASE (WHO) (COMPILER) #VERSION`.
pub fn banner(bytes: &[u8]) -> Option<(String, String)> {
    const LABEL: &[u8] = b"Linux version ";
    let mut from = 0;
    while let Some(at) = find(&bytes[from..], LABEL) {
        let rest = &bytes[from + at + LABEL.len()..];
        from += at + LABEL.len();
        let line = rest[..rest.len().min(1024)]
            .split(|b| *b == b'\n' || *b == 0)
            .next()?;
        let Ok(line) = std::str::from_utf8(line) else {
            continue;
        };
        // The compiler's own version can hold a '#' too; the last one begins the kernel's.
        if let Some((release, rest)) = line.split_once(' ')
            && !release.is_empty()
            && !release.contains('%')
            && let Some(at) = rest.rfind(" #")
            && rest[at + 2..].starts_with(|c: char| c.is_ascii_digit())
        {
            return Some((release.to_owned(), rest[at + 1..].to_owned()));
        }
    }
    None
}

fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = needle.first()?;
    let mut from = 0;
    while let Some(at) = hay.get(from..)?.iter().position(|b| b == first) {
        if hay[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Options that make a Linux kernel check itself: what DIAGNOSTIC and LOCKDEBUG are elsewhere.
const CHECKS: [&str; 23] = [
    "CONFIG_DEBUG_ATOMIC_SLEEP",
    "CONFIG_DEBUG_KERNEL",
    "CONFIG_DEBUG_LIST",
    "CONFIG_DEBUG_LOCK_ALLOC",
    "CONFIG_DEBUG_MUTEXES",
    "CONFIG_DEBUG_OBJECTS",
    "CONFIG_DEBUG_PAGEALLOC",
    "CONFIG_DEBUG_SPINLOCK",
    "CONFIG_DEBUG_VM",
    "CONFIG_DETECT_HUNG_TASK",
    "CONFIG_FAULT_INJECTION",
    "CONFIG_KASAN",
    "CONFIG_KCSAN",
    "CONFIG_KFENCE",
    "CONFIG_KMSAN",
    "CONFIG_LOCKDEP",
    "CONFIG_PREEMPT",
    "CONFIG_PROVE_LOCKING",
    "CONFIG_PROVE_RCU",
    "CONFIG_SCHED_STACK_END_CHECK",
    "CONFIG_SLUB_DEBUG_ON",
    "CONFIG_SMP",
    "CONFIG_UBSAN",
];

/// The options of a kernel's configuration that [`KernelOrdered::checks`] holds.
pub fn checks(config: &str) -> BTreeMap<String, String> {
    config
        .lines()
        .filter_map(|line| line.trim().split_once('='))
        .filter(|(name, _)| CHECKS.contains(name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note(id: u8, big: bool) -> Vec<u8> {
        let words: [u32; 3] = [4, 20, 3];
        let mut note: Vec<u8> = words
            .iter()
            .flat_map(|w| {
                if big {
                    w.to_be_bytes()
                } else {
                    w.to_le_bytes()
                }
            })
            .collect();
        note.extend(b"GNU\0");
        note.extend([id; 20]);
        note
    }

    fn ordered() -> KernelOrdered {
        KernelOrdered {
            release: "6.1.0-50-s390x".into(),
            version: Some("#1 SMP Debian 6.1.176-1 (2026-07-02)".into()),
            build_ids: vec!["ab".repeat(20), "cd".repeat(20)],
            checks: BTreeMap::new(),
        }
    }

    fn found() -> KernelFound {
        KernelFound {
            release: "6.1.0-50-s390x".into(),
            version: "#1 SMP Debian 6.1.176-1 (2026-07-02)".into(),
            build_id: Some("cd".repeat(20)),
            checks: BTreeMap::new(),
        }
    }

    #[test]
    fn the_same_kernel_is_taken_by_all_that_both_sides_tell() {
        assert_eq!(ordered().refuses(&found()), None);
        let silent = KernelFound {
            build_id: None,
            ..found()
        };
        assert_eq!(ordered().refuses(&silent), None);
        let unread = KernelOrdered {
            version: None,
            build_ids: Vec::new(),
            ..ordered()
        };
        assert_eq!(unread.refuses(&found()), None);
    }

    #[test]
    fn each_mark_alone_refuses_another_kernel() {
        let release = KernelFound {
            release: "6.1.0-49-s390x".into(),
            ..found()
        };
        insta::assert_snapshot!(ordered().refuses(&release).unwrap(), @"the guest runs another kernel than the one ordered, by its release: ordered '6.1.0-50-s390x #1 SMP Debian 6.1.176-1 (2026-07-02)' (build ids in its file: abababababab, cdcdcdcdcdcd), found '6.1.0-49-s390x #1 SMP Debian 6.1.176-1 (2026-07-02)' (build id cdcdcdcdcdcd)");
        let version = KernelFound {
            version: "#1 SMP Debian 6.1.170-3 (2026-05-08)".into(),
            ..found()
        };
        assert!(
            ordered()
                .refuses(&version)
                .unwrap()
                .contains("by its version")
        );
        // Built again under the same name: only the build id tells.
        let id = KernelFound {
            build_id: Some("ef".repeat(20)),
            ..found()
        };
        assert!(ordered().refuses(&id).unwrap().contains("by its build id"));
    }

    #[test]
    fn build_ids_of_both_byte_orders_and_no_others() {
        let mut file = vec![1, 2, 3];
        file.extend(note(0xaa, false));
        file.extend(b"GNU\0 not a note");
        file.extend(note(0xbb, true));
        file.extend(note(0xaa, false));
        assert_eq!(build_ids(&file), ["aa".repeat(20), "bb".repeat(20)]);
        // Cut off within the id.
        assert_eq!(build_ids(&note(0xaa, false)[..30]), Vec::<String>::new());
    }

    #[test]
    fn the_banner_is_found_among_formats() {
        let file = b"\0Linux version %s (%s)\n\0..Linux version 6.1.0-50-amd64 (d@d.org) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld 2.40) #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)\n\0";
        assert_eq!(
            banner(file).unwrap(),
            (
                "6.1.0-50-amd64".to_owned(),
                "#1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-02)".to_owned()
            )
        );
        assert_eq!(banner(b"Linux version 6.1 (x"), None);
    }

    #[test]
    fn options_that_are_set() {
        let config = "CONFIG_KASAN=y\n# CONFIG_DEBUG_VM is not set\nCONFIG_NET=y\nCONFIG_SMP=y\n";
        let names: Vec<String> = checks(config).into_keys().collect();
        assert_eq!(names, ["CONFIG_KASAN", "CONFIG_SMP"]);
    }

    proptest! {
        #[test]
        fn readers_never_panic(bytes: Vec<u8>) {
            let _ = (build_ids(&bytes), banner(&bytes));
        }

        #[test]
        fn a_build_id_is_found_wherever_it_stands(
            before in proptest::collection::vec(any::<u8>(), 0..40),
            after in proptest::collection::vec(any::<u8>(), 0..40),
            big: bool,
        ) {
            let bytes = [before, note(0x5c, big), after].concat();
            prop_assert!(build_ids(&bytes).contains(&"5c".repeat(20)));
        }
    }
}
