//! Runs the plan's jobs; the only module that knows all stages.

pub mod bus;
pub mod ledger;
