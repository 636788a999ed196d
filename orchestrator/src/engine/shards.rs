//! How many guests of one cell may live at once: what the dispatcher and a running cell agree on.
//!
//! A cell starts with one guest, its own core and memory. While the run has ready jobs, the other
//! cores are theirs; when none is left, the dispatcher lends idle cores to cells that have more work
//! than guests. So all cores are busy to a run's end, and no cell waits for several cores at once
//! while one of them idles. A core that was lent comes back when its guest ends and the cell has no
//! more work for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

#[derive(Debug)]
struct State {
    /// Guests that may live.
    granted: u32,
    /// Guests that live.
    live: u32,
    /// Guests that would find work, the live ones among them.
    wanted: u32,
}

/// The agreement; cloneable, one half for each side.
#[derive(Debug, Clone)]
pub struct Shards(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    most: u32,
    state: Mutex<State>,
    /// Tells the cell that more was granted.
    grown: Notify,
    /// Tells the dispatcher that the cell's wishes changed.
    changed: Arc<Notify>,
}

impl Shards {
    /// One guest now, `most` with the dispatcher's leave; `changed` is how it is told of wishes.
    pub fn new(most: u32, changed: Arc<Notify>) -> Self {
        let state = State {
            granted: 1,
            live: 0,
            wanted: 1,
        };
        Self(Arc::new(Inner {
            most: most.max(1),
            state: Mutex::new(state),
            grown: Notify::new(),
            changed,
        }))
    }

    /// So many guests at once, with nobody to ask: for a cell outside a run.
    pub fn fixed(guests: u32) -> Self {
        let shards = Self::new(guests, Arc::new(Notify::new()));
        shards.state().granted = guests.max(1);
        shards
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most guests that may ever live at once.
    pub fn most(&self) -> u32 {
        self.0.most
    }

    /// Takes leave for one more guest; the cell's half.
    pub(super) fn take(&self) -> bool {
        let mut state = self.state();
        let may = state.live < state.granted;
        state.live += u32::from(may);
        may
    }

    /// A guest has ended.
    pub(super) fn put_back(&self) {
        let mut state = self.state();
        state.live = state.live.saturating_sub(1);
    }

    /// So many guests would find work, those that live among them.
    pub(super) fn want(&self, guests: u32) {
        self.state().wanted = guests.clamp(1, self.0.most);
        self.0.changed.notify_one();
    }

    /// Waits until more may live than before.
    pub(super) async fn grown(&self) {
        self.0.grown.notified().await;
    }

    /// Whether one more would be used; the dispatcher's half.
    pub(super) fn wants_more(&self) -> bool {
        let state = self.state();
        state.wanted > state.granted
    }

    /// One more may live.
    pub(super) fn grant(&self) {
        self.state().granted += 1;
        self.0.grown.notify_one();
    }

    /// Takes leave back that is not used and not wanted: so many guests.
    pub(super) fn reclaim(&self) -> u32 {
        let mut state = self.state();
        let kept = state.live.max(state.wanted).max(1).min(state.granted);
        let back = state.granted - kept;
        state.granted = kept;
        back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_need_leave() {
        let shards = Shards::new(3, Arc::new(Notify::new()));
        assert!(shards.take() && !shards.take());
        shards.want(9);
        assert!(shards.wants_more());
        shards.grant();
        shards.grant();
        assert!(!shards.wants_more());
        assert!(shards.take() && shards.take() && !shards.take());
        // The work ends: what lives keeps its leave, and gives it back one by one.
        shards.want(1);
        assert_eq!(shards.reclaim(), 0);
        shards.put_back();
        assert_eq!(shards.reclaim(), 1);
        shards.put_back();
        shards.put_back();
        assert_eq!((shards.reclaim(), shards.reclaim()), (1, 0));
        assert!(shards.take());
    }
}
