//! One guest's life.
//!
//! ```text
//!                 emulator        agent greets,         request
//!                 connects        clock is set      ┌─────────────┐
//!   Starting ───────────▶ Booting ───────────▶ Ready ─────────▶ Busy
//!       │                    │                   │  ◀─────────  │
//!       │                    │                   │   end mark   │
//!       └────────────────────┴─────────┬─────────┴──────────────┘
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

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::ChildStderr;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::agent::{self, Decoder, Item};
use super::command;
use super::console::{Console, ConsoleReport};
use super::error::GuestError;
use super::evidence;
use super::family::{self, Family};
use super::qmp::{Qmp, guest_shutdown};
use super::rundir::RunDir;
use crate::host::process::{Exit, Process, find_program};
use crate::host::text;
use crate::model::{ConsoleWatch, Port};

/// The emulator's own messages that are kept.
const STDERR_BYTES: usize = 8 << 10;
/// After a panic the console is read until it has been quiet for so long: the trace comes last.
const PANIC_QUIET: Duration = Duration::from_millis(300);
/// A panic that never stops printing is cut off.
const PANIC_LIMIT: Duration = Duration::from_secs(5);
/// What is left in pipes and sockets of a dead emulator is there at once.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// A line feed that stands alone is output after so long.
const LINE_FEED_HELD: Duration = Duration::from_millis(5);
/// Bytes that are moved at once to and from the agent's port.
const PORT_BYTES: usize = 64 << 10;

/// The states of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The emulator was started.
    Starting,
    /// The emulator runs the guest.
    Booting,
    /// The guest waits for a request.
    Ready,
    /// A request is under way.
    Busy,
    /// The emulator is gone.
    Ended,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Booting => "booting",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Ended => "ended",
        })
    }
}

impl State {
    /// The state after this one, if the diagram has that edge.
    fn to(self, to: Self) -> Result<Self, GuestError> {
        use State::{Booting, Busy, Ended, Ready, Starting};
        match (self, to) {
            (Starting, Booting)
            | (Booting | Busy, Ready)
            | (Ready, Busy)
            | (Starting | Booting | Ready | Busy, Ended) => Ok(to),
            (from, to) => Err(GuestError::IllegalTransition { from, to }),
        }
    }
}

/// What to boot, and where its traces go.
#[derive(Debug, Clone)]
pub struct GuestSpec {
    /// The port's manifest.
    pub port: Port,
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// What the guest is called where live guests are listed.
    pub label: String,
    /// The base of run directories: [`super::rundir::default_base`].
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
    kernel: String,
    command: Vec<String>,
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
    /// Starts the emulator and waits until the guest answers and its clock is set.
    ///
    /// On an error the emulator is gone; what it cost is not reported.
    pub async fn boot(
        spec: &GuestSpec,
        limits: Limits,
        watch: Box<dyn ConsoleWatch>,
    ) -> Result<Self, GuestError> {
        match Self::start(spec, limits, watch, true).await {
            // The host's emulator was built without the filter: it is left out where there is none.
            Err((GuestError::EmulatorRefused { stderr }, Some(watch)))
                if stderr.contains("sandbox") =>
            {
                Self::start(spec, limits, watch, false).await
            }
            other => other,
        }
        .map_err(|(error, _)| error)
    }

