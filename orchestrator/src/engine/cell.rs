//! One cell: boots guests until every case of the suite has an outcome.
//!
//! ```text
//!            +--> boot --> put tests --> list --> run what is owed --> end
//!            |      |                               |
//!            |      v                               v
//!            +-- failed boot,                 guest died or hung: blame the open case,
//!                emulator gone: retry         go on in a fresh guest with what is still owed
//! ```
//!
//! Results stream out of the guest and are entered in the ledger (and the run's log) as they come:
//! what a dying guest has said is never lost. Whose fault the end of a guest that was up was is
//! decided here (of one that did not come up: in [`super::guests`]) and nowhere else; it does not
//! confirm a suspect, shuffle cases or cut a suite over several guests.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::model::{
    Attempt, CellId, CellResult, Event, GuestEnd, GuestRecord, Key, Outcome, Port, StageResult,
};
use crate::plan::matrix::{Limits, Retries};
use crate::suite::{Invocation, Runner};

use super::bus::Bus;
use super::guests::{self, NoGuest, Obtained};
use super::ledger::Ledger;
use super::session::{Session, Stop};

/// Everything that a cell needs.
#[derive(Debug, Clone)]
pub struct CellJob {
    /// Which cell.
    pub id: CellId,
    /// Its key.
    pub key: Key,
    /// The port's manifest.
    pub port: Port,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// The archive with the built tests, to be unpacked at the guest's root.
    pub tests: PathBuf,
    /// The directory in the guest with the suite's top Kyuafile.
    pub cases_root: String,
    /// What runs the cases.
    pub runner: Runner,
    /// Passes over the suite.
    pub passes: u32,
    /// The cell's time limit on this port.
    pub timeout: Duration,
    /// Bounds.
    pub limits: Limits,
    /// What is tried again.
    pub retries: Retries,
    /// Where the cell's consoles go.
    pub dir: PathBuf,
    /// Where run directories of emulators are.
    pub run_base: PathBuf,
    /// The run's name, for the list of live guests.
    pub run: String,
    /// Attempts that an interrupted run of this very cell made.
    pub earlier: Vec<Attempt>,
    /// Package and tool versions, for the record.
    pub versions: std::collections::BTreeMap<String, String>,
}

/// How one guest's life ended, as far as the cell goes on by it.
enum Fate {
    /// It did all that was owed, or died of a case: look what is owed now.
    GoOn,
    /// Not the system's fault; worth another try.
    HostFault(StageResult, String),
    /// It did not come up.
    NoBoot(StageResult, String),
    /// No further guest would do better.
    Final(StageResult, String),
}

impl From<NoGuest> for Fate {
    fn from(why: NoGuest) -> Self {
        match why {
            NoGuest::Boot(stage, why) => Self::NoBoot(stage, why),
            NoGuest::Host(stage, why) => Self::HostFault(stage, why),
            NoGuest::Never(stage, why) => Self::Final(stage, why),
        }
    }
}

struct CellRun<'a> {
    job: &'a CellJob,
    bus: &'a Bus,
    ledger: Ledger,
    guests: Vec<GuestRecord>,
    deadline: Instant,
}

/// Runs a cell to its end. Never fails: whatever happens is a stage result.
pub async fn run(job: &CellJob, bus: &Bus, cancel: &CancellationToken) -> CellResult {
    let mut cell = CellRun {
        job,
        bus,
        ledger: Ledger::new(job.passes, job.earlier.clone()),
        guests: Vec::new(),
        deadline: Instant::now() + job.timeout,
    };
    let (stage, detail) = match std::fs::create_dir_all(&job.dir) {
        Ok(()) => cell.guests(cancel).await,
        Err(e) => (
            StageResult::HostFailed,
            Some(format!("cannot create {}: {e}", job.dir.display())),
        ),
    };
    if stage != StageResult::Interrupted {
        let why = detail.clone().unwrap_or_else(|| stage.to_string());
        for attempt in cell.ledger.close(&why) {
            cell.bus.emit(Event::AttemptDone {
                cell: job.id.clone(),
                attempt,
            });
        }
    }
    CellResult {
        id: job.id.clone(),
        key: job.key.clone(),
        stage,
        detail,
        attempts: cell.ledger.into_attempts(),
        guests: cell.guests,
        versions: job.versions.clone(),
        cached: false,
    }
}

