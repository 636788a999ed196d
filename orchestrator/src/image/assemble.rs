//! Puts a guest's root file system together: packages, components built from source, the
//! repository's overlay, kernel modules, and the few files that no package brings.
//!
//! What a guest never reads (documentation, translations, character set tables) is left out: every
//! byte of the root is copied and held in memory at each boot.

use std::sync::Arc;

use camino::Utf8Path;

use super::apt::ArchiveFile;
use super::error::ImageError;
use super::exec::Watch;
use super::modules::Kernel;
use super::source::Component;
use super::tree::{Node, Tree};
use super::{fetch, overlay, unpack};
use crate::model::port::Port;

/// What a root is made of.
pub struct Parts<'a> {
    /// The port, for its name and runner.
    pub port: &'a Port,
    /// The store of downloaded packages' cache directory.
    pub cache: &'a Utf8Path,
    /// The guest's packages.
    pub packages: &'a [ArchiveFile],
    /// Components built from source.
    pub components: &'a [Component],
    /// The family's overlay.
    pub overlay: &'a [overlay::File],
    /// The kernel with its modules.
    pub kernel: &'a Kernel,
}

/// Directories that every guest has.
const DIRS: &[(&str, u32)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("var/tmp", 0o1777),
];

/// Left out of the guest's root.
fn is_kept(path: &str) -> bool {
    const DROPPED: &[&str] = &[
        "usr/share/doc/",
        "usr/share/doc-base/",
        "usr/share/man/",
        "usr/share/info/",
        "usr/share/locale/",
        "usr/share/lintian/",
        "usr/share/bug/",
        "usr/share/gdb/",
        "usr/share/gcc/",
        "usr/share/menu/",
        "usr/share/bash-completion/",
        "usr/share/base-files/",
        "usr/share/common-licenses/",
        "usr/share/debianutils/",
        "usr/share/pixmaps/",
        "usr/share/libc-bin/",
        "usr/include/",
        "etc/skel/",
        "var/lib/dpkg/",
    ];
    !DROPPED.iter().any(|d| path.starts_with(d))
        && !path.contains("/gconv/")
        && !path.ends_with(".a")
}

/// The root as a tree.
pub fn root(parts: &Parts<'_>, watch: &Watch<'_>) -> Result<Tree, ImageError> {
    let mut tree = Tree::default();
    for (path, mode) in DIRS {
        tree.add_dir(path, *mode);
    }
    let total = (parts.packages.len() + parts.components.len()) as u64;
    for (done, file) in (0..).zip(parts.packages) {
        (watch.progress)("unpack packages", Some((done, total)));
        unpack::add_to(
            &mut tree,
            &fetch::place(parts.cache, file),
            &file.file,
            watch,
            &is_kept,
        )?;
    }
    for component in parts.components {
        if let Some(root) = component.tree("root") {
            add_directory(&mut tree, &root)?;
        }
    }
    add_applets(&mut tree, parts.port)?;
    tree.add_file(
        "etc/hostname",
        0o644,
        text(&format!("{}\n", parts.port.port)),
    );
    let mut list = String::new();
    for (path, content) in &parts.kernel.modules {
        tree.add_file(
            path.trim_start_matches('/'),
            0o644,
            Arc::new(content.clone()),
        );
        list += path;
        list.push('\n');
    }
    tree.add_file("etc/fallout/modules", 0o644, text(&list));
    overlay::add_to(&mut tree, parts.overlay);
    // The kernel opens the first before anything is mounted, so that init has an output.
    tree.add_device("dev/console", 0o600, 5, 1);
    tree.add_device("dev/null", 0o666, 1, 3);
    tree.add_merge_links();
    if tree.get("init").is_none() {
        return Err(ImageError::Assemble {
            port: parts.port.port.to_string(),
            message: format!(
                "there is no init: images/{}/overlay/init was expected",
                parts.port.family
            ),
        });
    }
    Ok(tree)
}

fn text(content: &str) -> Arc<Vec<u8>> {
    Arc::new(content.as_bytes().to_vec())
}

/// Adds the files of a directory of the host: a component's.
fn add_directory(tree: &mut Tree, root: &Utf8Path) -> Result<(), ImageError> {
    use super::error::IoContext;
    let mut queue = vec![root.to_owned()];
    while let Some(dir) = queue.pop() {
        for entry in dir.read_dir_utf8().doing("read", &dir)? {
            let entry = entry.doing("read", &dir)?;
            let path = entry.path();
            let place = path.strip_prefix(root).unwrap_or(path).as_str();
            let metadata = std::fs::symlink_metadata(path).doing("look at", path)?;
            if metadata.is_dir() {
                queue.push(path.to_owned());
            } else if metadata.is_symlink() {
                let target = path.read_link_utf8().doing("read", path)?;
                tree.add_link(place, target.as_str());
            } else if is_kept(place) {
                use std::os::unix::fs::PermissionsExt;
                let content = std::fs::read(path).doing("read", path)?;
                tree.add_file(
                    place,
                    metadata.permissions().mode() & 0o7777,
                    Arc::new(content),
                );
            }
        }
    }
    Ok(())
}

/// Makes busybox's links for every tool that no package brings. Its list of tools is read out of
/// the program itself: the host cannot run the guest's.
fn add_applets(tree: &mut Tree, port: &Port) -> Result<(), ImageError> {
    let Some(Node::File(busybox)) = tree.get("usr/bin/busybox").map(|e| e.node.clone()) else {
        return Err(ImageError::Assemble {
            port: port.port.to_string(),
            message: "there is no bin/busybox: add busybox-static to image.packages, or busybox to image.sources".to_owned(),
        });
    };
    let names = applets(&busybox);
    if !names.contains(&"insmod") || !names.contains(&"sh") {
        return Err(ImageError::Assemble {
            port: port.port.to_string(),
            message: format!(
                "busybox's list of tools was not found in it ({} names)",
                names.len()
            ),
        });
    }
    for name in names {
        let path = format!("usr/bin/{name}");
        if tree.get(&path).is_none() {
            tree.add_link(&path, "busybox");
        }
    }
    Ok(())
}

/// The names in busybox's table of tools: sorted, each ended by a zero byte, `[` and `[[` first.
fn applets(busybox: &[u8]) -> Vec<&str> {
    const FIRST: &[u8] = b"[\0[[\0";
    let mut best: Vec<&str> = Vec::new();
    for at in (0..busybox.len().saturating_sub(FIRST.len()))
        .filter(|at| busybox[*at..].starts_with(FIRST))
    {
        let mut names: Vec<&str> = Vec::new();
        for raw in busybox[at..].split(|b| *b == 0) {
            let plain =
                |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"[-_.".contains(b);
            match std::str::from_utf8(raw) {
                Ok(name)
                    if !name.is_empty() && raw.iter().all(plain) && names.last() < Some(&name) =>
                {
                    names.push(name);
                }
                _ => break,
            }
        }
        if names.len() > best.len() {
            best = names;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_found_in_the_program() {
        let program = b"\x7fELF\0[\0[[\0junk?\0..\0[\0[[\0acpid\0ar\0zcat\0\0rest\0";
        assert_eq!(applets(program), ["[", "[[", "acpid", "ar", "zcat"]);
        assert!(applets(b"no table").is_empty());
    }

    #[test]
    fn documentation_is_dropped_and_what_kyua_reads_is_kept() {
        assert!(!is_kept("usr/share/man/man1/kyua.1.gz"));
        assert!(!is_kept("usr/lib/s390x-linux-gnu/gconv/UTF-32.so"));
        assert!(is_kept("usr/share/kyua/store/schema_v3.sql"));
    }
}
