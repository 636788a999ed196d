//! From mismatches to a patch.
//!
//! ```text
//! extra ──┬─ a library under another version? ──> its line is rewritten
//!         └─ all ports of the run have it ──────> the list for all, else each port's own
//! missing ┬─ a library's old version ───────────> its line goes
//!         ├─ no port that uses the line has it ─> its line becomes obsolete
//!         └─ some have it ──────────────────────> the others' own lists take it back
//! ```
//!
//! Set, package and conditions are those of the nearest files of the same kind. The patch is proved
//! before it is shown: the lists it makes are checked again for every port of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::analogy::{Neighbours, debugged};
use super::apply::{obsolete_package, place, unversioned, written};
use super::check::{Mismatch, check, infer_with};
use super::diff::Edits;
use super::lists::{Class, Lists, Words, entry, is_shared};
use super::machine::Machine;

/// One port of the run.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The port.
    pub port: Machine,
    /// What its check said.
    pub mismatch: Mismatch,
    /// All that is in its DESTDIR, as `./usr/bin/x`.
    pub files: BTreeSet<String>,
}

/// What is done with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// It is new.
    Add,
    /// It was another version's.
    Rename {
        /// The path that it had.
        from: String,
    },
    /// Its file is gone and stays known as gone.
    Obsolete,
    /// It goes.
    Remove,
    /// The port does not have what the list for all has.
    Exclude,
}

/// One change of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `comp/mi`
    pub list: String,
    /// The path, as lists write it.
    pub path: String,
    /// What is done.
    pub deed: Deed,
    /// Why there and so.
    pub why: String,
    /// What about it is a guess, where something is.
    pub guess: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (list, path) = (&self.list, &self.path);
        match &self.deed {
            Deed::Add => write!(f, "{list}: + {path}")?,
            Deed::Rename { from } => write!(f, "{list}: {from} -> {path}")?,
            Deed::Obsolete => write!(f, "{list}: {path} becomes obsolete")?,
            Deed::Remove => write!(f, "{list}: - {path}")?,
            Deed::Exclude => write!(f, "{list}: + -{path}")?,
        }
        write!(f, " ({})", self.why)?;
        match &self.guess {
            Some(guess) => write!(f, "; a guess: {guess}"),
            None => Ok(()),
        }
    }
}

/// A patch for `distrib/sets/lists`, and what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The changes, by list and path.
    pub changes: Vec<Change>,
    /// A unified diff for `patch -p1` at the tree's root; empty where nothing is to be done.
    pub patch: String,
    /// The lists with it.
    pub lists: Lists,
    /// What the check would still say with it, by port; empty where the patch is proved.
    pub left: BTreeMap<String, Mismatch>,
    /// Paths that no line is like: nothing is proposed for them.
    pub unknown: BTreeSet<String>,
}

/// Proposes a patch with which the check passes on all `ports`.
pub fn propose(lists: &Lists, ports: &[Wanted]) -> Proposal {
    let mut maker = Maker::new(lists, ports);
    maker.renames();
    maker.missing();
    maker.extra();
    maker.done()
}

/// A port with what is worked out of it.
struct Side<'a> {
    wanted: &'a Wanted,
    on: BTreeSet<String>,
    neighbours: Neighbours<'a>,
    lists: Vec<&'a str>,
}

/// Ports by their place in the run.
type Ports = BTreeSet<usize>;

struct Maker<'a> {
    lists: &'a Lists,
    sides: Vec<Side<'a>>,
    /// Paths as lists write them.
    extra: BTreeMap<String, Ports>,
    missing: BTreeMap<String, Ports>,
    edits: BTreeMap<String, Edits>,
    /// New lines by list, so that they come sorted.
    new: BTreeMap<String, BTreeMap<String, (String, Vec<String>)>>,
    changes: Vec<Change>,
    unknown: BTreeSet<String>,
}

const NO_LINES: &[String] = &[];

