//! From something that happened to changes that are to be run: pushes, webhooks, schedules.
//!
//! ```text
//! post-receive --socket, spool--> hook ----.
//! forge --------HTTP--> webhook (verified) -+--> ChangeSet --choice--> NewJob --> the queue
//! clock ----------------> schedule --------'
//! ```
//!
//! Everything here is a function of what is handed in: a body and its headers, a line, a time. The
//! sockets, the clock and git are the daemon's (`cli/daemon`), the queue is the store's.

pub mod choice;
pub mod hook;
pub mod poll;
pub mod schedule;
pub mod settings;
mod telling;
pub mod webhook;

pub use settings::Settings;
