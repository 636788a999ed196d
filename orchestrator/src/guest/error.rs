//! What can go wrong with a guest, whose fault it is, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::state::State;
use crate::model::{Crash, CrashKind, Section, StageResult};

/// Lines that a hang's excerpt holds at most.
const EXCERPT_LINES: usize = 160;

/// Why a guest did not do what was asked of it. Text from guest and emulator is sanitised.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The emulator is not installed.
    #[error("{program} is not installed; install the package {package}")]
    EmulatorMissing {
        /// The program's name.
        program: String,
        /// The package that has it.
        package: String,
    },
    /// The emulator did not take its command line, or could not start the machine.
    #[error("the emulator refused to start: {stderr}")]
    EmulatorRefused {
        /// The end of its messages.
        stderr: String,
    },
    /// The emulator ended by itself.
    #[error("the emulator ended by itself with {status}: {stderr}")]
    EmulatorExited {
        /// Status or signal.
        status: String,
        /// The end of its messages.
        stderr: String,
    },
    /// The machine stands still, and the guest cannot know it. The guest was ended.
    #[error("the emulator's machine stands still ({why})")]
    Standstill {
        /// The emulator's word for it: `io-error`, `internal-error`, `paused`.
        why: String,
    },
    /// The guest turned itself off, without a panic.
    #[error("the guest turned itself off ({reason})")]
    ShutDown {
        /// The emulator's word for it: `guest-shutdown`, `guest-reset`.
        reason: String,
    },
    /// The guest did not come up.
    #[error("no boot within {limit:?}: waited for {waited_for}")]
    BootTimedOut {
        /// What was waited for.
        waited_for: String,
        /// How long.
        limit: Duration,
        /// The console's last screen.
        last_screen: Vec<String>,
    },
    /// Nobody could answer what was asked before the guest came up.
    #[error("no boot: {step}: {why}")]
    BootStuck {
        /// The step of the manifest's dialogue.
        step: String,
        /// What it waited for and how long, or what it saw.
        why: String,
        /// The console's last screen.
        last_screen: Vec<String>,
    },
    /// The kernel died.
    #[error("the kernel died: {}", .0.title)]
    Crashed(Box<Crash>),
    /// The guest as a whole, or a command in it, did not come back in time. The guest was ended.
    #[error("{doing}: {} within {limit:?}", if *.total { "not done" } else { "nothing heard" })]
    Silent {
        /// The request that was under way.
        doing: String,
        /// The limit that was over.
        limit: Duration,
        /// True for the limit on the whole request, false for the one on silence.
        total: bool,
        /// What the kernel had complained of before.
        notes: Vec<String>,
        /// What console, kernel and emulator said when they were asked.
        evidence: Vec<Section>,
    },
    /// The agent in the guest ended, closed its port, or does not keep to the protocol.
    #[error("the agent in the guest is lost: {what}")]
    AgentLost {
        /// What was seen.
        what: String,
    },
    /// A request that the protocol cannot carry.
    #[error("a request to the guest must be one line, without NUL: {what:?}")]
    BadRequest {
        /// The offending text.
        what: String,
    },
    /// `put` did not work in the guest.
    #[error("cannot unpack in the guest's {dir}: status {status}: {message}")]
    PutFailed {
        /// The directory in the guest.
        dir: String,
        /// The agent's status.
        status: i32,
        /// What it printed.
        message: String,
    },
    /// The port's family has no code.
    #[error("no such family of systems: {name}; expected {expected}")]
    UnknownFamily {
        /// The name in the manifest.
        name: String,
        /// The names that there are.
        expected: String,
    },
    /// Something was asked of a guest in a state where that makes no sense.
    #[error("a guest that is {from} cannot become {to}")]
    IllegalTransition {
        /// The state it is in.
        from: State,
        /// The state it was to have.
        to: State,
    },
    /// A guest could not be saved, or not be restored. Never the fault of what runs in it.
    #[error("snapshot: {what}")]
    Snapshot {
        /// What was seen.
        what: String,
    },
    /// The host could not do its part.
    #[error("{what}: {path}: {source}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl GuestError {
    pub(super) fn host(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Host { what, path, source }
    }

    /// The crash or hang, where this is one.
    pub fn crash(&self) -> Option<Crash> {
        match self {
            Self::Crashed(crash) => Some((**crash).clone()),
            Self::Silent {
                notes, evidence, ..
            } => Some(hang(notes, evidence)),
            _ => None,
        }
    }

    /// The stage result of a cell whose guest ended like this while it booted. A crash during boot
    /// is a failed boot; faults of host and emulator stay theirs.
    pub fn boot_result(&self) -> StageResult {
        match self {
            Self::BootTimedOut { .. }
            | Self::BootStuck { .. }
            | Self::Crashed(_)
            | Self::Silent { .. }
            | Self::ShutDown { .. }
            | Self::AgentLost { .. } => StageResult::BootFailed,
            Self::EmulatorRefused { .. }
            | Self::EmulatorExited { .. }
            | Self::Standstill { .. } => StageResult::EmulatorExited,
            Self::EmulatorMissing { .. }
            | Self::BadRequest { .. }
            | Self::PutFailed { .. }
            | Self::UnknownFamily { .. }
            | Self::IllegalTransition { .. }
            | Self::Snapshot { .. }
            | Self::Host { .. } => StageResult::HostFailed,
        }
    }
}

/// Complaints that say nothing about why a guest is silent.
const UNRELATED: [&str; 3] = ["WARNING", "UBSAN", "Out of memory"];

/// A hang is titled by the last complaint of the kernel's that can be its cause.
fn hang(notes: &[String], evidence: &[Section]) -> Crash {
    let related = |note: &&String| !UNRELATED.iter().any(|word| note.starts_with(word));
    let title = match notes.iter().rev().find(related) {
        Some(note) => format!("hang: {note}"),
        None => "hang".to_owned(),
    };
    let console = evidence.iter().find(|section| section.name == "console");
    let lines = notes
        .iter()
        .chain(console.iter().flat_map(|section| &section.lines));
    Crash {
        excerpt: lines.take(EXCERPT_LINES).cloned().collect(),
        evidence: evidence.to_vec(),
        ..Crash::new(CrashKind::Hang, title)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_read() {
        let missing = GuestError::EmulatorMissing {
            program: "qemu-system-s390x".to_owned(),
            package: "qemu-system-s390x".to_owned(),
        };
        insta::assert_snapshot!(missing, @"qemu-system-s390x is not installed; install the package qemu-system-s390x");
        let silent = GuestError::Silent {
            doing: "kyua test".to_owned(),
            limit: Duration::from_secs(60),
            total: false,
            notes: vec![
                "BUG: soft lockup in f".to_owned(),
                "WARNING in g".to_owned(),
            ],
            evidence: vec![
                Section {
                    name: "console".to_owned(),
                    lines: vec!["# sleep".to_owned()],
                },
                Section {
                    name: "cpu".to_owned(),
                    lines: vec!["EAX=0".to_owned()],
                },
            ],
        };
        insta::assert_snapshot!(silent, @"kyua test: nothing heard within 60s");
        let crash = silent.crash().unwrap();
        assert_eq!(crash.title, "hang: BUG: soft lockup in f");
        assert_eq!(
            crash.excerpt,
            ["BUG: soft lockup in f", "WARNING in g", "# sleep"]
        );
        assert_eq!(crash.evidence.len(), 2);
        assert_eq!(missing.boot_result(), StageResult::HostFailed);
    }
}