    async fn start(
        spec: &GuestSpec,
        limits: Limits,
        watch: Box<dyn ConsoleWatch>,
        sandbox: bool,
    ) -> Result<Self, (GuestError, Option<Box<dyn ConsoleWatch>>)> {
        let none = |error| (error, None);
        let emulator = &spec.port.emulator;
        let family = family::family(&spec.port.family).ok_or_else(|| {
            none(GuestError::UnknownFamily {
                name: spec.port.family.clone(),
                expected: family::names().join(", "),
            })
        })?;
        let program = find_program(&emulator.program).ok_or_else(|| {
            none(GuestError::EmulatorMissing {
                program: emulator.program.clone(),
                package: emulator.packages.join(" or "),
            })
        })?;
        let run_dir = RunDir::create(&spec.run_base)
            .map_err(GuestError::host(
                "cannot make the run directory",
                &spec.run_base,
            ))
            .map_err(none)?;
        let listen = |name: &str| {
            let path = run_dir.file(name);
            UnixListener::bind(&path)
                .map_err(GuestError::host("cannot listen on the socket", path))
                .map_err(none)
        };
        let (agent_socket, qmp_socket, people) =
            (listen("agent")?, listen("qmp")?, listen("console")?);
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let (kernel, initrd) = (path(spec.kernel.clone()), path(spec.initrd.clone()));
        let (agent_path, qmp_path) = (path(run_dir.file("agent")), path(run_dir.file("qmp")));
        let paths = command::Paths {
            kernel: &kernel,
            initrd: &initrd,
            agent: &agent_path,
            qmp: &qmp_path,
        };
        let arguments = command::arguments(emulator, &paths, sandbox);

        let started = Instant::now();
        let (mut process, pipes) = Process::start(&program, &arguments, true)
            .await
            .map_err(GuestError::host("cannot start the emulator", &program))
            .map_err(none)?;
        run_dir
            .record(&spec.label, process.pid(), &program)
            .map_err(GuestError::host(
                "cannot record the guest",
                run_dir.file("record.json"),
            ))
            .map_err(none)?;
        let mut console = Console::start(
            pipes.stdout,
            pipes.stdin,
            &spec.console_file,
            spec.console_cap_bytes,
            watch,
            people,
        )
        .map_err(GuestError::host(
            "cannot write the console's file",
            &spec.console_file,
        ))
        .map_err(none)?;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let stderr_done = tokio::spawn(collect(pipes.stderr, Arc::clone(&stderr)));
        let qmp = tokio::spawn(async move {
            let (stream, _) = qmp_socket.accept().await.ok()?;
            Qmp::connect(stream).await
        });

        // An emulator that takes its command line connects within moments.
        let connected = tokio::select! {
            biased;
            accepted = agent_socket.accept() => Some(accepted),
            _ = process.wait() => None,
            () = tokio::time::sleep(limits.boot) => None,
        };
        let port = match connected {
            Some(Ok((stream, _))) => stream,
            Some(Err(source)) => {
                let path = run_dir.file("agent");
                let what = "cannot accept the emulator's connection";
                return Err(none(GuestError::Host { what, path, source }));
            }
            None => {
                let exited = process.exited().is_some();
                process.kill();
                qmp.abort();
                let _ = timeout(DRAIN_LIMIT, console.closed()).await;
                let _ = timeout(DRAIN_LIMIT, stderr_done).await;
                let error = if exited {
                    GuestError::EmulatorRefused {
                        stderr: clean(&stderr),
                    }
                } else {
                    GuestError::BootTimedOut {
                        waited_for: "the emulator's connection".to_owned(),
                        limit: limits.boot,
                        last_screen: console.screen(),
                    }
                };
                return Err((error, Some(console.take_watch())));
            }
        };
        let mut command = vec![program.to_string_lossy().into_owned()];
        command.extend(arguments);
        let mut guest = Self {
            state: State::Starting.to(State::Booting).map_err(none)?,
            process,
            port,
            decoder: Decoder::new(),
            items: Vec::new(),
            buffer: vec![0; PORT_BYTES],
            console,
            qmp: Some(qmp),
            stderr,
            stderr_done: Some(stderr_done),
            family,
            limits,
            started,
            boot: Duration::ZERO,
            ended: None,
            by_itself: false,
            fault: None,
            kernel: String::new(),
            command,
            _run_dir: run_dir,
        };
        match guest.come_up().await {
            Ok(()) => Ok(guest),
            Err(error) => {
                // Whether the filter was to blame is known only where nothing was run yet.
                let unused = guest.console.pulse().bytes == 0;
                let watch = unused.then(|| guest.console.take_watch());
                Err((error, watch))
            }
        }
    }

