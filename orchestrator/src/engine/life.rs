//! One guest of a cell, from its start to its record: whose fault its end was is decided here.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::guest::Guest;
use crate::model::{GuestEnd, GuestRecord, StageResult};

use super::cell::{Cell, too_late};
use super::guests::{self, NoGuest, Obtained};
use super::session::{Session, Stop};

/// How one guest's life ended, as far as the cell goes on by it.
#[derive(Debug)]
pub(super) enum Fate {
    /// It did all that it could, or is of no use any more: look what is owed now.
    GoOn,
    /// It died; the crash's title.
    Died(String),
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

/// One guest from its start to its end. What it had taken and not done is owed again afterwards.
pub(super) async fn live(cell: Arc<Cell>, number: u32, stop: CancellationToken) -> Fate {
    let obtained = guests::obtain(&cell.job, number, &cell.bus, &stop).await;
    let (guest, mut record) = match obtained {
        Obtained::Up(guest, record) => (*guest, record),
        Obtained::Cancelled(record) => {
            cell.keep(record);
            return Fate::GoOn;
        }
        Obtained::Not(why, record) => {
            cell.keep(record);
            return why.into();
        }
    };
    let ended = work(&cell, guest, number, &stop, &mut record).await;
    cell.ledger().release(number);
    let fate = fate(&cell, ended, &mut record);
    cell.keep(record);
    fate
}

async fn work(
    cell: &Cell,
    mut guest: Guest,
    number: u32,
    stop: &CancellationToken,
    record: &mut GuestRecord,
) -> Stop {
    let deadline = cell.deadline();
    let ended = tokio::select! {
        biased;
        () = stop.cancelled() => Stop::Cancelled,
        () = tokio::time::sleep_until(deadline) => Stop::TooLate,
        ended = Session::new(cell, &mut guest, number).run() => ended,
    };
    let report = guest.end(false).await;
    record.boot = report.boot;
    record.wall = report.wall;
    record.cpu = report.cpu;
    if report.console.cut_bytes > 0 {
        cell.notice(format!(
            "{}: guest {number} wrote {} bytes more to its console than are kept",
            cell.job.id, report.console.cut_bytes
        ));
    }
    ended
}

/// Turns the end of a session into what the cell does next.
fn fate(cell: &Cell, ended: Stop, record: &mut GuestRecord) -> Fate {
    let mut exited = |detail: &str| {
        record.end = GuestEnd::EmulatorExited {
            detail: detail.to_owned(),
        };
    };
    match ended {
        Stop::Done => Fate::GoOn,
        Stop::Damaged(damage) => {
            record.damage = Some(damage);
            Fate::GoOn
        }
        Stop::Died(crash) => {
            let title = crash.title.clone();
            record.end = GuestEnd::Crashed;
            record.crash = Some(crash);
            Fate::Died(title)
        }
        Stop::EmulatorExited(detail) => {
            exited(&detail);
            Fate::HostFault(StageResult::EmulatorExited, detail)
        }
        Stop::Host(detail) => {
            exited(&detail);
            Fate::HostFault(StageResult::HostFailed, detail)
        }
        Stop::NoCases(detail) => Fate::Final(StageResult::BuildFailed, detail),
        Stop::Refused(detail) => Fate::Final(StageResult::HostFailed, detail),
        Stop::Cancelled => {
            record.end = GuestEnd::Interrupted;
            Fate::GoOn
        }
        Stop::TooLate => {
            let (stage, why) = too_late(cell);
            Fate::Final(stage, why.unwrap_or_default())
        }
    }
}
