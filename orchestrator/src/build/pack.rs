//! A directory as a tar file that depends on nothing but names, contents and executable bits.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use camino::Utf8Path;

use crate::model::Key;

/// The most that a build may install, in bytes.
const MAX_BYTES: u64 = 2 << 30;

/// What was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packed {
    /// The hash of the tar file.
    pub hash: Key,
    /// Its length.
    pub size_bytes: u64,
    /// Files, links and empty directories in it.
    pub entries: u64,
}

/// Packs what is below `root` into the new file `to`: sorted by path, owned by 0:0, of 1970, with
/// mode 755 or 644. A directory is an entry only if it is empty, so that unpacking it over a
/// system changes nothing of that system's own directories. Blocks.
pub(super) fn pack(root: &Utf8Path, to: &Utf8Path) -> io::Result<Packed> {
    let mut entries = Vec::new();
    list(root.as_std_path(), Path::new(""), &mut entries)?;
    entries.sort_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
    let out = Hashed {
        inner: BufWriter::new(File::create_new(to)?),
        hasher: blake3::Hasher::new(),
        size_bytes: 0,
    };
    let mut tar = tar::Builder::new(out);
    for relative in &entries {
        append(&mut tar, root.as_std_path(), relative)?;
    }
    let mut out = tar.into_inner()?;
    out.inner.flush()?;
    out.inner.get_ref().sync_all()?;
    Ok(Packed {
        hash: Key(out.hasher.finalize().to_hex().to_string()),
        size_bytes: out.size_bytes,
        entries: entries.len() as u64,
    })
}

fn list(root: &Path, below: &Path, into: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let before = into.len();
            list(root, &path, into)?;
            if into.len() == before {
                into.push(path);
            }
        } else if kind.is_file() || kind.is_symlink() {
            into.push(path);
        }
        // Sockets and the like are nothing that a build installs.
    }
    Ok(())
}

fn append(tar: &mut tar::Builder<Hashed>, root: &Path, relative: &Path) -> io::Result<()> {
    let path = root.join(relative);
    let meta = fs::symlink_metadata(&path)?;
    let mut header = tar::Header::new_gnu();
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(0);
    if meta.is_symlink() {
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_mode(0o777);
        return tar.append_link(&mut header, relative, fs::read_link(&path)?);
    }
    if meta.is_dir() {
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        return tar.append_data(&mut header, relative, io::empty());
    }
    let executable = meta.permissions().mode() & 0o111 != 0;
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(if executable { 0o755 } else { 0o644 });
    if tar.get_ref().size_bytes + meta.len() > MAX_BYTES {
        let most = MAX_BYTES >> 20;
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("more than {most} MiB are installed"),
        ));
    }
    header.set_size(meta.len());
    // A file that still grows would spoil the entries behind it.
    let file = File::open(&path)?.take(meta.len());
    tar.append_data(&mut header, relative, file)
}

/// Hashes and counts what is written.
struct Hashed {
    inner: BufWriter<File>,
    hasher: blake3::Hasher,
    size_bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size_bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(order: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in order {
            let path = dir.path().join("root").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name).unwrap();
        }
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("empty")).unwrap();
        let mut mode = fs::metadata(root.join("a/run")).unwrap().permissions();
        mode.set_mode(0o750);
        fs::set_permissions(root.join("a/run"), mode).unwrap();
        std::os::unix::fs::symlink("run", root.join("a/link")).unwrap();
        dir
    }

    fn packed(dir: &tempfile::TempDir) -> (Packed, Vec<u8>) {
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let packed = pack(&dir.join("root"), &dir.join("tests.tar")).unwrap();
        (packed, fs::read(dir.join("tests.tar")).unwrap())
    }

    #[test]
    fn only_names_contents_and_executable_bits_count() {
        let long = "deep/".repeat(40) + "leaf";
        let (one, bytes) = packed(&tree(&["a/run", "a.b", "z", &long]));
        let (two, _) = packed(&tree(&["z", &long, "a.b", "a/run"]));
        assert_eq!(one, two);
        assert_eq!(one.size_bytes, bytes.len() as u64);
        assert_eq!(bytes.len() % 512, 0);
        assert_eq!(one.hash.0, blake3::hash(&bytes).to_hex().to_string());
        let mut names = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.mtime().unwrap(), header.uid().unwrap()), (0, 0));
            names.push((
                entry.path().unwrap().display().to_string(),
                header.mode().unwrap(),
            ));
        }
        assert_eq!(
            names,
            [
                ("a.b".to_owned(), 0o644),
                ("a/link".to_owned(), 0o777),
                ("a/run".to_owned(), 0o755),
                (long, 0o644),
                ("empty".to_owned(), 0o755),
                ("z".to_owned(), 0o644),
            ]
        );
    }
}
