//! What is handed from stage to stage: names, ports, outcomes, cells, events, findings.
//!
//! Stages never import each other; whatever crosses a border between two of them lives here.
//! There is no I/O in this module: values, their text forms and total functions over them.

pub mod accel;
pub mod cell;
pub mod change;
pub mod crash;
pub mod event;
pub mod finding;
pub mod ids;
pub mod install;
pub mod kernel;
pub mod kernel_option;
pub mod kernel_variant;
pub mod known;
pub mod outcome;
pub mod past;
pub mod port;
pub mod problem;
pub mod project;
pub mod retention;
mod said;
pub mod script;
pub mod signoff;
pub mod spent;
pub mod telling;
pub mod units;
pub mod watch;

pub use accel::{ACCELERATOR, Accel, AccelWish};
pub use cell::{CameUp, CellId, CellResult, Damage, GuestEnd, GuestRecord, Side};
pub use change::{ChangeSet, JobSpec, JobState, NewJob, Policy, Priority};
pub use crash::{Crash, CrashKind, Reproduced, Section};
pub use event::{Event, JobKind, Stamped};
pub use finding::{
    Answer, CaseChange, Certainty, ChangeKind, Finding, FindingKind, News, NewsEvidence, NextCell,
    PortTally, TraitSplit, Verdict,
};
pub use ids::{CaseId, Key, PortName, RunId};
pub use kernel::{KernelFound, KernelOrdered};
pub use kernel_option::KernelOption;
pub use kernel_variant::KernelVariant;
pub use outcome::{Attempt, Outcome, Purpose, StageResult};
pub use past::{SeenBefore, Sighting};
pub use port::{Alternative, Clock, Port, Traits};
pub use problem::Problem;
pub use project::Project;
pub use said::shorten;
pub use signoff::{Say, SignOff, Waiver};
pub use spent::{Bought, Spent, SpentEnd, Stand};
pub use watch::ConsoleWatch;
