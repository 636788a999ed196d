//! A root file system in memory: what packages, overlay and generated files add up to.
//!
//! Paths are relative, without a leading slash. The layout is that of a system with `/usr` merged:
//! `bin`, `sbin` and the `lib*` directories are links into `usr`, `usr/sbin` is one with `usr/bin`;
//! whatever a package ships below the old names lands at the new ones. Everything belongs to root.

use std::collections::BTreeMap;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};

use super::error::{ImageError, IoContext};

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Dir,
    /// A file; links to one file share its content.
    File(Arc<Vec<u8>>),
    /// A symbolic link: a path from the root (`/usr/bin/x`) or a relative one.
    Link(String),
    /// A character device: major, minor.
    Device(u32, u32),
}

/// What is at a path, and its permission bits (`0o7777` at most).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// What it is.
    pub node: Node,
}

/// A tree of entries, sorted by path: a directory comes before what is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

/// Cleans an untrusted path: relative, no `..`, no empty or `.` parts, no control characters.
/// None for the root itself; the error is for people.
pub fn clean(raw: &[u8]) -> Result<Option<String>, String> {
    let text = std::str::from_utf8(raw)
        .map_err(|_| format!("the path '{}' is not UTF-8", raw.escape_ascii()))?;
    if text.starts_with('/') || text.chars().any(char::is_control) || text.len() > 4096 {
        return Err(format!(
            "the path '{}' is not a safe relative path",
            text.escape_debug()
        ));
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(format!("the path '{text}' leads out of its package")),
            part => parts.push(part),
        }
    }
    Ok((!parts.is_empty()).then(|| parts.join("/")))
}

/// True for the directories that are links into `usr`.
fn is_merged_top(part: &str) -> bool {
    matches!(
        part,
        "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libo32" | "libx32"
    )
}

/// The place of a clean path in the merged layout.
fn merged(path: &str) -> String {
    let top = path.split('/').next().unwrap_or(path);
    let moved = if is_merged_top(top) {
        format!("usr/{path}")
    } else {
        path.to_owned()
    };
    match moved.strip_prefix("usr/sbin") {
        Some("") => "usr/bin".to_owned(),
        Some(rest) if rest.starts_with('/') => format!("usr/bin{rest}"),
        _ => moved,
    }
}

/// A link's target as a path from the root, where the link itself was moved by the merge.
fn resolved(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", merged(&parts.join("/")))
}

impl Tree {
    /// Adds a directory and its parents; the bits of one that exists stay.
    pub fn add_dir(&mut self, path: &str, mode: u32) {
        let path = merged(path);
        self.parents(&path);
        self.entries.entry(path).or_insert(Entry {
            mode,
            node: Node::Dir,
        });
    }

    /// Adds a file, its parents where they are missing; replaces what was there.
    pub fn add_file(&mut self, path: &str, mode: u32, content: Arc<Vec<u8>>) {
        self.put(merged(path), mode, Node::File(content));
    }

    /// Adds a symbolic link.
    pub fn add_link(&mut self, path: &str, target: &str) {
        let place = merged(path);
        let target = if target.starts_with('/') {
            format!("/{}", merged(target.trim_start_matches('/')))
        } else if place == path {
            target.to_owned()
        } else {
            resolved(path, target)
        };
        // A package's link from an old place to the new one would now point at itself.
        if target.trim_start_matches('/') != place || !target.starts_with('/') {
            self.put(place, 0o777, Node::Link(target));
        }
    }

    /// Adds a character device.
    pub fn add_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.put(merged(path), mode, Node::Device(major, minor));
    }

    fn put(&mut self, path: String, mode: u32, node: Node) {
        self.parents(&path);
        // A directory with content must not become something else.
        let is_dir = |e: &Entry| e.node == Node::Dir;
        if self.entries.get(&path).is_some_and(is_dir) {
            return;
        }
        self.entries.insert(path, Entry { mode, node });
    }

    fn parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            match self.entries.get(parent) {
                Some(e) if e.node == Node::Dir => {}
                _ => {
                    let dir = Entry {
                        mode: 0o755,
                        node: Node::Dir,
                    };
                    self.entries.insert(parent.to_owned(), dir);
                }
            }
        }
    }

    /// Adds the links that make the layout a merged one. To be called last.
    pub fn add_merge_links(&mut self) {
        let tops: Vec<String> = self
            .entries
            .keys()
            .filter_map(|p| p.strip_prefix("usr/"))
            .filter(|p| !p.contains('/') && is_merged_top(p))
            .map(str::to_owned)
            .collect();
        let link = |target: String| Entry {
            mode: 0o777,
            node: Node::Link(target),
        };
        for top in tops {
            self.entries.insert(top.clone(), link(format!("usr/{top}")));
        }
        if self.entries.contains_key("usr/bin") {
            self.entries
                .insert("usr/sbin".to_owned(), link("bin".to_owned()));
            self.entries
                .insert("sbin".to_owned(), link("usr/bin".to_owned()));
        }
    }

    /// What is at `path` (in the merged layout or the old one).
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.entries.get(&merged(path))
    }

    /// Every path and what is there, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(p, e)| (p.as_str(), e))
    }

    /// Writes files, directories and links below `dir`; devices are left out. Links from the root
    /// become relative, so that they hold wherever the directory is.
    pub fn write_to(&self, dir: &Utf8Path) -> Result<(), ImageError> {
        use std::os::unix::fs::PermissionsExt;
        std::fs::create_dir_all(dir).doing("create", dir)?;
        for (path, entry) in self.iter() {
            let place = dir.join(path);
            match &entry.node {
                Node::Dir => std::fs::create_dir_all(&place).doing("create", &place)?,
                Node::File(content) => {
                    std::fs::write(&place, content.as_slice()).doing("write", &place)?;
                    let bits = std::fs::Permissions::from_mode(entry.mode & 0o755);
                    std::fs::set_permissions(&place, bits).doing("set permissions of", &place)?;
                }
                Node::Link(target) => {
                    let target = relative(path, target);
                    std::os::unix::fs::symlink(&target, &place).doing("link", &place)?;
                }
                Node::Device(..) => {}
            }
        }
        Ok(())
    }
}

