//! Obtains a guest: one function, from what is wanted to a guest that answers and runs the kernel
//! that was ordered.
//!
//! ```text
//!   saved? --yes--> restore --ok--------------------------> which kernel? --> guest
//!     |               | failed: remove what was saved          ^
//!     no              v                                        |
//!     +-----------> boot --> (save it) ------------------------+
//!     |               ^ it did not come up
//!     +-- another boots it: wait for what it saves --> restore
//! ```
//!
//! A guest is saved before anything of a suite is put in. A saved guest that does not come up again
//! costs a notice and a boot, never a result. Whose fault it is that no guest came up is decided
//! here and nowhere else. What is done in a guest, how often another one is tried, and whose fault
//! a later end is, is the cell's business.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::crash::Recogniser;
use crate::crash::symbols::Symbols;
use crate::guest::{Guest, GuestError, GuestSpec, Limits, command};
use crate::host::machine::program_identity;
use crate::image;
use crate::model::{CameUp, Event, GuestEnd, GuestRecord, KernelOrdered, Key, Port, StageResult};
use crate::store::snapshots::{Making, Snapshots, Turn};

use super::bus::Bus;
use super::cell::CellJob;

/// A busy host boots a guest more slowly than the idle one that the manifest speaks of.
const BUSY_HOST: u32 = 4;
/// Silence that the transport alone may cause (tar in, results out).
const TRANSPORT_IDLE: Duration = Duration::from_secs(60);
/// Between two looks for a guest that another boots.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Which guest it is to be, beyond its command line.
#[derive(Debug, Clone)]
pub struct GuestOrder {
    /// The kernel that it must run.
    pub kernel: KernelOrdered,
    /// The image's key.
    pub image: Key,
    /// The key of the saved guest; none where the port's machine cannot be restored.
    pub snapshot: Option<Key>,
    /// Where saved guests are.
    pub snapshots: Snapshots,
}

impl GuestOrder {
    /// For a guest of `port` that boots the image of this record.
    pub fn new(port: &Port, image: &image::cache::Record, snapshots: Snapshots) -> Self {
        Self {
            kernel: image.kernel.clone(),
            image: image.key.clone(),
            snapshot: snapshot_key(port, image),
            snapshots,
        }
    }
}

/// The key of the saved guest of a port and an image; none where there can be none.
pub fn snapshot_key(port: &Port, image: &image::cache::Record) -> Option<Key> {
    let emulator = &port.emulator;
    if !emulator.snapshot {
        return None;
    }
    let program = program_identity(&emulator.program)?;
    let content = |name: &str| image.files.get(name).map(|f| f.sha256.as_str());
    let (kernel, initrd) = (content("kernel")?, content(image::cache::root_of(image))?);
    Some(command::snapshot_key(emulator, &program, kernel, initrd))
}

/// How long guests of a port may take.
pub fn limits(port: &Port) -> Limits {
    Limits {
        boot: port.emulator.boot_timeout * BUSY_HOST * port.patience(),
        idle: TRANSPORT_IDLE * port.patience(),
    }
}

