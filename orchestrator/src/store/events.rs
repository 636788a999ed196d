//! A run's log of events: one JSON object a line, appended, never rewritten.
//!
//! A line is written before the event is shown to anybody. A torn last line, as a killed process
//! or a full disk leaves it, is cut off when the log is opened again; it was never acknowledged.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::model::{Event, Stamped};

use super::StoreError;

/// How long an event may stay in the page cache only. A killed fallout loses nothing either way;
/// this bounds what a power failure can take.
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// The log, open for appending.
#[derive(Debug)]
pub struct EventLog {
    file: File,
    path: PathBuf,
    next_seq: u64,
    synced: Instant,
}

impl EventLog {
    /// Opens the log at `path`, creating it where absent, and cuts off a torn last line.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(|e| StoreError::io("open", path, e))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|e| StoreError::io("read", path, e))?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |i| i + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64)
                .map_err(|e| StoreError::io("truncate", path, e))?;
        }
        file.seek(SeekFrom::End(0))
            .map_err(|e| StoreError::io("seek", path, e))?;
        let next_seq = bytes[..whole].iter().filter(|&&b| b == b'\n').count() as u64;
        Ok(Self {
            file,
            path: path.to_owned(),
            next_seq,
            synced: Instant::now(),
        })
    }

    /// Stamps an event and appends it. On return it survives the death of this process.
    pub fn append(&mut self, what: Event) -> Result<Stamped, StoreError> {
        let stamped = Stamped {
            seq: self.next_seq,
            at: jiff::Timestamp::now(),
            what,
        };
        let mut line = serde_json::to_vec(&stamped).map_err(|e| StoreError::Form {
            path: self.path.clone(),
            cause: e.to_string(),
        })?;
        line.push(b'\n');
        let before = self.file.metadata().map(|m| m.len());
        if let Err(cause) = self.file.write_all(&line) {
            // Half a line must not stand in the way of the next whole one.
            if let Ok(len) = before {
                let _ = self.file.set_len(len);
            }
            return Err(StoreError::io("write", &self.path, cause));
        }
        self.next_seq += 1;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.sync()?;
        }
        Ok(stamped)
    }

    /// Forces what was appended onto the disk.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        self.synced = Instant::now();
        self.file
            .sync_data()
            .map_err(|e| StoreError::io("sync", &self.path, e))
    }
}

/// Reads a log from the beginning; stops before a torn last line.
pub fn read(path: &Path) -> Result<Vec<Stamped>, StoreError> {
    let file = File::open(path).map_err(|e| StoreError::io("read", path, e))?;
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut out = Vec::new();
    loop {
        line.clear();
        let n = reader
            .read_until(b'\n', &mut line)
            .map_err(|e| StoreError::io("read", path, e))?;
        if n == 0 || line.last() != Some(&b'\n') {
            return Ok(out);
        }
        out.push(serde_json::from_slice(&line).map_err(|e| StoreError::Form {
            path: path.to_owned(),
            cause: format!("line {}: {e}", out.len() + 1),
        })?);
    }
}

/// Reads whole lines from byte `from` on, until `most` bytes or the end; a torn last line waits.
/// Returns the events and where the next reading begins.
pub fn read_from(path: &Path, from: u64, most: usize) -> Result<(Vec<Stamped>, u64), StoreError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((Vec::new(), from)),
        Err(e) => return Err(StoreError::io("read", path, e)),
    };
    file.seek(SeekFrom::Start(from))
        .map_err(|e| StoreError::io("seek", path, e))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let (mut line, mut out, mut at) = (Vec::new(), Vec::new(), from);
    while at - from < most as u64 {
        line.clear();
        let n = reader
            .read_until(b'\n', &mut line)
            .map_err(|e| StoreError::io("read", path, e))?;
        if n == 0 || line.last() != Some(&b'\n') {
            break;
        }
        out.push(serde_json::from_slice(&line).map_err(|e| StoreError::Form {
            path: path.to_owned(),
            cause: format!("at byte {at}: {e}"),
        })?);
        at += n as u64;
    }
    Ok((out, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(text: &str) -> Event {
        Event::Notice {
            port: None,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_torn_line_is_cut_off_and_numbering_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut log = EventLog::open(&path).unwrap();
        log.append(notice("one")).unwrap();
        log.append(notice("two")).unwrap();
        drop(log);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(b"{\"seq\":2,\"at\":\"20");
        std::fs::write(&path, bytes).unwrap();

        assert_eq!(read(&path).unwrap().len(), 2);
        let mut log = EventLog::open(&path).unwrap();
        assert_eq!(log.append(notice("three")).unwrap().seq, 2);
        let seqs: Vec<u64> = read(&path).unwrap().iter().map(|e| e.seq).collect();
        assert_eq!(seqs, [0, 1, 2]);
    }
}
