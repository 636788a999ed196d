//! What a change makes stale, from the names of the changed files alone: pure.
//!
//! Each stage reads a part of the tree; what lies outside of it cannot make the stage stale. For the
//! distribution there is more: where nothing changed but what is in a few directories that nothing
//! else is made from, making these anew in the DESTDIR of the last build is as good as all of it.
//!
//! ```text
//! doc, BUILDING, CVS               nothing is made from it
//! distrib/sets/lists               the lists are checked again
//! tests, games, share/man …        that directory
//! everything else                  the whole distribution: make finds out what differs
//! ```
//!
//! It errs on the side of more work: `sys` is read by rump libraries, modules, programs and tests, so
//! a kernel's file makes the distribution stale as a whole; a kernel alone is built without it.

use std::collections::BTreeMap;
use std::fmt;

/// Directories at the top that neither tools nor kernels are made from.
const NOT_FOR_TOOLS: [&str; 5] = ["tests", "games", "regress", "doc", "rescue"];
/// Directories of `sys` that no tool is made from.
const NOT_FOR_TOOLS_SYS: [&str; 12] = [
    "compat", "kern", "miscfs", "net80211", "netbt", "netinet6", "netsmb", "nfs", "rump",
    "secmodel", "uvm", "ddb",
];
/// Directories of `sys` of which tools compile files. Of all others they read headers at most, and
/// boot programs' helpers (`…/stand/…`).
const COMPILED_BY_TOOLS: [&str; 6] = ["ufs", "fs", "lib", "sys", "conf", "stand"];
/// What a kernel is made from, besides what the tools are made from.
pub(super) const FOR_KERNELS: [&str; 4] = ["sys", "common", "external", "dist"];
/// Files at the top that nothing is made from.
const TOP_TEXTS: [&str; 4] = ["BUILDING", "UPDATING", "README.md", "TODO"];
/// Directories that can be made alone: nothing else reads them.
const PARTS: [&str; 5] = [
    "tests",
    "games",
    "share/man",
    "share/examples",
    "share/dict",
];
/// More parts than this are made as a whole.
const PARTS_MAX: usize = 6;

/// Whether tools are made from a file; the path is relative to the tree.
pub fn tools_read(path: &str) -> bool {
    let mut parts = path.split('/');
    let top = parts.next().unwrap_or("");
    if NOT_FOR_TOOLS.contains(&top) || is_nothing(path) || is_list(path) {
        return false;
    }
    if top != "sys" {
        return true;
    }
    let Some(dir) = parts.next() else {
        return true;
    };
    if NOT_FOR_TOOLS_SYS.contains(&dir) {
        return false;
    }
    let inner: Vec<&str> = parts.collect();
    let Some((file, dirs)) = inner.split_last() else {
        // A file of `sys` itself.
        return true;
    };
    if COMPILED_BY_TOOLS.contains(&dir) || dirs.contains(&"stand") {
        return true;
    }
    let is_conf = dirs.last() == Some(&"conf") && !file.contains('.');
    let source = [".c", ".S", ".s"].iter().any(|end| file.ends_with(end));
    !source && !is_conf
}

/// Whether a kernel is made from a file.
pub fn kernels_read(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or("");
    tools_read(path) || (FOR_KERNELS.contains(&top) && !is_nothing(path))
}

/// Whether nothing at all is made from a file.
fn is_nothing(path: &str) -> bool {
    let top = path.split('/').next().unwrap_or("");
    top == "doc" || TOP_TEXTS.contains(&path) || path.split('/').any(|part| part == "CVS")
}

fn is_list(path: &str) -> bool {
    path.starts_with("distrib/sets/lists/")
}

/// What has to be done for the distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Nothing that it is made from has changed.
    Nothing,
    /// These directories are made and installed, then the lists are checked. None of them: only that.
    Parts(Vec<String>),
    /// `build.sh distribution`.
    Whole,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Parts(parts) if parts.is_empty() => f.write_str("the check of the set lists"),
            Self::Parts(parts) => f.write_str(&parts.join(", ")),
            Self::Whole => f.write_str("everything that make finds stale"),
        }
    }
}

