//! What is ahead: for each stage whether it is built, what of it, and because of which files.

use super::keys::Keys;
use super::space::{Record, Space};
use super::stage::Stage;
use super::stale::{self, Reason, Stale, Work};
use crate::host::git::{self, GitTree};
use crate::model::Key;

/// What will be done for a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Its record has the key that is asked for.
    Found(Box<Record>),
    /// What changed since its record is nothing that it is made from: the record gets the new key.
    Renamed(Box<Record>),
    /// Only these directories are made anew in what the record tells of.
    Parts(Vec<String>, Box<Record>),
    /// `build.sh`.
    Built,
}

/// A stage that is asked for, or that one needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The stage.
    pub stage: Stage,
    /// The hash of all that it depends on.
    pub key: Key,
    /// What will be done.
    pub deed: Deed,
    /// Why; empty where nothing is known of an earlier build.
    pub reasons: Vec<Reason>,
    /// How long building most of it took before, in milliseconds.
    pub last_ms: Option<u64>,
}

/// Decides for one stage. `full` builds all of what is asked for. Blocks.
pub(super) fn decide(
    space: &Space,
    tree: &GitTree,
    keys: &Keys,
    stage: &Stage,
    full: bool,
) -> Ahead {
    let key = keys.stage(stage);
    let earlier = space.earlier(stage);
    let mut ahead = Ahead {
        stage: stage.clone(),
        deed: Deed::Built,
        reasons: Vec::new(),
        last_ms: (earlier.total_ms > 0).then_some(earlier.total_ms),
        key: key.clone(),
    };
    if full {
        return ahead;
    }
    if let Some(record) = space.done(stage, &key) {
        ahead.deed = Deed::Found(Box::new(record));
        return ahead;
    }
    let record = space.last(stage, &key);
    let base = record.as_ref().map_or(&earlier.tree, |r| &r.tree);
    if base.is_empty() {
        return ahead;
    }
    // A tree of long ago may be gone: then nothing is known, and all of it is built.
    let Ok(changed) = git::differing(&tree.repo, base, &tree.id) else {
        return ahead;
    };
    let names = || changed.iter().map(String::as_str);
    let stale = match stage {
        Stage::Tools => of_read(stale::tools_read, names()),
        Stage::Kernel(_) => of_read(stale::kernels_read, names()),
        _ => stale::distribution(names()),
    };
    ahead.reasons = stale.reasons;
    let same = |record: &Record| record.settings == keys.settings && !record.key.0.is_empty();
    let Some(record) = record.filter(same).map(Box::new) else {
        return ahead;
    };
    let work = match stale.work {
        // The check of the lists is still to be passed.
        Work::Nothing if record.unlisted => Work::Parts(Vec::new()),
        work => work,
    };
    ahead.deed = match (stage, work) {
        (Stage::Tools | Stage::Kernel(_), _) | (_, Work::Whole) => Deed::Built,
        (_, Work::Nothing) => Deed::Renamed(record),
        (Stage::Distribution, Work::Parts(parts)) => Deed::Parts(parts, record),
        // What is made from the distribution is made anew.
        (_, Work::Parts(_)) => Deed::Built,
    };
    ahead
}

fn of_read<'a>(reads: fn(&str) -> bool, changed: impl Iterator<Item = &'a str>) -> Stale {
    Stale {
        work: Work::Whole,
        reasons: stale::read_by(reads, changed).into_iter().collect(),
    }
}
