use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::model::{PortName, Side};
use crate::plan::job::{Job, Work};

fn job(name: &str, needs: &[JobIx], cores: u32, mem_mib: u64) -> Job {
    let work = match needs.is_empty() {
        true => Work::Image {
            port: PortName(name.to_owned()),
        },
        false => Work::Build {
            suite: "s".to_owned(),
            port: PortName(name.to_owned()),
            side: Side::Candidate,
        },
    };
    Job {
        name: name.to_owned(),
        work,
        key: None,
        inputs: Default::default(),
        needs: needs.to_vec(),
        todo: Todo::Run,
        why: String::new(),
        cores,
        mem_mib,
        priority: 0,
        est: Some(Duration::from_secs(1)),
    }
}

const MACHINE: Capacity = Capacity {
    cores: 2,
    mem_mib: 1000,
};

#[test]
fn the_long_way_starts_first_and_ready_ports_fill_the_cores() {
    let mut jobs = vec![
        job("short", &[], 1, 10),
        job("long", &[], 1, 10),
        job("behind short", &[0], 1, 10),
        job("behind long", &[1], 1, 10),
    ];
    jobs[1].est = Some(Duration::from_secs(600));
    let plan = Plan { jobs };
    let mut schedule = Schedule::new(&plan, MACHINE);
    assert_eq!(schedule.next(), [1, 0]);
    assert!(schedule.next().is_empty());
    assert!(schedule.finished(0, true).is_empty());
    assert_eq!(schedule.next(), [2]);
    assert!(schedule.finished(2, true).is_empty());
    assert!(schedule.next().is_empty());
    assert!(!schedule.is_over());
    schedule.finished(1, true);
    assert_eq!(schedule.next(), [3]);
    schedule.finished(3, true);
    assert!(schedule.is_over());
    assert_eq!(forecast(&plan, MACHINE), Duration::from_secs(601));
}

#[test]
fn what_needs_a_failed_job_is_skipped_with_the_reason() {
    let plan = Plan {
        jobs: vec![
            job("image x", &[], 1, 10),
            job("build", &[0], 1, 10),
            job("cell", &[0, 1], 1, 10),
            job("image y", &[], 1, 10),
        ],
    };
    let mut schedule = Schedule::new(&plan, MACHINE);
    assert_eq!(schedule.next(), [0, 3]);
    let skips = schedule.finished(0, false);
    let told: Vec<_> = skips
        .iter()
        .map(|s| (s.job, s.because, s.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (1, Some(0), "image x failed"),
            (2, Some(0), "image x failed")
        ]
    );
    assert_eq!(schedule.running(), 1);
    // Reported twice, it is still one failure.
    assert!(schedule.finished(0, false).is_empty());
    schedule.finished(3, true);
    assert!(schedule.is_over());
}

#[test]
fn what_can_never_fit_is_refused_at_once() {
    let plan = Plan {
        jobs: vec![
            job("big", &[], 1, 5000),
            job("behind", &[0], 1, 1),
            job("wide", &[], 64, 1),
        ],
    };
    let mut schedule = Schedule::new(&plan, MACHINE);
    let told: Vec<_> = schedule
        .refused()
        .iter()
        .map(|s| s.reason.clone())
        .collect();
    let big = "needs 5000 MiB of memory, 1000 MiB may be used";
    assert_eq!(told, [big, "big cannot run"]);
    // More cores than there are: it gets them all.
    assert_eq!(schedule.next(), [2]);
}

#[test]
fn cached_jobs_come_at_once_and_unneeded_ones_never() {
    let mut jobs = vec![
        job("image", &[], 1, 10),
        job("build", &[0], 1, 10),
        job("cell", &[0, 1], 1, 10),
    ];
    jobs[0].todo = Todo::NotNeeded;
    jobs[1].todo = Todo::Cached;
    jobs[2].todo = Todo::Cached;
    let mut schedule = Schedule::new(
        &Plan { jobs },
        Capacity {
            cores: 0,
            mem_mib: 0,
        },
    );
    assert_eq!(schedule.next(), [1, 2]);
    schedule.finished(1, true);
    schedule.finished(2, true);
    assert!(schedule.is_over());
}

#[test]
fn a_job_that_runs_again_is_given_out_again() {
    let plan = Plan {
        jobs: vec![job("a", &[], 2, 10)],
    };
    let mut schedule = Schedule::new(&plan, MACHINE);
    assert_eq!(schedule.next(), [0]);
    schedule.again(0);
    assert_eq!(schedule.next(), [0]);
    schedule.stop();
    schedule.again(0);
    assert!(schedule.next().is_empty());
    assert!(schedule.is_over());
}

