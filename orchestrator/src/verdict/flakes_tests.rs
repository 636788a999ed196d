use super::*;
use crate::model::{Attempt, CameUp, GuestEnd, GuestRecord, Key, Outcome, StageResult};
use crate::verdict::EMULATOR;
use std::time::Duration;

pub(crate) fn cell(port: &str, key: &str, outcomes: &[bool]) -> CellResult {
    let attempt = |(i, bad): (usize, &bool), case: &str| Attempt {
        memory: None,
        case: CaseId::new("t", case),
        pass: i as u32 + 1,
        purpose: Default::default(),
        guest: 1,
        doubtful: None,
        outcome: if *bad {
            Outcome::Failed
        } else {
            Outcome::Passed
        },
        reason: None,
        duration: None,
        output: None,
    };
    CellResult {
        id: format!("s/{port}/stock/candidate").parse().unwrap(),
        key: Key(key.to_owned()),
        stage: StageResult::Complete,
        detail: None,
        attempts: outcomes
            .iter()
            .enumerate()
            .flat_map(|p| [attempt((p.0, &false), "steady"), attempt(p, "now_and_then")])
            .collect(),
        guests: Vec::new(),
        versions: Default::default(),
        cached: false,
    }
}

#[test]
fn a_flake_is_counted_once_and_told_with_its_port() {
    let on = |n: usize, every: usize| (0..n).map(|i| i % every == 0).collect::<Vec<_>>();
    let first = [
        cell("amd64", "k1", &on(40, 100_000)[1..]),
        cell("s390x", "k2", &on(40, 2)),
    ];
    let mut again = first.clone();
    again.iter_mut().for_each(|c| c.cached = true);
    let history = [
        Chapter {
            hour: 3,
            cells: &first,
        },
        Chapter {
            hour: 15,
            cells: &again,
        },
    ];
    let found = flakes(&history);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].case, CaseId::new("t", "now_and_then"));
    assert_eq!((found[0].rate.bad, found[0].rate.total), (20, 79));
    let with: Vec<&str> = found[0].goes_with.iter().map(|g| g.what.as_str()).collect();
    assert_eq!(with, ["port s390x"]);
}

#[test]
fn what_new_memory_holds_is_a_circumstance() {
    // Every other pass finds it filled, every fourth with a byte that makes numbers negative.
    let negative = |pass: usize| pass.is_multiple_of(4);
    let goes_with = |fails: &dyn Fn(usize) -> bool| {
        let bad: Vec<bool> = (1..=80).map(fails).collect();
        let mut one = cell("amd64", "k", &bad);
        for attempt in &mut one.attempts {
            let pass = attempt.pass as usize;
            let byte = if negative(pass) { 0xa1 } else { 0x21 };
            attempt.memory = pass.is_multiple_of(2).then_some(byte);
        }
        let cells = [one];
        let found = flakes(&[Chapter {
            hour: 3,
            cells: &cells,
        }]);
        found[0].goes_with[0].what.clone()
    };
    let filled = goes_with(&|pass| pass.is_multiple_of(2));
    assert_eq!(filled, "new memory filled with a pattern");
    assert_eq!(goes_with(&negative), "new memory filled with 0x80 to 0xfe");
}

#[test]
fn intervals_hold_the_rate_and_stay_within_bounds() {
    for (bad, total) in [(0, 0), (0, 5), (5, 5), (1, 3), (20, 79)] {
        let rate = Rate::of(Count { bad, total });
        assert!((0.0..=1.0).contains(&rate.low) && (0.0..=1.0).contains(&rate.high));
        let p = f64::from(bad) / f64::from(total.max(1));
        assert!(rate.low <= p + 1e-9 && p <= rate.high + 1e-9, "{rate:?}");
    }
}

/// Shuffled orders: the case fails in the third of the guests in which `polluter` ran before it.
#[test]
fn company_and_circumstances_are_told_once_with_all_their_names() {
    let mut cells = Vec::new();
    for n in 0..60_u32 {
        let mut one = cell("amd64", &format!("k{n}"), &[n % 3 == 0]);
        let mut polluter = one.attempts[0].clone();
        polluter.case = CaseId::new("t", "polluter");
        // Before it where it fails, behind it where it passes.
        one.attempts
            .insert(if n % 3 == 0 { 0 } else { 2 }, polluter);
        one.guests.push(GuestRecord {
            number: 1,
            kernel: String::new(),
            boot: Duration::from_secs(if n % 3 == 0 { 9 } else { 2 }),
            came_up: CameUp::Booted,
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            end: GuestEnd::Done,
            crash: None,
            damage: None,
            console: String::new(),
            command: ["e", "-cpu", "max", "-m", "256"].map(String::from).into(),
        });
        let version = if n % 3 == 0 { "11.0" } else { "10.0" };
        one.versions.insert(EMULATOR.to_owned(), version.to_owned());
        cells.push(one);
    }
    // One guest more that is slow and passes: the two are no longer alike.
    let mut slow = cells[1].clone();
    slow.key = Key("slow".to_owned());
    slow.guests[0].boot = Duration::from_secs(9);
    cells.push(slow);
    let history = [Chapter {
        hour: 3,
        cells: &cells,
    }];
    let found = flakes(&history);
    let told = found[0].goes_with.iter();
    let told = told.map(|w| format!("{} {:?} {}/{}", w.what, w.alike, w.there.bad, w.there.total));
    insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
    emulator 11.0 ["after t:polluter"] 20/20
    a busy host [] 20/21
    "#);
}
