//! May a revision be released? A policy and what was seen, in; lines, out.
//!
//! ```text
//! policy (YAML) ----------------------.
//! runs of the revision, nightlies ----+--> decide --> lines: go, no-go, waived, unknown
//! branch point against now: syscalls, |      |
//! versions, set lists, symbols -------'    freeze
//! ```
//!
//! Nothing is a go by absence: what was not seen is `unknown`, and what was looked for among the
//! runs of this very revision and is not there is `no-go`. Everything here is a function of what is
//! handed in; `engine/signoff.rs` reads runs and trees, `host/keys.rs` signs.

mod abi;
mod decide;
mod evidence;
mod freeze;
mod policy;
#[cfg(test)]
mod tests;

pub use abi::{Symbol, differences, symbols};
pub use decide::decide;
pub use evidence::{CellSeen, Changed, Evidence, FreezeSeen, RunSeen, SetsSeen, Told};
pub use policy::{Abi, Compat32, Freeze, Nightlies, Open, Policy, SetLists, Variant};
