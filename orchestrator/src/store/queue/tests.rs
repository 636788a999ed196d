//! The queue's order, policies, and what a second process finds.

use super::*;
use crate::model::{NewJob, Policy};
use crate::store::runs::new_id;

fn job(reference: &str, new: &str, priority: Priority, policy: Policy) -> NewJob {
    NewJob {
        change: ChangeSet {
            repository: "r".into(),
            reference: reference.into(),
            old: Some("0".into()),
            new: new.into(),
        },
        choice: "c".into(),
        spec: JobSpec {
            matrix: "/m.yaml".into(),
            ports: vec![],
            suites: vec![],
            source_dir: ".".into(),
            bisect: 0,
            search: None,
        },
        priority,
        policy,
    }
}

async fn queue() -> (tempfile::TempDir, Queue) {
    let dir = tempfile::tempdir().unwrap();
    let queue = Queue::open(&dir.path().join("daemon.sqlite"))
        .await
        .unwrap();
    (dir, queue)
}

async fn taken(queue: &Queue) -> String {
    let job = queue.take(&new_id()).await.unwrap();
    job.map_or("nothing".into(), |j| j.change.new)
}

#[tokio::test]
async fn the_urgent_go_first_and_references_take_turns() {
    let (_dir, queue) = queue().await;
    let each = |r, n, p| job(r, n, p, Policy::Each);
    let jobs = [
        each("a", "nightly", Priority::Nightly),
        each("a", "a1", Priority::Push),
        each("a", "a2", Priority::Push),
        each("b", "b1", Priority::Push),
        each("c", "try", Priority::Try),
        each("c", "signoff", Priority::Signoff),
    ];
    queue.accept("d1", &jobs).await.unwrap();
    let mut order = Vec::new();
    for _ in 0..7 {
        order.push(taken(&queue).await);
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    assert_eq!(
        order,
        ["signoff", "a1", "b1", "a2", "try", "nightly", "nothing"]
    );
}

#[tokio::test]
async fn a_delivery_is_taken_once() {
    let (_dir, queue) = queue().await;
    let one = [job("a", "1", Priority::Push, Policy::Each)];
    assert!(matches!(
        queue.accept("d", &one).await.unwrap(),
        Accepted::Queued { .. }
    ));
    assert_eq!(queue.accept("d", &one).await.unwrap(), Accepted::Duplicate);
    assert_eq!(queue.depth().await.unwrap(), (1, 0));
}

#[tokio::test]
async fn what_waits_becomes_one_run_from_the_oldest_base() {
    let (_dir, queue) = queue().await;
    for (n, base) in [("1", "0"), ("2", "1"), ("3", "2")] {
        let mut push = job("a", n, Priority::Push, Policy::Batch);
        push.change.old = Some(base.into());
        queue.accept(&format!("d{n}"), &[push]).await.unwrap();
    }
    let other = job("b", "other", Priority::Push, Policy::Batch);
    queue.accept("o", &[other]).await.unwrap();
    assert_eq!(queue.depth().await.unwrap(), (2, 0));
    let first = queue.take(&new_id()).await.unwrap().unwrap();
    assert_eq!(
        (first.change.new.as_str(), first.change.old.as_deref()),
        ("3", Some("0"))
    );
    let all = queue.list(None, 10).await.unwrap();
    let notes: Vec<&str> = all.iter().map(|j| j.note.as_str()).collect();
    assert_eq!(notes, ["", "", "replaced by 3", "replaced by 2"]);
}

#[tokio::test]
async fn superseding_ends_the_older_run() {
    let (_dir, queue) = queue().await;
    let push = |n| [job("a", n, Priority::Push, Policy::Supersede)];
    queue.accept("d1", &push("1")).await.unwrap();
    let running = queue.take(&new_id()).await.unwrap().unwrap();
    let Accepted::Queued { cancelling, .. } = queue.accept("d2", &push("2")).await.unwrap() else {
        panic!("a new delivery was refused");
    };
    assert_eq!(cancelling, [running.id]);
    let note = "replaced by 2";
    queue
        .step(running.id, JobState::Cancelled, note, None)
        .await
        .unwrap();
    assert_eq!(taken(&queue).await, "2");
}

#[tokio::test]
async fn a_second_process_finds_what_the_first_had_taken() {
    let (dir, queue) = queue().await;
    let jobs = [job("a", "1", Priority::Push, Policy::Each)];
    queue.accept("d", &jobs).await.unwrap();
    let run = new_id();
    let taken = queue.take(&run).await.unwrap().unwrap();
    // Not closed: as after a kill.
    let second = Queue::open(&dir.path().join("daemon.sqlite"))
        .await
        .unwrap();
    let found = second.taken().await.unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].run.as_deref(), Some(run.0.as_str()));
    assert!(second.take(&new_id()).await.unwrap().is_none());
    second
        .step(taken.id, JobState::Done, "", Some(2))
        .await
        .unwrap();
    let done = second.get(taken.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.findings), (JobState::Done, Some(2)));
    assert!(done.ended.is_some());
}

