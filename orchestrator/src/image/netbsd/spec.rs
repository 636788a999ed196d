//! What makefs is told of each file: owner, mode, kind. Pure.
//!
//! The files lie on the host as the user's own, without special modes; what they are in the guest
//! stands here, in the form of mtree(5).

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file, which lies on the host.
    File,
    /// A symbolic link and its target.
    Link(String),
    /// A device: `char` or `block`, major and minor number.
    Device(&'static str, u32, u32),
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Entries by clean relative path.
pub type Entries = BTreeMap<String, Entry>;

impl Entry {
    /// An entry of root's.
    pub fn roots(kind: Kind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            uid: 0,
            gid: 0,
        }
    }
}

/// Adds the directories above each entry that are not entries themselves.
pub fn add_parents(entries: &mut Entries) {
    let mut missing = Vec::new();
    for path in entries.keys() {
        let mut path = path.as_str();
        while let Some((above, _)) = path.rsplit_once('/') {
            path = above;
            if !entries.contains_key(path) {
                missing.push(path.to_owned());
            }
        }
    }
    for path in missing {
        entries.insert(path, Entry::roots(Kind::Dir, 0o755));
    }
}

/// The whole text. Every parent is an entry.
pub fn text(entries: &Entries) -> String {
    let mut text = "#mtree v2.0\n. type=dir mode=0755 uid=0 gid=0\n".to_owned();
    for (path, entry) in entries {
        let kind = match &entry.kind {
            Kind::Dir => "dir".to_owned(),
            Kind::File => "file".to_owned(),
            Kind::Link(to) => format!("link link={}", escaped(to)),
            Kind::Device(kind, major, minor) => format!("{kind} device=netbsd,{major},{minor}"),
        };
        let Entry { mode, uid, gid, .. } = entry;
        let path = escaped(path);
        let _ = writeln!(
            text,
            "./{path} type={kind} mode={mode:05o} uid={uid} gid={gid}"
        );
    }
    text
}

/// A name in the form of vis(3): what is not plain becomes three octal digits.
fn escaped(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte.into()),
            b'.' | b'_' | b'/' | b'-' | b'+' | b',' | b':' | b'@' | b'%' => out.push(byte.into()),
            _ => {
                let _ = write!(out, "\\{byte:03o}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_and_odd_names() {
        let mut entries = Entries::new();
        entries.insert("bin/[".into(), Entry::roots(Kind::File, 0o555));
        entries.insert("usr/bin/su".into(), Entry::roots(Kind::File, 0o4555));
        entries.insert(
            "etc/a b".into(),
            Entry::roots(Kind::Link("../x #y".into()), 0o755),
        );
        let console = Entry {
            gid: 5,
            ..Entry::roots(Kind::Device("char", 0, 1), 0o600)
        };
        entries.insert("dev/console".into(), console);
        entries.insert("tmp".into(), Entry::roots(Kind::Dir, 0o1777));
        add_parents(&mut entries);
        insta::assert_snapshot!(text(&entries), @r"
        #mtree v2.0
        . type=dir mode=0755 uid=0 gid=0
        ./bin type=dir mode=00755 uid=0 gid=0
        ./bin/\133 type=file mode=00555 uid=0 gid=0
        ./dev type=dir mode=00755 uid=0 gid=0
        ./dev/console type=char device=netbsd,0,1 mode=00600 uid=0 gid=5
        ./etc type=dir mode=00755 uid=0 gid=0
        ./etc/a\040b type=link link=../x\040\043y mode=00755 uid=0 gid=0
        ./tmp type=dir mode=01777 uid=0 gid=0
        ./usr type=dir mode=00755 uid=0 gid=0
        ./usr/bin type=dir mode=00755 uid=0 gid=0
        ./usr/bin/su type=file mode=04555 uid=0 gid=0
        ");
    }
}
