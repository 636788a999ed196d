//! The index over logs as runs leave them: whole, torn, growing, gone, and read twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::Index;
use crate::model::{
    Attempt, CaseId, CellId, Crash, CrashKind, Event, Outcome, Purpose, RunId, Side, StageResult,
};
use crate::store::events::EventLog;
use crate::store::runs::{RunDir, RunRecord, new_id};

struct Runs {
    dir: tempfile::TempDir,
}

impl Runs {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("runs")
    }

    fn run(&self) -> (RunDir, EventLog, RunId) {
        let id = new_id();
        let record = RunRecord {
            format: 1,
            id: id.clone(),
            matrix_path: "/m.yaml".into(),
            matrix: "m".into(),
            images_dir: "/images".into(),
            started: jiff::Timestamp::now(),
            ports: vec![],
            suites: vec![],
            release: None,
            fresh: false,
            revisions: [("s".to_owned(), format!("rev-{id}"))].into(),
            reference: None,
            baselines: Default::default(),
            imported: None,
            cluster: None,
        };
        let dir = RunDir::create(&self.path(), &record).unwrap();
        let log = EventLog::open(&dir.events_path()).unwrap();
        (dir, log, id)
    }
}

fn cell(port: &str) -> CellId {
    CellId {
        suite: "s".into(),
        port: port.into(),
        variant: "stock".into(),
        side: Side::Candidate,
    }
}

fn done(port: &str, case: &str, outcome: Outcome) -> Event {
    Event::AttemptDone {
        cell: cell(port),
        attempt: Attempt {
            memory: None,
            case: case.parse().unwrap(),
            pass: 1,
            guest: 1,
            outcome,
            reason: (outcome == Outcome::Failed).then(|| "because".to_owned()),
            duration: Some(Duration::from_millis(7)),
            output: None,
            purpose: Purpose::default(),
            doubtful: None,
        },
    }
}

async fn rows(index: &Index, case: &str) -> Vec<(String, Outcome)> {
    let case: CaseId = case.parse().unwrap();
    let rows = index.history(&case, None, None, 100).await.unwrap();
    rows.unwrap_or_default()
        .into_iter()
        .map(|r| (r.port.0, r.outcome))
        .collect()
}

#[tokio::test]
async fn a_growing_log_is_read_once_and_a_deleted_index_is_made_again() {
    let runs = Runs::new();
    let file = runs.dir.path().join("index.sqlite");
    let index = Index::open(&file).await.unwrap();
    let (dir, mut log, id) = runs.run();
    log.append(Event::RunStarted {
        run: id.clone(),
        matrix: "m".into(),
        cells: vec![cell("big"), cell("little")],
    })
    .unwrap();
    log.append(done("big", "p:a", Outcome::Failed)).unwrap();
    let (caught, trouble) = index.catch_up(&runs.path()).await.unwrap();
    assert_eq!((caught.events, caught.attempts), (2, 1));
    assert!(trouble.is_empty());
    // Nothing new, nothing read.
    assert_eq!(index.catch_up(&runs.path()).await.unwrap().0.events, 0);

    log.append(done("little", "p:a", Outcome::Passed)).unwrap();
    // A torn line waits for its end.
    std::io::Write::write_all(
        &mut std::fs::OpenOptions::new()
            .append(true)
            .open(dir.events_path())
            .unwrap(),
        b"{\"seq\":3,",
    )
    .unwrap();
    assert_eq!(index.catch_up(&runs.path()).await.unwrap().0.events, 1);
    let both = vec![
        ("little".to_owned(), Outcome::Passed),
        ("big".to_owned(), Outcome::Failed),
    ];
    assert_eq!(rows(&index, "p:a").await, both);
    let one: CaseId = "p:a".parse().unwrap();
    let big = index
        .history(&one, Some("big"), None, 9)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(big.len(), 1);
    assert_eq!(big[0].reason.as_deref(), Some("because"));
    assert_eq!(big[0].revision, Some(format!("rev-{id}")));
    assert!(rows(&index, "p:none").await.is_empty());

    index.close().await;
    std::fs::write(
        &file,
        b"this is no database at all, and quite long enough to be looked at",
    )
    .unwrap();
    let again = Index::open(&file).await.unwrap();
    again.catch_up(&runs.path()).await.unwrap();
    assert_eq!(rows(&again, "p:a").await, both);
}

