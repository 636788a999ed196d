//! Objects of earlier kernels, from which the next one goes on.
//!
//! ```text
//! CACHE/objects/PORT/lock           held by who builds a kernel for the port
//! CACHE/objects/PORT/KEY/obj/       the object directory of a kernel, as the build left it
//! CACHE/objects/PORT/KEY/state.json what it was built from
//! ```
//!
//! The nearest ancestor is the one with the fewest options and then the fewest files that differ, of
//! the same tree and the same tools. make goes by times: of the files that either side's patches
//! touch, those that differ get the time of now and the others an old one. Kbuild itself finds what
//! an option or a command line changes. Where a patch adds or removes a file, nothing is taken over:
//! a name that appears can hide another one, and times do not tell that.
//!
//! What make knows of the kernel's own host tools (`obj/tools`: objtool, on which every object depends)
//! names the tree by its absolute path; it is told the new one, or all of the kernel is compiled again.
//!
//! Deliberately not here: what a build does with the objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use serde::{Deserialize, Serialize};

use super::super::error::{BuildError, Doing};
use super::super::source::copy_dir;
use super::tree::detach;
use crate::host::files::write_atomic;
use crate::host::lock::{Hold, Lock, try_lock};
use crate::model::{KernelOption, Key};

/// Object directories that are kept of a port.
const KEPT: usize = 6;
/// Older than any object: the first year that all archive formats can tell.
const OLD: Duration = Duration::from_secs(315_532_800);

/// What an object directory was built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Version of this note's form: 1.
    pub format: u32,
    /// The kernel's key.
    pub key: Key,
    /// The hash of the tree without patches.
    pub tree: Key,
    /// Compiler, script and what else must be the same.
    pub tools: Key,
    /// The options that were asked for.
    pub options: Vec<KernelOption>,
    /// Files that the patches touch, with the hash of their content; none where there is no file.
    pub files: BTreeMap<Utf8PathBuf, Option<Key>>,
    /// Where the tree was; empty in notes of before it was noted.
    #[serde(default)]
    pub place: Utf8PathBuf,
}

/// How far an object directory is from what is to be built.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance {
    /// Options that differ.
    pub options: usize,
    /// Files that differ.
    pub files: BTreeSet<Utf8PathBuf>,
}

/// The distance of `earlier`, where one can go on from it; `base` tells the content of a file of the
/// tree without patches.
pub fn distance(
    earlier: &State,
    now: &State,
    base: &dyn Fn(&Utf8Path) -> Option<Key>,
) -> Option<Distance> {
    if (&earlier.tree, &earlier.tools) != (&now.tree, &now.tools) {
        return None;
    }
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (
        earlier.options.iter().collect(),
        now.options.iter().collect(),
    );
    let mut distance = Distance {
        options: old.symmetric_difference(&new).count(),
        files: BTreeSet::new(),
    };
    for path in earlier.files.keys().chain(now.files.keys()) {
        let of = |state: &State| match state.files.get(path) {
            Some(content) => content.clone(),
            None => base(path),
        };
        match (of(earlier), of(now)) {
            (Some(old), Some(new)) => {
                if old != new {
                    distance.files.insert(path.clone());
                }
            }
            (None, None) => {}
            _ => return None,
        }
    }
    Some(distance)
}

/// The object directories of a port. While this lives, nobody else uses them.
pub(super) struct Pool {
    dir: Utf8PathBuf,
    _lock: Lock,
}

