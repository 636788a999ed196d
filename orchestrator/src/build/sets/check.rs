//! `checkflist`, with its own meaning: what is in DESTDIR and in no list, and the other way round.

use std::collections::{BTreeMap, BTreeSet};

use super::lists::{Lists, Words};
use super::machine::Machine;

/// How a port's files and its lists differ. Paths begin with `./`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mismatch {
    /// In DESTDIR, in no list.
    pub extra: BTreeSet<String>,
    /// In a list, not in DESTDIR.
    pub missing: BTreeSet<String>,
}

impl Mismatch {
    /// Whether the check passes.
    pub fn is_empty(&self) -> bool {
        self.extra.is_empty() && self.missing.is_empty()
    }
}

/// What is never compared: the build's own files in DESTDIR.
fn is_exempt(path: &str) -> bool {
    let set = path.strip_prefix("./etc/mtree/set.");
    path == "./var/db/syspkg"
        || path.starts_with("./var/db/syspkg/")
        || path == "./METALOG"
        || path.starts_with("./METALOG.")
        || path.starts_with("./SETS.")
        || set.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_lowercase()))
}

/// The paths that a port's lists ask for where the conditions `on` are fulfilled.
fn listed(lists: &Lists, port: &Machine, words: &Words, on: &BTreeSet<String>) -> BTreeSet<String> {
    let packed = on.contains("manz");
    let mut wanted = BTreeSet::new();
    let mut unwanted = BTreeSet::new();
    for (_, _, entry) in lists.entries(port) {
        let path = words.real(entry.path);
        if entry.excludes {
            unwanted.insert(path);
        } else if entry.is_on(on) && !entry.is_obsolete() {
            wanted.insert(match packed && entry.is_page() {
                true => format!("{path}.gz"),
                false => path,
            });
        }
    }
    wanted.retain(|path| !unwanted.contains(path) && !is_exempt(path));
    wanted
}

/// Compares a port's lists with the files in its DESTDIR (directories, files and links, each as
/// `./usr/bin/x`), under the conditions `on`.
pub fn check(
    lists: &Lists,
    port: &Machine,
    files: &BTreeSet<String>,
    on: &BTreeSet<String>,
) -> Mismatch {
    let words = Words::of(port, files.iter().map(String::as_str));
    let listed = listed(lists, port, &words, on);
    Mismatch {
        extra: files
            .iter()
            .filter(|path| !is_exempt(path) && !listed.contains(*path))
            .cloned()
            .collect(),
        missing: listed.difference(files).cloned().collect(),
    }
}

/// Which conditions are fulfilled, judged by what is there: one is, if most of the files that ask for
/// it are. What `make` would say of its variables is better knowledge; this needs no tools. A
/// condition all of whose files are gone is taken for switched off.
pub fn infer(lists: &Lists, port: &Machine, files: &BTreeSet<String>) -> BTreeSet<String> {
    infer_with(lists, port, files, &BTreeSet::new())
}

/// The same where a check has said of some files that no line counts that names them.
pub(super) fn infer_with(
    lists: &Lists,
    port: &Machine,
    files: &BTreeSet<String>,
    unlisted: &BTreeSet<String>,
) -> BTreeSet<String> {
    let words = Words::of(port, files.iter().map(String::as_str));
    let mut on = BTreeSet::new();
    let mut packed = [0_usize; 2];
    // A condition can stand behind another: a few rounds settle it.
    for _ in 0..6 {
        let mut seen: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        packed = [0; 2];
        for (_, _, entry) in lists.entries(port) {
            if entry.excludes || entry.is_obsolete() || entry.conditions.is_empty() {
                continue;
            }
            let path = words.real(entry.path);
            let plain = files.contains(&path) && !unlisted.contains(&path);
            let gz = entry.is_page() && files.contains(&format!("{path}.gz"));
            packed[0] += usize::from(plain && entry.is_page());
            packed[1] += usize::from(gz);
            for condition in &entry.conditions {
                if condition.starts_with('!') {
                    continue;
                }
                let others = entry.conditions.iter().filter(|c| c != &condition);
                let rest_on = others.clone().all(|c| match c.strip_prefix('!') {
                    Some(not) => !on.contains(not),
                    None => on.contains(*c),
                });
                if rest_on {
                    let count = seen.entry(condition).or_default();
                    count[usize::from(plain || gz)] += 1;
                }
            }
        }
        seen.retain(|_, [absent, present]| *present > 0 && *present >= *absent);
        // Of `gcc=4` and `gcc=45` one is true; many files are under both.
        let share = |[absent, present]: [usize; 2]| present as f64 / (absent + present) as f64;
        let is_best = |condition: &str| match condition.split_once('=') {
            Some((name, _)) => seen.iter().all(|(other, count)| {
                other.split_once('=').is_none_or(|(n, _)| n != name)
                    || share(*count) <= share(seen[condition])
            }),
            None => true,
        };
        let conditions = seen.keys().filter(|condition| is_best(condition));
        let next: BTreeSet<String> = conditions.map(|c| (*c).to_owned()).collect();
        if next == on {
            break;
        }
        on = next;
    }
    if packed[1] > packed[0] {
        on.insert("manz".to_owned());
    }
    on
}