#[test]
fn a_wide_job_is_not_starved_by_narrow_ones() {
    // The narrow ones rank higher, and one of them runs at any time.
    let mut jobs: Vec<Job> = (0..40).map(|i| job(&format!("n{i}"), &[], 1, 1)).collect();
    for narrow in &mut jobs {
        narrow.priority = 1;
    }
    jobs[0].est = Some(Duration::from_secs(1000));
    jobs.push(job("wide", &[], 2, 1));
    let wide = jobs.len() - 1;
    let mut schedule = Schedule::new(&Plan { jobs }, MACHINE);
    let mut order = schedule.next();
    let mut running = order.clone();
    while !running.contains(&wide) {
        // Always the youngest ends, so that a core is never free twice.
        let ended = running.pop().unwrap();
        schedule.finished(ended, true);
        let started = schedule.next();
        order.extend(&started);
        running.extend(&started);
    }
    let before = order.iter().position(|&ix| ix == wide).unwrap();
    assert!(before <= 40, "{before}");
    assert_eq!(schedule.running(), 1);
}

#[test]
fn idle_cores_are_lent_and_come_back() {
    let plan = Plan {
        jobs: vec![job("a", &[], 1, 10), job("b", &[], 1, 10)],
    };
    let mut schedule = Schedule::new(&plan, MACHINE);
    assert_eq!(schedule.next(), [0, 1]);
    assert!(!schedule.lend(0), "nothing is idle");
    schedule.finished(1, true);
    assert!(schedule.lend(0) && !schedule.lend(0));
    schedule.give_back(0, 5);
    assert!(schedule.lend(0));
    schedule.again(0);
    assert!(!schedule.lend(0), "a ready job goes first");
    assert_eq!(schedule.next(), [0]);
    assert!(schedule.lend(0));
    schedule.finished(0, true);
    assert_eq!(schedule.free, MACHINE);
}

fn plans() -> impl Strategy<Value = (Plan, Capacity)> {
    let one = (
        prop::collection::vec(any::<prop::sample::Index>(), 0..3),
        1..5u32,
        1..600u64,
        0..3u8,
        prop::option::of(0..100u64),
        0..10u8,
    );
    (prop::collection::vec(one, 1..40), 1..5u32, 200..800u64).prop_map(|(list, cores, mem_mib)| {
        let mut jobs: Vec<Job> = Vec::new();
        for (ix, (needs, cores, mem, priority, est, todo)) in list.into_iter().enumerate() {
            let needs: BTreeSet<JobIx> = match ix {
                0 => BTreeSet::new(),
                _ => needs.iter().map(|n| n.index(ix)).collect(),
            };
            let needs: Vec<JobIx> = needs.into_iter().collect();
            let mut job = job(&format!("j{ix}"), &needs, cores, mem);
            job.priority = priority;
            job.est = est.map(Duration::from_secs);
            if todo == 0 {
                job.todo = Todo::Cached;
            }
            jobs.push(job);
        }
        (Plan { jobs }, Capacity { cores, mem_mib })
    })
}

proptest! {
    /// Whatever ends first and whatever fails: capacity holds, nothing starts before what it
    /// needs, every job runs once or is skipped once, and few overtake one that is ready.
    #[test]
    fn the_policy_holds((plan, capacity) in plans(), picks in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 200)) {
        let mut schedule = Schedule::new(&plan, capacity);
        let mut skipped: BTreeSet<JobIx> = schedule.refused().iter().map(|s| s.job).collect();
        let mut done = BTreeSet::new();
        let mut running: Vec<JobIx> = Vec::new();
        let mut picks = picks.into_iter().cycle();
        let run = |ix: &JobIx| plan.jobs[*ix].todo == Todo::Run;
        loop {
            for ix in schedule.next() {
                prop_assert!(!done.contains(&ix) && !skipped.contains(&ix) && !running.contains(&ix));
                if run(&ix) {
                    prop_assert!(plan.jobs[ix].needs.iter().all(|n| done.contains(n)));
                }
                running.push(ix);
            }
            let heavy = running.iter().filter(|ix| run(ix));
            let times = |ix: JobIx| 1 + schedule.slots[ix].lent;
            let cores: u32 = heavy.clone().map(|&ix| plan.jobs[ix].cores.min(capacity.cores) * times(ix)).sum();
            let mem: u64 = heavy.map(|&ix| plan.jobs[ix].mem_mib * u64::from(times(ix))).sum();
            prop_assert!(cores <= capacity.cores && mem <= capacity.mem_mib);
            prop_assert_eq!(schedule.running(), running.len());
            for slot in &schedule.slots {
                prop_assert!(slot.overtaken <= PATIENCE);
            }
            let Some((pick, luck)) = picks.next().filter(|_| !running.is_empty()) else { break };
            let one = running[pick.index(running.len())];
            match luck {
                5 | 6 if run(&one) => {
                    let lent = schedule.lend(one);
                    prop_assert!(!lent || schedule.ready.is_empty());
                    if lent { continue; }
                }
                7 => schedule.give_back(one, 1),
                _ => {}
            }
            let ix = running.swap_remove(pick.index(running.len()));
            if luck == 1 {
                schedule.again(ix);
                continue;
            }
            let ok = luck != 0;
            for skip in schedule.finished(ix, ok) {
                prop_assert!(!ok);
                prop_assert!(skipped.insert(skip.job));
            }
            prop_assert!(done.insert(ix));
        }
        prop_assert!(schedule.is_over());
        prop_assert_eq!(done.len() + skipped.len(), plan.jobs.len());
    }
}
