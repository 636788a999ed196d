//! One guest's life.
//!
//! ```text
//!                 emulator        agent greets,         request
//!                 connects        clock is set      ┌─────────────┐
//!   Starting ───────────▶ Booting ───────────▶ Ready ─────────▶ Busy
//!       │  │                 │                ▲  │  ◀─────────  │
//!       │  └─▶ Restoring ────│────────────────┘  │   end mark   │
//!       │          │         │  agent answers,   │              │
//!       │          │         │  clock, seed set  │              │
//!       └──────────┴─────────┴─────────┬─────────┴──────────────┘
//!                                      ▼
//!                                    Ended
//! ```
//!
//! The owner of a [`Guest`] is its one task. Whatever it waits for, four things wake it at once: the
//! kernel's death on the console, the emulator's exit, the closed channel, and a time limit. Each
//! leads to `Ended` with a typed error, in this order of belief: what the agent still said is handed
//! over first, then the console is read to its end, and a dead kernel there explains everything else
//! (with `panic=-1` and `-no-reboot` the emulator exits right after a panic).
//!
//! A guest is ended by its process, not by asking it. Which cases run in it, and what an error
//! means for them, is not decided here.

mod boot;
mod exchange;
mod requests;
mod snapshot;
mod standstill;

pub use requests::RunStream;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::agent::{Decoder, Item};
use super::console::{Console, ConsoleReport};
use super::error::GuestError;
use super::evidence;
use super::family::Family;
use super::health::Health;
use super::layer::Layers;
use super::qmp::{Qmp, guest_shutdown};
use super::rundir::RunDir;
use super::state::State;
use crate::host::process::{Exit, Process};
use crate::host::text;
use crate::model::{Crash, CrashKind, KernelFound, Port, Section};

/// The emulator's own messages that are kept.
const STDERR_BYTES: usize = 8 << 10;
/// After a panic the console is read until the emulator exits or the console has been quiet for so
/// long: the trace comes last. A busy host can stop an emulator for some hundred milliseconds.
const PANIC_QUIET: Duration = Duration::from_secs(1);
/// A panic that never stops printing is cut off.
const PANIC_LIMIT: Duration = Duration::from_secs(10);
/// A closed channel comes a moment before the emulator's exit, if that is why.
const EXIT_LAG: Duration = Duration::from_secs(1);
/// What is left in pipes and sockets of a dead emulator is there at once.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// A line feed that stands alone is output after so long.
const LINE_FEED_HELD: Duration = Duration::from_millis(5);
/// Bytes that are moved at once to and from the agent's port.
const PORT_BYTES: usize = 64 << 10;

/// What to boot, and where its traces go.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// The port's manifest.
    pub port: Port,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The root: the initramfs, or the image's disk.
    pub initrd: PathBuf,
    /// What the guest is called where live guests are listed.
    pub label: String,
    /// The base of run directories, short and the user's own: `host::dirs::Dirs::runtime`.
    pub run_base: PathBuf,
    /// Where the console's bytes go.
    pub console_file: PathBuf,
    /// How large that file may grow, in bytes; 64 MiB is a good cap.
    pub console_cap_bytes: u64,
}

/// How long a guest may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the emulator's start to the agent's greeting.
    pub boot: Duration,
    /// Silence during `put_tar`, `get` and what is done once after the boot.
    pub idle: Duration,
}

/// What comes of a command in the guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its output, cut anywhere. Never empty.
    Chunk(Vec<u8>),
    /// Its status: the last thing that comes.
    End(i32),
}

/// What is known of a guest once it has ended.
#[derive(Debug, Clone)]
pub struct GuestReport {
    /// From the emulator's start to the agent's greeting; zero where that never came.
    pub boot: Duration,
    /// From the emulator's start to its end.
    pub wall: Duration,
    /// The emulator's CPU time.
    pub cpu: Duration,
    /// `status 0`, `signal 9`.
    pub exit: String,
    /// The end of the emulator's messages, sanitised.
    pub stderr: String,
    /// What became of the console's file.
    pub console: ConsoleReport,
}

