use super::*;
use crate::plan::cluster::listing::parse_listing;
use crate::plan::cluster::submit;
use proptest::prelude::*;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn cluster() -> Cluster {
    serde_yaml::from_str(
        "format: 1\nexecutor: slurm\nstore: /s\nqueued_at_most: 10\narray_at_most: 4\n",
    )
    .unwrap()
}

fn desk() -> Desk {
    let cluster = cluster();
    let names = submit::names(&cluster, "0123456789ab", &cluster.store);
    Desk::new(names, Limits::of(&cluster), 1)
}

fn class(port: &str, minutes: u64) -> Class {
    Class::of(&cluster(), &port.into(), 1, 500, secs(60 * minutes))
}

fn list(desk: &mut Desk, asked: u64, now: u64, text: &str) -> (Vec<Loss>, Vec<String>) {
    let (rows, strange) = parse_listing(text);
    assert_eq!(strange, 0);
    desk.listed(secs(asked), secs(now), &rows)
}

#[test]
fn alike_jobs_are_arrays_within_the_limits() {
    let mut desk = desk();
    for n in 0..14 {
        desk.add(class("p", if n == 2 { 500 } else { 10 }), secs(100 - n));
    }
    let out = desk.submissions(secs(0));
    let shape: Vec<Vec<Handle>> = out.iter().map(|s| s.jobs.clone()).collect();
    // The odd one has its turn; ten are the most in the queue.
    assert_eq!(
        shape,
        [vec![0, 1, 3, 4], vec![2], vec![5, 6, 7, 8], vec![9]]
    );
    assert_eq!(desk.in_queue(), 10);
    for s in &out {
        desk.accepted(s.batch, 100 + s.batch, secs(0));
    }
    assert!(desk.submissions(secs(2)).is_empty());
    assert!(desk.finished(3) && !desk.finished(3));
    assert_eq!(desk.submissions(secs(4))[0].jobs, [10]);
}

#[test]
fn the_longest_way_goes_first_and_no_more_waits_than_starts_soon() {
    let cluster: Cluster = serde_yaml::from_str("format: 1\nexecutor: slurm\nstore: /s\n").unwrap();
    let names = submit::names(&cluster, "0123456789ab", &cluster.store);
    let mut limits = Limits::of(&cluster);
    limits.reserve = 8;
    let mut desk = Desk::new(names, limits, 1);
    for n in 0..200 {
        desk.add(class("p", 10), secs(n));
    }
    let first = desk.submissions(secs(0)).remove(0);
    assert_eq!(first.jobs, (192..200).rev().collect::<Vec<_>>());
    desk.accepted(first.batch, 1, secs(0));
    // One that has become ready meanwhile overtakes what waits here.
    let late = desk.add(class("p", 10), secs(999));
    assert!(desk.submissions(secs(2)).is_empty());
    let six = "1_[6,7]|PENDING|fallout-0123456789ab:1|Priority\n1_0|RUNNING|fallout-0123456789ab:1|None\n";
    let six = six.to_owned()
        + &(1..6)
            .map(|t| format!("1_{t}|RUNNING|fallout-0123456789ab:1|None\n"))
            .collect::<String>();
    list(&mut desk, 4, 4, &six);
    let next = desk.submissions(secs(4)).remove(0);
    assert_eq!((next.jobs[0], next.jobs.len()), (late, 6));
}

#[test]
fn a_lost_answer_is_looked_for_and_not_given_again() {
    let mut desk = desk();
    desk.add(class("p", 10), secs(1));
    let first = desk.submissions(secs(0)).remove(0);
    desk.refused(first.batch, &Refusal::Unsure("timed out".into()), secs(5));
    // It had gone through after all.
    list(
        &mut desk,
        10,
        10,
        "7_[0]|PENDING|fallout-0123456789ab:1|Priority\n",
    );
    assert!(desk.submissions(secs(100)).is_empty());
    assert_eq!(
        list(
            &mut desk,
            100,
            100,
            "7_0|RUNNING|fallout-0123456789ab:1|None\n"
        )
        .0,
        []
    );
    assert!(desk.runs(0));

    let other = desk.add(class("p", 10), secs(1));
    let second = desk.submissions(secs(100)).remove(0);
    desk.refused(
        second.batch,
        &Refusal::Unsure("timed out".into()),
        secs(100),
    );
    for at in [102, 110, 114] {
        list(
            &mut desk,
            at,
            at,
            "7_0|RUNNING|fallout-0123456789ab:1|None\n",
        );
        assert!(desk.submissions(secs(at)).is_empty());
    }
    // It was not seen for long enough.
    list(
        &mut desk,
        116,
        116,
        "7_0|RUNNING|fallout-0123456789ab:1|None\n",
    );
    assert_eq!(desk.submissions(secs(116))[0].jobs, [other]);
}

#[test]
fn what_leaves_the_queue_without_a_result_is_lost_and_tried_again_later_each_time() {
    let mut desk = desk();
    let job = desk.add(class("p", 10), secs(1));
    let mut now = 1;
    for loss in 1..=11 {
        let out = loop {
            let out = desk.submissions(secs(now));
            if !out.is_empty() {
                break out;
            }
            now += 2;
        };
        desk.accepted(out[0].batch, 1, secs(now));
        // A listing that was asked for before the answer says nothing.
        assert_eq!(list(&mut desk, now - 1, now + 1, "").0, []);
        assert_eq!(list(&mut desk, now + 2, now + 2, "").0, []);
        let (lost, _) = list(&mut desk, now + 9, now + 9, "");
        assert_eq!(lost.len(), 1);
        assert_eq!((lost[0].job, lost[0].gave_up), (job, loss == 11));
        now += 9;
    }
    assert!(now > 600, "the pauses grow");
    assert!(desk.is_idle());
}