/// Changed files that have the same effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What they mean: `is made from it`.
    pub why: String,
    /// The first of them.
    pub first: String,
    /// How many there are.
    pub count: usize,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first)?;
        match self.count {
            0 | 1 => {}
            2 => f.write_str(" and another file")?,
            more => write!(f, " and {} other files", more - 1)?,
        }
        write!(f, ": {}", self.why)
    }
}

/// What a change means for a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    /// What is to be done.
    pub work: Work,
    /// Why; the effect that decides comes first.
    pub reasons: Vec<Reason>,
}

/// The effect of one file on the distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Effect {
    Whole(&'static str),
    Part(&'static str),
    Lists,
    Nothing,
}

fn effect(path: &str) -> Effect {
    if is_nothing(path) {
        return Effect::Nothing;
    }
    if is_list(path) {
        return Effect::Lists;
    }
    let part = PARTS.iter().find(|part| {
        path.strip_prefix(**part)
            .is_some_and(|rest| rest.starts_with('/'))
    });
    if let Some(part) = part {
        // Which directories there are is told above them.
        let inner = path[part.len() + 1..].contains('/');
        return match inner {
            true => Effect::Part(part),
            false => Effect::Whole("it says what is made in its directory"),
        };
    }
    let top = path.split('/').next().unwrap_or("");
    let is_header = path.ends_with(".h");
    Effect::Whole(match top {
        "sys" if is_header => "a header that programs can see",
        "sys" => "rump libraries, modules and programs are made from files of sys",
        "lib" | "common" => "libraries are in everything",
        "include" => "a header that programs can see",
        "share" if path.starts_with("share/mk/") => "it says how everything is made",
        "external" | "crypto" | "gnu" | "dist" => "other parts are made from it",
        "etc" | "distrib" => "it says what is installed",
        _ if !path.contains('/') => "it says how everything is made",
        _ => "its program can be a part of others",
    })
}

/// What changed files mean for the distribution.
pub fn distribution<'a>(changed: impl IntoIterator<Item = &'a str>) -> Stale {
    let mut effects: BTreeMap<Effect, (String, usize)> = BTreeMap::new();
    for path in changed {
        let entry = effects.entry(effect(path));
        let (_, count) = entry.or_insert_with(|| (path.to_owned(), 0));
        *count += 1;
    }
    let parts: Vec<String> = effects
        .keys()
        .filter_map(|e| match e {
            Effect::Part(part) => Some((*part).to_owned()),
            _ => None,
        })
        .collect();
    let work = match effects.keys().next() {
        Some(Effect::Whole(_)) => Work::Whole,
        Some(Effect::Part(_)) if parts.len() > PARTS_MAX => Work::Whole,
        Some(Effect::Part(_) | Effect::Lists) => Work::Parts(parts),
        Some(Effect::Nothing) | None => Work::Nothing,
    };
    let reasons = effects.into_iter().map(|(effect, (first, count))| Reason {
        why: match effect {
            Effect::Whole(why) => why.to_owned(),
            Effect::Part(part) => format!("nothing else is made from {part}"),
            Effect::Lists => "the lists are only checked".to_owned(),
            Effect::Nothing => "nothing is made from it".to_owned(),
        },
        first,
        count,
    });
    Stale {
        work,
        reasons: reasons.collect(),
    }
}

