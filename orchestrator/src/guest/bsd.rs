//! The debugger of the BSD kernels: what it is asked once a kernel has stopped in it.
//!
//! Data for the families whose kernels have ddb; they name it in [`super::family::Family::debugger`].
//! `ddb.onpanic` must be 1 for a panic to end there. A kernel that prints its traceback and reboots
//! by itself has given its evidence already.

use std::time::Duration;

use super::dialogue::{Debugger, Question};

const fn ask(name: &'static str, command: &'static str, seconds: u64) -> Question {
    Question {
        name,
        command,
        limit: Duration::from_secs(seconds),
    }
}

/// ddb of NetBSD, with what OpenBSD's knows under the same names. The backtrace first: a kernel that
/// is badly damaged may not get further. A command that a kernel does not have answers in one line.
pub const DDB: Debugger = Debugger {
    prompts: &["db>", "db{", "ddb>", "ddb{"],
    pager: "--db_more--",
    more: " ",
    questions: &[
        ask("bt", "bt", 10),
        // Of sparc64 the tracer takes a thread's own stack for the user's.
        ask("bt", "bt/u", 10),
        ask("registers", "show registers", 10),
        ask("ps", "ps", 20),
        ask("locks", "show all locks", 20),
        ask("memory", "show uvmexp", 10),
    ],
    leave: "reboot 0x4",
};
