//! What was the case around an attempt: where, when, after what, in what kind of guest. Pure.
//!
//! Each circumstance is a sentence's end ("right after a_test:b"); what is not recorded is no
//! circumstance. Whether failing goes with one of them is [`super::flakes`]' business.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{ACCELERATOR, Attempt, CameUp, CaseId, CellResult, GuestRecord, Purpose};

/// A guest that took so much longer to come up than its like was on a busy host.
const BUSY: f64 = 1.5;
/// Guests of a kind among which "longer than its like" means anything.
const ALIKE: usize = 4;
/// The nearest earlier cases that are looked at.
const NEAREST: usize = 500;

/// How fast guests of a kind come up: the median, by port and way.
#[derive(Debug, Default)]
pub struct Boots(BTreeMap<(String, bool), Duration>);

fn booted(guest: &GuestRecord) -> bool {
    guest.came_up == CameUp::Booted
}

impl Boots {
    /// Of all guests of these cells.
    pub fn of<'a>(cells: impl Iterator<Item = &'a CellResult>) -> Self {
        let mut all: BTreeMap<_, Vec<Duration>> = BTreeMap::new();
        for cell in cells {
            for guest in cell.guests.iter().filter(|g| !g.boot.is_zero()) {
                let kind = (cell.id.port.0.clone(), booted(guest));
                all.entry(kind).or_default().push(guest.boot);
            }
        }
        all.retain(|_, took| took.len() >= ALIKE);
        let middle = |(kind, mut took): (_, Vec<Duration>)| {
            took.sort_unstable();
            (kind, took[took.len() / 2])
        };
        Self(all.into_iter().map(middle).collect())
    }

    /// Whether the host was busy when a guest came up; none where nothing tells.
    fn busy(&self, port: &str, guest: &GuestRecord) -> Option<bool> {
        let usual = self.0.get(&(port.to_owned(), booted(guest)))?;
        Some(guest.boot > usual.mul_f64(BUSY))
    }
}

/// What ran before an attempt in its guest.
#[derive(Debug, Clone, Copy)]
pub struct Before<'a> {
    /// All attempts of the cell.
    pub attempts: &'a [Attempt],
    /// The attempt's place among them.
    pub at: usize,
}

impl<'a> Before<'a> {
    /// The attempt itself.
    pub fn attempt(&self) -> &'a Attempt {
        &self.attempts[self.at]
    }

    /// The nearest earlier cases of the same guest, the last one first.
    pub fn cases(&self) -> impl Iterator<Item = &'a CaseId> {
        let guest = self.attempt().guest;
        let earlier = self.attempts[..self.at].iter().rev();
        let there = earlier.filter(move |a| a.guest == guest);
        there.map(|a| &a.case).take(NEAREST)
    }
}

/// The circumstances of an attempt, but for what ran before it.
pub fn of(cell: &CellResult, before: Before<'_>, hour: u8, boots: &Boots) -> Vec<String> {
    let attempt = before.attempt();
    let id = &cell.id;
    let quarter = hour / 6 * 6;
    let mut facts = vec![
        format!("port {}", id.port),
        format!("variant {}", id.variant),
        format!("the {}", id.side),
        match attempt.pass {
            0 | 1 => "the first pass",
            _ => "later passes",
        }
        .to_owned(),
        match attempt.purpose {
            Purpose::Pass => "passes of the whole suite",
            _ => "runs again in fresh guests",
        }
        .to_owned(),
        match attempt.guest {
            0 | 1 => "the first guest",
            _ => "later guests",
        }
        .to_owned(),
        match before.cases().next() {
            Some(case) => format!("right after {case}"),
            None => "first in its guest".to_owned(),
        },
        format!("{quarter:02} to {:02} h UTC", quarter + 6),
    ];
    // Where nothing is filled, "as it is" would be said of all attempts alike and tell nothing.
    if let Some(byte) = attempt.memory {
        facts.push("new memory filled with a pattern".to_owned());
        // A length or a number that is read from there is large or negative, or it is not.
        let half = if byte < 128 {
            "0x01 to 0x7f"
        } else {
            "0x80 to 0xfe"
        };
        facts.push(format!("new memory filled with {half}"));
    } else {
        facts.push("new memory as it is".to_owned());
    }
    if let Some(version) = cell.versions.get(EMULATOR) {
        facts.push(format!("emulator {version}"));
    }
    if let Some(accel) = cell.versions.get(ACCELERATOR) {
        facts.push(format!("accelerator {accel}"));
    }
    let guest = cell.guests.iter().find(|g| g.number == attempt.guest);
    let Some(guest) = guest else { return facts };
    let way = if booted(guest) { "booted" } else { "restored" };
    facts.push(format!("{way} guests"));
    facts.extend(
        boots
            .busy(id.port.as_str(), guest)
            .map(|busy| if busy { "a busy host" } else { "an idle host" }.to_owned()),
    );
    facts.extend(of_command(&guest.command));
    facts
}

/// The name under which a cell's result has the emulator's version.
pub const EMULATOR: &str = "emulator";

/// What an emulator was told of the machine.
fn of_command(command: &[String]) -> Vec<String> {
    let value = |flag: &str| {
        let at = command.iter().position(|word| word == flag)?;
        command.get(at + 1)
    };
    let mut facts = Vec::new();
    facts.extend(value("-cpu").map(|cpu| format!("CPU model {cpu}")));
    facts.extend(value("-m").map(|memory| format!("memory {memory}")));
    facts.extend(value("-smp").map(|cores| format!("processors {cores}")));
    if value("-icount").is_some() {
        facts.push("counted instructions".to_owned());
    }
    facts
}

/// The cases that ran before some of these attempts and not before others, with those before which they
/// ran; cases that part them alike stand together, the nearest first.
pub fn company<'a>(all: &[Before<'a>]) -> Vec<(Vec<&'a CaseId>, Vec<bool>)> {
    let mut there: BTreeMap<&CaseId, (usize, Vec<bool>)> = BTreeMap::new();
    for (i, before) in all.iter().enumerate() {
        for (distance, case) in before.cases().enumerate() {
            let entry = there
                .entry(case)
                .or_insert_with(|| (distance, vec![false; all.len()]));
            entry.0 = entry.0.min(distance);
            entry.1[i] = true;
        }
    }
    let mut alike: BTreeMap<Vec<bool>, BTreeSet<(usize, &CaseId)>> = BTreeMap::new();
    for (case, (distance, split)) in there {
        if split.iter().any(|there| !there) {
            alike.entry(split).or_default().insert((distance, case));
        }
    }
    let cases = |set: BTreeSet<(usize, &'a CaseId)>| set.into_iter().map(|(_, c)| c).collect();
    alike
        .into_iter()
        .map(|(split, set)| (cases(set), split))
        .collect()
}
