use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::model::{Event, RunId};
use crate::report::{RunReport, json, sample};
use crate::store::events::EventLog;
use crate::store::index::Index;
use crate::store::runs::{RunDir, RunRecord};

const NOW: i64 = 1_800_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn days_ago(days: i64) -> Timestamp {
    now()
        .checked_sub(SignedDuration::from_hours(24 * days))
        .unwrap()
}

fn limits() -> Retention {
    Retention {
        passing_consoles_days: Some(20),
        consoles_days: Some(60),
        runs_days: Some(300),
        runs_at_most: None,
        ..Retention::default()
    }
}

fn subject(run: &str, days: i64) -> Subject {
    Subject {
        run: run.into(),
        matrix: "m".into(),
        started: days_ago(days),
        over: true,
        reduced: false,
    }
}

#[test]
fn what_goes_is_said_with_its_limit_and_what_stays_with_its_reason() {
    let mut subjects = vec![
        subject("a", 400),
        subject("b", 301),
        subject("c", 61),
        subject("d", 25),
        subject("e", 19),
        subject("f", 500),
    ];
    subjects[5].over = false;
    let cited = [("b".to_owned(), "sign-off 10.1 cites it".to_owned())].into();
    let told = |limits: &Retention| {
        let all = choose(&subjects, &cited, limits, now());
        let lines = all.iter().map(|c| {
            let kept = c.kept.as_deref().unwrap_or("goes");
            format!("{} {:?} {}: {kept}\n", c.run, c.step, c.why)
        });
        lines.collect::<String>()
    };
    insta::assert_snapshot!(told(&limits()));
    let by_number = Retention {
        runs_at_most: Some(3),
        ..Retention::default()
    };
    insta::assert_snapshot!(told(&by_number));
    assert_eq!(told(&Retention::default()), "");
}

proptest! {
    #[test]
    fn no_cited_and_no_unfinished_run_ever_goes(
        runs in prop::collection::vec((0i64..900, any::<bool>(), any::<bool>(), any::<bool>()), 0..30),
        days in prop::option::of(0u32..900), most in prop::option::of(0u32..9),
    ) {
        let limits = Retention { runs_days: days, runs_at_most: most, ..limits() };
        let mut cited = BTreeMap::new();
        let subjects: Vec<Subject> = runs.iter().enumerate().map(|(i, (age, over, reduced, is_cited))| {
            let name = format!("r{i}");
            if *is_cited {
                cited.insert(name.clone(), "cited".to_owned());
            }
            Subject { over: *over, reduced: *reduced, ..subject(&name, *age) }
        }).collect();
        for choice in choose(&subjects, &cited, &limits, now()) {
            let subject = subjects.iter().find(|s| s.run == choice.run).unwrap();
            prop_assert!(!subject.reduced);
            prop_assert_eq!(choice.kept.is_none(), subject.over && !cited.contains_key(&choice.run));
        }
    }
}

fn write(state: &Path, id: &str, days: i64, report: &mut RunReport) -> RunDir {
    let record = RunRecord {
        format: 1,
        id: RunId(id.into()),
        matrix_path: "/m.yaml".into(),
        matrix: "m".into(),
        images_dir: "/i".into(),
        started: days_ago(days),
        ports: vec![],
        suites: vec![],
        release: None,
        fresh: false,
        revisions: BTreeMap::new(),
        baselines: BTreeMap::new(),
        reference: None,
        imported: None,
        cluster: None,
    };
    report.run = RunId(id.into());
    let run = RunDir::create(&state.join("runs"), &record).unwrap();
    let mut log = EventLog::open(&run.events_path()).unwrap();
    let mut put = |event| drop(log.append(event).unwrap());
    put(Event::RunStarted {
        run: report.run.clone(),
        matrix: "m".into(),
        cells: report.cells.iter().map(|c| c.id.clone()).collect(),
    });
    for cell in &report.cells {
        run.put_cell(cell).unwrap();
        std::fs::write(run.cell_dir(&cell.id).join("guest-1.console"), "boot\n").unwrap();
        for attempt in &cell.attempts {
            put(Event::AttemptDone {
                cell: cell.id.clone(),
                attempt: attempt.clone(),
            });
        }
        put(Event::CellFinished {
            cell: cell.id.clone(),
            stage: cell.stage,
            cached: false,
        });
    }
    put(Event::RunFinished {
        findings: report.verdict.findings.len() as u64,
        interrupted: false,
    });
    let text = json::write(report).unwrap();
    run.write_file("report.json", text.as_bytes()).unwrap();
    run
}

fn consoles(run: &RunDir) -> usize {
    let cells = std::fs::read_dir(run.path.join("cells")).unwrap();
    cells
        .filter(|c| c.as_ref().unwrap().path().join("guest-1.console").exists())
        .count()
}