/// A live guest. Dropping it ends the emulator.
pub struct Guest {
    state: State,
    process: Process,
    port: UnixStream,
    decoder: Decoder,
    items: Vec<Item>,
    buffer: Vec<u8>,
    console: Console,
    qmp: Option<JoinHandle<Option<Qmp>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
    stderr_done: Option<JoinHandle<()>>,
    family: &'static dyn Family,
    limits: Limits,
    started: Instant,
    boot: Duration,
    ended: Option<(Exit, Duration)>,
    /// The emulator ended before anybody here decided that it should.
    by_itself: bool,
    fault: Option<GuestError>,
    /// Questions in a row that the emulator did not answer.
    unanswered: u32,
    /// Something was run or put in the guest since it came up.
    used: bool,
    /// What was learnt of the kernel after its death.
    evidence: Vec<Section>,
    kernel: String,
    found: KernelFound,
    command: Vec<String>,
    /// Its disks, where its root is one.
    layers: Option<Layers>,
    _run_dir: RunDir,
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("state", &self.state)
            .field("pid", &self.process.pid())
            .finish_non_exhaustive()
    }
}

/// What ended a wait.
enum Wake {
    /// So many bytes of the agent's are in the buffer.
    Port(usize),
    /// Nothing came for the moment that a line feed is held back.
    Pause,
    /// The kernel is dead, the emulator exited, or the channel was closed.
    Over,
    /// The time is up.
    Late,
}

impl Guest {
    /// The emulator's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Where the guest is in its life.
    pub fn state(&self) -> State {
        self.state
    }

    /// What the kernel says it is (`uname -srvm`): sanitised, bounded.
    pub fn kernel(&self) -> &str {
        &self.kernel
    }

    /// Which kernel the guest runs, by its own word.
    pub fn found(&self) -> &KernelFound {
        &self.found
    }

    /// From the emulator's start to the agent's greeting, or to its first answer where the guest
    /// was restored.
    pub fn boot_time(&self) -> Duration {
        self.boot
    }

    /// The emulator's command line, word by word.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// Reads what [`Self::health_command`] printed.
    pub fn read_health(&self, said: &[u8]) -> Health {
        self.family.read_health(said)
    }

