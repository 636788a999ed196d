use super::simulate::{World, cheapest_rule, least_runs, rival, search};
use super::*;

const FLAKY: World = World {
    revisions: 256,
    bad: 0.3,
    good: 0.0,
    unbuildable: 0.0,
};

fn drive(mut bisect: Bisect, fails: impl Fn(usize) -> Option<bool>) -> (Answer, u64) {
    // A failure that never shows takes the longest: a rare one looks the same for hundreds of runs.
    for _ in 0..5000 {
        match bisect.next(1) {
            Next::Done(answer) | Next::Stuck(answer) => return (answer, bisect.runs()),
            Next::Run(points) => match fails(points[0]) {
                None => bisect.leave_out(points[0]),
                Some(bad) => bisect.record(
                    points[0],
                    Count {
                        bad: u32::from(bad),
                        total: 1,
                    },
                ),
            },
        }
    }
    panic!("no end");
}

#[test]
fn a_failure_that_always_shows_is_bisected_in_few_runs() {
    for culprit in [1, 2, 500, 1023] {
        let (answer, runs) = drive(Bisect::new(1024, Settings::default()), |r| {
            Some(r >= culprit)
        });
        let place = Place::Within {
            first: culprit,
            last: culprit,
        };
        assert_eq!(answer.place, place);
        assert!(answer.probability >= 0.95);
        assert!(runs <= 22, "{culprit}: {runs}");
    }
}

#[test]
fn what_lies_outside_the_range_is_said_so() {
    let (answer, _) = drive(Bisect::new(8, Settings::default()), |_| Some(true));
    assert_eq!(answer.place, Place::Before);
    let (answer, _) = drive(Bisect::new(8, Settings::default()), |_| Some(false));
    assert_eq!(answer.place, Place::After);
}

#[test]
fn revisions_that_cannot_be_tried_widen_the_answer() {
    let fails = |r: usize| match r {
        4..=6 => None,
        r => Some(r >= 5),
    };
    let (answer, _) = drive(Bisect::new(12, Settings::default()), fails);
    assert_eq!(answer.place, Place::Within { first: 4, last: 7 });
    let (answer, runs) = drive(Bisect::new(5, Settings::default()), |_| None);
    // That it came in within the range is what was believed beforehand, and nothing can be tried.
    let place = Place::Within { first: 1, last: 4 };
    assert_eq!((answer.place, runs), (place, 0));
}

#[test]
fn several_points_at_once_are_different_and_cut_the_rounds() {
    let world = World {
        revisions: 256,
        ..FLAKY
    };
    let (one, three) = (search(world, true, 1, 30, 3), search(world, true, 3, 30, 3));
    assert!(three.mean_rounds() < 0.6 * one.mean_rounds(), "{three:?}");
    let Next::Run(points) = Bisect::new(100, Settings::default()).next(3) else {
        panic!("nothing to run");
    };
    let different: std::collections::BTreeSet<_> = points.iter().collect();
    assert_eq!(different.len(), 3, "{points:?}");
}

#[test]
fn the_right_revision_is_found_as_often_as_is_claimed() {
    let score = search(FLAKY, false, 1, 60, 1);
    assert!(score.accuracy() >= 0.9, "{score:?}");
    // No procedure can do with less than the channel's capacity allows.
    assert!(score.mean_runs() >= least_runs(FLAKY, 0.95), "{score:?}");
}

#[test]
fn it_needs_fewer_than_half_the_runs_of_a_repeated_bisection_where_good_revisions_fail_too() {
    let world = World {
        good: 0.02,
        ..FLAKY
    };
    let rule = cheapest_rule(world, 0.95, true).unwrap();
    let (ours, theirs) = (search(world, true, 1, 60, 2), rival(world, rule, 300, 2));
    assert!(ours.accuracy() >= 0.9, "{ours:?}");
    assert!(theirs.accuracy() >= 0.92, "{theirs:?}");
    assert!(
        2.0 * ours.mean_runs() < theirs.mean_runs(),
        "{ours:?} {theirs:?}"
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn probabilities_are_probabilities(
        n in 1_usize..40,
        seen in proptest::collection::vec((0_usize..45, 0_u32..5, 0_u32..5), 0..20),
        out in proptest::collection::vec(0_usize..45, 0..10),
    ) {
        let mut bisect = Bisect::new(n, Settings::default());
        for (at, bad, good) in seen {
            bisect.record(at, Count { bad, total: bad + good });
        }
        for at in out {
            bisect.leave_out(at);
        }
        let posterior = bisect.posterior();
        proptest::prop_assert!((posterior.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        proptest::prop_assert!(posterior.iter().all(|p| (0.0..=1.0).contains(p)));
        let answer = bisect.answer();
        proptest::prop_assert!(answer.probability <= 1.0 + 1e-9);
        if let Next::Run(points) = bisect.next(4) {
            proptest::prop_assert!(points.iter().all(|p| *p < n && !bisect.left_out[*p]));
        }
    }
}

/// Revisions of which the same comes out cannot have the culprit between them, and nothing breaks where
/// all are alike.
#[test]
fn what_is_alike_has_no_culprit_in_between() {
    let mut bisect = Bisect::new(10, Settings::default());
    bisect.record(0, Count { bad: 0, total: 8 });
    bisect.record(9, Count { bad: 8, total: 8 });
    bisect.alike(5, 9);
    bisect.alike(0, 3);
    let posterior = bisect.posterior();
    for k in [1, 2, 3, 6, 7, 8, 9] {
        assert!(posterior[k] < 1e-100, "{k}: {}", posterior[k]);
    }
    assert!(posterior[4] > 0.4 && posterior[5] > 0.4);
    bisect.alike(0, 9);
    let answer = bisect.answer();
    assert!(answer.probability.is_finite());
    assert!(bisect.posterior().iter().all(|p| p.is_finite()));
}