impl CellRun<'_> {
    async fn guests(&mut self, cancel: &CancellationToken) -> (StageResult, Option<String>) {
        let (mut host_faults, mut failed_boots) = (0, 0);
        let mut dead = 0;
        loop {
            if self.ledger.is_listed() && self.ledger.next_batch().is_none() {
                return (StageResult::Complete, None);
            }
            if cancel.is_cancelled() {
                return (StageResult::Interrupted, None);
            }
            if dead >= self.job.limits.guests {
                let why = format!("{dead} guests died in this cell, which is its limit");
                return (StageResult::Complete, Some(why));
            }
            if Instant::now() >= self.deadline {
                return self.too_late();
            }
            if let Some(why) = self.bus.failure() {
                return (StageResult::HostFailed, Some(why));
            }
            match self.guest(cancel).await {
                Fate::GoOn => dead += 1,
                Fate::HostFault(stage, why) => {
                    host_faults += 1;
                    if host_faults > self.job.retries.host_fault {
                        return (stage, Some(why));
                    }
                    self.notice(format!("{}: {why}; trying again", self.job.id));
                }
                Fate::NoBoot(stage, why) => {
                    failed_boots += 1;
                    if failed_boots > self.job.retries.boot {
                        return (stage, Some(why));
                    }
                    self.notice(format!("{}: {why}; trying again", self.job.id));
                }
                Fate::Final(stage, why) => return (stage, Some(why)),
            }
        }
    }

    fn too_late(&self) -> (StageResult, Option<String>) {
        let why = format!("the cell's time limit of {:?} was over", self.job.timeout);
        (StageResult::TimedOut, Some(why))
    }

    fn notice(&self, text: String) {
        self.bus.emit(Event::Notice {
            port: Some(self.job.id.port.clone()),
            text,
        });
    }

    /// One guest from boot to end.
    async fn guest(&mut self, cancel: &CancellationToken) -> Fate {
        let number = self.ledger.next_guest();
        let (mut guest, mut record) = match guests::obtain(self.job, number, self.bus, cancel).await
        {
            Obtained::Up(guest, record) => (*guest, record),
            Obtained::Cancelled(record) => {
                self.guests.push(record);
                return Fate::GoOn;
            }
            Obtained::Not(why, record) => {
                self.guests.push(record);
                return why.into();
            }
        };

        let stop = tokio::select! {
            biased;
            () = cancel.cancelled() => Stop::Cancelled,
            () = tokio::time::sleep_until(self.deadline) => Stop::TooLate,
            stop = Session {
                job: self.job,
                bus: self.bus,
                ledger: &mut self.ledger,
                guest: &mut guest,
                number,
            }.run() => stop,
        };
        let report = guest.end(false).await;
        record.boot = report.boot;
        record.wall = report.wall;
        record.cpu = report.cpu;
        if report.console.cut_bytes > 0 {
            self.notice(format!(
                "{}: guest {number} wrote {} bytes more to its console than are kept",
                self.job.id, report.console.cut_bytes
            ));
        }
        let fate = self.fate(stop, &mut record);
        self.guests.push(record);
        fate
    }

    /// Turns the end of a session into what the cell does next.
    fn fate(&self, stop: Stop, record: &mut GuestRecord) -> Fate {
        match stop {
            Stop::Done => Fate::GoOn,
            Stop::Died(crash) => {
                record.end = GuestEnd::Crashed;
                record.crash = Some(crash);
                Fate::GoOn
            }
            Stop::EmulatorExited(detail) => {
                record.end = GuestEnd::EmulatorExited {
                    detail: detail.clone(),
                };
                Fate::HostFault(StageResult::EmulatorExited, detail)
            }
            Stop::Host(detail) => {
                record.end = GuestEnd::EmulatorExited {
                    detail: detail.clone(),
                };
                Fate::HostFault(StageResult::HostFailed, detail)
            }
            Stop::NoCases(detail) => Fate::Final(StageResult::BuildFailed, detail),
            Stop::Refused(detail) => Fate::Final(StageResult::HostFailed, detail),
            Stop::Cancelled => {
                record.end = GuestEnd::Interrupted;
                Fate::GoOn
            }
            Stop::TooLate => {
                let (stage, why) = self.too_late();
                Fate::Final(stage, why.unwrap_or_default())
            }
        }
    }
}

/// The commands for a cell's suite.
pub(super) fn invocation(job: &CellJob) -> Result<Invocation, String> {
    Invocation::new(
        job.runner,
        &job.cases_root,
        "/var/tmp/fallout",
        Some("tests"),
        job.port.emulator.slowness,
    )
    .map_err(|e| e.to_string())
}

/// What a case gets whose guest died while it ran.
pub(super) fn outcome_of(crash: &crate::model::Crash) -> Outcome {
    match crash.kind {
        crate::model::CrashKind::Panic => Outcome::Crashed,
        crate::model::CrashKind::Hang => Outcome::Hung,
    }
}