/// Why there is no guest that could be used.
#[derive(Debug, thiserror::Error)]
pub enum RaiseError {
    /// None came up.
    #[error(transparent)]
    Guest(#[from] GuestError),
    /// One came up, with another kernel than the one ordered.
    #[error("{0}")]
    WrongKernel(String),
}

/// Restores or boots a guest, and asks it which kernel it runs. `tell` gets what happened on the
/// way that people should know of.
pub async fn raise(
    spec: &GuestSpec,
    order: &GuestOrder,
    tell: &(dyn Fn(String) + Sync),
) -> Result<(Guest, CameUp), RaiseError> {
    let limits = limits(&spec.port);
    // Beside a kernel that writes addresses alone its image may keep their names.
    let map = tokio::fs::read_to_string(spec.kernel.with_file_name("System.map")).await;
    let symbols = map.map_or_else(|_| Symbols::default(), |map| Symbols::parse(&map));
    let watch = || Box::new(Recogniser::new().with_symbols(symbols.clone()));
    let making = match turn(order, limits.boot).await {
        Turn::Saved(saved) => {
            let state = saved.state();
            match Guest::restore(spec, limits, watch(), state.as_std_path()).await {
                Ok(guest) => {
                    let boot = saved.record.boot;
                    return checked(guest, CameUp::Restored { boot }, order).await;
                }
                Err(error) => {
                    tell(format!(
                        "a saved guest of {} was not to be restored and is removed: {error}; booting",
                        spec.port.port
                    ));
                    order.snapshots.discard(saved);
                    None
                }
            }
        }
        Turn::Yours(making) => Some(making),
        Turn::Wait | Turn::Alone => None,
    };
    let booted = match Guest::boot(spec, limits, watch()).await {
        Ok(guest) => checked(guest, CameUp::Booted, order).await,
        Err(error) => Err(error.into()),
    };
    let Some(making) = making else {
        return booted;
    };
    let mut guest = match booted {
        // Only now: another kernel's guest is not worth keeping.
        Ok((guest, _)) => guest,
        Err(error) => {
            order.snapshots.nobody_waits(making);
            return Err(error);
        }
    };
    if let Err(why) = save(&mut guest, making, order, &spec.port).await {
        order
            .snapshot
            .iter()
            .for_each(|k| order.snapshots.give_up(k));
        tell(format!(
            "the guest of {} was not saved for others: {why}",
            spec.port.port
        ));
        // Whatever the attempt left behind: what runs in it must not suffer from it.
        guest.end(false).await;
        guest = Guest::boot(spec, limits, watch()).await?;
        return checked(guest, CameUp::Booted, order).await;
    }
    Ok((guest, CameUp::Booted))
}

/// Saves a guest for others. However it ends, nobody waits for it any longer then.
async fn save(
    guest: &mut Guest,
    making: Making,
    order: &GuestOrder,
    port: &Port,
) -> Result<(), String> {
    let boot = guest.boot_time();
    let saved = guest.save(making.state().as_std_path()).await;
    saved.map_err(|e| e.to_string())?;
    let kept = order.snapshots.keep(making, &port.port, &order.image, boot);
    kept.map(|_| ()).map_err(|e| e.to_string())
}

/// What to do for a guest, after waiting for one that another boots: a boot of its own would come
/// no sooner and take the processor from it. No longer than `longest`.
async fn turn(order: &GuestOrder, longest: Duration) -> Turn {
    let Some(key) = &order.snapshot else {
        return Turn::Alone;
    };
    let waiting = async {
        loop {
            match order.snapshots.turn(key) {
                Turn::Wait => tokio::time::sleep(LOOK_AGAIN).await,
                turn => return turn,
            }
        }
    };
    tokio::time::timeout(longest, waiting)
        .await
        .unwrap_or(Turn::Alone)
}

async fn checked(
    guest: Guest,
    came_up: CameUp,
    order: &GuestOrder,
) -> Result<(Guest, CameUp), RaiseError> {
    match order.kernel.refuses(guest.found()) {
        None => Ok((guest, came_up)),
        Some(why) => {
            guest.end(false).await;
            Err(RaiseError::WrongKernel(why))
        }
    }
}

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
    let mut record = GuestRecord {
        number,
        kernel: String::new(),
        boot: Duration::ZERO,
        came_up: CameUp::Booted,
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
        doing: format!("guest {number} comes up"),
        done: None,
    });
    let tell = |text: String| {
        bus.emit(Event::Notice {
            port: Some(job.port.port.clone()),
            text: format!("{}: {text}", job.id),
        });
    };
    let raised = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            record.end = GuestEnd::Interrupted;
            return Obtained::Cancelled(record);
        }
        raised = raise(&spec, &job.ordered, &tell) => raised,
    };
    let (guest, came_up) = match raised {
        Ok(up) => up,
        Err(error) => {
            let why = match error {
                RaiseError::Guest(error) => no_guest(&error, &mut record),
                RaiseError::WrongKernel(why) => {
                    record.end = GuestEnd::BootFailed {
                        detail: why.clone(),
                    };
                    NoGuest::Never(StageResult::WrongKernel, why)
                }
            };
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
        came_up,
    });
    record.kernel = guest.kernel().to_owned();
    record.boot = guest.boot_time();
    record.came_up = came_up;
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
        GuestError::BootTimedOut { last_screen, .. }
        | GuestError::BootStuck { last_screen, .. } => {
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
