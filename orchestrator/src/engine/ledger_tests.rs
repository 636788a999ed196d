use super::*;
use proptest::prelude::*;

fn cases(n: usize) -> Vec<CaseId> {
    (0..n)
        .map(|i| CaseId::new(format!("t{}", i / 3), format!("c{i}")))
        .collect()
}

fn policy(passes: u32) -> Policy {
    Policy {
        passes,
        guests: 1,
        repeats: Repeats {
            failed: 0,
            crashed: 0,
        },
        ..Policy::default()
    }
}

fn ledger(policy: Policy, n: usize) -> Ledger {
    let mut ledger = Ledger::new(policy, vec![]);
    ledger.set_cases(cases(n));
    ledger
}

fn end(case: &CaseId, outcome: Outcome) -> CaseEnd {
    CaseEnd {
        case: case.clone(),
        outcome,
        reason: None,
        duration: None,
        output: None,
    }
}

fn batch(ledger: &mut Ledger, guest: u32) -> Batch {
    match ledger.next(guest) {
        Next::Batch(batch) => batch,
        other => panic!("{other:?}"),
    }
}

/// Runs a batch in which every case ends by itself.
fn run(ledger: &mut Ledger, batch: &Batch, guest: u32, outcome: impl Fn(&CaseId) -> Outcome) {
    for case in &batch.cases {
        ledger
            .enter(batch, guest, end(case, outcome(case)))
            .unwrap();
    }
    assert!(ledger.batch_ended(batch, guest, None, "r").is_empty());
}

#[test]
fn a_crash_costs_one_case_and_the_rest_goes_on() {
    let mut ledger = ledger(policy(1), 3);
    let one = 1;
    let first = batch(&mut ledger, one);
    let c = cases(3);
    ledger
        .enter(&first, one, end(&c[0], Outcome::Passed))
        .unwrap();
    ledger
        .enter_death(&first, one, end(&c[1], Outcome::Crashed))
        .unwrap();
    assert_eq!(ledger.next(9), Next::Nothing);
    ledger.release(one);
    assert_eq!(batch(&mut ledger, 2).cases, [c[2].clone()]);
    assert_eq!(ledger.ends(), 1);
}

#[test]
fn strangers_and_second_results_are_refused() {
    let mut ledger = ledger(policy(1), 1);
    let all = batch(&mut ledger, 1);
    let c = &cases(1)[0];
    let stranger = CaseId::new("x", "y");
    assert!(
        ledger
            .enter(&all, 1, end(&stranger, Outcome::Passed))
            .is_none()
    );
    assert!(ledger.enter(&all, 2, end(c, Outcome::Passed)).is_none());
    let other = Batch {
        pass: 2,
        ..all.clone()
    };
    assert!(ledger.enter(&other, 1, end(c, Outcome::Passed)).is_none());
    assert!(ledger.enter(&all, 1, end(c, Outcome::Failed)).is_some());
    assert!(ledger.enter(&all, 1, end(c, Outcome::Passed)).is_none());
}

#[test]
fn a_silent_runner_gets_a_second_chance() {
    let mut ledger = ledger(policy(1), 1);
    for chance in 1..=2 {
        let all = batch(&mut ledger, 1);
        let missed = ledger.batch_ended(&all, 1, None, "no word");
        assert_eq!(missed.len(), usize::from(chance == 2));
    }
    assert_eq!(ledger.attempts()[0].outcome, Outcome::Missed);
    assert_eq!(ledger.next(1), Next::Nothing);
}

#[test]
fn an_interrupted_cell_goes_on_where_it_was() {
    let mut first = ledger(policy(2), 2);
    let all = batch(&mut first, 1);
    first.enter(&all, 1, end(&cases(2)[0], Outcome::Passed));
    let mut second = Ledger::new(policy(2), first.into_attempts());
    second.set_cases(cases(2));
    assert_eq!(batch(&mut second, 4).cases, [cases(2)[1].clone()]);
}

#[test]
fn a_damaged_guest_is_closed_in_on() {
    let mut ledger = ledger(policy(1), 9);
    let bad = cases(9)[4].clone();
    let mut batches = Vec::new();
    for guest in 1.. {
        while let Next::Batch(batch) = ledger.next(guest) {
            run(&mut ledger, &batch, guest, |_| Outcome::Passed);
            batches.push(batch.cases.len());
            if batch.cases.contains(&bad) {
                let blame = ledger.damaged(&batch, guest, None, "disk full");
                if batch.cases.len() == 1 {
                    assert_eq!(blame, Blame::Culprit(bad.clone()));
                } else {
                    assert!(matches!(blame, Blame::Doubt(d) if d.len() == batch.cases.len()));
                }
                break;
            }
        }
        if !ledger.has_work() {
            break;
        }
    }
    // The whole suite, the programs up to the damaged one, its cases up to the culprit, the rest.
    assert_eq!(batches, [9, 3, 3, 1, 1, 1, 3]);
    let counting = ledger.attempts().iter().filter(|a| a.counts());
    assert_eq!(counting.count(), 9);
    assert_eq!(ledger.attempts().len(), 9 + 9 + 3);
}