#[tokio::test]
async fn a_reduced_run_keeps_its_findings_and_the_index_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut report = sample::troubled();
    let old = write(dir.path(), "r1", 400, &mut report);
    let middle = write(dir.path(), "r2", 30, &mut report);
    write(dir.path(), "r3", 1, &mut report);
    let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
    let runs = dir.path().join("runs");
    index.catch_up(&runs).await.unwrap();
    let case = report.cells[0].attempts[0].case.clone();
    let before = index
        .history(&case, None, None, 10_000)
        .await
        .unwrap()
        .unwrap();
    let go = |dry| sweep(dir.path(), &limits(), &BTreeSet::new(), now(), dry).unwrap();
    let whole = consoles(&middle);
    let would = go(true);
    assert_eq!(
        (consoles(&middle), old.path.join("cells").is_dir()),
        (whole, true)
    );
    let swept = go(false);
    let names = |s: &Swept| s.runs.iter().map(|r| r.choice.clone()).collect::<Vec<_>>();
    assert_eq!(names(&would), names(&swept));
    assert!(swept.trouble.is_empty(), "{:?}", swept.trouble);
    assert!(swept.freed_bytes() > 0);
    assert!(!old.path.join("cells").exists());
    let left = consoles(&middle);
    assert!(0 < left && left < whole, "{left} of {whole}");

    let (_, trouble) = index.catch_up(&runs).await.unwrap();
    assert!(trouble.is_empty(), "{trouble:?}");
    let row = index.run("r1").await.unwrap().unwrap();
    let cells = report.cells.len() as u64;
    assert_eq!((row.cells, row.cells_done), (cells, cells));
    let findings = index.findings_in("r1", None, 500).await.unwrap();
    assert_eq!(findings.len(), report.verdict.findings.len());
    let after = index
        .history(&case, None, None, 10_000)
        .await
        .unwrap()
        .unwrap();
    assert!(after.iter().all(|r| r.run != "r1"));
    let lost = before.iter().filter(|r| r.run == "r1").count();
    assert!(lost > 0 && after.len() == before.len() - lost);
    // Once is enough.
    let again = go(false);
    assert_eq!((again.runs, again.trees), (vec![], vec![]));
}

#[test]
fn what_is_cited_or_worked_on_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut report = sample::troubled();
    for (id, days) in [
        ("r1", 900),
        ("r2", 800),
        ("r3", 700),
        ("r4", 600),
        ("r5", 500),
    ] {
        write(dir.path(), id, days, &mut report);
    }
    let signoff = dir.path().join("signoffs/netbsd-10/");
    std::fs::create_dir_all(&signoff).unwrap();
    std::fs::write(
        signoff.join("signoff.json"),
        r#"{"runs": [{"see": "/runs/r1"}]}"#,
    )
    .unwrap();
    let worked_on = RunDir {
        path: dir.path().join("runs/r2"),
    };
    let _owner = worked_on.lock().unwrap();
    let busy = ["r3".to_owned()].into();
    let swept = sweep(dir.path(), &limits(), &busy, now(), false).unwrap();
    let told: Vec<String> = swept
        .runs
        .iter()
        .map(|r| {
            format!(
                "{} {}",
                r.choice.run,
                r.choice.kept.as_deref().unwrap_or("goes")
            )
        })
        .collect();
    insta::assert_snapshot!(told.join("\n"));
}

#[test]
fn trees_of_commits_and_series_go_by_age_unless_the_queue_needs_them() {
    let dir = tempfile::tempdir().unwrap();
    for commit in ["aaaa", "bbbb"] {
        let tree = dir.path().join("trees/portable").join(commit);
        std::fs::create_dir_all(&tree).unwrap();
        std::fs::write(tree.join("f"), "12345").unwrap();
        let tried = dir.path().join("tries").join(commit);
        std::fs::create_dir_all(&tried).unwrap();
        std::fs::write(tried.join("series.mbox"), "123").unwrap();
    }
    let limits = Retention {
        trees_days: Some(0),
        tries_days: Some(0),
        ..Retention::default()
    };
    let busy = ["bbbb".to_owned()].into();
    let later = Timestamp::now();
    let swept = sweep(dir.path(), &limits, &busy, later, false).unwrap();
    assert_eq!(swept.freed_bytes(), 8);
    for (tried, there) in [("aaaa", false), ("bbbb", true)] {
        assert_eq!(
            dir.path().join("tries").join(tried).exists(),
            there,
            "{tried}"
        );
    }
    assert!(!dir.path().join("trees/portable/aaaa").exists());
    assert!(dir.path().join("trees/portable/bbbb/f").exists());
}
