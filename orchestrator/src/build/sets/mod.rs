//! The set-list doctor: what `checkflist` complains about, turned into a ready patch.
//!
//! ```text
//! distrib/sets/lists ─┐
//! DESTDIR's files ────┼─> check: extra, missing  ─┐
//! SETS.* or a log ────┘ (report)                  ├─> propose: a patch, and why each line
//!                          one mismatch a port ───┘        stands where it stands
//! ```
//!
//! Everything here is pure: the lists, the files of a `DESTDIR` and the reports are handed in as
//! text. Reading them is `build/sets_tree.rs`'s business. No port's name is known: a port is a machine, an
//! architecture and a CPU, and the tree's own `build.sh` says which belong together.
//!
//! Deliberately not here: X11's and extsrc's lists, and METALOG beyond telling what differs. A file
//! that is in one and not in the other is a makefile's fault, which no list can mend.

mod analogy;
mod apply;
mod check;
mod diff;
pub mod elf;
mod lists;
mod machine;
mod propose;
mod report;

pub use check::{Mismatch, check, infer};
pub use lists::Lists;
pub use machine::Machine;
pub use propose::{Change, Deed, Proposal, Wanted, propose};
pub use report::{Reported, read_console};

#[cfg(test)]
mod tests;