#[test]
fn a_known_culprit_ends_its_batch() {
    let mut ledger = ledger(policy(1), 9);
    ledger.note_harmful(cases(9)[4].clone());
    assert_eq!(batch(&mut ledger, 1).cases.len(), 5);
}

#[test]
fn repeats_and_confirmations_want_fresh_guests() {
    let mut ledger = ledger(
        Policy {
            repeats: Repeats {
                failed: 2,
                crashed: 3,
            },
            ..policy(1)
        },
        5,
    );
    let c = cases(5);
    let all = batch(&mut ledger, 1);
    for (i, outcome) in [
        Outcome::Failed,
        Outcome::Passed,
        Outcome::Broken,
        Outcome::Crashed,
        Outcome::Passed,
    ]
    .into_iter()
    .enumerate()
    {
        ledger.enter(&all, 1, end(&c[i], outcome)).unwrap();
    }
    ledger.suspect(&c[3]);
    assert_eq!(ledger.next(1), Next::Fresh);
    for pass in 1..=2 {
        let guest = pass + 1;
        let again = batch(&mut ledger, guest);
        assert_eq!((again.purpose, again.pass), (Purpose::Repeat, pass));
        assert_eq!(again.cases, [c[0].clone(), c[2].clone()]);
        run(&mut ledger, &again, guest, |_| Outcome::Passed);
    }
    for pass in 1..=3 {
        assert_eq!(ledger.next(3), Next::Fresh);
        let alone = batch(&mut ledger, pass + 10);
        assert_eq!((alone.purpose, alone.pass), (Purpose::Confirm, pass));
        assert_eq!(alone.cases, [c[3].clone()]);
        let outcome = if pass == 2 {
            Outcome::Passed
        } else {
            Outcome::Crashed
        };
        run(&mut ledger, &alone, pass + 10, |_| outcome);
    }
    assert_eq!(ledger.confirmed(&c[3]), Some((2, 3)));
    assert_eq!(ledger.confirmed(&c[0]), None);
    assert_eq!(ledger.next(99), Next::Nothing);
    assert!(!ledger.has_work());
    assert_eq!(ledger.last_in(1)[0], c[4]);
}

#[test]
fn each_alone_is_a_guest_a_case() {
    let mut ledger = ledger(
        Policy {
            order: Order::EachAlone,
            ..policy(1)
        },
        2,
    );
    let first = batch(&mut ledger, 1);
    run(&mut ledger, &first, 1, |_| Outcome::Passed);
    assert_eq!(ledger.next(1), Next::Fresh);
    assert_eq!(batch(&mut ledger, 2).cases.len(), 1);
}

#[test]
fn memory_is_filled_in_every_other_pass_and_not_in_repeats() {
    let seeded = Policy {
        memory_seed: Some(7),
        ..policy(2)
    };
    let mut ledger = ledger(seeded, 1);
    for _ in 0..2 {
        let batch = batch(&mut ledger, 1);
        run(&mut ledger, &batch, 1, |_| Outcome::Failed);
    }
    assert_eq!(ledger.memory(Purpose::Repeat, 2), None);
    let byte = ledger.memory(Purpose::Pass, 2);
    assert!(byte.is_some());
    let attempts = ledger.into_attempts();
    let memory: Vec<Option<u8>> = attempts.iter().map(|a| a.memory).collect();
    assert_eq!(memory, [None, byte]);
}

#[test]
fn a_shuffle_has_its_own_order_in_each_pass() {
    let mut ledger = ledger(
        Policy {
            order: Order::Shuffled(3),
            ..policy(2)
        },
        20,
    );
    let (one, two) = (batch(&mut ledger, 1), batch(&mut ledger, 1));
    assert_ne!(one.cases, two.cases);
    assert_ne!(one.cases, cases(20));
}