impl<'a> Maker<'a> {
    fn new(lists: &'a Lists, ports: &'a [Wanted]) -> Self {
        let mut extra: BTreeMap<String, Ports> = BTreeMap::new();
        let mut missing: BTreeMap<String, Ports> = BTreeMap::new();
        let mut sides = Vec::new();
        for (i, wanted) in ports.iter().enumerate() {
            // What is missing tells a module's directory too.
            let paths = wanted.files.iter().chain(&wanted.mismatch.missing);
            let words = Words::of(&wanted.port, paths.map(String::as_str));
            // Whoever misses a file knows that its conditions are fulfilled.
            let asked_for = wanted
                .files
                .union(&wanted.mismatch.missing)
                .cloned()
                .collect();
            let on = infer_with(lists, &wanted.port, &asked_for, &wanted.mismatch.extra);
            let packed = on.contains("manz");
            let as_listed = |path: &String| {
                let path = words.listed(path);
                let page = packed && path.starts_with("./usr/share/man/");
                let plain = page.then(|| path.strip_suffix(".gz")).flatten();
                plain.map(str::to_owned).unwrap_or(path)
            };
            for path in &wanted.mismatch.extra {
                extra.entry(as_listed(path)).or_default().insert(i);
            }
            for path in &wanted.mismatch.missing {
                missing.entry(as_listed(path)).or_default().insert(i);
            }
            let neighbours = Neighbours::of(
                lists,
                &wanted.port,
                &words,
                &on,
                &wanted.files,
                &wanted.mismatch.extra,
            );
            sides.push(Side {
                wanted,
                on,
                neighbours,
                lists: lists.of_port(&wanted.port),
            });
        }
        Self {
            lists,
            sides,
            extra,
            missing,
            edits: BTreeMap::new(),
            new: BTreeMap::new(),
            changes: Vec::new(),
            unknown: BTreeSet::new(),
        }
    }

