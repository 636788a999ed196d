//! Room on disk: what a stage begins with, and what it may take.

use camino::{Utf8Path, Utf8PathBuf};

use crate::build::error::{BuildError, Doing};

/// The least room on the file system that a stage begins with, in bytes.
const ROOM_BYTES: u64 = 2 << 30;
/// The least room that is left to everybody else: a stage that takes more is ended, in bytes.
const LEFT_BYTES: u64 = 512 << 20;

/// Watches what one stage takes.
#[derive(Debug)]
pub(super) struct Disk {
    dir: Utf8PathBuf,
    limit_bytes: u64,
    free_bytes: u64,
}

/// Why a stage is to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// It took more than it may.
    Limit,
    /// The file system has nothing left, whoever took it.
    Host,
}

impl Disk {
    /// Begins to watch; refuses where there is no room to begin with.
    pub fn begin(dir: &Utf8Path, limit_bytes: u64) -> Result<Self, BuildError> {
        let free_bytes = free(dir)?;
        if free_bytes < ROOM_BYTES {
            let error = std::io::Error::other(format!(
                "less than {} GiB are free on its file system",
                ROOM_BYTES >> 30
            ));
            return Err(error).doing("build in", dir);
        }
        Ok(Self {
            dir: dir.to_owned(),
            limit_bytes,
            free_bytes,
        })
    }

    /// Looks again. Where the file system lost more than the stage may take, the directory is
    /// measured, for others write to the file system too. Blocks, then for seconds.
    pub fn look(&self) -> Result<Option<Full>, BuildError> {
        let free = free(&self.dir)?;
        let lost = self.free_bytes.saturating_sub(free);
        if lost > self.limit_bytes && size(&self.dir) > self.limit_bytes {
            return Ok(Some(Full::Limit));
        }
        Ok((free < LEFT_BYTES).then_some(Full::Host))
    }
}

fn free(dir: &Utf8Path) -> Result<u64, BuildError> {
    let stat = rustix::fs::statvfs(dir.as_std_path())
        .map_err(std::io::Error::from)
        .doing("look at", dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What the files below a directory occupy, in bytes. What vanishes meanwhile counts nothing.
fn size(dir: &Utf8Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(entries) = dir.read_dir_utf8() else {
        return 0;
    };
    let of = |entry: camino::Utf8DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(entry.path()),
        Ok(meta) => meta.blocks().saturating_mul(512),
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_directory_holds_counts_against_its_limit() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        std::fs::write(dir.join("x"), vec![1; 3 << 20]).unwrap();
        let disk = |limit_bytes, free_bytes| Disk {
            dir: dir.to_owned(),
            limit_bytes,
            free_bytes,
        };
        // The file system seems to have lost all that there could ever be.
        assert_eq!(disk(1 << 20, u64::MAX).look().unwrap(), Some(Full::Limit));
        assert_ne!(disk(1 << 30, u64::MAX).look().unwrap(), Some(Full::Limit));
        assert_ne!(disk(1 << 20, 0).look().unwrap(), Some(Full::Limit));
    }
}
