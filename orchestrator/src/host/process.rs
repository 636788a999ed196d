//! A child process whose whole life is known: its output, its end, its CPU time.
//!
//! Each child has a thread that starts it, waits for it and reaps it. That thread lives exactly as
//! long as the child, which matters twice: a parent-death signal is sent when the *thread* that
//! started the child ends, and nobody can be killed by mistake, because the pid is given back
//! only under the lock that [`Process::kill`] takes.
//!
//! Children are leaders of their own process group: Ctrl-C on the terminal is for fallout, which
//! then decides what becomes of them. It does not shape command lines or read output.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::process::{ChildStderr, ChildStdin};
use tokio::sync::{oneshot, watch};

/// Clock ticks a second in `/proc/PID/stat`: the same on every Linux that runs an emulator.
const USER_HZ: u64 = 100;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Status or signal.
    pub status: ExitStatus,
    /// User and system time of the child and all its threads; zero where the host does not tell.
    pub cpu: Duration,
}

impl Exit {
    /// `status 1` or `signal 9`, for people.
    pub fn words(&self) -> String {
        use std::os::unix::process::ExitStatusExt as _;
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => format!("status {code}"),
            (None, Some(signal)) => format!("signal {signal}"),
            (None, None) => "an unknown status".to_owned(),
        }
    }
}

/// A running or ended child. Dropping it kills the child.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    /// `true` once the pid may belong to somebody else.
    reaped: Arc<Mutex<bool>>,
    exit: watch::Receiver<Option<Exit>>,
}

/// The three pipes of a child.
#[derive(Debug)]
pub struct Pipes {
    /// To the child.
    pub stdin: ChildStdin,
    /// From the child, for a thread that reads and blocks. An event loop would be woken by each
    /// write of the child's, also while nobody wants to read: that costs more than a thread where
    /// the child writes single bytes.
    pub stdout: ChildStdout,
    /// The child's complaints.
    pub stderr: ChildStderr,
}