#[tokio::test]
async fn runs_are_listed_by_cursor_with_their_phase() {
    let runs = Runs::new();
    let index = Index::open(&runs.dir.path().join("i.sqlite"))
        .await
        .unwrap();
    let mut ids = Vec::new();
    for n in 0..5 {
        let (_, mut log, id) = runs.run();
        log.append(Event::RunStarted {
            run: id.clone(),
            matrix: "m".into(),
            cells: vec![cell("big")],
        })
        .unwrap();
        if n > 0 {
            log.append(Event::CellFinished {
                cell: cell("big"),
                stage: StageResult::Complete,
                cached: false,
            })
            .unwrap();
            log.append(Event::RunFinished {
                findings: 0,
                interrupted: n == 1,
            })
            .unwrap();
        }
        ids.push(id.0);
        std::thread::sleep(Duration::from_millis(2));
    }
    index.catch_up(&runs.path()).await.unwrap();
    let first = index.runs(None, 2).await.unwrap();
    let names: Vec<&str> = first.iter().map(|r| r.run.as_str()).collect();
    assert_eq!(names, [&ids[4], &ids[3]]);
    let rest = index.runs(Some(&first[1].run), 9).await.unwrap();
    let phases: Vec<&str> = rest.iter().map(|r| r.phase.word()).collect();
    assert_eq!(phases, ["finished", "interrupted", "running"]);
    assert_eq!((rest[0].cells, rest[0].cells_done), (1, 1));
    assert_eq!((rest[2].cells, rest[2].cells_done), (1, 0));
    let ports = index.ports().await.unwrap();
    assert_eq!((ports.len(), ports[0].cells, ports[0].complete), (1, 4, 4));
    let one = index.port(ports[0].port.as_str()).await.unwrap();
    assert_eq!((one.as_ref(), ports.len()), (ports.first(), 1));
    assert_eq!(index.port("absent").await.unwrap(), None);
}

#[tokio::test]
async fn a_case_that_goes_both_ways_and_a_crash_in_two_runs_are_grouped() {
    let runs = Runs::new();
    let index = Index::open(&runs.dir.path().join("i.sqlite"))
        .await
        .unwrap();
    let mut ids = Vec::new();
    for case in ["p:flaky", "p:other"] {
        let (dir, mut log, id) = runs.run();
        ids.push(id.0);
        let outcomes = [Outcome::Passed, Outcome::Failed, Outcome::Skipped];
        let mut attempts = Vec::new();
        for outcome in outcomes {
            let event = done("big", "p:flaky", outcome);
            if let Event::AttemptDone { attempt, .. } = &event {
                attempts.push(attempt.clone());
            }
            log.append(event).unwrap();
        }
        log.append(Event::GuestCrashed {
            cell: cell("big"),
            guest: 1,
            crash: Crash {
                blamed: Some(case.parse().unwrap()),
                ..Crash::new(CrashKind::Panic, "panic: here")
            },
        })
        .unwrap();
        let result = serde_json::json!({
            "id": cell("big"), "key": "k".repeat(64), "stage": "complete",
            "attempts": attempts, "guests": [],
        });
        let result = serde_json::from_value(result).unwrap();
        dir.put_cell(&result).unwrap();
        log.append(Event::CellFinished {
            cell: cell("big"),
            stage: StageResult::Complete,
            cached: false,
        })
        .unwrap();
    }
    index.catch_up(&runs.path()).await.unwrap();
    let flakes = index.flakes(9).await.unwrap();
    assert_eq!(flakes.len(), 1);
    assert_eq!((flakes[0].cells, flakes[0].bad, flakes[0].total), (2, 2, 4));
    let rates = index.rates(&"p:flaky".parse().unwrap()).await.unwrap();
    assert_eq!((rates[0].attempts, rates[0].bad, rates[0].mixed), (4, 2, 2));
    let groups = index.crash_groups(None, 9).await.unwrap();
    assert_eq!((groups.len(), groups[0].count), (1, 2));
    assert_eq!(groups[0].ports, ["big".into()]);
    let crashes = index.crashes(&groups[0].signature, None, 9).await.unwrap();
    assert_eq!(crashes.len(), 2);
    assert_eq!(crashes[0].cell.to_string(), "s/big/stock/candidate");
    assert_eq!(crashes[0].blamed, Some("p:other".parse().unwrap()));
    // The same crash under two causes is shown as such.
    assert_eq!(groups[0].causes, 2);
    let causes = index.crash_causes(&groups[0].signature, 9).await.unwrap();
    let causes: Vec<_> = causes
        .iter()
        .map(|c| {
            (
                c.blamed.clone().unwrap().to_string(),
                c.count,
                &c.first_run,
                &c.last_run,
            )
        })
        .collect();
    let of = |case: &str, run| (case.to_owned(), 1, run, run);
    assert_eq!(causes, [of("p:flaky", &ids[0]), of("p:other", &ids[1])]);
}

