//! From a command line to a guest that answers.

use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::UnixListener;
use tokio::time::timeout;

use super::super::agent::{Decoder, Item};
use super::super::command;
use super::super::console::Console;
use super::super::error::GuestError;
use super::super::family;
use super::super::family::Seed;
use super::super::layer::Layers;
use super::super::qmp::Qmp;
use super::super::rundir::RunDir;
use super::super::state::State;
use super::super::talk::talk;
use super::{
    DRAIN_LIMIT, Guest, GuestSpec, Limits, Output, PORT_BYTES, Wake, clean, collect_stderr,
};
use crate::host::process::{Process, find_program};
use crate::host::text;
use crate::model::script::Step;
use crate::model::{ConsoleWatch, KernelFound};

/// What a guest may say about its kernel: a configuration is 300 KiB.
const SAID_BYTES: usize = 1 << 20;

/// The disks of a guest, beside its console's file.
fn layers(spec: &GuestSpec, from: Option<&Path>) -> Result<Layers, GuestError> {
    let dir = spec.console_file.parent().unwrap_or(Path::new("."));
    let saved = from.map(saved_layer);
    Layers::make(dir, &spec.initrd, saved.as_deref())
        .map_err(GuestError::host("cannot make the guest's disks in", dir))
}

/// The layer that belongs to a saved guest.
pub(super) fn saved_layer(state: &Path) -> PathBuf {
    state.with_file_name("disk")
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
        Self::launch(spec, limits, watch, None).await
    }

    /// Boots, or restores the guest that was saved in the file `from`.
    pub(super) async fn launch(
        spec: &GuestSpec,
        limits: Limits,
        watch: Box<dyn ConsoleWatch>,
        from: Option<&Path>,
    ) -> Result<Self, GuestError> {
        match Self::start(spec, limits, watch, from, true).await {
            // The host's emulator was built without the filter: it is left out where there is none.
            Err((GuestError::EmulatorRefused { stderr }, Some(watch)))
                if stderr.contains("sandbox") =>
            {
                Self::start(spec, limits, watch, from, false).await
            }
            other => other,
        }
        .map_err(|(error, _)| error)
    }

    async fn start(
        spec: &GuestSpec,
        limits: Limits,
        watch: Box<dyn ConsoleWatch>,
        from: Option<&Path>,
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
        let layers = match &emulator.disks {
            None => None,
            Some(_) => Some(layers(spec, from).map_err(none)?),
        };
        let (initrd, exchange) = match &layers {
            None => (initrd, String::new()),
            Some(layers) => {
                let (layer, exchange) = layers.paths();
                (path(layer), path(exchange))
            }
        };
        let paths = command::Paths {
            kernel: &kernel,
            initrd: &initrd,
            exchange: &exchange,
            agent: &agent_path,
            qmp: &qmp_path,
        };
        let mut arguments = command::arguments(emulator, &paths, sandbox);
        arguments.extend(from.into_iter().flat_map(command::incoming));

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
        let begin = match emulator.boot_dialogue.is_empty() || from.is_some() {
            true => Console::start,
            false => Console::start_listening,
        };
        let mut console = begin(
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
        let stderr_done = tokio::spawn(collect_stderr(pipes.stderr, Arc::clone(&stderr)));
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
            state: State::Starting
                .to(match from {
                    Some(_) => State::Restoring,
                    None => State::Booting,
                })
                .map_err(none)?,
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
            unanswered: 0,
            used: false,
            evidence: Vec::new(),
            kernel: String::new(),
            found: KernelFound::default(),
            command,
            layers,
            _run_dir: run_dir,
        };
        let up = match from {
            Some(_) => guest.wake_up().await,
            None => guest.come_up(emulator.boot_dialogue.clone()).await,
        };
        match up {
            Ok(()) => Ok(guest),
            Err(error) => {
                // Whether the filter was to blame is known only where nothing was run yet.
                let unused = guest.console.pulse().bytes == 0;
                let watch = unused.then(|| guest.console.take_watch());
                Err((error, watch))
            }
        }
    }

    /// Waits for the greeting, and answers meanwhile what the console asks.
    async fn come_up(&mut self, steps: Vec<Step>) -> Result<(), GuestError> {
        let limit = self.limits.boot;
        let mut deadline = self.started + limit;
        let mut console = self.console.clone();
        let dialogue = async move {
            if let Err(error) = talk(&mut console, &steps, &mut |_| {}).await {
                return error;
            }
            console.ignore();
            std::future::pending().await
        };
        let mut dialogue = pin!(dialogue);
        let mut stuck = None;
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
            let wake = tokio::select! {
                biased;
                wake = self.wake(deadline) => wake,
                error = &mut dialogue, if stuck.is_none() => {
                    // A panic takes a few lines until it is known for one.
                    deadline = deadline.min(Instant::now() + DRAIN_LIMIT);
                    stuck = Some(GuestError::BootStuck {
                        step: error.step,
                        why: error.why,
                        last_screen: error.screen,
                    });
                    continue;
                }
            };
            match wake {
                Wake::Port(n) => self.decode(n),
                Wake::Pause => self.pause(),
                Wake::Over => {
                    self.over().await;
                    if self.items.is_empty() {
                        return Err(self.take_fault());
                    }
                }
                // A dead kernel or an emulator that ended would have explained it by now.
                Wake::Late if stuck.is_some() => {
                    self.finish(true).await;
                    return Err(stuck.unwrap_or_else(|| self.take_fault()));
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
        self.console.ignore();
        self.boot = self.started.elapsed();
        self.kernel = text::line(&kernel, 200);
        self.state = self.state.to(State::Ready)?;
        let set_up = self.set_up(None).await;
        self.used = false;
        set_up.map(drop)
    }

    /// Does what is done once with a guest that answers, and asks which kernel it runs. Gives the
    /// status of that.
    pub(super) async fn set_up(&mut self, seed: Option<&Seed>) -> Result<i32, GuestError> {
        let command = self.family.on_ready(SystemTime::now(), seed);
        let idle = self.limits.idle;
        let mut said = Vec::new();
        let mut stream = self.run(&command, idle, idle).await?;
        let status = loop {
            match stream.next().await? {
                Output::Chunk(bytes) if said.len() < SAID_BYTES => said.extend(bytes),
                Output::Chunk(_) => {}
                Output::End(status) => break status,
            }
        };
        self.found = self.family.kernel(&said);
        Ok(status)
    }
}