    async fn come_up(&mut self) -> Result<(), GuestError> {
        let limit = self.limits.boot;
        let deadline = self.started + limit;
        let kernel = loop {
            if let Some(item) = self.take_item() {
                match item {
                    Item::Greeting { version, kernel } if version == "1" => break kernel,
                    Item::Greeting { version, .. } => {
                        let version = text::line(version.as_bytes(), 20);
                        let what = format!("it speaks version {version}, expected 1");
                        self.finish(true).await;
                        return Err(GuestError::AgentLost { what });
                    }
                    _ => continue,
                }
            }
            match self.wake(deadline).await {
                Wake::Port(n) => self.decode(n),
                Wake::Pause => self.pause(),
                Wake::Over => {
                    self.over().await;
                    if self.items.is_empty() {
                        return Err(self.take_fault());
                    }
                }
                Wake::Late => {
                    // Screen first: the end of the emulator adds nothing to it.
                    let last_screen = self.console.screen();
                    self.finish(true).await;
                    return Err(GuestError::BootTimedOut {
                        waited_for: self.family.waits_for().to_owned(),
                        limit,
                        last_screen,
                    });
                }
            }
        };
        self.boot = self.started.elapsed();
        self.kernel = text::line(&kernel, 200);
        self.state = self.state.to(State::Ready)?;
        for command in self.family.on_ready(SystemTime::now()) {
            let idle = self.limits.idle;
            let mut stream = self.run(&command, idle, idle).await?;
            while let Output::Chunk(_) = stream.next().await? {}
        }
        Ok(())
    }

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

    /// From the emulator's start to the agent's greeting.
    pub fn boot_time(&self) -> Duration {
        self.boot
    }

    /// The emulator's command line, word by word.
    pub fn command(&self) -> &[String] {
        &self.command
    }

