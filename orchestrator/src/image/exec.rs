//! Runs a program of the host to its end, so that it can be stopped.
//!
//! The program has a process group of its own: Ctrl-C at the terminal reaches only fallout, which
//! then decides. Its messages are asked for in English, because some are recognised.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::error::ImageError;

/// Output beyond this is dropped: no program run here says more that is worth keeping.
const OUTPUT_MAX_BYTES: usize = 16 << 20;

/// Told what is done now, and done of total where that is known.
pub type Teller<'a> = dyn Fn(&str, Option<(u64, u64)>) + Sync + 'a;

/// What the caller of a long job wants: to be told, and to be able to stop it.
pub struct Watch<'a> {
    /// What is done now, and how much of it: done, total.
    pub progress: &'a Teller<'a>,
    /// Asked about ten times a second; true ends the job with [`ImageError::Stopped`].
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

impl Watch<'_> {
    /// Nobody looks on.
    pub const QUIET: Watch<'static> = Watch {
        progress: &|_, _| {},
        stop: &|| false,
    };

    /// Fails where the job was stopped.
    pub fn check(&self) -> Result<(), ImageError> {
        if (self.stop)() {
            Err(ImageError::Stopped)
        } else {
            Ok(())
        }
    }
}

/// What a program left behind.
pub struct Ran {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its output.
    pub out: String,
    /// Its error output.
    pub err: String,
}

impl Ran {
    /// What went wrong, in the program's words: apt's `E:` lines and their continuations, else
    /// the last lines of all it said.
    pub fn complaint(&self) -> String {
        let mut kept: Vec<&str> = Vec::new();
        let mut wanted = false;
        for line in self.err.lines() {
            wanted = line.starts_with("E:") || (wanted && line.starts_with(' '));
            if wanted {
                kept.push(line);
            }
        }
        if kept.is_empty() {
            kept = self.err.lines().chain(self.out.lines()).collect();
            kept.drain(..kept.len().saturating_sub(12));
        }
        kept.join("\n")
    }
}

/// Ends the program if the caller goes away before it has ended.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // The whole group: apt's methods would otherwise go on downloading.
            if let Some(pid) = i32::try_from(self.0.id())
                .ok()
                .and_then(rustix::process::Pid::from_raw)
            {
                let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::TERM);
            }
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Runs `command` to its end. `line` sees every line of its output as it comes.
pub fn run(
    command: &mut Command,
    package: &str,
    watch: &Watch<'_>,
    line: &mut dyn FnMut(&str),
) -> Result<Ran, ImageError> {
    let tool = command.get_program().to_string_lossy().into_owned();
    let failed = |e: std::io::Error| {
        if e.kind() == std::io::ErrorKind::NotFound {
            ImageError::MissingTool {
                tool: tool.clone(),
                package: package.to_owned(),
            }
        } else {
            ImageError::Tool {
                tool: tool.clone(),
                output: e.to_string(),
            }
        }
    };
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = Reaped(command.spawn().map_err(failed)?);
    let (Some(out), Some(err)) = (child.0.stdout.take(), child.0.stderr.take()) else {
        return Err(failed(std::io::Error::other("no pipe")));
    };
    let (sender, chunks) = mpsc::channel();
    pump(out, true, sender.clone());
    pump(err, false, sender);

    let (mut said, mut complained, mut seen) = (Vec::new(), Vec::new(), 0);
    loop {
        match chunks.recv_timeout(Duration::from_millis(100)) {
            Ok((true, bytes)) => {
                append(&mut said, &bytes);
                while let Some(end) = said[seen..].iter().position(|b| *b == b'\n') {
                    line(&String::from_utf8_lossy(&said[seen..seen + end]));
                    seen += end + 1;
                }
            }
            Ok((false, bytes)) => append(&mut complained, &bytes),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        watch.check()?;
    }
    let status = child.0.wait().map_err(failed)?;
    Ok(Ran {
        ok: status.success(),
        out: String::from_utf8_lossy(&said).into_owned(),
        err: String::from_utf8_lossy(&complained).into_owned(),
    })
}

fn append(to: &mut Vec<u8>, bytes: &[u8]) {
    let room = OUTPUT_MAX_BYTES.saturating_sub(to.len());
    to.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

fn pump(mut from: impl Read + Send + 'static, is_out: bool, to: mpsc::Sender<(bool, Vec<u8>)>) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 || to.send((is_out, buffer[..n].to_vec())).is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_lines_and_status() {
        let mut lines = Vec::new();
        let ran = run(
            Command::new("sh").args(["-c", "echo a; echo b; echo 'E: c' >&2; exit 3"]),
            "dash",
            &Watch::QUIET,
            &mut |l| lines.push(l.to_owned()),
        )
        .unwrap();
        assert!(!ran.ok);
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(ran.complaint(), "E: c");
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let e = run(
            &mut Command::new("no-such-program"),
            "some-package",
            &Watch::QUIET,
            &mut |_| {},
        );
        assert!(
            matches!(e, Err(ImageError::MissingTool { package, .. }) if package == "some-package")
        );
    }

    #[test]
    fn a_stop_ends_the_program() {
        let watch = Watch {
            progress: &|_, _| {},
            stop: &|| true,
        };
        let e = run(
            Command::new("sleep").arg("600"),
            "coreutils",
            &watch,
            &mut |_| {},
        );
        assert!(matches!(e, Err(ImageError::Stopped)));
    }
}