impl Process {
    /// Starts `program` with all three standard streams as pipes. With `die_with_parent` the
    /// child is killed when fallout dies, where the host can do that (Linux with `setpriv`).
    ///
    /// Must be called inside a tokio runtime. Errors are those of starting a process.
    pub async fn start(
        program: &Path,
        args: &[String],
        die_with_parent: bool,
    ) -> io::Result<(Self, Pipes)> {
        use std::os::unix::process::CommandExt as _;
        let mut command = match setpriv().filter(|_| die_with_parent) {
            Some(setpriv) => {
                let mut command = Command::new(setpriv);
                command.args(["--pdeathsig", "KILL", "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);

        let reaped = Arc::new(Mutex::new(false));
        let (exit_tx, exit) = watch::channel(None);
        let (started_tx, started) = oneshot::channel();
        let lock = Arc::clone(&reaped);
        std::thread::Builder::new()
            .name("child".to_owned())
            .stack_size(128 << 10)
            .spawn(move || life(command, started_tx, &lock, &exit_tx))?;
        let mut child_pipes = started
            .await
            .map_err(|_| io::Error::other("the thread that starts a child died"))??;
        let process = Self {
            pid: child_pipes.pid,
            reaped,
            exit,
        };
        let missing = || io::Error::other("a child came without its pipes");
        let pipes = Pipes {
            stdin: ChildStdin::from_std(child_pipes.stdin.take().ok_or_else(missing)?)?,
            stdout: child_pipes.stdout.take().ok_or_else(missing)?,
            stderr: ChildStderr::from_std(child_pipes.stderr.take().ok_or_else(missing)?)?,
        };
        Ok((process, pipes))
    }

    /// The child's process id. It stays the child's until [`Self::wait`] has returned.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The end, if it has come.
    pub fn exited(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// Waits for the end. May be called again, and dropped at any point.
    pub async fn wait(&mut self) -> Exit {
        match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or_else(unknown_exit),
            // The thread is gone without a word, which takes a panic in it.
            Err(_) => unknown_exit(),
        }
    }

    /// CPU time used so far; zero where the host does not tell.
    pub fn cpu(&self) -> Duration {
        match self.exited() {
            Some(exit) => exit.cpu,
            None => cpu_of(self.pid),
        }
    }

    /// Ends the child at once. Nothing happens if it has ended.
    pub fn kill(&self) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped && let Some(pid) = pid_of(self.pid) {
            // It can only fail because the child is a zombie by now.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Started {
    pid: u32,
    stdin: Option<std::process::ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
}

fn life(
    mut command: Command,
    started: oneshot::Sender<io::Result<Started>>,
    reaped: &Mutex<bool>,
    exit: &watch::Sender<Option<Exit>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => {
            let _ = started.send(Err(e));
            return;
        }
    };
    let pid = child.id();
    let _ = started.send(Ok(Started {
        pid,
        stdin: child.stdin.take(),
        stdout: child.stdout.take(),
        stderr: child.stderr.take(),
    }));
    // First wait without reaping: the dead child's accounts can still be read.
    if let Some(pid) = pid_of(pid) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = rustix::process::waitid(WaitId::Pid(pid), options)
        {
        }
    }
    let cpu = cpu_of(pid);
    let mut reaped = reaped.lock().unwrap_or_else(PoisonError::into_inner);
    let status = child.wait();
    *reaped = true;
    drop(reaped);
    exit.send_replace(Some(match status {
        Ok(status) => Exit { status, cpu },
        Err(_) => unknown_exit(),
    }));
}

fn unknown_exit() -> Exit {
    Exit {
        status: ExitStatus::default(),
        cpu: Duration::ZERO,
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// The fields of `/proc/PID/stat` from the third on; the second may hold blanks and brackets.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// User and system time of a process by its pid; zero where there is none, or no `/proc`.
pub fn cpu_of(pid: u32) -> Duration {
    let ticks = || -> Option<u64> {
        let fields = stat_fields(pid)?;
        let user: u64 = fields.get(11)?.parse().ok()?;
        let system: u64 = fields.get(12)?.parse().ok()?;
        Some(user + system)
    };
    Duration::from_millis(ticks().unwrap_or(0) * (1000 / USER_HZ))
}

/// When a process started, in the kernel's ticks since its own start. With the pid it names one
/// process of this boot. `None` where there is no such process, or no `/proc`.
pub fn start_time(pid: u32) -> Option<u64> {
    stat_fields(pid)?.get(19)?.parse().ok()
}

/// Ends the process `pid` if it started at `start_time` and `is_it` says so of its program's path.
/// Returns whether it was ended. What is checked and what is ended is the same process.
#[cfg(target_os = "linux")]
pub fn kill_if(pid: u32, started: u64, is_it: impl FnOnce(&Path) -> bool) -> bool {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let Some(raw) = pid_of(pid) else { return false };
    let Ok(fd) = pidfd_open(raw, PidfdFlags::empty()) else {
        return false;
    };
    let Ok(program) = std::fs::read_link(format!("/proc/{pid}/exe")) else {
        return false;
    };
    start_time(pid) == Some(started)
        && is_it(&program)
        && pidfd_send_signal(&fd, Signal::KILL).is_ok()
}

/// Without pidfds there is no safe way to end a process of somebody else's: it is left alone.
#[cfg(not(target_os = "linux"))]
pub fn kill_if(_pid: u32, _started: u64, _is_it: impl FnOnce(&Path) -> bool) -> bool {
    false
}

/// Looks a program up as a shell does: a name with a slash is a path, else `PATH` is searched.
pub fn find_program(name: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt as _;
    let runnable = |path: &Path| {
        path.metadata()
            .is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|p| runnable(p));
    }
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(name))
        .find(|path| runnable(path))
}

/// util-linux's `setpriv`, if it knows the parent-death signal.
fn setpriv() -> Option<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let path = find_program("setpriv")?;
            let works = Command::new(&path)
                .args(["--pdeathsig", "KILL", "--", "true"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success());
            works.then_some(path)
        })
        .as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    fn sh() -> PathBuf {
        find_program("sh").unwrap()
    }

    fn script(text: &str) -> Vec<String> {
        vec!["-c".to_owned(), text.to_owned()]
    }

    #[tokio::test]
    async fn output_status_and_cpu() {
        let work =
            "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; echo out; echo err >&2; exit 7";
        let (mut process, mut pipes) = Process::start(&sh(), &script(work), true).await.unwrap();
        let (mut out, mut err) = (String::new(), String::new());
        std::io::Read::read_to_string(&mut pipes.stdout, &mut out).unwrap();
        pipes.stderr.read_to_string(&mut err).await.unwrap();
        let exit = process.wait().await;
        assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
        assert_eq!(exit.status.code(), Some(7));
        assert_eq!(exit.words(), "status 7");
        assert_eq!(process.exited(), Some(exit));
        if cfg!(target_os = "linux") {
            assert!(exit.cpu > Duration::ZERO);
        }
    }

    #[tokio::test]
    async fn kill_ends_it_and_later_kills_nobody() {
        let (mut process, _pipes) = Process::start(&sh(), &script("exec sleep 1000"), true)
            .await
            .unwrap();
        process.kill();
        assert_eq!(process.wait().await.words(), "signal 9");
        process.kill();
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error() {
        let gone = Path::new("/nonexistent/emulator");
        let error = Process::start(gone, &[], false).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert_eq!(find_program("no-such-program-anywhere"), None);
    }

    #[tokio::test]
    async fn strangers_are_left_alone() {
        let (mut process, _pipes) = Process::start(&sh(), &script("exec sleep 1000"), true)
            .await
            .unwrap();
        if let Some(started) = start_time(process.pid()) {
            assert!(!kill_if(process.pid(), started + 1, |_| true));
            assert!(!kill_if(process.pid(), started, |_| false));
            assert!(kill_if(process.pid(), started, |_| true));
            assert_eq!(process.wait().await.words(), "signal 9");
        }
    }
}
