//! Polling a remote: what its references name now, against what they named at the last look.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{ChangeSet, Key};

use super::choice::globs;
use super::hook::{is_object, is_reference};
use super::settings::Poll;

/// References that one look takes; a remote with more is asked for fewer (`refs`).
pub const MOST: usize = 50_000;

/// What was seen of a remote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many looks saw something new: part of each change's identity.
    pub looks: u64,
    /// References and what they named.
    pub refs: BTreeMap<String, String>,
}

/// What a look saw, and the changes since the last one. The first look of all has none: what was before
/// is nobody's.
pub fn compare(
    repository: &str,
    poll: &Poll,
    last: Option<&Seen>,
    found: &[(String, String)],
) -> (Seen, Vec<ChangeSet>) {
    // Checked when the settings were read.
    let wanted = globs(&poll.refs).unwrap_or_default();
    let fits = |(reference, object): &&(String, String)| {
        is_reference(reference) && is_object(object) && wanted.is_match(reference)
    };
    let refs: BTreeMap<String, String> = found.iter().filter(fits).take(MOST).cloned().collect();
    let before = |reference: &str| last.and_then(|l| l.refs.get(reference));
    let changes: Vec<ChangeSet> = refs
        .iter()
        .filter(|(reference, object)| last.is_some() && before(reference) != Some(*object))
        .map(|(reference, object)| ChangeSet {
            repository: repository.to_owned(),
            reference: reference.clone(),
            old: before(reference).cloned(),
            new: object.clone(),
        })
        .collect();
    let looks = last.map_or(0, |l| l.looks) + u64::from(!changes.is_empty());
    (Seen { looks, refs }, changes)
}

/// By how much a look is later than `every` says: another number each time, and no clock.
pub fn jitter(poll: &Poll, repository: &str, look: u64) -> Duration {
    let spread = poll.jitter.as_millis() as u64;
    if spread == 0 {
        return Duration::ZERO;
    }
    let hash = Key::of("poll", &[repository.as_bytes(), &look.to_le_bytes()]).0;
    let number = u64::from_str_radix(hash.get(..15).unwrap_or("0"), 16).unwrap_or(0);
    Duration::from_millis(number % spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll() -> Poll {
        serde_yaml::from_str("{every: 5m, jitter: 10s, refs: ['refs/heads/*']}").unwrap()
    }

    fn refs(list: &[(&str, char)]) -> Vec<(String, String)> {
        let pair = |(r, c): &(&str, char)| ((*r).to_owned(), c.to_string().repeat(40));
        list.iter().map(pair).collect()
    }

    #[test]
    fn what_is_new_is_told_once_and_what_was_before_never() {
        let first = refs(&[("refs/heads/a", 'a'), ("refs/tags/t", 'a')]);
        let (seen, changes) = compare("r", &poll(), None, &first);
        assert!(changes.is_empty());
        assert_eq!(seen.refs.len(), 1);
        let (seen, changes) = compare("r", &poll(), Some(&seen), &first);
        assert!(changes.is_empty());
        let next = refs(&[
            ("refs/heads/a", 'b'),
            ("refs/heads/new", 'c'),
            ("refs/heads/../x", 'd'),
        ]);
        let (seen, changes) = compare("r", &poll(), Some(&seen), &next);
        let told: Vec<(&str, bool)> = changes
            .iter()
            .map(|c| (c.reference.as_str(), c.old.is_some()))
            .collect();
        assert_eq!(told, [("refs/heads/a", true), ("refs/heads/new", false)]);
        assert_eq!(seen.looks, 1);
        // Gone and back again is a change again.
        let (seen, _) = compare("r", &poll(), Some(&seen), &[]);
        let (seen, changes) = compare("r", &poll(), Some(&seen), &next);
        assert_eq!((changes.len(), seen.looks), (2, 2));
    }

    #[test]
    fn the_dice_stays_within_its_bounds_and_moves() {
        let all: std::collections::BTreeSet<Duration> =
            (0..20).map(|n| jitter(&poll(), "r", n)).collect();
        assert!(all.len() > 10 && all.iter().all(|d| *d < Duration::from_secs(10)));
    }
}
