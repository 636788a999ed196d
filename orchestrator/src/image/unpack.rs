//! Reads the files out of a Debian package, without root and without touching the host's disk.
//!
//! `dpkg-deb` decompresses, the `tar` crate reads. Entries are untrusted: paths are cleaned, sizes
//! bounded, and kinds that no package of a guest needs (devices, sockets) are skipped.

use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::Arc;

use camino::Utf8Path;

use super::error::ImageError;
use super::exec::Watch;
use super::tree::{Node, Tree, clean};

/// A package whose files are larger than this together is not one for a guest.
const UNPACKED_MAX_BYTES: u64 = 4 << 30;

/// One entry of a package, shown to a visitor.
pub struct Found<'a> {
    /// Its clean relative path.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// What it is; a file's content is read with [`Found::content`].
    pub kind: Kind,
    reader: &'a mut dyn Read,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A file of this many bytes.
    File(u64),
    /// A symbolic link and its target.
    Link(String),
    /// Another name of a file that came before: that file's clean path.
    Same(String),
}

impl Found<'_> {
    /// A file's content.
    pub fn content(&mut self) -> std::io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.reader.read_to_end(&mut content)?;
        Ok(content)
    }
}

/// Shows every entry of the package at `deb` to `visit`. `name` is for messages.
pub fn visit(
    deb: &Utf8Path,
    name: &str,
    watch: &Watch<'_>,
    visit: &mut dyn FnMut(&mut Found<'_>) -> std::io::Result<()>,
) -> Result<(), ImageError> {
    let bad = |message: String| ImageError::BadPackage {
        package: name.to_owned(),
        message,
    };
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(deb)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => ImageError::MissingTool {
                tool: "dpkg-deb".to_owned(),
                package: "dpkg".to_owned(),
            },
            _ => bad(e.to_string()),
        })?;
    let read = child
        .stdout
        .take()
        .ok_or_else(|| bad("no pipe".to_owned()))
        .and_then(|pipe| {
            let mut pipe = std::io::BufReader::with_capacity(256 << 10, pipe);
            read_tar(&mut pipe, &bad, watch, visit)?;
            // dpkg-deb must not die of a closed pipe because of padding nobody read.
            std::io::copy(&mut pipe, &mut std::io::sink()).map_err(|e| bad(e.to_string()))
        });
    if read.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| bad(e.to_string()))?;
    read?;
    if status.success() {
        Ok(())
    } else {
        Err(bad(format!("dpkg-deb ended with {status}")))
    }
}

fn read_tar(
    pipe: &mut dyn Read,
    bad: &dyn Fn(String) -> ImageError,
    watch: &Watch<'_>,
    visit: &mut dyn FnMut(&mut Found<'_>) -> std::io::Result<()>,
) -> Result<(), ImageError> {
    use tar::EntryType;
    let text = |e: std::io::Error| bad(e.to_string());
    let mut archive = tar::Archive::new(pipe);
    let mut total = 0u64;
    for entry in archive.entries().map_err(text)? {
        watch.check()?;
        let mut entry = entry.map_err(text)?;
        let Some(path) = clean(&entry.path_bytes()).map_err(bad)? else {
            continue;
        };
        let target = entry.link_name_bytes().map(|t| t.into_owned());
        let kind = match (entry.header().entry_type(), target) {
            (EntryType::Directory, _) => Kind::Dir,
            (EntryType::Regular | EntryType::Continuous, _) => Kind::File(entry.size()),
            (EntryType::Symlink, Some(target)) => {
                let target = String::from_utf8(target)
                    .map_err(|_| bad(format!("the target of the link {path} is not UTF-8")))?;
                Kind::Link(target)
            }
            (EntryType::Link, Some(target)) => match clean(&target).map_err(bad)? {
                Some(target) => Kind::Same(target),
                None => continue,
            },
            _ => continue,
        };
        total = total.saturating_add(entry.size());
        if total > UNPACKED_MAX_BYTES {
            return Err(bad(format!(
                "more than {UNPACKED_MAX_BYTES} bytes of files"
            )));
        }
        let mode = entry.header().mode().map_err(text)? & 0o7777;
        let mut found = Found {
            path,
            mode,
            kind,
            reader: &mut entry,
        };
        visit(&mut found).map_err(text)?;
    }
    Ok(())
}

/// Adds the package's files to `tree`, those whose path `keep` approves.
pub fn add_to(
    tree: &mut Tree,
    deb: &Utf8Path,
    name: &str,
    watch: &Watch<'_>,
    keep: &dyn Fn(&str) -> bool,
) -> Result<(), ImageError> {
    visit(deb, name, watch, &mut |found| {
        if !keep(&found.path) {
            return Ok(());
        }
        match found.kind.clone() {
            // A directory comes with its first file: most of what packages ship is empty here.
            Kind::Dir => {}
            Kind::File(_) => {
                let content = Arc::new(found.content()?);
                tree.add_file(&found.path, found.mode, content);
            }
            Kind::Link(target) => tree.add_link(&found.path, &target),
            Kind::Same(target) => {
                let same = tree.get(&target).cloned();
                if let Some(Node::File(content)) = same.map(|e| e.node) {
                    tree.add_file(&found.path, found.mode, content);
                }
            }
        }
        Ok(())
    })
}
