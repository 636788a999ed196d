//! A directory as one file, and back. Blocks.

use std::fs::File;
use std::io::{BufWriter, Read, Write as _};
use std::path::Path;

use super::{ArtifactError, Entry, Result};
use crate::model::Key;

const LEVEL: i32 = 3;

/// Packs a directory into a new file in `tmp`, which goes when it is dropped.
pub(super) fn pack(dir: &Path, tmp: &Path) -> Result<(tempfile::NamedTempFile, Entry)> {
    std::fs::create_dir_all(tmp).map_err(ArtifactError::io("create", tmp))?;
    let file = tempfile::NamedTempFile::new_in(tmp).map_err(ArtifactError::io("create", tmp))?;
    let unpacked_bytes = write(dir, file.as_file()).map_err(ArtifactError::io("pack", dir))?;
    let (object, size_bytes) = hash(file.path()).map_err(ArtifactError::io("read", file.path()))?;
    let entry = Entry {
        format: 1,
        object,
        size_bytes,
        unpacked_bytes,
    };
    Ok((file, entry))
}

fn write(dir: &Path, file: &File) -> std::io::Result<u64> {
    let mut zstd = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
    // Level and content checksum alone: the pack of one directory is the same on every machine.
    zstd.include_checksum(true)?;
    let mut tar = tar::Builder::new(zstd);
    tar.follow_symlinks(false);
    // Owners are nobody's business; times stay, make goes by them.
    let bytes = append(&mut tar, dir, Path::new(""))?;
    tar.into_inner()?.finish()?.flush()?;
    Ok(bytes)
}

/// Appends what is below `dir`, in the order of names, so that equal directories give equal packs.
fn append<W: std::io::Write>(
    tar: &mut tar::Builder<W>,
    dir: &Path,
    below: &Path,
) -> std::io::Result<u64> {
    let mut entries: Vec<_> = std::fs::read_dir(dir.join(below))?.collect::<Result2<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    let mut bytes = 0;
    for entry in entries {
        let (path, name) = (entry.path(), below.join(entry.file_name()));
        let meta = std::fs::symlink_metadata(&path)?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata_in_mode(&meta, tar::HeaderMode::Complete);
        header.set_uid(0);
        header.set_gid(0);
        if meta.is_symlink() {
            header.set_size(0);
            tar.append_link(&mut header, &name, std::fs::read_link(&path)?)?;
        } else if meta.is_dir() {
            header.set_size(0);
            tar.append_data(&mut header, &name, std::io::empty())?;
            bytes += append(tar, dir, &name)?;
        } else if meta.is_file() {
            bytes += meta.len();
            tar.append_data(&mut header, &name, File::open(&path)?)?;
        }
    }
    Ok(bytes)
}

type Result2<T> = std::result::Result<T, std::io::Error>;

fn hash(file: &Path) -> std::io::Result<(Key, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(file)?)?;
    let size = std::fs::metadata(file)?.len();
    Ok((Key(hasher.finalize().to_hex().to_string()), size))
}

/// Unpacks a file into the new directory `to`.
pub(super) fn unpack(file: &Path, to: &Path) -> Result<()> {
    let failed = || ArtifactError::io("unpack", file);
    std::fs::create_dir_all(to).map_err(ArtifactError::io("create", to))?;
    let open = File::open(file).map_err(failed())?;
    let zstd = zstd::Decoder::new(open).map_err(failed())?;
    let mut tar = tar::Archive::new(zstd.take(1 << 40));
    tar.set_preserve_mtime(true);
    tar.set_preserve_permissions(true);
    // Entries that would leave the directory are refused by the crate.
    tar.unpack(to).map_err(failed())
}
