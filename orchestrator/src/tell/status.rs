//! The state of a commit at a forge. Trouble of the host is `error`, never `failure`.

use crate::model::JobState;
use crate::model::telling::{CommitState, Letter, Outgoing};

use super::{Happened, line};

/// Characters that every forge takes of a description.
const SHORT: usize = 140;

/// The letter of a step, where it changes what a forge should show.
pub fn status(what: &Happened) -> Option<Outgoing> {
    let (state, description) = match what.state {
        // The commit has its state from the run that the search belongs to.
        _ if what.search.is_some() => return None,
        JobState::Queued | JobState::Cancelling => return None,
        JobState::Running => (CommitState::Pending, "running".to_owned()),
        JobState::Done => done(what),
        JobState::Failed => (
            CommitState::Error,
            format!("not carried out: {}", what.note),
        ),
        // One that never began has never been pending.
        JobState::Cancelled if what.run.is_none() => return None,
        JobState::Cancelled => (CommitState::Error, what.note.clone()),
    };
    let change = &what.change;
    let context = format!("fallout/{}", what.rule);
    Some(Outgoing {
        key: format!("status {}", what.seq),
        lane: format!("status {} {} {context}", change.repository, change.new),
        letter: Letter::Status {
            repository: change.repository.clone(),
            commit: change.new.clone(),
            context,
            state,
            description: line(&description, SHORT),
            link: what.link(),
        },
    })
}

fn done(what: &Happened) -> (CommitState, String) {
    if what.verdict.is_none() {
        let said = "the run's report cannot be read".to_owned();
        return (CommitState::Error, said);
    }
    let mut open = what.open();
    match (open.next(), what.host_faults) {
        (None, 0) => (CommitState::Success, "no new finding".to_owned()),
        (None, n) => {
            let what = if n == 1 { "cell says" } else { "cells say" };
            let said = format!("{n} {what} nothing: host or emulator");
            (CommitState::Error, said)
        }
        (Some(first), _) => {
            let said = match open.count() {
                0 => first.sentence.clone(),
                more => format!("{} findings: {}", more + 1, first.sentence),
            };
            (CommitState::Failure, said)
        }
    }
}