#[test]
fn limits_of_the_site_halve_arrays_and_nodes_that_refuse_are_left_out() {
    let mut desk = desk();
    for _ in 0..8 {
        desk.add(class("p", 10), secs(1));
    }
    let out = desk.submissions(secs(0));
    assert_eq!(out.len(), 2);
    desk.accepted(out[0].batch, 5, secs(0));
    desk.refused(
        out[1].batch,
        &Refusal::Limit("MaxSubmitJobs".into()),
        secs(0),
    );
    assert!(desk.submissions(secs(1)).is_empty());
    let again = desk.submissions(secs(4));
    assert_eq!(again[0].jobs, [4, 5]);
    desk.accepted(again[0].batch, 6, secs(4));
    for (n, node) in ["n1", "n2", "n3"].iter().enumerate() {
        let loss = desk.refused_by(0, node, "no emulator", secs(4)).unwrap();
        assert_eq!(loss.gave_up, n == 2);
        if n < 2 {
            desk.finished(4 + n);
            let all: Vec<Submission> = (5..1000)
                .step_by(5)
                .flat_map(|at| desk.submissions(secs(at)))
                .collect();
            let own = all.iter().find(|s| s.jobs.contains(&0)).unwrap();
            assert_eq!(own.class.exclude.len(), n + 1);
            for s in &all {
                desk.accepted(s.batch, 9, secs(4));
            }
        }
    }
    let never = desk.add(class("p", 10), secs(1));
    desk.finished(1);
    let out = desk.submissions(secs(2000));
    let lost = desk.refused(
        out[0].batch,
        &Refusal::Never("Invalid partition".into()),
        secs(0),
    );
    assert_eq!((lost[0].job, lost[0].gave_up), (never, true));
}

#[test]
fn an_earlier_process_s_jobs_are_taken_over() {
    let mut desk = desk();
    let running = desk.adopt(class("p", 10), secs(1), (6, 1), secs(0));
    let never_sent = desk.adopt(class("p", 10), secs(1), (7, 0), secs(0));
    assert!(desk.submissions(secs(1)).is_empty());
    list(
        &mut desk,
        2,
        2,
        "44_1|RUNNING|fallout-0123456789ab:6|None\n",
    );
    assert!(desk.submissions(secs(3)).is_empty());
    list(
        &mut desk,
        16,
        16,
        "44_1|RUNNING|fallout-0123456789ab:6|None\n",
    );
    let out = desk.submissions(secs(16));
    assert_eq!((out[0].batch, &out[0].jobs[..]), (8, &[never_sent][..]));
    assert!(desk.runs(running));
    // Held by the scheduler: it would wait for ever.
    let held = "44_1|PENDING|fallout-0123456789ab:6|launch failed requeued held\n";
    let (lost, cancel) = list(&mut desk, 18, 18, held);
    assert_eq!((lost[0].job, cancel), (running, vec!["44_1".to_owned()]));
}

proptest! {
    /// Whatever the scheduler does, a job is never in two live submissions as far as the desk could
    /// know, the queue's limit holds, and in the end every job is done or given up.
    #[test]
    fn every_job_ends_once(dice in proptest::collection::vec(0u8..20, 50..400), jobs in 1usize..30) {
        let mut desk = desk();
        for n in 0..jobs {
            desk.add(class("p", 10 + 100 * (n as u64 % 2)), secs(n as u64 % 7));
        }
        let mut queue: Vec<(u64, u32, Handle)> = Vec::new();
        let mut ended = vec![false; jobs];
        let mut now = 0;
        let mut rolls = dice.iter().copied().chain(std::iter::repeat(5));
        for _ in 0..5000 {
            now += 2;
            for s in desk.submissions(secs(now)) {
                prop_assert!(s.jobs.len() <= 4 && desk.in_queue() <= 10);
                for job in &s.jobs {
                    prop_assert!(!queue.iter().any(|(_, _, j)| j == job), "{job} was handed over twice");
                    prop_assert!(!ended[*job]);
                }
                let tasks = s.jobs.iter().enumerate().map(|(t, j)| (s.batch, t as u32, *j));
                match rolls.next().unwrap() {
                    0 => drop(desk.refused(s.batch, &Refusal::Limit("l".into()), secs(now))),
                    1 => drop(desk.refused(s.batch, &Refusal::Unsure("u".into()), secs(now))),
                    2 => {
                        queue.extend(tasks);
                        drop(desk.refused(s.batch, &Refusal::Unsure("u".into()), secs(now)));
                    }
                    _ => {
                        queue.extend(tasks);
                        desk.accepted(s.batch, s.batch, secs(now));
                    }
                }
            }
            // Something runs to its end, with a result or without.
            match rolls.next().unwrap() {
                0..=3 if !queue.is_empty() => drop(queue.remove(0)),
                4..=9 if !queue.is_empty() => {
                    let (_, _, job) = queue.remove(0);
                    prop_assert!(desk.finished(job));
                    ended[job] = true;
                }
                _ => {}
            }
            let lines: String = queue
                .iter()
                .map(|(b, t, _)| format!("{b}_{t}|RUNNING|fallout-0123456789ab:{b}|None\n"))
                .collect();
            let (rows, _) = parse_listing(&lines);
            for loss in desk.listed(secs(now), secs(now), &rows).0 {
                prop_assert!(!ended[loss.job]);
                ended[loss.job] |= loss.gave_up;
            }
            if ended.iter().all(|e| *e) {
                break;
            }
        }
        prop_assert!(ended.iter().all(|e| *e));
        prop_assert!(desk.is_idle());
        prop_assert_eq!(desk.in_queue(), 0);
    }
}
