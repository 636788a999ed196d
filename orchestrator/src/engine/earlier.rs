//! What an earlier process of a run left behind, read from the run's log.
//!
//! A finished cell has its result; of an unfinished one the log has every attempt and every guest.
//! Attempts that do not count stay what they are, a case that never ran is owed again. What the verdict
//! had asked for after a cell's end is in the log too, whether the cell's file has it by now or not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{
    Attempt, CameUp, CellId, CellResult, Event, GuestEnd, GuestRecord, Outcome, Purpose, Stamped,
};
use crate::plan::Plan;
use crate::store::runs::RunDir;

use super::RunError;

/// What there is of a cell that is not finished.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its attempts, in the order in which they ended.
    pub attempts: Vec<Attempt>,
    /// Its guests.
    pub guests: Vec<GuestRecord>,
}

impl Earlier {
    /// The highest number of a guest.
    pub fn last_guest(&self) -> u32 {
        let attempts = self.attempts.iter().map(|a| a.guest);
        let guests = self.guests.iter().map(|g| g.number);
        attempts.chain(guests).max().unwrap_or(0)
    }

    /// The same with what later events say of the cell.
    pub fn followed_by(mut self, id: &CellId, events: Vec<Stamped>) -> Self {
        for stamped in events {
            if cell_of(&stamped.what) == Some(id) {
                self.take_in(stamped.what);
            }
        }
        self
    }

    fn guest(&mut self, number: u32) -> &mut GuestRecord {
        let at = self.guests.iter().position(|g| g.number == number);
        let at = at.unwrap_or_else(|| {
            self.guests.push(GuestRecord {
                number,
                kernel: String::new(),
                boot: Duration::ZERO,
                came_up: CameUp::Booted,
                wall: Duration::ZERO,
                cpu: Duration::ZERO,
                // Until its end is read: then nobody saw it.
                end: GuestEnd::Interrupted,
                crash: None,
                damage: None,
                console: format!("guest-{number}.console"),
                command: Vec::new(),
            });
            self.guests.len() - 1
        });
        &mut self.guests[at]
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::AttemptDone { attempt, .. }
                // A case that never ran is not done; a probe is not the cell's.
                if attempt.outcome != Outcome::Missed && attempt.purpose != Purpose::Probe =>
            {
                self.attempts.push(attempt);
            }
            Event::GuestStarted { guest, .. } => {
                self.guest(guest);
            }
            Event::GuestReady {
                guest,
                kernel,
                boot,
                came_up,
                ..
            } => {
                let record = self.guest(guest);
                record.kernel = kernel;
                record.boot = boot;
                record.came_up = came_up;
            }
            Event::GuestCrashed { guest, crash, .. } => {
                let record = self.guest(guest);
                record.end = GuestEnd::Crashed;
                record.crash = Some(crash);
            }
            Event::GuestEnded { guest, .. } => {
                let number = guest.number;
                *self.guest(number) = *guest;
            }
            Event::GuestDoubted {
                guest,
                why,
                attempts,
                ..
            } => {
                for attempt in self.attempts.iter_mut().filter(|a| a.guest == guest) {
                    let same = |(purpose, pass, case): &(Purpose, u32, _)| {
                        (*purpose, *pass) == (attempt.purpose, attempt.pass) && *case == attempt.case
                    };
                    if attempts.iter().any(same) {
                        attempt.doubtful = Some(why.clone());
                    }
                }
            }
            _ => {}
        }
    }
}

fn cell_of(event: &Event) -> Option<&CellId> {
    match event {
        Event::AttemptDone { cell, .. }
        | Event::GuestStarted { cell, .. }
        | Event::GuestReady { cell, .. }
        | Event::GuestCrashed { cell, .. }
        | Event::GuestEnded { cell, .. }
        | Event::GuestDoubted { cell, .. } => Some(cell),
        _ => None,
    }
}

/// Finished cells of an earlier process of a run.
pub(super) type Results = BTreeMap<CellId, CellResult>;
/// Unfinished ones.
pub(super) type Unfinished = BTreeMap<CellId, Earlier>;

/// What the verdict had asked for in finished cells.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Again {
    /// By cell.
    pub(super) cells: BTreeMap<CellId, Earlier>,
    /// How long that took.
    pub(super) took: Duration,
}

/// The job under whose name adaptive repeats stand in a run's log.
pub(super) const ADAPTIVE_JOB: &str = "adaptive repeats";