#[tokio::test]
async fn steps_that_do_not_exist_are_refused() {
    let (_dir, queue) = queue().await;
    let jobs = [job("a", "1", Priority::Push, Policy::Each)];
    let Accepted::Queued { jobs, .. } = queue.accept("d", &jobs).await.unwrap() else {
        panic!("refused");
    };
    let error = queue
        .step(jobs[0], JobState::Done, "", None)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cannot become done"), "{error}");
    assert_eq!(
        queue.cancel(jobs[0], "me").await.unwrap(),
        Some(JobState::Cancelled)
    );
    assert_eq!(
        queue.cancel(jobs[0], "me").await.unwrap(),
        Some(JobState::Cancelled)
    );
    assert_eq!(queue.cancel(99, "me").await.unwrap(), None);
}

#[tokio::test]
async fn a_token_is_known_by_its_hash_alone() {
    let (dir, queue) = queue().await;
    let me = TokenRow {
        name: "me".into(),
        scopes: vec![Scope::Cancel],
        repositories: vec!["r".into()],
    };
    assert!(queue.put_token(&me, "secret-word").await.unwrap());
    assert!(!queue.put_token(&me, "another").await.unwrap());
    let found = queue.token("secret-word").await.unwrap().unwrap();
    assert_eq!(found, me);
    assert!(found.may(Scope::Cancel, "r"));
    assert!(!found.may(Scope::Cancel, "q") && !found.may(Scope::Submit, "r"));
    assert!(queue.token("secret-wort").await.unwrap().is_none());
    for file in ["daemon.sqlite", "daemon.sqlite-wal"] {
        let bytes = std::fs::read(dir.path().join(file)).unwrap_or_default();
        assert!(!bytes.windows(11).any(|w| w == b"secret-word"), "{file}");
    }
    assert!(queue.remove_token("me").await.unwrap());
    assert!(queue.token("secret-word").await.unwrap().is_none());
}

#[tokio::test]
async fn the_feed_has_every_step_in_order() {
    let (_dir, queue) = queue().await;
    let first = [job("a", "1", Priority::Push, Policy::Batch)];
    let second = [job("a", "2", Priority::Push, Policy::Batch)];
    queue.accept("d1", &first).await.unwrap();
    queue.accept("d2", &second).await.unwrap();
    let taken = queue.take(&RunId("r".into())).await.unwrap().unwrap();
    queue
        .step(taken.id, JobState::Done, "", Some(0))
        .await
        .unwrap();
    let steps = queue.steps(0, 99).await.unwrap();
    let told: Vec<(i64, JobState)> = steps.iter().map(|s| (s.job, s.state)).collect();
    assert_eq!(
        told,
        [
            (1, JobState::Queued),
            // The second change replaces the first before it is queued itself.
            (1, JobState::Cancelled),
            (2, JobState::Queued),
            (2, JobState::Running),
            (2, JobState::Done),
        ]
    );
    assert_eq!(steps[3].run.as_deref(), Some("r"));
    let newest = queue.newest_step().await.unwrap();
    assert_eq!(steps.last().map(|s| s.seq), Some(newest));
    assert_eq!(queue.steps(newest - 1, 99).await.unwrap(), steps[4..]);
    assert!(steps.windows(2).all(|w| w[0].seq < w[1].seq));
}

#[tokio::test]
async fn a_burst_is_queued_together_and_each_delivery_once() {
    let (_dir, queue) = queue().await;
    let queue = Arc::new(queue);
    let deliver = |n: usize| {
        let queue = Arc::clone(&queue);
        // Every delivery comes twice.
        let reference = format!("r{}", n / 2);
        let jobs = [job(&reference, "new", Priority::Push, Policy::Each)];
        tokio::spawn(async move { queue.accept(&reference, &jobs).await.unwrap() })
    };
    let all: Vec<_> = (0..1200).map(deliver).collect();
    let mut queued = std::collections::BTreeSet::new();
    for one in all {
        if let Accepted::Queued { jobs, .. } = one.await.unwrap() {
            assert!(queued.insert(jobs[0]), "{jobs:?} twice");
        }
    }
    assert_eq!(queued.len(), 600);
    assert_eq!(queue.depth().await.unwrap(), (600, 0));
}
