//! What the neighbours of a path say about it: set, kind of list, package, conditions.

use std::collections::{BTreeMap, BTreeSet};

use super::lists::{Class, Lists, Words, is_fulfilled};
use super::machine::Machine;

/// Neighbours that are asked.
const ASKED: usize = 9;
/// Where the debugging symbols of `./X` are: `./usr/libdata/debug/X.debug`.
const DEBUG: &str = "./usr/libdata/debug/";

/// A line that is in force on a port.
#[derive(Debug, Clone)]
struct Known<'a> {
    list: &'a str,
    package: &'a str,
    conditions: Vec<&'a str>,
    kind: String,
}

/// All that a port's lists say of files that it has, by path as lists write it.
#[derive(Debug, Clone)]
pub(super) struct Neighbours<'a> {
    by_path: BTreeMap<&'a str, Known<'a>>,
    /// Lines of files that are there and should not be, without the conditions that only such lines have:
    /// the lists bind more to one of these than the makefiles do.
    aside: BTreeMap<&'a str, Known<'a>>,
}

/// What a path's line should say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Advice {
    /// `comp`
    pub set: String,
    pub class: Class,
    /// The list that most neighbours are in, on this port: `comp/mi`.
    pub list: String,
    pub package: String,
    pub conditions: Vec<String>,
    /// The neighbour that is nearest; the path itself where it has a line that is not in force.
    pub like: String,
    /// How many of the neighbours are of one mind about set and package.
    pub agree: usize,
    pub asked: usize,
}