/// Reads what was done of a plan's cells.
pub(super) fn read(run: &RunDir, plan: &Plan) -> Result<(Results, Unfinished, Again), RunError> {
    let mut results = Results::new();
    if !run.events_path().exists() {
        return Ok((results, Unfinished::new(), Again::default()));
    }
    for id in plan.cells() {
        if let Some(result) = run.cell(id)?
            && !result.stage.is_host_fault()
        {
            results.insert(id.clone(), result);
        }
    }
    let events = run.events()?;
    let again = again(&events, &results);
    let unfinished = unfinished(events, &results);
    Ok((results, unfinished, again))
}

fn again(events: &[Stamped], results: &Results) -> Again {
    let mut again = Again::default();
    let mut guests: BTreeSet<(&CellId, u32)> = BTreeSet::new();
    let mut began = None;
    for stamped in events {
        match &stamped.what {
            Event::JobStarted { job } if job == ADAPTIVE_JOB => began = Some(stamped.at),
            Event::AttemptDone { cell, attempt }
                if attempt.purpose == Purpose::Adaptive && results.contains_key(cell) =>
            {
                guests.insert((cell, attempt.guest));
                // The last of these is as far as the log knows of a process that was killed.
                let since = |from| Duration::try_from(stamped.at.duration_since(from));
                if let Some(Ok(passed)) = began.map(since) {
                    again.took += passed;
                    began = Some(stamped.at);
                }
            }
            _ => {}
        }
    }
    for stamped in events {
        let cell = cell_of(&stamped.what);
        let guest = guest_of(&stamped.what);
        if let Some((cell, guest)) = cell.zip(guest)
            && guests.contains(&(cell, guest))
        {
            let earlier = again.cells.entry(cell.clone()).or_default();
            earlier.take_in(stamped.what.clone());
        }
    }
    again
}

fn guest_of(event: &Event) -> Option<u32> {
    match event {
        Event::AttemptDone { attempt, .. } => Some(attempt.guest),
        Event::GuestEnded { guest, .. } => Some(guest.number),
        Event::GuestStarted { guest, .. }
        | Event::GuestReady { guest, .. }
        | Event::GuestCrashed { guest, .. }
        | Event::GuestDoubted { guest, .. } => Some(*guest),
        _ => None,
    }
}

fn unfinished(events: Vec<Stamped>, results: &Results) -> Unfinished {
    let mut unfinished = Unfinished::new();
    for stamped in events {
        let cell = cell_of(&stamped.what).filter(|c| !results.contains_key(c));
        if let Some(cell) = cell.cloned() {
            unfinished.entry(cell).or_default().take_in(stamped.what);
        }
    }
    unfinished
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CaseId, Crash, CrashKind};

    fn attempt(case: &str, guest: u32) -> Attempt {
        Attempt {
            memory: None,
            case: CaseId::new("t", case),
            pass: 1,
            purpose: Purpose::Pass,
            guest,
            doubtful: None,
            outcome: Outcome::Passed,
            reason: None,
            duration: None,
            output: None,
        }
    }

    #[test]
    fn a_log_gives_attempts_guests_and_doubts() {
        let cell: CellId = "s/p/stock/candidate".parse().unwrap();
        let crash: Crash = serde_json::from_str(r#"{"kind":"panic","title":"x"}"#).unwrap();
        assert_eq!(crash.kind, CrashKind::Panic);
        let done = |attempt| Event::AttemptDone {
            cell: cell.clone(),
            attempt,
        };
        let missed = Attempt {
            memory: None,
            outcome: Outcome::Missed,
            ..attempt("m", 1)
        };
        let probe = Attempt {
            memory: None,
            purpose: Purpose::Probe,
            ..attempt("p", 7)
        };
        let events = [
            Event::GuestStarted {
                cell: cell.clone(),
                guest: 1,
                pid: 5,
            },
            done(attempt("a", 1)),
            done(attempt("b", 1)),
            done(missed),
            done(probe),
            Event::GuestDoubted {
                cell: cell.clone(),
                guest: 1,
                why: "disk full".into(),
                attempts: vec![(Purpose::Pass, 1, CaseId::new("t", "b"))],
            },
            Event::GuestCrashed {
                cell: cell.clone(),
                guest: 2,
                crash,
            },
        ];
        let stamped = events.into_iter().enumerate().map(|(i, what)| Stamped {
            seq: i as u64,
            at: jiff::Timestamp::UNIX_EPOCH,
            what,
        });
        let found = unfinished(stamped.collect(), &Results::new());
        let earlier = &found[&cell];
        assert_eq!(earlier.attempts.len(), 2);
        assert!(earlier.attempts[0].counts() && !earlier.attempts[1].counts());
        assert_eq!(earlier.last_guest(), 2);
        assert_eq!(earlier.guests[0].end, GuestEnd::Interrupted);
        assert!(earlier.guests[1].crash.is_some());
    }
}