/// A link's target, relative to the link's own directory.
fn relative(path: &str, target: &str) -> Utf8PathBuf {
    let Some(target) = target.strip_prefix('/') else {
        return target.into();
    };
    let from: Vec<&str> = path.split('/').collect();
    let to: Vec<&str> = target.split('/').collect();
    let dirs = &from[..from.len() - 1];
    let common = dirs.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let mut out = Utf8PathBuf::new();
    for _ in common..dirs.len() {
        out.push("..");
    }
    out.extend(&to[common..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_cleaned() {
        assert_eq!(clean(b"./usr/bin/").unwrap().as_deref(), Some("usr/bin"));
        assert_eq!(clean(b"./").unwrap(), None);
        for bad in [&b"../x"[..], b"/etc/x", b"a/../../x", b"a\nb", b"\xff"] {
            assert!(clean(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_layout_is_merged() {
        let mut tree = Tree::default();
        tree.add_file("bin/bash", 0o755, Arc::default());
        tree.add_file("sbin/init", 0o755, Arc::default());
        tree.add_link("lib64/ld.so.1", "/lib/mips64el-linux-gnuabi64/ld.so.1");
        tree.add_link("lib/libx.so", "../usr/lib/liby.so");
        tree.add_link("usr/lib/libz.so", "libz.so.1");
        tree.add_merge_links();
        let shown: Vec<String> = tree
            .iter()
            .map(|(p, e)| match &e.node {
                Node::Link(t) => format!("{p} -> {t}"),
                _ => p.to_owned(),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "bin -> usr/bin",
                "lib -> usr/lib",
                "lib64 -> usr/lib64",
                "sbin -> usr/bin",
                "usr",
                "usr/bin",
                "usr/bin/bash",
                "usr/bin/init",
                "usr/lib",
                "usr/lib/libx.so -> /usr/lib/liby.so",
                "usr/lib/libz.so -> libz.so.1",
                "usr/lib64",
                "usr/lib64/ld.so.1 -> /usr/lib/mips64el-linux-gnuabi64/ld.so.1",
                "usr/sbin -> bin",
            ]
        );
    }

    #[test]
    fn a_link_to_its_own_new_place_is_left_out() {
        let mut tree = Tree::default();
        tree.add_file("bin/which", 0o755, Arc::default());
        tree.add_link("usr/bin/which", "/bin/which");
        assert!(matches!(tree.get("bin/which").unwrap().node, Node::File(_)));
    }

    #[test]
    fn links_from_the_root_become_relative() {
        assert_eq!(
            relative("usr/lib/x/a.so", "/usr/lib/y/a.so.1"),
            "../y/a.so.1"
        );
        assert_eq!(relative("bin", "usr/bin"), "usr/bin");
        assert_eq!(relative("etc/mtab", "/proc/mounts"), "../proc/mounts");
    }

    proptest! {
        #[test]
        fn a_clean_path_never_leads_out(raw in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(Some(path)) = clean(&raw) {
                prop_assert!(!path.starts_with('/'));
                prop_assert!(path.split('/').all(|p| !p.is_empty() && p != "." && p != ".."));
            }
        }

        #[test]
        fn every_entry_has_its_directory(paths in proptest::collection::vec("[a-c]{1,2}(/[a-c]{1,2}){0,3}", 1..12)) {
            let mut tree = Tree::default();
            for (n, path) in paths.iter().enumerate() {
                if n % 2 == 0 {
                    tree.add_file(path, 0o644, Arc::default());
                } else {
                    tree.add_dir(path, 0o755);
                }
            }
            for (path, _) in tree.iter() {
                if let Some((parent, _)) = path.rsplit_once('/') {
                    prop_assert_eq!(&tree.get(parent).unwrap().node, &Node::Dir);
                }
            }
        }
    }
}
