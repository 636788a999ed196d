//! What goes into a cell's accounts and comes out of them: shapes, no rules. The rules stand in
//! [`super::ledger`].

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{CaseId, Outcome, Purpose};
use crate::plan::{Order, Repeats};

/// How a cell's suite is carried out.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Passes over the suite.
    pub passes: u32,
    /// The order within a pass.
    pub order: Order,
    /// From what the bytes are drawn that fill memory.
    pub memory_seed: Option<u64>,
    /// What is executed again.
    pub repeats: Repeats,
    /// Guests that share the suite at most.
    pub guests: u32,
    /// What cases took before.
    pub took: HashMap<CaseId, Duration>,
}

/// What to ask the runner for next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Why.
    pub purpose: Purpose,
    /// Which pass over the suite, or the how-manieth repeat, from 1.
    pub pass: u32,
    /// The cases, in the order in which they are to run.
    pub cases: Vec<CaseId>,
}

/// What a guest may do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Run this; it is taken by the guest now.
    Batch(Batch),
    /// There is work, but not for a guest in which something ran already.
    Fresh,
    /// Nothing is owed, or others have taken what is.
    Nothing,
}

/// How carefully a case is run: what it was in the company of when a guest was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Care {
    #[default]
    None,
    ByProgram,
    Alone,
}

/// One execution that is owed, taken or done.
pub(super) type Slot = (Purpose, u32, CaseId);

/// How a case ended, as a guest or its death told it.
#[derive(Debug, Clone, PartialEq)]
pub struct CaseEnd {
    /// Which.
    pub case: CaseId,
    /// How.
    pub outcome: Outcome,
    /// Why. Untrusted text, bounded.
    pub reason: Option<String>,
    /// By the guest's clock.
    pub duration: Option<Duration>,
    /// The end of its output. Untrusted text, bounded.
    pub output: Option<String>,
}

/// What is known of a guest's damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Blame {
    /// It was sound before this case and is not after it.
    Culprit(CaseId),
    /// Several had run: these attempts do not count.
    Doubt(Vec<(Purpose, u32, CaseId)>),
}