    /// The serial console.
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// Starts a command (one line, for `sh -c`) in the guest. `idle` limits the silence between two
    /// pieces of output, `total` the whole. A stream that is dropped before its end leaves the guest
    /// busy for good: it can only be ended then.
    pub async fn run(
        &mut self,
        command: &str,
        idle: Duration,
        total: Duration,
    ) -> Result<RunStream<'_>, GuestError> {
        let nonce = nonce();
        let request = agent::run(&nonce, command).ok_or_else(|| bad_request(command))?;
        let doing = text::line(command.as_bytes(), 80);
        self.request(&nonce, &request, &doing).await?;
        let now = Instant::now();
        Ok(RunStream {
            guest: self,
            doing,
            idle,
            last: now,
            total,
            begun: now,
            done: false,
        })
    }

    /// Unpacks a tar archive in the guest's `dir`, which is made where it is missing.
    pub async fn put_tar(&mut self, dir: &str, tar: &[u8]) -> Result<(), GuestError> {
        self.put_tar_from(dir, tar.len() as u64, tar).await
    }

    /// The same from a reader that gives exactly `size_bytes`.
    pub async fn put_tar_from(
        &mut self,
        dir: &str,
        size_bytes: u64,
        mut tar: impl AsyncRead + Unpin,
    ) -> Result<(), GuestError> {
        let nonce = nonce();
        let request = agent::put(&nonce, size_bytes, dir).ok_or_else(|| bad_request(dir))?;
        let doing = format!("put into {}", text::line(dir.as_bytes(), 80));
        self.request(&nonce, &request, &doing).await?;
        let mut piece = vec![0; PORT_BYTES];
        let mut left = size_bytes;
        while left > 0 {
            let most = usize::try_from(left).map_or(piece.len(), |n| n.min(piece.len()));
            let n = match tar.read(&mut piece[..most]).await {
                Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            let n = match n {
                Ok(n) => n,
                Err(source) => {
                    // The guest waits for bytes that will never come.
                    self.finish(true).await;
                    let (what, path) = ("cannot read the archive for the guest", dir.into());
                    return Err(GuestError::Host { what, path, source });
                }
            };
            self.send(&piece[..n], &doing).await?;
            left -= n as u64;
        }
        let mut message = Vec::new();
        let status = self
            .collect(&doing, &mut message, STDERR_BYTES as u64)
            .await?;
        if status == 0 {
            return Ok(());
        }
        Err(GuestError::PutFailed {
            dir: dir.to_owned(),
            status,
            message: text::tail(&message, 5, 200).join("; "),
        })
    }

    /// The guest's file `path`, if it is no larger than `max_bytes`; `None` where there is no such
    /// regular file, or a larger one.
    pub async fn get(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, GuestError> {
        let nonce = nonce();
        let request = agent::get(&nonce, max_bytes, path).ok_or_else(|| bad_request(path))?;
        let doing = format!("get {}", text::line(path.as_bytes(), 80));
        self.request(&nonce, &request, &doing).await?;
        let mut file = Vec::new();
        let status = self.collect(&doing, &mut file, max_bytes).await?;
        Ok((status == 0).then_some(file))
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

    // ---- requests -------------------------------------------------------------------------

    async fn request(&mut self, nonce: &str, line: &[u8], doing: &str) -> Result<(), GuestError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.state = self.state.to(State::Busy)?;
        self.items.clear();
        self.decoder.expect(nonce);
        self.send(line, doing).await
    }

    /// Writes to the port, and reads meanwhile: a guest that answers before it has read everything
    /// must not be a deadlock.
    async fn send(&mut self, mut bytes: &[u8], doing: &str) -> Result<(), GuestError> {
        let idle = self.limits.idle;
        let mut deadline = Instant::now() + idle;
        while !bytes.is_empty() {
            let (mut from, mut to) = self.port.split();
            let wake = tokio::select! {
                written = to.write(bytes) => match written {
                    Ok(n @ 1..) => {
                        bytes = &bytes[n..];
                        deadline = Instant::now() + idle;
                        continue;
                    }
                    _ => Wake::Over,
                },
                read = from.read(&mut self.buffer) => match read {
                    Ok(n @ 1..) => Wake::Port(n),
                    _ => Wake::Over,
                },
                () = self.console.dead() => Wake::Over,
                _ = self.process.wait() => Wake::Over,
                () = tokio::time::sleep_until(deadline.into()) => Wake::Late,
            };
            match wake {
                Wake::Port(n) => self.decode(n),
                Wake::Late => return Err(self.silent(doing, idle, false).await),
                Wake::Over | Wake::Pause => {
                    self.over().await;
                    return Err(self.take_fault());
                }
            }
        }
        Ok(())
    }

    /// Collects output up to the end mark. Of more than `max_bytes` the rest is dropped.
    async fn collect(
        &mut self,
        doing: &str,
        into: &mut Vec<u8>,
        max_bytes: u64,
    ) -> Result<i32, GuestError> {
        let idle = self.limits.idle;
        let mut last = Instant::now();
        loop {
            match self.take_item() {
                // What a background process printed before the file is not the file.
                Some(Item::Data(_)) => into.clear(),
                Some(Item::Chunk(chunk)) => {
                    let room = usize::try_from(max_bytes).unwrap_or(usize::MAX);
                    let room = room.saturating_sub(into.len()).min(chunk.len());
                    into.extend_from_slice(&chunk[..room]);
                }
                Some(Item::End(status)) => {
                    self.state = self.state.to(State::Ready)?;
                    return Ok(status);
                }
                Some(Item::Greeting { .. }) => return Err(self.restarted().await),
                None => match self.wake(last + idle).await {
                    Wake::Port(n) => {
                        last = Instant::now();
                        self.decode(n);
                    }
                    Wake::Pause => self.pause(),
                    Wake::Late => return Err(self.silent(doing, idle, false).await),
                    Wake::Over => {
                        self.over().await;
                        if self.items.is_empty() {
                            return Err(self.take_fault());
                        }
                    }
                },
            }
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

    // ---- waiting and ending ---------------------------------------------------------------

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
        } else {
            // The channel is closed a moment before the process is gone.
            let _ = timeout(PANIC_QUIET, self.process.wait()).await;
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
            return GuestError::Crashed(crash);
        }
        let Some((exit, _)) = self.ended.filter(|_| self.by_itself) else {
            let what = "it closed its port".to_owned();
            return GuestError::AgentLost { what };
        };
        if let Some(mut qmp) = self.take_qmp().await {
            while let Some(event) = qmp.event().await {
                if let Some(reason) = guest_shutdown(&event) {
                    return GuestError::ShutDown { reason };
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
        let evidence = evidence::take(self.family, &mut self.console, qmp.as_mut()).await;
        // The kernel may have died while it was asked: that explains more.
        let fault = if self.console.pulse().dead {
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

/// The output of a command in the guest.
#[derive(Debug)]
pub struct RunStream<'a> {
    guest: &'a mut Guest,
    doing: String,
    idle: Duration,
    last: Instant,
    total: Duration,
    begun: Instant,
    done: bool,
}

impl RunStream<'_> {
    /// The next piece. [`Output::End`] is the last; whoever asks again gets an error. What came
    /// before a crash is handed over before the error. Can be dropped and called again.
    pub async fn next(&mut self) -> Result<Output, GuestError> {
        if self.done {
            let (from, to) = (self.guest.state, State::Busy);
            return Err(GuestError::IllegalTransition { from, to });
        }
        loop {
            match self.guest.take_item() {
                Some(Item::Chunk(chunk)) => return Ok(Output::Chunk(chunk)),
                Some(Item::End(status)) => {
                    self.done = true;
                    // A guest that died right after it has its fault for the next request.
                    if self.guest.state == State::Busy {
                        self.guest.state = self.guest.state.to(State::Ready)?;
                    }
                    return Ok(Output::End(status));
                }
                Some(Item::Data(_)) => continue,
                Some(Item::Greeting { .. }) => {
                    self.done = true;
                    return Err(self.guest.restarted().await);
                }
                None => {}
            }
            let (idle, total) = (self.last + self.idle, self.begun + self.total);
            match self.guest.wake(idle.min(total)).await {
                Wake::Port(n) => {
                    self.last = Instant::now();
                    self.guest.decode(n);
                }
                Wake::Pause => self.guest.pause(),
                Wake::Over => {
                    self.guest.over().await;
                    if self.guest.items.is_empty() {
                        self.done = true;
                        return Err(self.guest.take_fault());
                    }
                }
                Wake::Late => {
                    self.done = true;
                    let is_total = total <= idle;
                    let limit = if is_total { self.total } else { self.idle };
                    return Err(self.guest.silent(&self.doing, limit, is_total).await);
                }
            }
        }
    }
}

fn bad_request(what: &str) -> GuestError {
    GuestError::BadRequest {
        what: text::line(what.as_bytes(), 200),
    }
}

/// A name for a request that no test has seen before: 16 hexadecimal digits.
fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut hasher = blake3::Hasher::new();
    // A version 7 UUID has 74 random bits.
    hasher.update(uuid::Uuid::now_v7().as_bytes());
    hasher.update(&count.to_le_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

fn clean(stderr: &Mutex<Vec<u8>>) -> String {
    let bytes = stderr.lock().unwrap_or_else(PoisonError::into_inner);
    text::tail(&bytes, 8, 240).join("\n")
}

async fn collect(mut from: ChildStderr, into: Arc<Mutex<Vec<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let mut kept = into.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend_from_slice(&buffer[..n]);
        let excess = kept.len().saturating_sub(STDERR_BYTES);
        kept.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_edges_of_the_diagram() {
        use State::{Booting, Busy, Ended, Ready, Starting};
        let all = [Starting, Booting, Ready, Busy, Ended];
        let mut edges = Vec::new();
        for from in all {
            for to in all {
                if from.to(to).is_ok() {
                    edges.push(format!("{from} {to}"));
                }
            }
        }
        insta::assert_snapshot!(edges.join(", "), @"starting booting, starting ended, booting ready, booting ended, ready busy, ready ended, busy ready, busy ended");
        let error = Ended.to(Busy).unwrap_err();
        insta::assert_snapshot!(error, @"a guest that is ended cannot become busy");
    }

    #[test]
    fn nonces_differ() {
        let (a, b) = (nonce(), nonce());
        assert_eq!(a.len(), 16);
        assert_ne!(a, b);
    }
}