proptest! {
    /// Whatever guests do, and however many there are at once, every case of every pass ends with
    /// exactly one outcome that counts.
    #[test]
    fn accounts_always_balance(
        n in 1usize..12,
        passes in 1u32..4,
        guests in 1u32..4,
        order in prop_oneof![Just(Order::Listed), Just(Order::EachAlone), any::<u64>().prop_map(Order::Shuffled)],
        deeds in proptest::collection::vec((0u32..4, 0usize..14, 0u8..8), 0..120),
    ) {
        let mut ledger = ledger(Policy { guests, order, ..policy(passes) }, n);
        let mut live: Vec<(u32, Option<Batch>)> = Vec::new();
        let mut last = 0;
        let mut next_guest = || { last += 1; last };
        for (who, which, deed) in deeds {
            let at = who as usize % guests as usize;
            while live.len() <= at {
                live.push((next_guest(), None));
            }
            let (guest, batch) = live[at].clone();
            let case = CaseId::new(format!("t{}", which / 3), format!("c{which}"));
            match (deed, batch) {
                (0..=2, Some(batch)) => { ledger.enter(&batch, guest, end(&case, Outcome::Passed)); }
                (3, Some(batch)) => {
                    ledger.enter(&batch, guest, end(&case, Outcome::Crashed));
                    ledger.release(guest);
                    live[at] = (next_guest(), None);
                }
                (4, Some(batch)) => {
                    ledger.batch_ended(&batch, guest, None, "r");
                    ledger.damaged(&batch, guest, None, "d");
                    ledger.release(guest);
                    live[at] = (next_guest(), None);
                }
                (5, Some(batch)) => {
                    ledger.batch_ended(&batch, guest, None, "r");
                    live[at].1 = None;
                }
                (6, _) => {
                    ledger.release(guest);
                    live[at] = (next_guest(), None);
                }
                (_, None) => match ledger.next(guest) {
                    Next::Batch(batch) => live[at].1 = Some(batch),
                    Next::Fresh => live[at] = (next_guest(), None),
                    Next::Nothing => {}
                },
                _ => {}
            }
        }
        ledger.close(1, "end");
        let counting: Vec<_> = ledger.attempts().iter().filter(|a| a.counts()).collect();
        prop_assert_eq!(counting.len() as u64, ledger.total());
        let distinct: HashSet<_> = counting.iter().map(|a| (a.pass, &a.case)).collect();
        prop_assert_eq!(distinct.len(), counting.len());
        prop_assert!(ledger.passes_done() && !ledger.has_work());
    }
}

#[test]
fn a_script_is_kept_to_the_letter() {
    let c = cases(3);
    let script = [&c[2], &c[0], &c[2], &c[1]].map(Clone::clone);
    let mut ledger = Ledger::script(&script);
    assert!(ledger.wants_list(true) && !ledger.wants_list(false));
    let mut ran = Vec::new();
    while let Next::Batch(batch) = ledger.next(1) {
        assert_eq!(batch.purpose, Purpose::Probe);
        run(&mut ledger, &batch, 1, |_| Outcome::Passed);
        ran.extend(batch.cases);
    }
    assert_eq!(ran, script);
    let passes: Vec<u32> = ledger.attempts().iter().map(|a| a.pass).collect();
    assert_eq!(passes, [1, 1, 2, 1]);
}

#[test]
fn spare_work_is_counted_in_guests() {
    let mut ledger = ledger(
        Policy {
            guests: 2,
            ..policy(1)
        },
        40,
    );
    assert_eq!(ledger.spare(), 5);
    let first = batch(&mut ledger, 1);
    assert!(first.cases.len() < 20);
    let second = batch(&mut ledger, 2);
    assert!(first.cases.iter().all(|c| !second.cases.contains(c)));
    ledger.release(1);
    ledger.release(2);
    assert_eq!(ledger.spare(), 5);
}

#[test]
fn a_case_that_kills_its_runner_takes_no_other_along() {
    let mut ledger = ledger(policy(1), 3);
    let c = cases(3);
    for chance in 1..=2 {
        let all = batch(&mut ledger, 1);
        ledger.enter(&all, 1, end(&c[0], Outcome::Passed));
        let missed = ledger.batch_ended(&all, 1, Some(&c[1]), "no word");
        assert_eq!(missed.len(), usize::from(chance == 2));
        // It ran, and its runner did not live: that speaks against the case.
        assert!(missed.iter().all(|a| a.outcome == Outcome::Broken));
    }
    assert_eq!(batch(&mut ledger, 1).cases, [c[2].clone()]);
    let blame = ledger.damaged(
        &Batch {
            purpose: Purpose::Pass,
            pass: 1,
            cases: c.clone(),
        },
        1,
        Some(&c[1]),
        "clock",
    );
    assert_eq!(blame, Blame::Culprit(c[1].clone()));
    assert!(ledger.attempts().iter().all(Attempt::counts));
}