    /// The command that tells how the guest is.
    pub fn health_command(&self) -> &'static str {
        self.family.health()
    }

    /// Whether files go by the exchange disk, beside the agent's line.
    pub fn has_exchange(&self) -> bool {
        self.layers.is_some()
    }

    /// The account for cases that want to be unprivileged.
    pub fn unprivileged_user(&self) -> &'static str {
        self.family.user()
    }

    /// What makes programs find new memory filled with this byte.
    pub fn memory_command(&self, byte: u8) -> String {
        self.family.memory(byte)
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Ends the guest: at once, or after asking it to turn itself off (`graceful`), which takes a
    /// moment and is only worth it where file systems outlive the guest. Works in every state.
    pub async fn end(mut self, graceful: bool) -> GuestReport {
        if graceful && self.state == State::Ready {
            let moment = Duration::from_secs(3);
            let power_off = self.family.power_off();
            if let Ok(mut stream) = self.run(power_off, moment, moment).await {
                while let Ok(Output::Chunk(_)) = stream.next().await {}
            }
        }
        self.finish(true).await;
        self.report()
    }

    fn report(&self) -> GuestReport {
        let (exit, wall) = match self.ended {
            Some((exit, wall)) => (exit.words(), wall),
            None => ("still running".to_owned(), self.started.elapsed()),
        };
        GuestReport {
            boot: self.boot,
            wall,
            cpu: self.process.cpu(),
            exit,
            stderr: clean(&self.stderr),
            console: self.console.report(),
        }
    }

    fn take_item(&mut self) -> Option<Item> {
        (!self.items.is_empty()).then(|| self.items.remove(0))
    }

    fn decode(&mut self, n: usize) {
        self.decoder.feed(&self.buffer[..n], &mut self.items);
    }

    fn pause(&mut self) {
        self.decoder.flush(&mut self.items);
    }

    /// Waits for whatever comes first. Bytes of the agent's go before bad news.
    async fn wake(&mut self, deadline: Instant) -> Wake {
        if self.fault.is_some() {
            return Wake::Over;
        }
        let pause = self.decoder.holds_line_feed();
        tokio::select! {
            biased;
            read = self.port.read(&mut self.buffer) => match read {
                Ok(n @ 1..) => Wake::Port(n),
                _ => Wake::Over,
            },
            () = self.console.dead() => Wake::Over,
            _ = self.process.wait() => Wake::Over,
            () = tokio::time::sleep(LINE_FEED_HELD), if pause => Wake::Pause,
            () = tokio::time::sleep_until(deadline.into()) => Wake::Late,
        }
    }

    /// Something ended the guest: lets the kernel finish its last words, takes what the agent had
    /// said by then, and works out what happened.
    async fn over(&mut self) {
        if self.fault.is_some() {
            return;
        }
        if self.console.pulse().dead {
            let exit = self.process.wait();
            let quiet = self.console.settle(PANIC_QUIET, PANIC_LIMIT);
            tokio::select! { _ = exit => {} () = quiet => {} }
            if self.process.exited().is_none() {
                let mut qmp = self.take_qmp().await;
                let asked = evidence::of_dead(self.family, &mut self.console, qmp.as_mut());
                self.evidence = asked.await;
            }
        } else {
            // The channel is closed a moment before the process is gone.
            let _ = timeout(EXIT_LAG, self.process.wait()).await;
        }
        self.finish(false).await;
        let read_rest = async {
            while let Ok(n @ 1..) = self.port.read(&mut self.buffer).await {
                self.decoder.feed(&self.buffer[..n], &mut self.items);
            }
        };
        let _ = timeout(DRAIN_LIMIT, read_rest).await;
        self.decoder.flush(&mut self.items);
        self.fault = Some(self.what_happened().await);
    }

    async fn what_happened(&mut self) -> GuestError {
        if let Some(crash) = self.console.crash().filter(|_| self.console.pulse().dead) {
            let evidence = std::mem::take(&mut self.evidence);
            return GuestError::Crashed(Box::new(Crash { evidence, ..crash }));
        }
        let Some((exit, _)) = self.ended.filter(|_| self.by_itself) else {
            let what = "it closed its port".to_owned();
            return GuestError::AgentLost { what };
        };
        if let Some(mut qmp) = self.take_qmp().await {
            while let Some(event) = qmp.event().await {
                match guest_shutdown(&event) {
                    Some(reason) if reason == "guest-panic" => return self.told_of_a_panic(),
                    Some(reason) => return GuestError::ShutDown { reason },
                    None => {}
                }
            }
        }
        let stderr = clean(&self.stderr);
        // Before the guest's first word an error is about the command line or its files.
        if self.state == State::Ended && self.boot.is_zero() && self.console.pulse().bytes == 0 {
            return GuestError::EmulatorRefused { stderr };
        }
        GuestError::EmulatorExited {
            status: exit.words(),
            stderr,
        }
    }

    /// A panic that the kernel told nobody of but the emulator: its console is not the one watched.
    fn told_of_a_panic(&self) -> GuestError {
        GuestError::Crashed(Box::new(Crash {
            excerpt: self.console.last_lines(),
            ..Crash::new(CrashKind::Panic, "the guest told the emulator of a panic")
        }))
    }

    async fn take_qmp(&mut self) -> Option<Qmp> {
        let qmp = self.qmp.take()?;
        timeout(DRAIN_LIMIT, qmp).await.ok()?.ok()?
    }

    fn take_fault(&mut self) -> GuestError {
        self.fault.take().unwrap_or(GuestError::IllegalTransition {
            from: self.state,
            to: State::Busy,
        })
    }

    async fn restarted(&mut self) -> GuestError {
        self.finish(true).await;
        let what = "it was started anew while a request was under way".to_owned();
        GuestError::AgentLost { what }
    }

    /// Takes evidence of a guest that is silent, then ends it.
    async fn silent(&mut self, doing: &str, limit: Duration, total: bool) -> GuestError {
        let mut qmp = self.take_qmp().await;
        let asked = evidence::of_silent(self.family, &mut self.console, qmp.as_mut());
        let (evidence, killed) = asked.await;
        // The kernel may have died while it was asked: that explains more, unless of the asking.
        let fault = if self.console.pulse().dead && !killed {
            self.over().await;
            self.take_fault()
        } else {
            GuestError::Silent {
                doing: doing.to_owned(),
                limit,
                total,
                notes: self.console.notes(),
                evidence,
            }
        };
        self.finish(true).await;
        fault
    }

    /// Ends the emulator, if it runs, and waits until all that it left has been read.
    async fn finish(&mut self, wanted: bool) {
        if self.ended.is_none() {
            self.by_itself = !wanted && self.process.exited().is_some();
            self.process.kill();
            let exit = self.process.wait().await;
            self.ended = Some((exit, self.started.elapsed()));
        }
        let _ = timeout(DRAIN_LIMIT, self.console.closed()).await;
        if let Some(done) = self.stderr_done.take() {
            let _ = timeout(DRAIN_LIMIT, done).await;
        }
        if let Ok(ended) = self.state.to(State::Ended) {
            self.state = ended;
        }
    }
}

fn clean(stderr: &Mutex<Vec<u8>>) -> String {
    let bytes = stderr.lock().unwrap_or_else(PoisonError::into_inner);
    text::tail(&bytes, 8, 240).join("\n")
}

async fn collect_stderr(mut from: ChildStderr, into: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&buffer[..n]);
        let excess = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..excess);
    }
}
