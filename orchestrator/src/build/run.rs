//! Runs a step of a build: a process group of its own, a time limit, every byte into the log.
//!
//! Dropping the future ends the group. If fallout itself dies, the pipe that carries the output
//! has no reader any more, and make ends with its next line.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use camino::Utf8Path;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::messages::Scanner;
use crate::host::text;

/// What a build may write into its log; beyond that it goes on unrecorded.
const LOG_MAX_BYTES: u64 = 256 << 20;
/// A longer line is read in pieces.
const LINE_MAX_BYTES: usize = 4096;
/// Lines kept for an error.
const TAIL_LINES: usize = 25;
/// How long the output of processes that a step left in the background is waited for.
const GRACE: Duration = Duration::from_millis(500);

/// Is shown each line of a log as it is written.
pub(super) type Watch = Box<dyn FnMut(&[u8]) + Send>;

/// The whole output of a build on its way into a file, and what was understood of it.
pub(super) struct Log {
    file: zstd::Encoder<'static, File>,
    written: u64,
    line: Vec<u8>,
    tail: VecDeque<String>,
    pub scanner: Scanner,
    /// Is shown every line.
    pub watch: Option<Watch>,
}

impl Log {
    /// A new log; complaints are read relative to `tree`.
    pub fn create(path: &Utf8Path, tree: &Utf8Path) -> io::Result<Self> {
        Ok(Self {
            file: zstd::Encoder::new(File::create(path)?, 3)?,
            written: 0,
            line: Vec::new(),
            tail: VecDeque::new(),
            scanner: Scanner::new(tree.as_str()),
            watch: None,
        })
    }

    /// Begins a step: what went before is not the end of *its* output.
    pub fn heading(&mut self, text: &str) -> io::Result<()> {
        self.end_line();
        self.tail.clear();
        self.store(format!("== {text}\n").as_bytes())
    }

    fn store(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = LOG_MAX_BYTES.saturating_sub(self.written);
        if room == 0 {
            return Ok(());
        }
        let fits = usize::try_from(room).map_or(bytes.len(), |room| room.min(bytes.len()));
        self.written += fits as u64;
        self.file.write_all(&bytes[..fits])?;
        if fits < bytes.len() {
            let note = format!("\n== the log is full ({} MiB)\n", LOG_MAX_BYTES >> 20);
            self.file.write_all(note.as_bytes())?;
        }
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            let room = LINE_MAX_BYTES.saturating_sub(self.line.len());
            self.line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                self.end_line();
            }
        }
        self.store(bytes)
    }

    fn end_line(&mut self) {
        if self.line.is_empty() {
            return;
        }
        self.scanner.line(&self.line);
        if let Some(watch) = &mut self.watch {
            watch(&self.line);
        }
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(text::line(&self.line, 300));
        self.line.clear();
    }

    /// The last lines of the step.
    pub fn tail(&self) -> String {
        Vec::from(self.tail.clone()).join("\n")
    }

    /// Ends the file.
    pub fn finish(&mut self) -> io::Result<()> {
        self.end_line();
        self.file.do_finish()?;
        self.file.get_ref().sync_all()
    }
}

/// How a step ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It was ended at the deadline.
    OutOfTime,
}

/// The process group of a step; a step that is dropped is ended.
struct Group(Child);

impl Group {
    fn kill(&self) {
        // No id: it has been waited for, and the number may be somebody else's by now.
        let pid = self.0.id().and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            // An error means that it is gone already.
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `command` to its end or to the deadline. Its output goes to `log`.
pub(super) async fn run(
    mut command: Command,
    log: &mut Log,
    deadline: Instant,
) -> io::Result<Ended> {
    let (reader, writer) = io::pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .process_group(0);
    let mut group = Group(command.spawn()?);
    // The command holds the pipe's writing end: without this there is never an end to read.
    drop(command);
    let mut reader = pipe::Receiver::from_owned_fd(reader.into())?;
    let work = async {
        let mut buffer = vec![0; 64 << 10];
        // Closed by the step and by all that it started?
        let mut until: Option<Instant> = None;
        loop {
            let read = reader.read(&mut buffer);
            let count = match until {
                Some(until) => match tokio::time::timeout_at(until, read).await {
                    Ok(count) => count?,
                    // Something in the background holds it open.
                    Err(_) => break,
                },
                None => tokio::select! {
                    count = read => count?,
                    exited = exit(&group.0) => {
                        exited?;
                        until = Some(Instant::now() + GRACE);
                        continue;
                    }
                },
            };
            if count == 0 {
                break;
            }
            log.take(&buffer[..count])?;
        }
        if until.is_some() {
            // The leader is dead but not waited for: its number is still the group's.
            group.kill();
        }
        group.0.wait().await
    };
    let ended = tokio::time::timeout_at(deadline, work).await;
    match ended {
        Ok(status) => Ok(Ended::Exited(status?)),
        Err(_) => {
            group.kill();
            // Not left as a zombie, and the tree is quiet before it is removed.
            let _ = group.0.wait().await;
            Ok(Ended::OutOfTime)
        }
    }
}

/// Resolves when the process has ended, without taking its status: until that is taken, its number
/// cannot become another's.
async fn exit(child: &Child) -> io::Result<()> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw)
    else {
        return Ok(());
    };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        if waitid(WaitId::Pid(pid), options)?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
