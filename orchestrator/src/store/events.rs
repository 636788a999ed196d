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
    fence: Option<PathBuf>,
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
            fence: None,
            path: path.to_owned(),
            next_seq,
            synced: Instant::now(),
        })
    }

    /// The same log, which takes nothing more once there is a file at `fence`: whoever made that has
    /// taken the work over.
    #[must_use]
    pub fn fenced(mut self, fence: PathBuf) -> Self {
        self.fence = Some(fence);
        self
    }

    /// Stamps an event and appends it. On return it survives the death of this process.
    pub fn append(&mut self, what: Event) -> Result<Stamped, StoreError> {
        if let Some(fence) = self.fence.as_ref().filter(|f| f.exists()) {
            let cause = std::io::Error::other("another process has taken the job over");
            return Err(StoreError::io("write behind", fence, cause));
        }
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

/// Follows a log that somebody else writes: whole lines with their positions, as they come.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    at_byte: u64,
    next_seq: u64,
}

impl Tail {
    /// From the beginning of the log at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            at_byte: 0,
            next_seq: 0,
        }
    }

    /// The next lines without their ends, of about `most` bytes together, each with its position;
    /// none where nothing has come. Lines before the position `from` are passed over. Blocks.
    pub fn read(&mut self, from: u64, most: usize) -> Result<Vec<(u64, String)>, StoreError> {
        let failed = |what, e| StoreError::io(what, &self.path, e);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed("read", e)),
        };
        file.seek(SeekFrom::Start(self.at_byte))
            .map_err(|e| failed("seek", e))?;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let (mut line, mut out, mut taken) = (Vec::new(), Vec::new(), 0);
        while taken < most {
            line.clear();
            let n = reader
                .read_until(b'\n', &mut line)
                .map_err(|e| failed("read", e))?;
            if n == 0 || line.pop() != Some(b'\n') {
                break;
            }
            if self.next_seq >= from {
                taken += n;
                out.push((self.next_seq, String::from_utf8_lossy(&line).into_owned()));
            }
            self.at_byte += n as u64;
            self.next_seq += 1;
        }
        Ok(out)
    }
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

    #[test]
    fn a_log_takes_nothing_once_another_has_the_work() {
        let dir = tempfile::tempdir().unwrap();
        let (path, fence) = (dir.path().join("e"), dir.path().join("next"));
        let mut log = EventLog::open(&path).unwrap().fenced(fence.clone());
        log.append(notice("mine")).unwrap();
        std::fs::write(&fence, "").unwrap();
        assert!(log.append(notice("late")).is_err());
        assert_eq!(read(&path).unwrap().len(), 1);
    }

    #[test]
    fn a_log_is_followed_line_by_line_and_from_any_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let mut tail = Tail::new(path.clone());
        assert!(tail.read(0, 1000).unwrap().is_empty());
        let mut log = EventLog::open(&path).unwrap();
        for text in ["one", "two", "three"] {
            log.append(notice(text)).unwrap();
        }
        // One line fills what may be taken.
        assert_eq!(tail.read(1, 1).unwrap()[0].0, 1);
        let rest = tail.read(0, 1000).unwrap();
        assert_eq!(rest.len(), 1);
        assert!(rest[0].1.contains("three") && !rest[0].1.ends_with('\n'));
        let mut torn = OpenOptions::new().append(true).open(&path).unwrap();
        torn.write_all(b"{\"seq\":3").unwrap();
        assert!(tail.read(0, 1000).unwrap().is_empty());
        torn.write_all(b"}\n").unwrap();
        assert_eq!(tail.read(0, 1000).unwrap(), [(3, "{\"seq\":3}".to_owned())]);
    }
}