/// The changed files that a stage is made from, as one reason; none where there are none.
pub fn read_by<'a>(
    reads: fn(&str) -> bool,
    changed: impl IntoIterator<Item = &'a str>,
) -> Option<Reason> {
    let mut read = changed.into_iter().filter(|path| reads(path));
    let first = read.next()?.to_owned();
    Some(Reason {
        why: "it is made from it".to_owned(),
        first,
        count: 1 + read.count(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stages_read_parts_of_the_tree() {
        // path, tools, kernels
        let cases = [
            ("sys/kern/kern_exec.c", false, true),
            ("sys/kern/Makefile", false, true),
            ("sys/arch/vaxen/vaxen/pmap.c", false, true),
            ("sys/arch/vaxen/conf/GENERIC", false, true),
            ("sys/arch/vaxen/conf/Makefile.vaxen", true, true),
            ("sys/arch/vaxen/include/disklabel.h", true, true),
            ("sys/arch/vaxen/stand/mkboot/mkboot.c", true, true),
            ("sys/ufs/ffs/ffs_bswap.c", true, true),
            ("sys/sys/spawn.h", true, true),
            ("sys/Makefile", true, true),
            ("common/lib/libc/string/strlen.c", true, true),
            ("usr.bin/make/main.c", true, true),
            ("share/mk/bsd.own.mk", true, true),
            ("build.sh", true, true),
            ("tests/kernel/t_x.c", false, false),
            ("doc/CHANGES", false, false),
            ("distrib/sets/lists/base/mi", false, false),
            ("sys/kern/CVS/Root", false, false),
        ];
        for (path, tools, kernels) in cases {
            assert_eq!(
                (tools_read(path), kernels_read(path)),
                (tools, kernels),
                "{path}"
            );
        }
    }

    #[test]
    fn the_least_work_is_found_and_told() {
        let tell = |paths: &[&str]| {
            let stale = distribution(paths.iter().copied());
            let reasons: Vec<String> = stale.reasons.iter().map(ToString::to_string).collect();
            format!("{} <- {}", stale.work, reasons.join("; "))
        };
        let told = [
            tell(&[]),
            tell(&["doc/CHANGES", "sys/kern/CVS/Entries"]),
            tell(&["distrib/sets/lists/base/mi", "doc/CHANGES"]),
            tell(&[
                "tests/lib/libc/t_a.c",
                "tests/lib/libc/t_b.c",
                "tests/kernel/t_c.c",
            ]),
            tell(&[
                "tests/lib/libc/t_a.c",
                "games/fortune/a.c",
                "distrib/sets/lists/tests/mi",
            ]),
            tell(&["tests/Makefile"]),
            tell(&["tests/lib/libc/t_a.c", "sys/kern/kern_exec.c"]),
            tell(&["sys/sys/spawn.h"]),
            tell(&["lib/libc/gen/x.c"]),
            tell(&["usr.bin/ls/ls.c", "Makefile"]),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        nothing <- 
        nothing <- doc/CHANGES and another file: nothing is made from it
        the check of the set lists <- distrib/sets/lists/base/mi: the lists are only checked; doc/CHANGES: nothing is made from it
        tests <- tests/lib/libc/t_a.c and 2 other files: nothing else is made from tests
        games, tests <- games/fortune/a.c: nothing else is made from games; tests/lib/libc/t_a.c: nothing else is made from tests; distrib/sets/lists/tests/mi: the lists are only checked
        everything that make finds stale <- tests/Makefile: it says what is made in its directory
        everything that make finds stale <- sys/kern/kern_exec.c: rump libraries, modules and programs are made from files of sys; tests/lib/libc/t_a.c: nothing else is made from tests
        everything that make finds stale <- sys/sys/spawn.h: a header that programs can see
        everything that make finds stale <- lib/libc/gen/x.c: libraries are in everything
        everything that make finds stale <- Makefile: it says how everything is made; usr.bin/ls/ls.c: its program can be a part of others
        ");
    }

    proptest! {
        #[test]
        fn more_changes_never_mean_less_work(
            paths in proptest::collection::vec("(tests|games|sys|doc|lib)(/[a-z.]{1,6}){0,3}", 0..6),
        ) {
            let rank = |work: &Work| match work {
                Work::Nothing => 0,
                Work::Parts(parts) => 1 + parts.len(),
                Work::Whole => 100,
            };
            let mut least = 0;
            for upto in 0..=paths.len() {
                let stale = distribution(paths[..upto].iter().map(String::as_str));
                prop_assert!(rank(&stale.work) >= least);
                least = rank(&stale.work);
            }
        }
    }
}