/// The kind of a file by its name: only files of a kind are alike.
pub(super) fn kind(path: &str, is_dir: bool) -> String {
    if is_dir {
        return "directory".to_owned();
    }
    let base = path.rsplit('/').next().unwrap_or(path);
    for tail in ["_p.a", "_g.a", "_pic.a", ".debug"] {
        if base.ends_with(tail) {
            return tail.to_owned();
        }
    }
    if base.contains(".so.") || base.ends_with(".so") {
        return ".so".to_owned();
    }
    match base.rsplit_once('.') {
        Some((_, end)) if !end.is_empty() && end.bytes().all(|b| b.is_ascii_digit()) => {
            ".1".to_owned()
        }
        Some((_, end)) => format!(".{end}"),
        None => String::new(),
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

fn common(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

impl<'a> Neighbours<'a> {
    /// The lines of a port that are in force under `on` and whose files are there; those of `extra` aside.
    pub fn of(
        lists: &'a Lists,
        port: &Machine,
        words: &Words,
        on: &BTreeSet<String>,
        files: &BTreeSet<String>,
        extra: &BTreeSet<String>,
    ) -> Self {
        let (mut by_path, mut aside) = (BTreeMap::new(), BTreeMap::new());
        for (list, _, entry) in lists.entries(port) {
            let real = words.real(entry.path);
            let there = files.contains(&real) || files.contains(&format!("{real}.gz"));
            if entry.excludes || entry.is_obsolete() || !there {
                continue;
            }
            let in_force = entry.is_on(on);
            let known = Known {
                list,
                package: entry.package,
                conditions: entry.conditions,
                kind: String::new(),
            };
            if extra.contains(&real) {
                aside.insert(entry.path, known);
            } else if in_force {
                by_path.insert(entry.path, known);
            }
        }
        let used = by_path.values().flat_map(|known| &known.conditions);
        let used: BTreeSet<&str> = used.copied().collect();
        for known in aside.values_mut() {
            let kept = |c: &&str| is_fulfilled(c, on) && used.contains(c);
            known.conditions.retain(kept);
        }
        // A path with others below it is a directory.
        let paths: Vec<&str> = by_path.keys().copied().collect();
        let dirs: BTreeSet<&str> = paths.iter().map(|p| parent(p)).collect();
        for (path, known) in &mut by_path {
            known.kind = kind(path, dirs.contains(path));
        }
        Self { by_path, aside }
    }

    /// The conditions of a path's line.
    pub fn conditions(&self, path: &str) -> Option<Vec<String>> {
        let known = self.by_path.get(path)?;
        Some(known.conditions.iter().map(|c| (*c).to_owned()).collect())
    }

    /// What its own line says, without the conditions that keep it from being in force.
    fn own(&self, path: &str) -> Option<Advice> {
        let known = self.aside.get(path)?;
        let (set, name) = known.list.split_once('/')?;
        Some(Advice {
            set: set.to_owned(),
            class: Class::of(name),
            list: known.list.to_owned(),
            package: known.package.to_owned(),
            conditions: known.conditions.iter().map(|c| (*c).to_owned()).collect(),
            like: path.to_owned(),
            agree: 1,
            asked: 1,
        })
    }

    /// What the neighbours of a path say; none where the lists have nothing like it. Nobody knows better
    /// than a line of its own that is not in force.
    pub fn advise(&self, path: &str, is_dir: bool) -> Option<Advice> {
        if let Some(own) = self.own(path) {
            return Some(own);
        }
        let kind = kind(path, is_dir);
        let mut near = self.near(path, &kind);
        if near.is_empty() {
            return None;
        }
        near.sort_by_key(|(other, _)| (std::cmp::Reverse(common(path, other)), *other));
        near.truncate(ASKED);
        // Set and package by majority; the nearest wins a tie.
        let mut votes: Vec<((&str, &str), usize)> = Vec::new();
        for (_, known) in &near {
            let vote = (known.list, known.package);
            match votes.iter_mut().find(|(v, _)| *v == vote) {
                Some((_, count)) => *count += 1,
                None => votes.push((vote, 1)),
            }
        }
        let best = votes.iter().map(|(_, n)| *n).max()?;
        let ((list, package), agree) = *votes.iter().find(|(_, n)| *n == best)?;
        let voters = near
            .iter()
            .filter(|(_, k)| (k.list, k.package) == (list, package));
        // What all of them need, this one will need too.
        let mut conditions: Option<Vec<&str>> = None;
        for (_, known) in voters.clone() {
            conditions = Some(match conditions {
                None => known.conditions.clone(),
                Some(so_far) => so_far
                    .into_iter()
                    .filter(|c| known.conditions.contains(c))
                    .collect(),
            });
        }
        let (set, name) = list.split_once('/')?;
        Some(Advice {
            set: set.to_owned(),
            class: Class::of(name),
            list: list.to_owned(),
            package: package.to_owned(),
            conditions: conditions
                .unwrap_or_default()
                .into_iter()
                .map(str::to_owned)
                .collect(),
            like: voters.clone().next()?.0.to_owned(),
            agree,
            asked: near.len(),
        })
    }

    /// Files of a kind: in the same directory, else below the nearest directory that has any.
    fn near(&self, path: &str, kind: &str) -> Vec<(&'a str, &Known<'a>)> {
        let mut dir = parent(path);
        let here: Vec<_> = self
            .below(dir)
            .filter(|(other, known)| known.kind == kind && parent(other) == dir && *other != path)
            .collect();
        if !here.is_empty() {
            return here;
        }
        while !dir.is_empty() {
            let found: Vec<_> = self
                .below(dir)
                .filter(|(other, known)| known.kind == kind && *other != path)
                .collect();
            if !found.is_empty() {
                return found;
            }
            dir = parent(dir);
        }
        Vec::new()
    }

    fn below<'s>(
        &'s self,
        dir: &str,
    ) -> impl Iterator<Item = (&'a str, &'s Known<'a>)> + use<'s, 'a> {
        use std::ops::Bound::{Excluded, Included};
        let begin = format!("{dir}/");
        // '0' is what comes behind '/'.
        let end = format!("{dir}0");
        self.by_path
            .range::<str, _>((Included(begin.as_str()), Excluded(end.as_str())))
            .map(|(path, known)| (*path, known))
    }
}

/// The file whose debugging symbols a path has.
pub(super) fn debugged(path: &str) -> Option<String> {
    let rest = path.strip_prefix(DEBUG)?.strip_suffix(".debug")?;
    Some(format!("./{rest}"))
}
