//! What is taken in of a job that is done elsewhere, while it runs: events and consoles.

use std::collections::{BTreeMap, HashMap};
use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use crate::engine::RunError;
use crate::engine::bus::Bus;
use crate::engine::jobs::JobFailed;
use crate::model::{CellId, Event};
use crate::store::events;
use crate::store::runs::RunDir;

use super::order::{self, JobDir, JobResult};
use super::remote::host;

/// The most of a log that is read at once.
const CHUNK: usize = 4 << 20;

/// Who is told of a job, and by what it is ended.
pub(in crate::engine) struct Watch<'a> {
    pub(in crate::engine) bus: &'a Bus,
    pub(in crate::engine) cancel: &'a CancellationToken,
    /// Where the cell's consoles go, for a cell.
    pub(in crate::engine) consoles: Option<&'a Utf8Path>,
}

impl<'a> Watch<'a> {
    /// Of a job without consoles.
    pub(in crate::engine) fn of(bus: &'a Bus, cancel: &'a CancellationToken) -> Self {
        Self {
            bus,
            cancel,
            consoles: None,
        }
    }

    pub(super) fn notice(&self, text: String) {
        self.bus.emit(Event::Notice { port: None, text });
    }

    pub(super) fn notice_once(&self, told: &mut Option<String>, text: String) {
        if told.as_ref() != Some(&text) {
            self.notice(text.clone());
            *told = Some(text);
        }
    }
}

/// How much of a job's files was taken in.
pub(super) struct Progress {
    dir: JobDir,
    claim: u32,
    at: u64,
    /// Events that an earlier process of the run has put into its log.
    seen: HashMap<String, u32>,
    next_refusal: u32,
    pub(super) refused: Option<JobResult>,
    pub(super) told: Option<String>,
}

impl Progress {
    pub(super) fn new(dir: &JobDir, seen: HashMap<String, u32>) -> Self {
        Self {
            dir: dir.clone(),
            claim: 1,
            at: 0,
            seen,
            next_refusal: 1,
            refused: None,
            told: None,
        }
    }

    /// Takes new events into the run's log, and what has come to the consoles.
    pub(super) fn take_in(&mut self, watch: &Watch<'_>) -> Result<(), JobFailed> {
        // By being opened: that a file was not there is nothing that NFS then goes on to believe.
        for dir in [&self.dir.0, &self.dir.0.join("claims")] {
            let _ = std::fs::File::open(dir);
        }
        loop {
            // Looked for first: after that the claim before writes nothing more.
            let later = self.dir.claim_path(self.claim + 1).exists();
            let path = self.dir.events_path(self.claim);
            loop {
                let read = events::read_from(path.as_std_path(), self.at, CHUNK);
                let (stamped, at) = read.map_err(|e| host(e.to_string()))?;
                let more = at > self.at;
                self.at = at;
                for event in stamped.into_iter().map(|s| s.what) {
                    if !self.was_seen(&event) {
                        watch.bus.emit(event);
                    }
                }
                if !more {
                    break;
                }
            }
            if !later {
                break;
            }
            self.claim += 1;
            self.at = 0;
        }
        if let Some(to) = watch.consoles {
            copy_growth(&self.dir.cell(), to)?;
        }
        Ok(())
    }

    fn was_seen(&mut self, event: &Event) -> bool {
        if self.seen.is_empty() {
            return false;
        }
        let text = serde_json::to_string(event).unwrap_or_default();
        match self.seen.get_mut(&text) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// What nodes have said since the last look that they cannot do.
    pub(super) fn refusals(&mut self, dir: &JobDir) -> Vec<JobResult> {
        let mut found = Vec::new();
        for claim in self.next_refusal..=self.claim {
            let read: Result<Option<JobResult>, RunError> = order::read(&dir.refusal_path(claim));
            if let Ok(Some(refusal)) = read {
                self.next_refusal = claim + 1;
                found.push(refusal);
            }
        }
        found
    }
}

/// Appends to the files in `to` what those in `from` have beyond them. They only ever grow.
fn copy_growth(from: &Utf8Path, to: &Utf8Path) -> Result<(), JobFailed> {
    let Ok(entries) = from.read_dir_utf8() else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !(name.ends_with(".console") || name.ends_with(".times")) {
            continue;
        }
        let target = to.join(name);
        let copied = || -> std::io::Result<()> {
            let there = entry.metadata()?.len();
            let here = std::fs::metadata(&target).map_or(0, |m| m.len());
            if there > here {
                std::fs::create_dir_all(to)?;
                let mut source = std::fs::File::open(entry.path())?;
                source.seek(SeekFrom::Start(here))?;
                let mut bytes = Vec::new();
                source.take(there - here).read_to_end(&mut bytes)?;
                let mut file = OpenOptions::new().create(true).append(true).open(&target)?;
                file.write_all(&bytes)?;
            }
            Ok(())
        };
        copied().map_err(|e| host(format!("{target}: {e}")))?;
    }
    Ok(())
}

/// Of an earlier process's log, the events of cells that came from nodes, by cell and text.
pub(super) fn seen(run: &RunDir) -> Result<BTreeMap<CellId, HashMap<String, u32>>, RunError> {
    let mut seen: BTreeMap<CellId, HashMap<String, u32>> = BTreeMap::new();
    if !run.events_path().exists() {
        return Ok(seen);
    }
    for stamped in run.events()? {
        let cell = match &stamped.what {
            Event::GuestStarted { cell, .. }
            | Event::GuestReady { cell, .. }
            | Event::GuestEnded { cell, .. }
            | Event::GuestDoubted { cell, .. }
            | Event::GuestCrashed { cell, .. }
            | Event::SuiteListed { cell, .. }
            | Event::CaseStarted { cell, .. }
            | Event::AttemptDone { cell, .. } => cell.clone(),
            _ => continue,
        };
        let text = serde_json::to_string(&stamped.what).unwrap_or_default();
        *seen.entry(cell).or_default().entry(text).or_default() += 1;
    }
    Ok(seen)
}
