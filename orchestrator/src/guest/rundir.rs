//! Where live guests have their sockets and records, and what a dead fallout left there.
//!
//! Every guest has a directory of its own under one base:
//!
//! ```text
//! BASE/PID-N/record.json   who it is, who owns it
//! BASE/PID-N/console       socket: the console, for people
//! BASE/PID-N/agent, qmp    sockets on which the emulator is awaited; gone once it came
//! ```
//!
//! The base is short, because the path of a unix socket has no more than 107 bytes. It belongs to
//! the user alone. [`reap_orphans`] ends emulators whose owner is dead; it never ends a process of
//! which it is not sure.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::host::process;

/// What is known of a live guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Version of this form: 1.
    pub format: u32,
    /// What its owner calls it: `RUN CELL GUEST`.
    pub label: String,
    /// The emulator.
    pub pid: u32,
    /// When the emulator started, in the host kernel's ticks; 0 where the host does not tell.
    pub started: u64,
    /// The emulator's program.
    pub program: PathBuf,
    /// The fallout that owns it.
    pub owner: u32,
    /// When that started.
    pub owner_started: u64,
}

impl Record {
    fn owner_lives(&self) -> bool {
        process::start_time(self.owner) == Some(self.owner_started)
    }
}

/// A live guest, for whoever wants to attach to its console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Its record.
    pub record: Record,
    /// The socket of its console.
    pub console: PathBuf,
}

/// One guest's directory. It is removed when this is dropped.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes the directory, and the base where it is missing.
    ///
    /// Errors: the base is somebody else's or open to others, or the host refuses.
    pub fn create(base: &Path) -> io::Result<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        secure_base(base)?;
        loop {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = base.join(format!("{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self { path }),
                // A dead fallout of the same pid left it: another number will do.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes the record, whole or not at all.
    pub fn record(&self, label: &str, pid: u32, program: &Path) -> io::Result<()> {
        let owner = std::process::id();
        let record = Record {
            format: 1,
            label: label.to_owned(),
            pid,
            started: process::start_time(pid).unwrap_or(0),
            program: fs::canonicalize(program).unwrap_or_else(|_| program.to_owned()),
            owner,
            owner_started: process::start_time(owner).unwrap_or(0),
        };
        let new = self.file("record.new");
        let mut file = fs::File::create(&new)?;
        file.write_all(&serde_json::to_vec(&record)?)?;
        fs::rename(new, self.file("record.json"))
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        // What is left is found and removed by the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn secure_base(base: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o700).create(base) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    // Not followed: in /tmp somebody else could have put a link in our place.
    let found = fs::symlink_metadata(base)?;
    let ours = found.uid() == rustix::process::getuid().as_raw();
    if !found.is_dir() || !ours || found.mode() & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "expected a directory that belongs to this user and that others cannot write to",
        ));
    }
    Ok(())
}

fn records(base: &Path) -> Vec<(PathBuf, Option<Record>)> {
    let Ok(entries) = fs::read_dir(base) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|entry| entry.path())
        .map(|dir| {
            let record = fs::read(dir.join("record.json"))
                .ok()
                .and_then(|bytes| serde_json::from_slice(&bytes).ok());
            (dir, record)
        })
        .collect()
}

/// The guests that are alive now, whoever owns them, by label.
pub fn live(base: &Path) -> Vec<Live> {
    let mut live: Vec<Live> = records(base)
        .into_iter()
        .filter_map(|(dir, record)| {
            let record = record?;
            let console = dir.join("console");
            (record.owner_lives() && process::start_time(record.pid) == Some(record.started))
                .then_some(Live { record, console })
        })
        .collect();
    live.sort_by(|a, b| a.record.label.cmp(&b.record.label));
    live
}

/// Ends the emulators whose owner is dead and removes their directories. Returns their labels.
///
/// An emulator is ended only if pid, start time and program are those of the record.
pub fn reap_orphans(base: &Path) -> Vec<String> {
    let mut reaped = Vec::new();
    for (dir, record) in records(base) {
        match record {
            Some(record) if !record.owner_lives() => {
                let ended = process::kill_if(record.pid, record.started, |program| {
                    program == record.program
                });
                if ended {
                    reaped.push(record.label);
                }
                let _ = fs::remove_dir_all(dir);
            }
            Some(_) => {}
            // No emulator was recorded. The directory's name says whose it was.
            None => {
                let owner = dir
                    .file_name()
                    .and_then(|name| name.to_str()?.split_once('-')?.0.parse::<u32>().ok());
                if owner.is_some_and(|pid| process::start_time(pid).is_none()) {
                    let _ = fs::remove_dir_all(dir);
                }
            }
        }
    }
    reaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::process::{Process, find_program};

    fn base() -> tempfile::TempDir {
        tempfile::Builder::new()
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir()
            .unwrap()
    }

    #[test]
    fn the_base_must_be_ours_alone() {
        let parent = base();
        let link = parent.path().join("link");
        std::os::unix::fs::symlink("/", &link).unwrap();
        assert!(RunDir::create(&link).is_err());
        let dir = RunDir::create(&parent.path().join("new")).unwrap();
        let path = dir.file("x");
        fs::write(&path, "").unwrap();
        drop(dir);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn orphans_are_ended_and_others_left() {
        let base = base();
        let sleep = find_program("sleep").unwrap();
        let args = ["1000".to_owned()];
        let (mut child, _pipes) = Process::start(&sleep, &args, false).await.unwrap();
        let dir = RunDir::create(base.path()).unwrap();
        dir.record("mine", child.pid(), &sleep).unwrap();
        if process::start_time(child.pid()).is_none() {
            return; // A host without /proc: nothing is ever reaped there.
        }

        // The owner lives.
        assert_eq!(live(base.path())[0].record.label, "mine");
        assert_eq!(reap_orphans(base.path()), Vec::<String>::new());

        // The owner is gone, but the program is another: the directory goes, the process stays.
        let file = dir.file("record.json");
        let mut record: Record = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        record.owner_started += 1;
        let mut other = record.clone();
        other.program = PathBuf::from("/usr/bin/other");
        fs::write(&file, serde_json::to_vec(&other).unwrap()).unwrap();
        assert_eq!(reap_orphans(base.path()), Vec::<String>::new());
        assert!(!file.exists() && child.exited().is_none());

        let dir = RunDir::create(base.path()).unwrap();
        fs::write(
            dir.file("record.json"),
            serde_json::to_vec(&record).unwrap(),
        )
        .unwrap();
        assert_eq!(reap_orphans(base.path()), ["mine"]);
        assert_eq!(child.wait().await.words(), "signal 9");
    }
}
