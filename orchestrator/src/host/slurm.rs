//! Slurm's commands: started, bounded in time and output, no more than ten a second, and never retried here.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::process::Command;

/// What a command printed, and whether it did its part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// It ended with status 0.
    pub ok: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error, or why it could not be started or was ended.
    pub stderr: String,
}

/// Slurm's commands are given a minute: its own answer to a controller that is away comes before.
const LIMIT: Duration = Duration::from_secs(60);

/// So many calls are made in a second, by all runs of this process together.
const CALLS: usize = 10;
const SECOND: Duration = Duration::from_secs(1);

/// When the last calls were made, or will be.
struct Pace(VecDeque<Instant>);

static PACE: Mutex<Pace> = Mutex::new(Pace(VecDeque::new()));

impl Pace {
    /// When a call that is wanted at `now` is made.
    fn next(&mut self, now: Instant) -> Instant {
        let mut at = now;
        if self.0.len() == CALLS
            && let Some(first) = self.0.pop_front()
        {
            at = at.max(first + SECOND);
        }
        self.0.push_back(at);
        at
    }
}

/// Runs `program`, in a process group of its own so that Ctrl-C is fallout's alone.
pub async fn run(program: &str, args: &[String]) -> Said {
    let failed = |why: String| Said {
        ok: false,
        stdout: String::new(),
        stderr: why,
    };
    let at = PACE
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .next(Instant::now());
    tokio::time::sleep_until(at.into()).await;
    let child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        // Long lists of array tasks are cut without this.
        .env("SLURM_BITSTR_LEN", "0")
        .env("LC_ALL", "C")
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(e) => return failed(format!("{program} cannot be started: {e}")),
    };
    match tokio::time::timeout(LIMIT, child.wait_with_output()).await {
        Err(_) => failed(format!("{program} did not end within {LIMIT:?}")),
        Ok(Err(e)) => failed(format!("{program}: {e}")),
        Ok(Ok(out)) => Said {
            ok: out.status.success(),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        },
    }
}

/// The name of this node as Slurm knows it; the host's where this is no job of Slurm's.
pub fn node_name() -> String {
    let named = std::env::var("SLURMD_NODENAME")
        .ok()
        .filter(|n| !n.is_empty());
    named.unwrap_or_else(|| {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    })
}

/// Which task of its array this job is; 0 where it is none.
pub fn task() -> usize {
    let task = std::env::var("SLURM_ARRAY_TASK_ID").ok();
    task.and_then(|t| t.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_made_at_once_and_the_eleventh_of_a_second_in_the_next() {
        let began = Instant::now();
        let millis = |n: u64| began + Duration::from_millis(n);
        let mut pace = Pace(VecDeque::new());
        // Wanted 30 ms apart.
        let calls: Vec<Instant> = (0..200).map(|n| pace.next(millis(n * 30))).collect();
        assert_eq!(
            calls[..10],
            (0..10).map(|n| millis(n * 30)).collect::<Vec<_>>()
        );
        for ten in calls.windows(CALLS + 1) {
            assert!(ten[CALLS] - ten[0] >= SECOND);
        }
        // What is wanted after a rest waits for nothing.
        assert_eq!(pace.next(millis(60_000)), millis(60_000));
    }
}
