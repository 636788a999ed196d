//! The experiment: exactly these cases, in exactly this order, in one fresh guest of a cell.
//!
//! What searches for a polluter, repeats until it is sure, bisects or measures asks for this. It
//! keeps nothing: the attempts are the caller's, marked as a probe's, or as what [`again`] is for. It
//! does not try again: a fault of the host is told as such.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::model::{Attempt, CaseId, GuestRecord, Outcome, Purpose, StageResult};

use super::bus::Bus;
use super::cell::{Cell, CellJob};
use super::ledger::Ledger;
use super::life::{self, Fate};

/// What came of a probe.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    /// The attempts in the order in which they ended. Cases that the guest did not live to see, or
    /// that the runner was silent about, are not among them. `pass` counts a case's executions.
    pub attempts: Vec<Attempt>,
    /// The guest; its end and its crash tell how it fared. `None` where none was started.
    pub guest: Option<GuestRecord>,
    /// Why it says nothing about the system under test, where that is so: no boot, a fault of the
    /// host or the emulator, the time limit, an interruption.
    pub fault: Option<(StageResult, String)>,
}

/// Runs `cases` in this order in one fresh guest. A case may stand there several times. The time
/// limit is the cell's.
pub async fn probe(
    job: &CellJob,
    cases: &[CaseId],
    bus: &Bus,
    cancel: &CancellationToken,
) -> ProbeResult {
    carry_out(job, Ledger::script(cases), bus, cancel).await
}

/// Runs one case alone in a fresh guest, as the `pass`-th of the attempts that the verdict asked for.
/// Unlike a probe's, that attempt is the cell's.
pub async fn again(
    job: &CellJob,
    case: &CaseId,
    pass: u32,
    bus: &Bus,
    cancel: &CancellationToken,
) -> ProbeResult {
    let ledger = Ledger::once(Purpose::Adaptive, pass, case.clone());
    carry_out(job, ledger, bus, cancel).await
}

async fn carry_out(
    job: &CellJob,
    ledger: Ledger,
    bus: &Bus,
    cancel: &CancellationToken,
) -> ProbeResult {
    let fault = |stage, why: String| ProbeResult {
        attempts: Vec::new(),
        guest: None,
        fault: Some((stage, why)),
    };
    if let Err(e) = std::fs::create_dir_all(&job.dir) {
        let why = format!("cannot create {}: {e}", job.dir.display());
        return fault(StageResult::HostFailed, why);
    }
    let cell = Arc::new(Cell::new(job, bus, ledger));
    let number = job.numbers.next();
    let fate = life::live(Arc::clone(&cell), number, cancel.clone()).await;
    let (ledger, mut guests) = cell.take_parts();
    let fault = match fate {
        _ if cancel.is_cancelled() => {
            Some((StageResult::Interrupted, "it was interrupted".to_owned()))
        }
        Fate::GoOn | Fate::Died(_) => None,
        Fate::HostFault(stage, why) | Fate::NoBoot(stage, why) | Fate::Final(stage, why) => {
            Some((stage, why))
        }
    };
    let mut attempts = ledger.into_attempts();
    attempts.retain(|a| a.outcome != Outcome::Missed);
    ProbeResult {
        attempts,
        guest: guests.pop(),
        fault,
    }
}