    fn lines(&self, list: &str) -> &'a [String] {
        self.lists.files.get(list).map_or(NO_LINES, Vec::as_slice)
    }

    /// The lines of `ports` that ask for a path.
    fn asking(&self, path: &str, ports: &Ports) -> BTreeSet<(&'a str, usize)> {
        let mut found = BTreeSet::new();
        for &port in ports {
            let side = &self.sides[port];
            for &list in &side.lists {
                for (i, line) in self.lines(list).iter().enumerate() {
                    let asks = entry(line).is_some_and(|e| {
                        e.path == path && !e.excludes && !e.is_obsolete() && e.is_on(&side.on)
                    });
                    if asks {
                        found.insert((list, i));
                    }
                }
            }
        }
        found
    }

    /// The ports of the run that use a list.
    fn users(&self, list: &str) -> Ports {
        let sides = self.sides.iter().enumerate();
        sides
            .filter(|(_, side)| side.lists.contains(&list))
            .map(|(i, _)| i)
            .collect()
    }

    fn names(&self, ports: &Ports) -> String {
        let names: Vec<&str> = ports
            .iter()
            .map(|&i| self.sides[i].wanted.port.port.as_str())
            .collect();
        names.join(", ")
    }

    /// What is a guess about a line in a list for all ports.
    fn guess(&self, list: &str) -> Option<String> {
        let name = list.split_once('/').map_or(list, |(_, name)| name);
        (is_shared(name) && self.sides.len() == 1).then(|| {
            let one = &self.sides[0].wanted.port.port;
            format!("{list} is every port's list, and only {one} was looked at")
        })
    }

    fn replace(&mut self, list: &str, line: usize, with: Option<String>) {
        let edits = self.edits.entry(list.to_owned()).or_default();
        if edits.gone.insert(line) {
            edits.come.entry(line).or_default().extend(with);
        }
    }

    /// Shared libraries that have another version now.
    fn renames(&mut self) {
        let mut by_stem: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in self.extra.keys() {
            if let Some(stem) = unversioned(path) {
                by_stem.entry(stem).or_default().push(path.clone());
            }
        }
        for (old, ports) in self.missing.clone() {
            let Some([new]) = unversioned(&old)
                .and_then(|stem| by_stem.get(&stem))
                .map(Vec::as_slice)
            else {
                continue;
            };
            if self.extra.get(new) != Some(&ports) {
                continue;
            }
            let asking = self.asking(&old, &ports);
            let all_agree = asking.iter().all(|(list, _)| self.users(list) == ports);
            if asking.is_empty() || !all_agree {
                continue;
            }
            for (list, i) in asking {
                let line = self.lines(list)[i].replacen(&old, new, 1);
                self.replace(list, i, Some(line));
                self.changes.push(Change {
                    list: list.to_owned(),
                    path: new.clone(),
                    deed: Deed::Rename { from: old.clone() },
                    why: "the library's version".to_owned(),
                    guess: self.guess(list),
                });
            }
            self.extra.remove(new);
            self.missing.remove(&old);
        }
    }

    fn missing(&mut self) {
        for (path, ports) in std::mem::take(&mut self.missing) {
            let asking = self.asking(&path, &ports);
            if asking.is_empty() {
                self.unknown.insert(path);
                continue;
            }
            for (list, i) in asking {
                let line = entry(&self.lines(list)[i]);
                let uses: Ports = self
                    .users(list)
                    .into_iter()
                    .filter(|&p| line.as_ref().is_some_and(|l| l.is_on(&self.sides[p].on)))
                    .collect();
                if uses.is_subset(&ports) {
                    self.retire(list, i, &path);
                } else {
                    let set = list.split_once('/').map_or("", |(set, _)| set).to_owned();
                    let still = self.names(&uses.difference(&ports).copied().collect());
                    for &port in &ports {
                        self.exclude(&set, port, &path, &still);
                    }
                }
            }
        }
    }

    /// A line whose file nobody has any more.
    fn retire(&mut self, list: &'a str, i: usize, path: &str) {
        let lines = self.lines(list);
        let name = list.split_once('/').map_or(list, |(_, name)| name);
        let versioned = unversioned(path).is_some();
        let (deed, with, why) = if versioned && Class::of(name) == Class::Shared {
            let why =
                "old versions of libraries are not marked, for others may be linked with them";
            (Deed::Remove, None, why.to_owned())
        } else {
            let package = obsolete_package(lines)
                .or_else(|| entry(&lines[i]).map(|e| e.package))
                .unwrap_or("");
            let line = written(lines, i, path, package, &["obsolete".to_owned()]);
            let why = "no port of the run that uses the line has it".to_owned();
            (Deed::Obsolete, Some(line), why)
        };
        self.replace(list, i, with);
        self.changes.push(Change {
            list: list.to_owned(),
            path: path.to_owned(),
            deed,
            why,
            guess: self.guess(list),
        });
    }

    /// A port that does not have what others have.
    fn exclude(&mut self, set: &str, port: usize, path: &str, still: &str) {
        let list = self.own_list(set, Class::Plain, port);
        let line = format!("-{path}");
        self.new
            .entry(list.clone())
            .or_default()
            .insert(line, (String::new(), Vec::new()));
        self.changes.push(Change {
            list,
            path: path.to_owned(),
            deed: Deed::Exclude,
            why: format!("{still} still has it"),
            guess: None,
        });
    }

    /// The list of a set that is a port's own.
    fn own_list(&self, set: &str, class: Class, port: usize) -> String {
        let side = &self.sides[port];
        let machine = &side.wanted.port.machine;
        let prefix = match class {
            Class::Module => "module",
            Class::Rescue => "rescue",
            Class::Plain | Class::Shared | Class::Static => "md",
        };
        let wanted = [
            format!("{set}/{prefix}.{machine}.{}", side.wanted.port.arch),
            format!("{set}/{prefix}.{machine}"),
        ];
        let [_, plain] = &wanted;
        let there = wanted.iter().find(|l| side.lists.contains(&l.as_str()));
        there.unwrap_or(plain).clone()
    }

    fn extra(&mut self) {
        let all: Ports = (0..self.sides.len()).collect();
        // Files before their debugging symbols, whose conditions depend on theirs.
        let mut paths: Vec<(String, Ports)> = std::mem::take(&mut self.extra).into_iter().collect();
        let dirs: BTreeSet<String> = paths
            .iter()
            .filter_map(|(p, _)| p.rsplit_once('/'))
            .map(|(dir, _)| dir.to_owned())
            .collect();
        paths.sort_by_key(|(path, _)| debugged(path).is_some());
        let mut decided: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (path, ports) in paths {
            let mut done = BTreeSet::new();
            for &port in &ports {
                let is_dir = dirs.contains(&path);
                let neighbours = &self.sides[port].neighbours;
                let Some(advice) = neighbours.advise(&path, is_dir) else {
                    self.unknown.insert(path.clone());
                    continue;
                };
                let mut conditions = advice.conditions.clone();
                if let Some(own) = debugged(&path) {
                    let of_file = decided.get(&own).cloned();
                    for c in of_file
                        .or_else(|| neighbours.conditions(&own))
                        .unwrap_or_default()
                    {
                        if !conditions.contains(&c) && !c.starts_with('.') {
                            conditions.push(c);
                        }
                    }
                }
                decided.insert(path.clone(), conditions.clone());
                let near = advice.list.split_once('/').map_or("", |(_, name)| name);
                let shared = format!("{}/{}", advice.set, advice.class.shared_list());
                let (list, why) = if self.sides.len() > 1 && ports == all {
                    (shared, "every port of the run has it".to_owned())
                } else if self.sides.len() > 1 && is_shared(near) {
                    let only = format!("only {} of the run has it", self.names(&ports));
                    (self.own_list(&advice.set, advice.class, port), only)
                } else {
                    let why = format!("its neighbours are in {}", advice.list);
                    (advice.list.clone(), why)
                };
                if !done.insert(list.clone()) {
                    continue;
                }
                let weak = (advice.agree * 2 <= advice.asked).then(|| {
                    format!(
                        "only {} of {} neighbours are of {} in {}",
                        advice.agree, advice.asked, advice.package, advice.set
                    )
                });
                self.changes.push(Change {
                    guess: self.guess(&list).or(weak),
                    list: list.clone(),
                    path: path.clone(),
                    deed: Deed::Add,
                    why: match advice.like == path {
                        true => format!("it is in {} under more conditions", advice.list),
                        false => format!("{why}; like {}", advice.like),
                    },
                });
                self.new
                    .entry(list)
                    .or_default()
                    .insert(path.clone(), (advice.package, conditions));
            }
        }
    }

    fn done(mut self) -> Proposal {
        for (list, new) in std::mem::take(&mut self.new) {
            let lines = self.lines(&list);
            let edits = self.edits.entry(list).or_default();
            for (path, (package, conditions)) in new {
                let at = place(lines, path.trim_start_matches('-'));
                let line = written(lines, at, &path, &package, &conditions);
                edits.come.entry(at).or_default().push(line);
            }
        }
        let mut patch = String::new();
        let mut lists = self.lists.clone();
        for (list, edits) in &self.edits {
            let old = self.lines(list);
            patch += &edits.unified(&format!("distrib/sets/lists/{list}"), old);
            lists.files.insert(list.clone(), edits.apply(old));
        }
        let mut left = BTreeMap::new();
        for side in &self.sides {
            let after = check(&lists, &side.wanted.port, &side.wanted.files, &side.on);
            if !after.is_empty() {
                left.insert(side.wanted.port.port.clone(), after);
            }
        }
        self.changes
            .sort_by(|a, b| (&a.list, &a.path).cmp(&(&b.list, &b.path)));
        Proposal {
            changes: self.changes,
            patch,
            lists,
            left,
            unknown: self.unknown,
        }
    }
}