/// A result from the cache counts once: where it was executed, or where it is first seen.
#[tokio::test]
async fn a_cached_cell_adds_nothing_that_is_known() {
    let runs = Runs::new();
    let index = Index::open(&runs.dir.path().join("i.sqlite"))
        .await
        .unwrap();
    for _ in 0..2 {
        let (dir, mut log, _) = runs.run();
        let Event::AttemptDone { attempt, .. } = done("big", "p:a", Outcome::Passed) else {
            unreachable!()
        };
        let result = serde_json::json!({
            "id": cell("big"), "key": "c".repeat(64), "stage": "complete",
            "attempts": [attempt], "guests": [],
        });
        dir.put_cell(&serde_json::from_value(result).unwrap())
            .unwrap();
        log.append(Event::CellFinished {
            cell: cell("big"),
            stage: StageResult::Complete,
            cached: true,
        })
        .unwrap();
    }
    index.catch_up(&runs.path()).await.unwrap();
    assert_eq!(rows(&index, "p:a").await.len(), 1);
}

#[tokio::test]
async fn findings_that_come_after_the_last_event_are_found() {
    let runs = Runs::new();
    let index = Index::open(&runs.dir.path().join("i.sqlite"))
        .await
        .unwrap();
    let (dir, mut log, id) = runs.run();
    log.append(done("big", "p:a", Outcome::Failed)).unwrap();
    log.append(Event::RunFinished {
        findings: 1,
        interrupted: false,
    })
    .unwrap();
    index.catch_up(&runs.path()).await.unwrap();
    let case: CaseId = "p:a".parse().unwrap();
    assert!(index.findings_of(&case, 9).await.unwrap().is_empty());
    let finding = serde_json::json!({"kind": "arch_only", "news": "new", "suite": "s",
        "case": "p:a", "sentence": "p:a fails on big"});
    let report = serde_json::json!({"format": 1, "summary": {}, "report":
        {"verdict": {"findings": [finding], "host_faults": []}}});
    dir.write_file("report.json", report.to_string().as_bytes())
        .unwrap();
    index.catch_up(&runs.path()).await.unwrap();
    let found = index.findings_of(&case, 9).await.unwrap();
    assert_eq!((found.len(), &found[0].run), (1, &id.0));
    assert_eq!(found[0].sentence, "p:a fails on big");
    assert_eq!(index.findings_in(&id.0, None, 9).await.unwrap(), found);
}

