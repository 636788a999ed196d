//! Unpacks sets into a directory of the host, and remembers what each file is in the guest.
//!
//! `gzip` or `xz` decompresses, the `tar` crate reads. A set is somebody's: paths are cleaned, nothing
//! is written through a link, and devices are not made.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};
use tar::EntryType;

use super::spec::{Entries, Entry, Kind};
use crate::image::error::{ImageError, IoContext};
use crate::image::exec::Watch;
use crate::image::tree::clean;

/// What a set may be when it is unpacked.
const UNPACKED_MAX_BYTES: u64 = 8 << 30;
/// Sets that are unpacked at the same time: the decompressor is a process of its own.
const AT_ONCE: usize = 2;

/// A set: its name and its file.
pub type SetFile = (String, Utf8PathBuf);

/// Unpacks all sets below `root`, the later over the earlier.
pub fn unpack(
    sets: &[SetFile],
    root: &Utf8Path,
    keep: &(dyn Fn(&str) -> bool + Sync),
    watch: &Watch<'_>,
) -> Result<Entries, ImageError> {
    // The largest begin first, so that none is left alone at the end.
    let size = |ix: &usize| fs::metadata(&sets[*ix].1).map_or(0, |m| m.len());
    let mut order: Vec<usize> = (0..sets.len()).collect();
    order.sort_by_key(size);
    let (queue, done) = (Mutex::new(order), Mutex::new(0));
    let results: Mutex<Vec<(usize, Result<Entries, ImageError>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(ix) = queue.lock().ok().and_then(|mut q| q.pop()) {
                    let made = one(&sets[ix], root, keep, watch);
                    if let Ok(mut results) = results.lock() {
                        results.push((ix, made));
                    }
                    if let Ok(mut done) = done.lock() {
                        *done += 1;
                        (watch.progress)("unpack the sets", Some((*done, sets.len() as u64)));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by_key(|(ix, _)| *ix);
    let mut all = Entries::new();
    for (_, made) in results {
        all.extend(made?);
    }
    Ok(all)
}

fn one(
    (name, file): &SetFile,
    root: &Utf8Path,
    keep: &(dyn Fn(&str) -> bool + Sync),
    watch: &Watch<'_>,
) -> Result<Entries, ImageError> {
    let bad = |message: String| ImageError::BadSet {
        set: name.clone(),
        file: file.clone(),
        message,
    };
    let program = if file.as_str().ends_with(".xz") {
        "xz"
    } else {
        "gzip"
    };
    let packed = fs::File::open(file).doing("read", file)?;
    let mut child = Command::new(program)
        .arg("-dc")
        .stdin(packed)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|_| ImageError::MissingTool {
            tool: program.to_owned(),
            package: format!("{program}{}", if program == "xz" { "-utils" } else { "" }),
        })?;
    let Some(stdout) = child.stdout.take() else {
        return Err(bad("the decompressor has no output".to_owned()));
    };
    let mut into = Into {
        root,
        made: HashSet::new(),
        entries: Entries::new(),
    };
    let read = read(stdout, &mut into, keep, watch);
    // A reader that stopped early leaves the decompressor nobody to write to.
    if read.is_err() {
        let _ = child.kill();
    }
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.by_ref().take(4096).read_to_string(&mut said);
    }
    let status = child.wait().map_err(|e| bad(e.to_string()))?;
    read.map_err(|error| match error {
        Stop::Asked => ImageError::Stopped,
        Stop::Bad(message) if said.trim().is_empty() => bad(message),
        Stop::Bad(message) => bad(format!("{message}; {}", said.trim())),
    })?;
    match status.success() {
        true => Ok(into.entries),
        false => Err(bad(said.trim().to_owned())),
    }
}

enum Stop {
    Asked,
    Bad(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Bad(error.to_string())
    }
}

fn read(
    packed: impl io::Read,
    into: &mut Into<'_>,
    keep: &(dyn Fn(&str) -> bool + Sync),
    watch: &Watch<'_>,
) -> Result<(), Stop> {
    let mut archive = tar::Archive::new(packed.take(UNPACKED_MAX_BYTES));
    for entry in archive.entries()? {
        watch.check().map_err(|_| Stop::Asked)?;
        let mut entry = entry?;
        let Some(path) = clean(&entry.path_bytes()).map_err(Stop::Bad)? else {
            continue;
        };
        if !keep(&path) {
            continue;
        }
        let header = entry.header();
        let id = |id: io::Result<u64>| id.map(|id| u32::try_from(id).unwrap_or(0));
        let (mode, uid, gid) = (
            header.mode()? & 0o7777,
            id(header.uid())?,
            id(header.gid())?,
        );
        let target = entry.link_name_bytes().map(|name| name.into_owned());
        let text = |bytes: Option<Vec<u8>>| {
            let bytes = bytes.ok_or_else(|| Stop::Bad(format!("{path}: a link to nothing")))?;
            String::from_utf8(bytes).map_err(|_| Stop::Bad(format!("{path}: an odd link")))
        };
        let mut entry_of_file = None;
        let kind = match entry.header().entry_type() {
            EntryType::Directory => {
                into.dir(&path)?;
                Kind::Dir
            }
            EntryType::Regular | EntryType::Continuous => {
                let place = into.place(&path)?;
                let mut file = fs::File::create_new(&place)?;
                io::copy(&mut entry, &mut file)?;
                Kind::File
            }
            EntryType::Link => {
                let to = clean(text(target)?.as_bytes()).map_err(Stop::Bad)?;
                let to = to.ok_or_else(|| Stop::Bad(format!("{path}: a link to the root")))?;
                if !keep(&to) {
                    continue;
                }
                into.parent(&to)?;
                let place = into.place(&path)?;
                let from = into.root.join(&to);
                if !fs::symlink_metadata(&from)?.is_file() {
                    return Err(Stop::Bad(format!("{path}: a link to what is no file")));
                }
                fs::hard_link(from, place)?;
                // A further name has the file's mode, whatever the archive says beside the name.
                entry_of_file = into.entries.get(&to).cloned();
                Kind::File
            }
            EntryType::Symlink => {
                let to = text(target)?;
                std::os::unix::fs::symlink(&to, into.place(&path)?)?;
                Kind::Link(to)
            }
            _ => continue,
        };
        let entry = entry_of_file.unwrap_or(Entry {
            kind,
            mode,
            uid,
            gid,
        });
        into.entries.insert(path, entry);
    }
    // What stands behind the archive's end is taken too: the decompressor must not die of it.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    Ok(())
}

/// Where a set is unpacked.
struct Into<'a> {
    root: &'a Utf8Path,
    /// Directories that are known to be real ones. None is ever removed or replaced.
    made: HashSet<String>,
    entries: Entries,
}

