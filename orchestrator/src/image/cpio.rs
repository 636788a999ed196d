//! Writes a tree as a cpio archive in the `newc` form, the one the Linux kernel unpacks at boot.
//!
//! The same tree gives the same bytes: sorted, no times, everything root's. Device nodes are only
//! written, never made on the host, so no privilege is needed.

use std::io::{self, Write};

use super::tree::{Entry, Node, Tree};

const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const DEVICE: u32 = 0o020_000;

/// Writes `tree` to `out` and ends the archive.
pub fn write(tree: &Tree, out: &mut impl Write) -> io::Result<()> {
    for (number, (path, entry)) in (1u32..).zip(tree.iter()) {
        write_entry(out, number, path, entry)?;
    }
    header(out, 0, 0, 1, 0, (0, 0), "TRAILER!!!")
}

fn write_entry(out: &mut impl Write, number: u32, path: &str, entry: &Entry) -> io::Result<()> {
    let (kind, content, device): (u32, &[u8], (u32, u32)) = match &entry.node {
        Node::Dir => (DIR, &[], (0, 0)),
        Node::File(content) => (FILE, content, (0, 0)),
        Node::Link(target) => (LINK, target.as_bytes(), (0, 0)),
        Node::Device(major, minor) => (DEVICE, &[], (*major, *minor)),
    };
    let links = if kind == DIR { 2 } else { 1 };
    let size = u32::try_from(content.len()).map_err(|_| {
        io::Error::other(format!(
            "{path} has {} bytes, more than cpio can hold",
            content.len()
        ))
    })?;
    header(out, number, kind | entry.mode, links, size, device, path)?;
    out.write_all(content)?;
    pad(out, content.len())
}

fn header(
    out: &mut impl Write,
    number: u32,
    mode: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
    path: &str,
) -> io::Result<()> {
    let name_len = path.len() as u64 + 1;
    // magic, inode, mode, uid, gid, links, mtime, size, device of the file, device node, name, sum
    write!(
        out,
        "070701{number:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{size:08x}{0:08x}{0:08x}{1:08x}{2:08x}{name_len:08x}{0:08x}",
        0u32, device.0, device.1
    )?;
    out.write_all(path.as_bytes())?;
    out.write_all(&[0])?;
    pad(out, 110 + path.len() + 1)
}

/// Everything begins at a multiple of four.
fn pad(out: &mut impl Write, written: usize) -> io::Result<()> {
    out.write_all(&[0; 3][..(4 - written % 4) % 4])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::{Command, Stdio};
    use std::sync::Arc;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.add_dir("tmp", 0o1777);
        tree.add_device("dev/console", 0o600, 5, 1);
        tree.add_file("usr/bin/su", 0o4755, Arc::new(b"abcde".to_vec()));
        tree.add_link("init", "/usr/bin/su");
        tree
    }

    fn bytes(tree: &Tree) -> Vec<u8> {
        let mut out = Vec::new();
        write(tree, &mut out).unwrap();
        out
    }

    #[test]
    fn the_first_entry_and_the_end() {
        let out = bytes(&sample());
        assert_eq!(out.len() % 4, 0);
        assert!(out.starts_with(
            b"0707010000000100004\
              1ed000000000000000000000002000000000000000000000000000000000000000000000000000000\
              0400000000dev\0"
        ));
        assert!(out.windows(10).any(|w| w == b"TRAILER!!!"));
    }

    #[test]
    fn the_host_s_cpio_reads_it() {
        let Ok(mut child) = Command::new("cpio")
            .args(["-itv", "--quiet", "--numeric-uid-gid"])
            .env("TZ", "UTC")
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(&bytes(&sample()))
            .unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        let text = String::from_utf8(out.stdout).unwrap();
        let words: Vec<String> = text
            .lines()
            .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        insta::assert_snapshot!(words.join("\n"), @r"
        drwxr-xr-x 2 0 0 0 Jan 1 1970 dev
        crw------- 1 0 0 5, 1 Jan 1 1970 dev/console
        lrwxrwxrwx 1 0 0 11 Jan 1 1970 init -> /usr/bin/su
        drwxrwxrwt 2 0 0 0 Jan 1 1970 tmp
        drwxr-xr-x 2 0 0 0 Jan 1 1970 usr
        drwxr-xr-x 2 0 0 0 Jan 1 1970 usr/bin
        -rwsr-xr-x 1 0 0 5 Jan 1 1970 usr/bin/su
        ");
    }

    /// Reads the archive back: names and contents.
    fn read(mut raw: &[u8]) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            let field = |n: usize| {
                let text = std::str::from_utf8(&raw[6 + n * 8..14 + n * 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, name_len) = (field(6), field(11));
            let name = String::from_utf8(raw[110..110 + name_len - 1].to_vec()).unwrap();
            let start = (110 + name_len).next_multiple_of(4);
            if name == "TRAILER!!!" {
                return found;
            }
            found.push((name, raw[start..start + size].to_vec()));
            raw = &raw[(start + size).next_multiple_of(4)..];
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(files in proptest::collection::btree_map("[a-z]{1,9}", proptest::collection::vec(any::<u8>(), 0..50), 0..8)) {
            let mut tree = Tree::default();
            for (name, content) in &files {
                tree.add_file(&format!("d/{name}"), 0o644, Arc::new(content.clone()));
            }
            let back = read(&bytes(&tree));
            let found: std::collections::BTreeMap<String, Vec<u8>> = back
                .into_iter()
                .filter_map(|(name, content)| Some((name.strip_prefix("d/")?.to_owned(), content)))
                .collect();
            prop_assert_eq!(found, files);
        }
    }
}
