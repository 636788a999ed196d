use std::time::Duration;

use crate::model::telling::{CommitState, Letter, Outgoing, Thread};

use super::*;

fn hook(key: &str, lane: &str) -> Outgoing {
    Outgoing {
        key: key.into(),
        lane: lane.into(),
        letter: Letter::Hook {
            repository: "r".into(),
            name: "n".into(),
            body: key.into(),
        },
    }
}

fn status(key: &str, state: CommitState) -> Outgoing {
    Outgoing {
        key: key.into(),
        lane: "s".into(),
        letter: Letter::Status {
            repository: "r".into(),
            commit: "c".into(),
            context: "x".into(),
            state,
            description: String::new(),
            link: None,
        },
    }
}

fn at(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_000_000 + seconds).unwrap()
}

async fn open(dir: &tempfile::TempDir) -> Outbox {
    Outbox::open(&dir.path().join("outbox.sqlite"), 5)
        .await
        .unwrap()
}

async fn keys(outbox: &Outbox, now: jiff::Timestamp) -> Vec<String> {
    let due = outbox.due(now, 10).await.unwrap();
    due.into_iter().map(|w| w.key).collect()
}

#[tokio::test]
async fn letters_leave_lane_by_lane_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir).await;
    assert_eq!(outbox.seen().await.unwrap(), 5);
    let letters = [hook("1", "a"), hook("2", "a"), hook("3", "b")];
    outbox.take_in(6, &letters, "p", &[], at(0)).await.unwrap();
    // A step that is read again stores nothing again.
    outbox.take_in(6, &letters, "p", &[], at(0)).await.unwrap();
    assert_eq!(keys(&outbox, at(0)).await, ["1", "3"]);
    let first = outbox.due(at(0), 1).await.unwrap().remove(0);
    outbox.delivered(first.id, at(1)).await.unwrap();
    assert_eq!(keys(&outbox, at(1)).await, ["2", "3"]);
    // Whoever opens it next knows it all.
    drop(outbox);
    let outbox = open(&dir).await;
    assert_eq!(outbox.seen().await.unwrap(), 6);
    assert_eq!(keys(&outbox, at(1)).await, ["2", "3"]);
    outbox.take_in(7, &letters, "p", &[], at(2)).await.unwrap();
    assert_eq!(
        keys(&outbox, at(2)).await,
        ["2", "3"],
        "what has left stays so"
    );
}

#[tokio::test]
async fn a_failure_waits_longer_each_time_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir).await;
    outbox
        .take_in(6, &[hook("1", "a")], "p", &[], at(0))
        .await
        .unwrap();
    let mut now = at(0);
    let mut over = false;
    for n in 1..=TRIES {
        let one = outbox.due(now, 1).await.unwrap().remove(0);
        assert_eq!(one.tries, n - 1);
        over = outbox.failed_to(&one, "no", now).await.unwrap();
        let just_before = now + pause(n) - Duration::from_millis(1);
        assert!(keys(&outbox, just_before).await.is_empty());
        now += pause(n);
    }
    assert!(over && keys(&outbox, now).await.is_empty());
    let days = now.duration_since(at(0)).as_hours() / 24;
    assert_eq!(days, 3, "what the documentation says");
}

#[tokio::test]
async fn a_newer_status_overtakes_one_that_could_not_leave() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir).await;
    let pending = status("1", CommitState::Pending);
    outbox
        .take_in(6, &[pending], "p", &[], at(0))
        .await
        .unwrap();
    let failure = status("2", CommitState::Failure);
    outbox
        .take_in(7, &[failure], "p", &[], at(0))
        .await
        .unwrap();
    assert_eq!(keys(&outbox, at(0)).await, ["1"], "in their order");
    let one = outbox.due(at(0), 1).await.unwrap().remove(0);
    outbox.failed_to(&one, "no", at(0)).await.unwrap();
    assert!(keys(&outbox, at(0)).await.is_empty());
    let success = status("3", CommitState::Success);
    outbox
        .take_in(8, &[success], "p", &[], at(1))
        .await
        .unwrap();
    assert_eq!(keys(&outbox, at(1)).await, ["2"]);
}

#[tokio::test]
async fn threads_are_kept_with_what_was_told() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir).await;
    let thread = Thread {
        key: "k".into(),
        root: "<1@x>".into(),
        subject: "s".into(),
        last: "<1@x>".into(),
        digest: "d".into(),
        sentence: "it fails".into(),
        open: true,
        suite: "suite".into(),
        ports: vec!["p".into()],
        to: vec!["a@b".into()],
    };
    let threads = [thread.clone()];
    outbox.take_in(6, &[], "p", &threads, at(0)).await.unwrap();
    assert_eq!(outbox.threads("p").await.unwrap(), threads);
    assert!(outbox.threads("q").await.unwrap().is_empty());
}

#[tokio::test]
async fn a_letter_that_does_not_leave_is_listed_tried_again_and_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let outbox = open(&dir).await;
    let letters = [hook("1", "a"), hook("2", "b"), hook("3", "c")];
    outbox.take_in(6, &letters, "p", &[], at(0)).await.unwrap();
    let due = outbox.due(at(0), 10).await.unwrap();
    for n in 0..TRIES {
        let tried = Waiting {
            tries: n,
            ..due[0].clone()
        };
        outbox.failed_to(&tried, "no route", at(1)).await.unwrap();
    }
    outbox.delivered(due[1].id, at(1)).await.unwrap();
    let states = |list: &[Entry]| list.iter().map(|e| (e.id, e.state)).collect::<Vec<_>>();
    let open = outbox.list(false, 10).await.unwrap();
    assert_eq!(states(&open), [(3, Sent::Waits), (1, Sent::GivenUp)]);
    assert_eq!(
        (open[1].note.as_str(), open[1].tries, open[1].due),
        ("no route", TRIES, None)
    );
    assert_eq!(outbox.list(true, 10).await.unwrap().len(), 3);
    // One that was given up begins anew; one that has left does not leave twice.
    assert!(outbox.retry(1, at(9)).await.unwrap());
    assert!(!outbox.retry(2, at(9)).await.unwrap());
    assert!(keys(&outbox, at(9)).await.contains(&"1".to_owned()));
    assert!(outbox.forget(1, at(9)).await.unwrap());
    assert!(!outbox.forget(77, at(9)).await.unwrap());
    assert_eq!(
        states(&outbox.list(false, 10).await.unwrap()),
        [(3, Sent::Waits)]
    );
}
