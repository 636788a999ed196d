//! Obtains a guest for a cell: one function, from what the cell needs to a guest that answers.
//!
//! Whose fault it is that no guest came up is decided here and nowhere else. What is done in a
//! guest, how often another one is tried, and whose fault a later end is, is the cell's business.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::crash::Recogniser;
use crate::guest::{Guest, GuestError, GuestSpec, Limits};
use crate::model::{Event, GuestEnd, GuestRecord, StageResult};

use super::bus::Bus;
use super::cell::CellJob;

/// A busy host boots a guest more slowly than the idle one that the manifest speaks of.
const BUSY_HOST: u32 = 4;
/// Silence that the transport alone may cause (tar in, results out).
const TRANSPORT_IDLE: Duration = Duration::from_secs(60);

/// What came of the wish for a guest. The record stands for the guest in the cell's result.
pub(super) enum Obtained {
    /// It answers; the record's end is `Done` until something else is known.
    Up(Box<Guest>, GuestRecord),
    /// There is none.
    Not(NoGuest, GuestRecord),
    /// The user ended the run meanwhile.
    Cancelled(GuestRecord),
}

/// Why there is no guest: the stage result that this is unless another try does better, and a
/// sentence for people.
pub(super) enum NoGuest {
    /// The system under test did not come up.
    Boot(StageResult, String),
    /// A fault of the host or the emulator, worth another try.
    Host(StageResult, String),
    /// Another try cannot do better.
    Never(StageResult, String),
}

/// Starts guest `number` of a cell and waits until it answers.
pub(super) async fn obtain(
    job: &CellJob,
    number: u32,
    bus: &Bus,
    cancel: &CancellationToken,
) -> Obtained {
    let console = format!("guest-{number}.console");
    let spec = spec(job, &console);
    let limits = Limits {
        boot: job.port.emulator.boot_timeout * BUSY_HOST,
        idle: TRANSPORT_IDLE,
    };
    let mut record = GuestRecord {
        number,
        kernel: String::new(),
        boot: Duration::ZERO,
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        end: GuestEnd::Done,
        crash: None,
        damage: None,
        console,
        command: Vec::new(),
    };
    bus.emit(Event::JobProgress {
        job: format!("cell {}", job.id),
        doing: format!("guest {number} boots"),
        done: None,
    });
    let booted = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            record.end = GuestEnd::Interrupted;
            return Obtained::Cancelled(record);
        }
        booted = Guest::boot(&spec, limits, Box::new(Recogniser::new())) => booted,
    };
    let guest = match booted {
        Ok(guest) => guest,
        Err(error) => {
            let why = no_guest(&error, &mut record);
            return Obtained::Not(why, record);
        }
    };
    bus.emit(Event::GuestStarted {
        cell: job.id.clone(),
        guest: number,
        pid: guest.pid(),
    });
    bus.emit(Event::GuestReady {
        cell: job.id.clone(),
        guest: number,
        kernel: guest.kernel().to_owned(),
        boot: guest.boot_time(),
    });
    record.kernel = guest.kernel().to_owned();
    record.boot = guest.boot_time();
    record.command = guest.command().to_vec();
    Obtained::Up(Box::new(guest), record)
}

fn spec(job: &CellJob, console: &str) -> GuestSpec {
    GuestSpec {
        port: job.port.clone(),
        kernel: job.kernel.clone(),
        initrd: job.initrd.clone(),
        label: format!("{} {}", job.run, job.id),
        run_base: job.run_base.clone(),
        console_file: job.dir.join(console),
        console_cap_bytes: job.limits.console_bytes,
    }
}

/// Whose fault a failed boot is.
fn no_guest(error: &GuestError, record: &mut GuestRecord) -> NoGuest {
    let stage = error.boot_result();
    let why = match error {
        GuestError::BootTimedOut { last_screen, .. } => {
            format!("{error}; the last screen:\n{}", last_screen.join("\n"))
        }
        other => other.to_string(),
    };
    record.crash = error.crash();
    record.end = match stage {
        StageResult::BootFailed => GuestEnd::BootFailed {
            detail: why.clone(),
        },
        _ => GuestEnd::EmulatorExited {
            detail: why.clone(),
        },
    };
    match error {
        // Trying again cannot help where the program or the family is not there.
        GuestError::EmulatorMissing { .. }
        | GuestError::EmulatorRefused { .. }
        | GuestError::UnknownFamily { .. } => NoGuest::Never(stage, why),
        _ if stage == StageResult::BootFailed => NoGuest::Boot(stage, why),
        _ => NoGuest::Host(stage, why),
    }
}
