//! Guests: emulator command line (pure), machine states, console, agent, families.
//!
//! | file | what it has |
//! |---|---|
//! | [`command`] | the emulator's command line, pure |
//! | [`agent`] | the agent's protocol, pure |
//! | [`qmp`] | the emulator's own protocol |
//! | [`console`] | the serial console: file, times, watch, screen, people |
//! | [`rundir`] | sockets and records of live guests; what a dead fallout left behind |
//! | [`health`] | whether a guest that answers is still what it was, pure |
//! | [`family`], [`linux`], [`netbsd`], [`bsd`] | what differs between families of systems |
//! | `layer` | the disks of a guest whose root is a disk |
//! | [`dialogue`] | a talk with a kernel's debugger, pure |
//! | [`script`], [`talk`] | a dialogue over a console as data: pure, and carried out |
//! | [`bare`] | a machine without an agent, for installations |
//! | [`machine`], [`state`] | one guest's life |
//! | [`error`] | what can go wrong in it |

pub mod accel;
pub mod agent;
pub mod bare;
pub mod bsd;
pub mod command;
pub mod console;
pub mod dialogue;
pub mod error;
mod evidence;
pub mod family;
pub mod health;
mod layer;
pub mod linux;
pub mod machine;
mod marks;
pub mod netbsd;
pub mod qmp;
pub mod rundir;
pub mod script;
pub mod state;
pub mod talk;

pub use console::{Console, ConsoleReport};
pub use error::GuestError;
pub use machine::{Guest, GuestReport, GuestSpec, Limits, Output, RunStream};
pub use state::State;
