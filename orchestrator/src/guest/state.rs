//! The states of a guest, and which may follow which: the diagram stands in [`super::machine`].

use std::fmt;

use super::error::GuestError;

/// The states of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The emulator was started.
    Starting,
    /// The emulator runs the guest.
    Booting,
    /// The emulator reads a guest that was saved.
    Restoring,
    /// The guest waits for a request.
    Ready,
    /// A request is under way.
    Busy,
    /// The emulator is gone.
    Ended,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Booting => "booting",
            Self::Restoring => "restoring",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Ended => "ended",
        })
    }
}

impl State {
    /// The state after this one, if the diagram has that edge.
    pub(super) fn to(self, to: Self) -> Result<Self, GuestError> {
        use State::{Booting, Busy, Ended, Ready, Restoring, Starting};
        match (self, to) {
            (Starting, Booting | Restoring)
            | (Booting | Restoring | Busy, Ready)
            | (Ready, Busy)
            | (Starting | Booting | Restoring | Ready | Busy, Ended) => Ok(to),
            (from, to) => Err(GuestError::IllegalTransition { from, to }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_edges_of_the_diagram() {
        use State::{Booting, Busy, Ended, Ready, Restoring, Starting};
        let all = [Starting, Booting, Restoring, Ready, Busy, Ended];
        let mut edges = Vec::new();
        for from in all {
            for to in all {
                if from.to(to).is_ok() {
                    edges.push(format!("{from} {to}"));
                }
            }
        }
        insta::assert_snapshot!(edges.join(", "), @"starting booting, starting restoring, starting ended, booting ready, booting ended, restoring ready, restoring ended, ready busy, ready ended, busy ready, busy ended");
        let error = Ended.to(Busy).unwrap_err();
        insta::assert_snapshot!(error, @"a guest that is ended cannot become busy");
    }
}