impl Pool {
    /// Waits until nobody else builds a kernel for the port.
    pub async fn lock(cache: &Utf8Path, port: &str) -> Result<Self, BuildError> {
        let dir = cache.join("objects").join(port);
        let path = dir.join("lock");
        let lock = loop {
            if let Some(lock) = try_lock(&path, Hold::Alone).doing("lock", &path)? {
                break lock;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        Ok(Self { dir, _lock: lock })
    }

    /// The nearest ancestor, and how far it is.
    pub fn nearest(
        &self,
        now: &State,
        base: &dyn Fn(&Utf8Path) -> Option<Key>,
    ) -> Option<(State, Distance)> {
        let states = self.entries().into_iter().filter_map(|dir| read(&dir));
        let near = states.filter_map(|s| distance(&s, now, base).map(|d| (s, d)));
        near.min_by(|(_, a), (_, b)| (a.options, a.files.len()).cmp(&(b.options, b.files.len())))
    }

    /// Puts a copy of an ancestor's objects at `to`, and gives the tree's files the times that make
    /// goes by. Blocks.
    pub fn start(
        &self,
        earlier: &State,
        distance: &Distance,
        tree: &Utf8Path,
        touched: impl Iterator<Item = Utf8PathBuf>,
        to: &Utf8Path,
    ) -> Result<(), BuildError> {
        let dir = self.dir.join(earlier.key.short());
        copy_dir(&dir.join("obj"), to)?;
        let tools = to.join("tools");
        if tools.is_dir() && !earlier.place.as_str().is_empty() {
            moved(&tools, earlier.place.as_str(), tree.as_str())?;
        }
        // It was used now. That it could not be noted costs a place in the order of removal.
        let note = fs::File::open(dir.join("state.json"));
        let _ = note.and_then(|f| f.set_modified(SystemTime::now()));
        let (now, old) = (SystemTime::now(), SystemTime::UNIX_EPOCH + OLD);
        for path in touched.chain(earlier.files.keys().cloned()) {
            let file = tree.join(&path);
            detach(&file)?;
            let Ok(open) = fs::File::open(&file) else {
                continue;
            };
            let new = distance.files.contains(&path);
            open.set_modified(if new { now } else { old })
                .doing("set the time of", &file)?;
        }
        Ok(())
    }

    /// Takes the objects at `from` in, and removes those that were used the longest ago. Blocks.
    pub fn keep(&self, state: &State, from: &Utf8Path) -> Result<(), BuildError> {
        let dir = self.dir.join(state.key.short());
        discard(&dir);
        fs::create_dir_all(&dir).doing("create", &dir)?;
        let to = dir.join("obj");
        fs::rename(from, &to).doing("rename to", &to)?;
        let note = dir.join("state.json");
        let text = serde_json::to_vec_pretty(state).map_err(std::io::Error::other);
        // Written last: a directory without it does not exist.
        write_atomic(&note, &text.doing("write", &note)?)?;
        let mut all: Vec<(SystemTime, Utf8PathBuf)> = self
            .entries()
            .into_iter()
            .filter(|other| *other != dir)
            .map(|dir| {
                let meta = fs::metadata(dir.join("state.json"));
                let used = meta.and_then(|m| m.modified());
                (used.unwrap_or(SystemTime::UNIX_EPOCH), dir)
            })
            .collect();
        all.sort();
        let surplus = (all.len() + 1).saturating_sub(KEPT);
        all[..surplus].iter().for_each(|(_, dir)| discard(dir));
        Ok(())
    }

    fn entries(&self) -> Vec<Utf8PathBuf> {
        let entries = self.dir.read_dir_utf8().into_iter().flatten().flatten();
        let dirs = entries.map(|e| e.path().to_owned()).filter(|p| p.is_dir());
        dirs.collect()
    }
}

fn read(dir: &Utf8Path) -> Option<State> {
    let state: State = serde_json::from_slice(&fs::read(dir.join("state.json")).ok()?).ok()?;
    let whole = state.format == 1 && dir.file_name() == Some(state.key.short());
    (whole && dir.join("obj").is_dir()).then_some(state)
}

/// Tells make's notes (`.x.o.cmd`, `.x.o.d`) below a directory of host tools where the tree is now.
/// Their times stay: they are part of what make goes by.
fn moved(dir: &Utf8Path, old: &str, new: &str) -> Result<(), BuildError> {
    for entry in dir.read_dir_utf8().doing("read", dir)? {
        let entry = entry.doing("read", dir)?;
        let path = entry.path();
        let kind = entry.file_type().doing("read", path)?;
        if kind.is_dir() {
            moved(path, old, new)?;
        } else if kind.is_file() && matches!(path.extension(), Some("cmd" | "d")) {
            let Ok(text) = fs::read_to_string(path) else {
                continue;
            };
            if text.contains(old) {
                let meta = fs::metadata(path).doing("read", path)?;
                let time = meta.modified().doing("read", path)?;
                fs::write(path, text.replace(old, new)).doing("write", path)?;
                let open = fs::File::options().write(true).open(path);
                open.and_then(|f| f.set_modified(time))
                    .doing("set the time of", path)?;
            }
        }
    }
    Ok(())
}

/// Removes a directory; what cannot be removed is without its note and goes with the next one.
fn discard(dir: &Utf8Path) {
    let _ = fs::remove_file(dir.join("state.json"));
    let _ = fs::remove_dir_all(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(files: &[(&str, Option<&str>)], options: &[&str]) -> State {
        let key = |word: &str| Key::of("test", &[word.as_bytes()]);
        State {
            format: 1,
            key: key(&format!("{files:?} {options:?}")),
            tree: key("tree"),
            tools: key("tools"),
            options: options.iter().map(|o| o.parse().unwrap()).collect(),
            files: files
                .iter()
                .map(|(path, content)| (path.into(), content.map(key)))
                .collect(),
            place: "/work-1/tree".into(),
        }
    }

    fn base(path: &Utf8Path) -> Option<Key> {
        (path != "new.c").then(|| Key::of("test", &[b"base"]))
    }

    #[test]
    fn files_are_compared_by_content_whichever_side_touches_them() {
        let stock = state(&[], &["+A"]);
        let one = state(&[("a.c", Some("1"))], &["+A"]);
        let two = state(&[("a.c", Some("1")), ("b.c", Some("2"))], &["+A", "+B"]);
        let files = |d: Option<Distance>| {
            let d = d.unwrap();
            let names: Vec<String> = d.files.into_iter().map(Into::into).collect();
            (d.options, names.join(" "))
        };
        assert_eq!(files(distance(&stock, &two, &base)), (1, "a.c b.c".into()));
        assert_eq!(files(distance(&one, &two, &base)), (1, "b.c".into()));
        assert_eq!(files(distance(&two, &one, &base)), (1, "b.c".into()));
        assert_eq!(files(distance(&two, &stock, &base)), (1, "a.c b.c".into()));
        let undone = state(&[("a.c", Some("base"))], &["+A"]);
        assert_eq!(files(distance(&stock, &undone, &base)), (0, String::new()));
    }

    #[test]
    fn nothing_is_taken_over_where_a_file_comes_or_goes_or_the_tools_differ() {
        let stock = state(&[], &[]);
        let added = state(&[("new.c", Some("1"))], &[]);
        let removed = state(&[("a.c", None)], &[]);
        for other in [&added, &removed] {
            assert_eq!(distance(&stock, other, &base), None);
            assert_eq!(distance(other, &stock, &base), None);
        }
        let same = State {
            key: Key::of("test", &[b"other"]),
            ..added.clone()
        };
        assert!(distance(&added, &same, &base).is_some());
        let tools = State {
            tools: Key::of("test", &[b"newer"]),
            ..stock.clone()
        };
        assert_eq!(distance(&stock, &tools, &base), None);
    }

    #[tokio::test]
    async fn the_nearest_is_taken_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Utf8Path::from_path(dir.path()).unwrap();
        let pool = Pool::lock(cache, "p").await.unwrap();
        let made = |n: usize| {
            let from = cache.join(format!("obj{n}"));
            fs::create_dir(&from).unwrap();
            fs::write(from.join("x.o"), n.to_string()).unwrap();
            let tool = from.join("tools/objtool");
            fs::create_dir_all(&tool).unwrap();
            let note = "cmd := gcc -I/work-1/tree/tools/include\n";
            fs::write(tool.join(".check.o.cmd"), note).unwrap();
            from
        };
        let patched = |n: usize| state(&[("a.c", Some(&n.to_string()))], &[]);
        for n in 0..KEPT + 2 {
            pool.keep(&patched(n), &made(n)).unwrap();
        }
        assert_eq!(pool.entries().len(), KEPT);
        let now = state(&[("a.c", Some("7")), ("b.c", Some("1"))], &[]);
        let (near, far) = pool.nearest(&now, &base).unwrap();
        assert_eq!(near, patched(7));
        assert_eq!(far.files.len(), 1);

        let tree = cache.join("tree");
        fs::create_dir(&tree).unwrap();
        for name in ["a.c", "b.c"] {
            fs::write(tree.join(name), name).unwrap();
        }
        let to = tree.join("obj");
        let touched = now.files.keys().cloned();
        pool.start(&near, &far, &tree, touched, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("x.o")).unwrap(), "7");
        let note = fs::read_to_string(to.join("tools/objtool/.check.o.cmd")).unwrap();
        assert_eq!(note, format!("cmd := gcc -I{tree}/tools/include\n"));
        let time = |name: &str| fs::metadata(tree.join(name)).unwrap().modified().unwrap();
        let object = fs::metadata(to.join("x.o")).unwrap().modified().unwrap();
        assert!(time("a.c") < object && time("b.c") >= object);
    }
}
