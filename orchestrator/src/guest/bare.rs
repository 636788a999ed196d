//! A machine without an agent: an emulator and its console, for what is done before there is a guest
//! (an installation from its medium). It has no network and no channel but the console.

use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::console::{Console, ConsoleReport};
use super::error::GuestError;
use super::rundir::RunDir;
use crate::host::process::{Exit, Process, find_program};
use crate::host::text;
use crate::model::port::Emulator;
use crate::model::{Accel, ConsoleWatch};

/// What is left in the pipes of a dead emulator is there at once.
const DRAIN: Duration = Duration::from_secs(2);

/// What to start.
#[derive(Debug, Clone)]
pub struct BareSpec {
    /// How the emulator is started; its command line is [`arguments`].
    pub emulator: Emulator,
    /// A kernel that the emulator boots; else it boots what `args` say.
    pub kernel: Option<PathBuf>,
    /// Disks and CDs: what `-drive` says beyond the file, and the file.
    pub drives: Vec<(String, PathBuf)>,
    /// Further words, in front of the manifest's own.
    pub args: Vec<String>,
    /// What it is called where live guests are listed.
    pub label: String,
    /// The base of run directories.
    pub run_base: PathBuf,
    /// Where the console's bytes go.
    pub console_file: PathBuf,
    /// How large that file may grow.
    pub console_cap_bytes: u64,
}

/// The emulator's command line: pure.
pub fn arguments(spec: &BareSpec) -> Vec<String> {
    let emulator = &spec.emulator;
    let comma = |path: &PathBuf| path.to_string_lossy().replace(',', ",,");
    let mut words: Vec<String> = ["-nodefaults", "-no-user-config", "-display", "none", "-M"]
        .map(str::to_owned)
        .into();
    words.push(emulator.machine.clone());
    if let Some(cpu) = &emulator.cpu {
        words.extend(["-cpu".to_owned(), cpu.clone()]);
    }
    // An image must not depend on where it was installed.
    let accel = Accel::Tcg.word();
    words.extend(["-accel", accel, "-smp", "1", "-m"].map(str::to_owned));
    words.push(emulator.mem_mib.to_string());
    words.extend(["-no-reboot", "-chardev", "stdio,id=console,signal=off"].map(str::to_owned));
    words.extend(["-serial", "chardev:console"].map(str::to_owned));
    if let Some(kernel) = &spec.kernel {
        words.extend(["-kernel".to_owned(), kernel.to_string_lossy().into_owned()]);
        if !emulator.append.is_empty() {
            words.extend(["-append".to_owned(), emulator.append.clone()]);
        }
    }
    for (how, file) in &spec.drives {
        words.extend([
            "-drive".to_owned(),
            format!("file={},format=raw,{how}", comma(file)),
        ]);
    }
    words.extend(spec.args.iter().cloned());
    words.extend(emulator.args.iter().cloned());
    words
}

/// A live machine. Dropping it ends the emulator.
pub struct Bare {
    process: Process,
    /// Its console.
    pub console: Console,
    stderr: JoinHandle<String>,
    _run_dir: RunDir,
}

impl Bare {
    /// Starts the emulator.
    pub async fn start(spec: &BareSpec, watch: Box<dyn ConsoleWatch>) -> Result<Self, GuestError> {
        let emulator = &spec.emulator;
        let program =
            find_program(&emulator.program).ok_or_else(|| GuestError::EmulatorMissing {
                program: emulator.program.clone(),
                package: emulator.packages.join(" or "),
            })?;
        let run_dir = RunDir::create(&spec.run_base).map_err(GuestError::host(
            "cannot make the run directory",
            &spec.run_base,
        ))?;
        let path = run_dir.file("console");
        let people = UnixListener::bind(&path)
            .map_err(GuestError::host("cannot listen on the socket", path))?;
        let (process, pipes) = Process::start(&program, &arguments(spec), true)
            .await
            .map_err(GuestError::host("cannot start the emulator", &program))?;
        run_dir
            .record(&spec.label, process.pid(), &program)
            .map_err(GuestError::host(
                "cannot record the guest",
                run_dir.file("record.json"),
            ))?;
        let console = Console::start_listening(
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
        ))?;
        let mut from = pipes.stderr;
        let stderr = tokio::spawn(async move {
            let mut said = Vec::new();
            let _ = (&mut from).take(8 << 10).read_to_end(&mut said).await;
            // Nobody reads further, and the emulator must not wait for that.
            tokio::spawn(async move { tokio::io::copy(&mut from, &mut tokio::io::sink()).await });
            text::tail(&said, 5, 200).join("; ")
        });
        Ok(Self {
            process,
            console,
            stderr,
            _run_dir: run_dir,
        })
    }

    /// Waits until the emulator ends by itself; `None` where it did not within `limit`.
    pub async fn ended(&mut self, limit: Duration) -> Option<Exit> {
        tokio::time::timeout(limit, self.process.wait()).await.ok()
    }

    /// Ends it: what the emulator said on its own behalf, and what became of the console's file.
    pub async fn end(mut self) -> (String, ConsoleReport) {
        self.process.kill();
        self.process.wait().await;
        // A child of the emulator's can hold its console open.
        let _ = tokio::time::timeout(DRAIN, self.console.closed()).await;
        let said = tokio::time::timeout(Duration::from_secs(2), self.stderr).await;
        let said = said.ok().and_then(Result::ok).unwrap_or_default();
        (said, self.console.report())
    }
}
