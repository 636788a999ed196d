//! How far a build is, by when the last one of its kind began the same steps.

use std::collections::BTreeMap;

use super::log::Step;

/// The steps of an earlier build that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Earlier {
    /// In the order in which they began.
    pub steps: Vec<Step>,
    /// How long all of it took, in milliseconds.
    pub total_ms: u64,
    /// The git tree that was built; empty where an older version noted it.
    #[serde(default)]
    pub tree: String,
}

impl Earlier {
    /// What is kept of this and a later build: the later one, but where it took less than half as long,
    /// for then most was there already and it tells nothing of how long a whole one takes.
    #[must_use]
    pub fn followed_by(self, later: &Self) -> Self {
        match later.total_ms.saturating_mul(2) < self.total_ms {
            true => Self {
                tree: later.tree.clone(),
                ..self
            },
            false => later.clone(),
        }
    }
}

/// Follows a build along an earlier one.
#[derive(Debug)]
pub struct Progress {
    began: BTreeMap<String, u64>,
    total_ms: u64,
    done_ms: u64,
}

impl Progress {
    /// Along `earlier`.
    pub fn new(earlier: &Earlier) -> Self {
        let mut began = BTreeMap::new();
        for step in &earlier.steps {
            // A directory can be visited twice: the first time counts, or the end would come early.
            began.entry(step.name.clone()).or_insert(step.began_ms);
        }
        Self {
            began,
            total_ms: earlier.total_ms,
            done_ms: 0,
        }
    }

    /// A step begins: how far the earlier build was then, in milliseconds of its time, and how long it
    /// took. Never goes back. None where nothing is known.
    pub fn step(&mut self, name: &str) -> Option<(u64, u64)> {
        if let Some(at) = self.began.get(name) {
            self.done_ms = self.done_ms.max(*at).min(self.total_ms);
        }
        (self.total_ms > 0).then_some((self.done_ms, self.total_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_build_does_not_hide_how_long_a_whole_one_takes() {
        let of = |total_ms, tree: &str| Earlier {
            steps: Vec::new(),
            total_ms,
            tree: tree.to_owned(),
        };
        let kept = of(200, "a").followed_by(&of(3, "b"));
        assert_eq!((kept.total_ms, kept.tree.as_str()), (200, "b"));
        assert_eq!(of(200, "a").followed_by(&of(150, "b")), of(150, "b"));
        assert_eq!(of(3, "a").followed_by(&of(200, "b")), of(200, "b"));
    }

    #[test]
    fn progress_follows_the_earlier_build_and_never_goes_back() {
        let step = |name: &str, began_ms| Step {
            name: name.to_owned(),
            began_ms,
        };
        let earlier = Earlier {
            steps: vec![step("a", 0), step("b", 40), step("c", 90), step("b", 95)],
            total_ms: 100,
            tree: String::new(),
        };
        let mut progress = Progress::new(&earlier);
        let seen: Vec<_> = ["a", "c", "b", "new"]
            .map(|s| progress.step(s).unwrap().0)
            .into();
        assert_eq!(seen, [0, 90, 90, 90]);
        assert_eq!(Progress::new(&Earlier::default()).step("a"), None);
    }
}
