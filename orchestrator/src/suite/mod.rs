//! ATF and Kyua: the commands that a guest is sent, and the parsers for what comes back.
//!
//! Two runners are known. `kyua` is the real one; where a system has no Kyua, `run-suite` (a POSIX
//! shell script in the image) speaks to the test programs itself and prints ATF's TPS 3. Both
//! stream, and both end up as [`SuiteEvent`]s, so that the engine need not care which it was:
//! [`Runner::parser`] makes a [`SuiteParser`], which is fed bytes as they come.
//!
//! The parsers are total: any bytes, split anywhere, give the same events; nothing panics; memory is
//! bounded; what is not understood becomes a [`SuiteEvent::Note`]. All text in an event has gone
//! through [`text::clean`].
//!
//! Everything here is pure, except [`kyua_db`], which opens the one file that its caller names.
//! Deliberately not here: sending commands, time limits, retries, blame for a dead kernel.

pub mod error;
pub mod event;
pub mod foreign;
pub mod junit;
pub mod kyua;
pub mod kyua_db;
pub mod list;
pub mod parser;
pub mod run;
pub mod text;
pub mod tps;

pub use error::SuiteError;
pub use event::{Stream, SuiteEvent};
pub use list::{CaseList, parse_list};
pub use parser::{Runner, SuiteParser};
pub use run::{Batch, Invocation, Picked, PushFile};