impl Into<'_> {
    fn dir(&mut self, path: &str) -> Result<(), Stop> {
        if self.made.contains(path) {
            return Ok(());
        }
        self.parent(path)?;
        let place = self.root.join(path);
        match fs::create_dir(&place) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                if !fs::symlink_metadata(&place)?.is_dir() {
                    return Err(Stop::Bad(format!("{path} is no directory")));
                }
            }
            Err(e) => return Err(e.into()),
        }
        self.made.insert(path.to_owned());
        Ok(())
    }

    fn parent(&mut self, path: &str) -> Result<(), Stop> {
        match path.rsplit_once('/') {
            Some((above, _)) => self.dir(above),
            None => Ok(()),
        }
    }

    /// The place of a new file, whose parent is there; what an earlier set has there goes.
    fn place(&mut self, path: &str) -> Result<Utf8PathBuf, Stop> {
        self.parent(path)?;
        let place = self.root.join(path);
        match fs::remove_file(&place) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(dir: &Utf8Path, name: &str, fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> SetFile {
        let mut tar = tar::Builder::new(Vec::new());
        fill(&mut tar);
        let plain = dir.join(format!("{name}.tar"));
        fs::write(&plain, tar.into_inner().unwrap()).unwrap();
        let ran = Command::new("gzip").arg(&plain).status().unwrap();
        assert!(ran.success());
        (name.to_owned(), dir.join(format!("{name}.tar.gz")))
    }

    fn add(tar: &mut tar::Builder<Vec<u8>>, kind: EntryType, path: &str, link: &str, mode: u32) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(9);
        header.set_size(0);
        // As it stands: the crate would refuse some.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
    }

    fn all(dir: &Utf8Path, sets: &[SetFile]) -> Result<Entries, ImageError> {
        let root = dir.join("root");
        fs::create_dir(&root).unwrap();
        unpack(sets, &root, &|path| !path.starts_with("man"), &Watch::QUIET)
    }

    #[test]
    fn owners_and_modes_are_kept_aside_and_links_are_links() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(temp.path()).unwrap();
        let base = set(dir, "base", |tar| {
            add(tar, EntryType::Directory, "./bin", "", 0o755);
            add(tar, EntryType::Regular, "./bin/su", "", 0o4555);
            add(tar, EntryType::Link, "./bin/us", "./bin/su", 0o644);
            add(tar, EntryType::Symlink, "./sh", "bin/su", 0o755);
            add(tar, EntryType::Regular, "./man/x", "", 0o444);
            add(tar, EntryType::Char, "./dev/x", "", 0o600);
        });
        let entries = all(dir, &[base]).unwrap();
        let names: Vec<&str> = entries.keys().map(String::as_str).collect();
        assert_eq!(names, ["bin", "bin/su", "bin/us", "sh"]);
        let su = &entries["bin/su"];
        assert_eq!((su.mode, su.uid, su.gid), (0o4555, 7, 9));
        assert_eq!(&entries["bin/us"], su);
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(fs::metadata(dir.join("root/bin/us")).unwrap().nlink(), 2);
    }

    #[test]
    fn nothing_is_written_through_a_link_or_outside() {
        for (path, link) in [("./up", "../.."), ("./up", "/etc")] {
            let temp = tempfile::tempdir().unwrap();
            let dir = Utf8Path::from_path(temp.path()).unwrap();
            let evil = set(dir, "evil", |tar| {
                add(tar, EntryType::Symlink, path, link, 0o755);
                add(tar, EntryType::Regular, "./up/fallout-evil", "", 0o644);
            });
            let error = all(dir, &[evil]).unwrap_err().to_string();
            assert!(error.contains("up is no directory"), "{error}");
        }
        let temp = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(temp.path()).unwrap();
        let evil = set(dir, "evil", |tar| {
            add(tar, EntryType::Regular, "../evil", "", 0o644);
        });
        assert!(
            all(dir, &[evil])
                .unwrap_err()
                .to_string()
                .contains("leads out")
        );
    }

    #[test]
    fn a_set_that_is_cut_off_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(temp.path()).unwrap();
        let (name, file) = set(dir, "base", |tar| {
            add(tar, EntryType::Directory, "./bin", "", 0o755);
        });
        let whole = fs::read(&file).unwrap();
        fs::write(&file, &whole[..whole.len() - 12]).unwrap();
        let error = all(dir, &[(name, file)]).unwrap_err().to_string();
        assert!(error.contains("the set base cannot be unpacked"), "{error}");
    }
}
