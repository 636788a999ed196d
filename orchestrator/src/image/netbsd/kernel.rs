//! What a NetBSD kernel's file says it is: its `version[]`, as `uname` and `sysctl` give it. Pure.

use crate::model::KernelOrdered;
use crate::model::kernel::build_ids;

/// The longest first line of a version.
const LINE_MAX: usize = 300;

/// Reads the kernel's version line, `NetBSD 6.99.16 (GENERIC) #0: Sun Nov 29 …`, out of its file.
pub fn identify(file: &[u8]) -> Option<KernelOrdered> {
    const LABEL: &[u8] = b"NetBSD ";
    let mut from = 0;
    while let Some(at) = file
        .get(from..)?
        .windows(LABEL.len())
        .position(|w| w == LABEL)
    {
        let at = from + at;
        from = at + LABEL.len();
        let line = &file[at..file.len().min(at + LINE_MAX)];
        let end = line.iter().position(|b| *b == b'\n' || *b == 0);
        let Some(line) = end.and_then(|end| str::from_utf8(&line[..end]).ok()) else {
            continue;
        };
        let mut words = line.split(' ').skip(1);
        let release = words.next().unwrap_or_default();
        let config = words.next().unwrap_or_default();
        // Formats and the names of emulations begin alike.
        if release.starts_with(|c: char| c.is_ascii_digit())
            && config.starts_with('(')
            && line.contains(") #")
        {
            return Some(KernelOrdered {
                release: release.to_owned(),
                version: Some(line.to_owned()),
                build_ids: build_ids(file),
                ..KernelOrdered::default()
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_among_other_texts() {
        let file = b"\0NetBSD %s\0NetBSD 6.99.16\0@(#)NetBSD 6.99.16 (GENERIC) #0: Sun Nov 29 22:00:00 UTC 2026\n\tme@here\n\0";
        let kernel = identify(file).unwrap();
        assert_eq!(kernel.release, "6.99.16");
        let version = "NetBSD 6.99.16 (GENERIC) #0: Sun Nov 29 22:00:00 UTC 2026";
        assert_eq!(kernel.version.as_deref(), Some(version));
        assert_eq!(identify(b"NetBSD 6.1"), None);
        assert_eq!(identify(b""), None);
    }
}
