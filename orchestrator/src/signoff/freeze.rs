//! What changed between the branch point and now, in files that a branch may not change.

use std::collections::BTreeMap;

/// Words of a table's second column that stand for no call.
const NO_CALL: [&str; 5] = ["UNIMPL", "EXCL", "IGNORED", "RESERVED", "OBSOL"];

/// Calls of a table, by number and name.
///
/// Two forms are read: `NUMBER TYPE { … name(ARGS) }` of the BSDs, where a backslash continues a line,
/// and `NUMBER ABI NAME ENTRY` of Linux.
pub fn calls(table: &str) -> BTreeMap<(u64, String), String> {
    let joined = table.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut found = BTreeMap::new();
    for line in joined.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let Some(number) = words.first().and_then(|w| w.parse::<u64>().ok()) else {
            continue;
        };
        let Some(kind) = words.get(1) else { continue };
        if NO_CALL.contains(kind) {
            continue;
        }
        let text = words[1..].join(" ");
        let name = match text.split_once('{') {
            Some((_, inside)) => {
                let head = inside.split('(').next().unwrap_or(inside);
                let mut parts = head.split(['|', ' ', '*']);
                parts.rfind(|p| !p.is_empty()).unwrap_or("?")
            }
            None => words.get(2).copied().unwrap_or(kind),
        };
        found.insert((number, name.to_owned()), text);
    }
    found
}

/// Versions of a library: `major=12`.
pub fn versions(file: &str) -> BTreeMap<String, String> {
    let lines = file.lines().filter_map(|line| {
        let line = line.split('#').next()?;
        let (name, value) = line.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    });
    lines.collect()
}

/// Entries of a set list, without comments and the width of its columns.
pub fn entries(list: &str) -> BTreeMap<String, String> {
    let lines = list.lines().filter_map(|line| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let path = words.next()?.to_owned();
        Some((path, words.collect::<Vec<_>>().join(" ")))
    });
    lines.collect()
}

/// What differs between two tables, for people: `new: …`, `gone: …`, `changed: … -> …`.
pub fn differences<K: Ord>(
    old: &BTreeMap<K, String>,
    new: &BTreeMap<K, String>,
    name: impl Fn(&K) -> String,
) -> Vec<String> {
    let mut found = Vec::new();
    for (key, text) in new {
        match old.get(key) {
            None => found.push(format!("new: {} {text}", name(key))),
            Some(before) if before != text => {
                found.push(format!("changed: {} {before} -> {text}", name(key)));
            }
            Some(_) => {}
        }
    }
    for (key, text) in old.iter().filter(|(key, _)| !new.contains_key(key)) {
        found.push(format!("gone: {} {text}", name(key)));
    }
    found
}
