//! Confines a build as far as this host can: no network, and only its own directories writable.
//!
//! Bubblewrap does both. Where it is missing or may not be used, a network namespace of `unshare`'s
//! takes the network away and files are not confined. Where neither works, the build runs as the user
//! and it is said so.

use std::process::Stdio;

use camino::Utf8Path;
use tokio::process::Command;

/// What confines a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) enum Sandbox {
    Bubblewrap,
    Namespace,
    Nothing,
}

const BWRAP: [&str; 14] = [
    "bwrap",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--unshare-net",
    "--unshare-pid",
    "--unshare-ipc",
    "--die-with-parent",
    "--tmpfs",
    "/dev/shm",
];
/// make puts every job into a process group of its own, which outlives the group that is ended: the
/// process namespace ends with its first process, and takes all of them along.
const UNSHARE: [&str; 8] = [
    "unshare",
    "--user",
    "--map-current-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--",
];

impl Sandbox {
    /// The best one that works here: each is tried with a program that does nothing.
    pub async fn probe() -> Self {
        let tried: [(Self, &[&str]); 2] = [(Self::Bubblewrap, &BWRAP), (Self::Namespace, &UNSHARE)];
        for (sandbox, words) in tried {
            let mut command = Command::new(words[0]);
            command
                .args(&words[1..])
                .arg("true")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true);
            if command.status().await.is_ok_and(|s| s.success()) {
                return sandbox;
            }
        }
        Self::Nothing
    }

    /// What is true of a build in it, for people and records.
    pub fn words(self) -> &'static str {
        match self {
            Self::Bubblewrap => "no network, only its own directories writable (bubblewrap)",
            Self::Namespace => "no network (unshare); files are not confined: install bubblewrap",
            Self::Nothing => {
                "network and files are not confined: neither bubblewrap nor unshare works here"
            }
        }
    }

    /// A command in it. The directories of `writable` exist.
    pub fn command(self, words: &[&str], writable: &[&Utf8Path]) -> Command {
        let mut all: Vec<&str> = match self {
            Self::Bubblewrap => BWRAP.to_vec(),
            Self::Namespace => UNSHARE.to_vec(),
            Self::Nothing => Vec::new(),
        };
        if self == Self::Bubblewrap {
            for dir in writable {
                all.extend(["--bind", dir.as_str(), dir.as_str()]);
            }
        }
        all.extend(words);
        let mut command = Command::new(all[0]);
        command.args(&all[1..]);
        command
    }
}
