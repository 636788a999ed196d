//! Confines a build as far as this host can: no network, and only its own directories writable.
//!
//! Bubblewrap does both. Where it is missing or may not be used, a network namespace of `unshare`'s
//! takes the network away and files are not confined. Where neither works, the build runs as the user
//! and it is said so.

use std::process::Stdio;

use camino::Utf8Path;
use tokio::process::Command;

use crate::host::confine::{BWRAP, UNSHARE};

/// What confines a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::build) enum Sandbox {
    Bubblewrap,
    Namespace,
    Nothing,
}

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

    /// A command in it. The directories of `writable` and `readable` exist; the latter matter only
    /// where they are in `/tmp`, for a build gets an empty one of its own: old programs write there
    /// whatever TMPDIR says.
    pub fn command(
        self,
        words: &[&str],
        writable: &[&Utf8Path],
        readable: &[&Utf8Path],
    ) -> Command {
        let mut all: Vec<&str> = match self {
            Self::Bubblewrap => BWRAP.to_vec(),
            Self::Namespace => UNSHARE.to_vec(),
            Self::Nothing => Vec::new(),
        };
        if self == Self::Bubblewrap {
            all.extend(["--tmpfs", "/tmp"]);
            for dir in readable.iter().filter(|dir| dir.starts_with("/tmp")) {
                all.extend(["--ro-bind", dir.as_str(), dir.as_str()]);
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_in_bubblewrap_has_a_tmp_of_its_own() {
        let command = Sandbox::Bubblewrap.command(
            &["true"],
            &["/tmp/c/port".into()],
            &["/home/src".into(), "/tmp/c/src".into()],
        );
        let words: Vec<_> = command.as_std().get_args().collect();
        let words: Vec<_> = words.iter().map(|w| w.to_string_lossy()).collect();
        let tail = words.join(" ");
        let at = tail.find("--tmpfs /tmp ").unwrap();
        assert_eq!(
            &tail[at..],
            "--tmpfs /tmp --ro-bind /tmp/c/src /tmp/c/src --bind /tmp/c/port /tmp/c/port true"
        );
    }

    #[tokio::test]
    async fn what_the_sandbox_says_is_so() {
        let keep = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(keep.path()).unwrap();
        let (own, source) = (dir.join("own"), dir.join("src"));
        std::fs::create_dir(&own).unwrap();
        std::fs::create_dir(&source).unwrap();
        let sandbox = Sandbox::probe().await;
        // As old m4 does: the name of a file for temporaries is /tmp's.
        let script = "touch x && echo > /tmp/fallout-sandbox-test && rm /tmp/fallout-sandbox-test";
        let mut command = sandbox.command(&["sh", "-c", script], &[&own], &[&source]);
        assert!(command.current_dir(&own).status().await.unwrap().success());
        let script = format!("touch {source}/x");
        let mut command = sandbox.command(&["sh", "-c", &script], &[&own], &[&source]);
        command.current_dir(&own).stderr(Stdio::null());
        let wrote = command.status().await.unwrap().success();
        assert_eq!(wrote, sandbox != Sandbox::Bubblewrap, "{}", sandbox.words());
    }
}
