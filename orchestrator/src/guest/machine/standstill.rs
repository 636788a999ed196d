//! Whether a silent guest's machine runs at all.
//!
//! A command may be silent for minutes and well. A machine that stands still is another matter: its
//! virtual clock has stopped, and no limit inside the guest will ever be over. The emulator knows;
//! one that does not answer several times in a row stands still itself. Either is a fault of the host
//! or the emulator, except where the emulator says that the guest panicked.

use std::time::Duration;

use serde_json::Value;

use super::super::error::GuestError;
use super::super::qmp::QmpError;
use super::Guest;
use crate::host::text;

/// How long an emulator on a busy host may take to answer.
const ANSWER: Duration = Duration::from_secs(20);
/// Answers in a row that may be missing.
const PATIENCE: u32 = 2;

/// What the emulator says of its machine.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Machine {
    Runs,
    /// The guest told the emulator of its panic.
    Panicked,
    /// It stands still, for this reason.
    Stands(String),
}

/// Reads the answer to `query-status`. What is not known to stand still runs.
fn read(status: &Value) -> Machine {
    match status["status"].as_str().unwrap_or_default() {
        "guest-panicked" => Machine::Panicked,
        word @ ("paused" | "io-error" | "internal-error" | "shutdown" | "suspended" | "debug"
        | "watchdog" | "save-vm" | "restore-vm" | "finish-migrate" | "postmigrate") => {
            Machine::Stands(text::line(word.as_bytes(), 40))
        }
        _ => Machine::Runs,
    }
}

impl Guest {
    /// Asks the emulator; where the machine stands still, ends the guest and says why.
    pub(super) async fn standstill(&mut self) -> Option<GuestError> {
        let mut qmp = self.take_qmp().await?;
        let answer = qmp.command("query-status", &Value::Null, ANSWER).await;
        // Kept for whoever asks next.
        self.qmp = Some(tokio::spawn(std::future::ready(Some(qmp))));
        let machine = match answer {
            Ok(status) => {
                self.unanswered = 0;
                read(&status)
            }
            Err(QmpError::Late { .. }) => {
                self.unanswered += 1;
                if self.unanswered <= PATIENCE {
                    return None;
                }
                Machine::Stands("the emulator does not answer".to_owned())
            }
            // It ends, which is noticed elsewhere.
            Err(QmpError::Closed | QmpError::Refused { .. }) => return None,
        };
        let fault = match machine {
            Machine::Runs => return None,
            Machine::Panicked => self.told_of_a_panic(),
            Machine::Stands(why) => GuestError::Standstill { why },
        };
        self.finish(true).await;
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_stands_still() {
        let of = |word: &str| read(&json!({ "status": word, "running": false }));
        assert_eq!(of("running"), Machine::Runs);
        assert_eq!(of("guest-panicked"), Machine::Panicked);
        assert_eq!(of("io-error"), Machine::Stands("io-error".into()));
        assert_eq!(read(&Value::Null), Machine::Runs);
    }
}
