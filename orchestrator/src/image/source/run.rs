//! Runs a program, line by line, so that it can be watched and stopped.
//!
//! The program gets a process group of its own: a stop ends make and all its compilers, and a
//! Ctrl-C at the terminal reaches only fallout, which then decides.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::error::SourceError;

/// A longer line is passed on in pieces.
const LINE_MAX_BYTES: u64 = 4096;

/// What a program left behind.
pub struct Ran {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its last lines, for an error.
    pub tail: String,
}

/// Runs `command` to its end; every line of its output and error output goes to `line`. `stop` is
/// asked ten times a second. A missing program is reported with the package that has it.
pub fn run(
    command: &mut Command,
    stop: &dyn Fn() -> bool,
    line: &mut dyn FnMut(&str),
) -> Result<Ran, SourceError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let io = |source| SourceError::Io {
        doing: "run",
        path: tool.clone().into(),
        source,
    };
    let (reader, writer) = std::io::pipe().map_err(io)?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone().map_err(io)?)
        .stderr(writer)
        .process_group(0);
    let mut child = command.spawn().map_err(|e| {
        if e.kind() == std::io::ErrorKind::NotFound {
            SourceError::MissingTool {
                package: package_of(&tool),
                tool: tool.clone(),
            }
        } else {
            io(e)
        }
    })?;
    // The command still holds the pipe's writing end: without this the reader never sees its end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut raw = Vec::new();
        while matches!((&mut reader).take(LINE_MAX_BYTES).read_until(b'\n', &mut raw), Ok(n) if n > 0)
        {
            let text = String::from_utf8_lossy(&raw).trim_end().to_owned();
            raw.clear();
            if sender.send(text).is_err() {
                break;
            }
        }
    });

    let mut tail = std::collections::VecDeque::new();
    let mut ended: Option<Instant> = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(text) => {
                line(&text);
                if tail.len() == 25 {
                    tail.pop_front();
                }
                tail.push_back(text);
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                // A process left in the background may hold the pipe open for ever.
                if ended.is_some_and(|at| at.elapsed() > Duration::from_secs(5)) {
                    break;
                }
            }
        }
        if stop() {
            end_group(&mut child);
            return Err(SourceError::Stopped);
        }
        if ended.is_none() && child.try_wait().map_err(io)?.is_some() {
            ended = Some(Instant::now());
        }
    }
    let status = child.wait().map_err(io)?;
    Ok(Ran {
        ok: status.success(),
        tail: Vec::from(tail).join("\n"),
    })
}

/// Runs a program and gives its output; `Err(tail)` within where it did not end with 0.
pub fn capture(
    command: &mut Command,
    stop: &dyn Fn() -> bool,
) -> Result<Result<String, String>, SourceError> {
    let mut text = String::new();
    let ran = run(command, stop, &mut |l| {
        text.push_str(l);
        text.push('\n');
    })?;
    Ok(if ran.ok { Ok(text) } else { Err(ran.tail) })
}

fn end_group(child: &mut std::process::Child) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return;
    };
    for signal in [Signal::TERM, Signal::KILL] {
        // An error means that the group is gone already.
        let _ = kill_process_group(group, signal);
        for _ in 0..20 {
            if matches!(child.try_wait(), Ok(Some(_))) && signal == Signal::KILL {
                return;
            }
            if signal == Signal::TERM && matches!(child.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn package_of(tool: &str) -> String {
    let name = tool.rsplit('/').next().unwrap_or(tool);
    match name {
        "apt-get" | "apt-helper" => "apt".into(),
        "dpkg-deb" => "dpkg".into(),
        "dpkg-source" => "dpkg-dev".into(),
        "unshare" => "util-linux".into(),
        "sha256sum" => "coreutils".into(),
        // A cross compiler: `s390x-linux-gnu-gcc` is in gcc-s390x-linux-gnu.
        _ => match name.rsplit_once('-') {
            Some((triplet, kind @ ("gcc" | "g++"))) => {
                format!("{kind}-{}", triplet.replace('_', "-"))
            }
            Some((triplet, "ld")) => format!("binutils-{}", triplet.replace('_', "-")),
            _ => name.to_owned(),
        },
    }
}
