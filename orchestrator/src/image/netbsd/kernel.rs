//! What a NetBSD kernel's file says it is: its `version[]`, as `uname` and `sysctl` give it, and by
//! which options it checks itself. Pure.
//!
//! The options are known where the kernel has its configuration in it (`INCLUDE_CONFIG_FILE`): each line
//! of it stands behind `_CFG_`, those of files that it includes behind `_CFG_###> `, with tabs as vis(3)
//! writes them.

use std::collections::BTreeMap;

use crate::model::KernelOrdered;
use crate::model::kernel::build_ids;

/// The longest first line of a version.
const LINE_MAX: usize = 300;

/// What a line of the configuration begins with.
const CONFIG: &[u8] = b"_CFG_";
/// The longest line of a configuration: config(1) reads no longer ones.
const CONFIG_MAX: usize = 2048;

/// Options by which a kernel checks itself.
const CHECKS: [&str; 15] = [
    "DEBUG",
    "DIAGNOSTIC",
    "KASAN",
    "KCOV",
    "KCSAN",
    "KLEAK",
    "KMSAN",
    "KSTACK_CHECK_MAGIC",
    "KUBSAN",
    "LOCKDEBUG",
    "MALLOC_DEBUG",
    "POOL_NOCACHE",
    "POOL_QUARANTINE",
    "UVMHIST",
    "UVM_PAGE_TRKOWN",
];

/// The options among [`CHECKS`] that the configuration in the kernel's file sets, with their values; `y`
/// for those that have none. Empty where no configuration is in it.
fn checks(file: &[u8]) -> BTreeMap<String, String> {
    let mut set = BTreeMap::new();
    let mut rest = file;
    while let Some(at) = next_line(rest) {
        rest = &rest[at + CONFIG.len()..];
        let line = &rest[..rest.len().min(CONFIG_MAX)];
        let end = line.iter().position(|b| *b == b'\n' || *b == 0);
        let Some(line) = end.and_then(|end| str::from_utf8(&line[..end]).ok()) else {
            continue;
        };
        let line = line.strip_prefix("###> ").unwrap_or(line);
        let line = line.split('#').next().unwrap_or_default();
        let line = line.replace("\\^I", " ").replace(',', " ");
        let mut words = line.split_whitespace().peekable();
        // The later line counts: whoever includes a configuration takes options out of it.
        let out = words.next_if_eq(&"no").is_some();
        if words.next() != Some("options") {
            continue;
        }
        for word in words {
            let (name, value) = word.split_once('=').unwrap_or((word, "y"));
            if !CHECKS.contains(&name) {
                continue;
            }
            match out {
                true => set.remove(name),
                false => set.insert(name.to_owned(), value.trim_matches('"').to_owned()),
            };
        }
    }
    set
}

/// Where the next line of a configuration begins.
fn next_line(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = bytes.get(from..)?.iter().position(|b| *b == CONFIG[0]) {
        if bytes[from + at..].starts_with(CONFIG) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

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
                checks: checks(file),
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
        assert!(kernel.checks.is_empty());
        assert_eq!(identify(b"NetBSD 6.1"), None);
        assert_eq!(identify(b""), None);
    }

    #[test]
    fn the_configuration_in_it_tells_how_it_checks_itself() {
        let file =
            b"\0_CFG_### START CONFIG FILE \"MINE\"\n_CFG_include \"arch/amd64/conf/GENERIC\"\n\
            _CFG_###> options \\^IDIAGNOSTIC\\^I# expensive kernel consistency checks\n\
            _CFG_###> #options \\^IDEBUG\\^I\\^I# options LOCKDEBUG\n\
            _CFG_###> options\\^IKSTACK_CHECK_MAGIC, UVMHIST\n\
            _CFG_###> makeoptions KUBSAN=1\n_CFG_options KASAN=\"2\", MAXUSERS=64\n\
            _CFG_no options UVMHIST\n_CFG_no option\0rest _CFG_options DEBUG";
        let found: Vec<String> = checks(file)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(found, ["DIAGNOSTIC=y", "KASAN=2", "KSTACK_CHECK_MAGIC=y"]);
        assert!(checks(b"_CFG").is_empty());
    }
}