#[tokio::test]
async fn a_run_that_cannot_be_read_is_told_and_does_not_stop_the_others() {
    let runs = Runs::new();
    let index = Index::open(&runs.dir.path().join("i.sqlite"))
        .await
        .unwrap();
    let (dir, ..) = runs.run();
    std::fs::write(dir.events_path(), b"{not json}\n").unwrap();
    let (_, mut log, _) = runs.run();
    log.append(done("big", "p:a", Outcome::Passed)).unwrap();
    let (caught, trouble) = index.catch_up(&runs.path()).await.unwrap();
    assert_eq!((caught.attempts, trouble.len()), (1, 1));
    assert!(trouble[0].contains("at byte 0"), "{trouble:?}");
    assert!(Path::new(&runs.path()).exists());
}

/// What a damaged guest said is kept and does not count, whether it was taken in before or together.
#[tokio::test]
async fn what_is_doubted_later_does_not_count() {
    for together in [false, true] {
        let runs = Runs::new();
        let index = Index::open(&runs.dir.path().join("i.sqlite"))
            .await
            .unwrap();
        let (_dir, mut log, id) = runs.run();
        log.append(done("big", "p:a", Outcome::Failed)).unwrap();
        log.append(done("big", "p:b", Outcome::Passed)).unwrap();
        if !together {
            index.catch_up(&runs.path()).await.unwrap();
            let cells = index.cells_of(&id.0, None, 9).await.unwrap();
            assert_eq!((cells[0].good, cells[0].bad), (1, 1));
        }
        log.append(Event::GuestDoubted {
            cell: cell("big"),
            guest: 1,
            why: "its disk is full".into(),
            attempts: vec![(Purpose::Pass, 1, "p:a".parse().unwrap())],
        })
        .unwrap();
        index.catch_up(&runs.path()).await.unwrap();
        let cells = index.cells_of(&id.0, None, 9).await.unwrap();
        assert_eq!((cells[0].good, cells[0].bad, cells[0].silent), (1, 0, 0));
        let case: CaseId = "p:a".parse().unwrap();
        let rows = index.history(&case, None, None, 9).await.unwrap().unwrap();
        assert_eq!((rows.len(), rows[0].counted), (1, false));
        assert!(index.rates(&case).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn the_past_of_a_run_is_what_its_matrix_showed_before_it() {
    let runs = Runs::new();
    let index = Index::open(&runs.dir.path().join("i.sqlite"))
        .await
        .unwrap();
    let mut ids = Vec::new();
    for n in 0..3 {
        let (_, mut log, id) = runs.run();
        log.append(Event::RunStarted {
            run: id.clone(),
            matrix: "m".into(),
            cells: vec![cell("big")],
        })
        .unwrap();
        for bad in [n > 0, false] {
            let outcome = if bad {
                Outcome::Failed
            } else {
                Outcome::Passed
            };
            log.append(done("big", "p:a", outcome)).unwrap();
        }
        log.append(done("big", "p:a", Outcome::Skipped)).unwrap();
        log.append(Event::GuestCrashed {
            cell: cell("big"),
            guest: 1,
            crash: Crash::new(CrashKind::Panic, "panic: here"),
        })
        .unwrap();
        ids.push(id.0);
    }
    index.catch_up(&runs.path()).await.unwrap();
    let case: CaseId = "p:a".parse().unwrap();
    let mut past = index.past_of(&case, "m", &ids[2]).await.unwrap();
    past.sort_by(|a, b| a.run.cmp(&b.run));
    let seen: Vec<_> = past.iter().map(|r| (&r.run, r.bad, r.total)).collect();
    assert_eq!(seen, [(&ids[0], 0, 2), (&ids[1], 1, 2)]);
    assert_eq!(past[1].revision, Some(format!("rev-{}", ids[1])));
    assert!(index.past_of(&case, "other", "~").await.unwrap().is_empty());
    let signature = crate::model::crash::signature(CrashKind::Panic, "panic: here");
    let deaths = index.crashes_of(&signature, "m", &ids[1]).await.unwrap();
    assert_eq!(deaths.len(), 1);
    assert_eq!((&deaths[0].run, deaths[0].bad), (&ids[0], 1));
    let earlier = index.runs_before("m", &ids[2]).await.unwrap();
    assert_eq!(
        earlier.into_iter().map(|r| r.0).collect::<Vec<_>>(),
        ids[..2]
    );
}
