//! How fast the index of runs takes results in, how large they become, how fast it answers.
//!
//! ```sh
//! cargo run --release --example index_load -- 1000000 [DIR]
//! ```
//!
//! Logs are generated: runs of nine ports with 2000 cases, a failure in fifty, a crash now and then.
//! Each query is asked 200 times, of another case each time; while the last tenth is taken in, the
//! queries are asked again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fallout::model::{
    Attempt, CaseId, CellId, Crash, CrashKind, Event, Outcome, RunId, Side, StageResult, Stamped,
};
use fallout::store::index::Index;
use fallout::store::runs::{RunDir, RunRecord};

const PORTS: usize = 9;
const CASES: usize = 2000;

fn case(n: usize) -> CaseId {
    CaseId::new(
        format!("lib/libc/part{}/t_program", n / 20),
        format!("case_{}", n % 20),
    )
}

fn write_run(runs: &Path, number: usize) -> usize {
    let id = RunId(format!("{:08x}-0000-7000-8000-000000000000", number));
    let record = RunRecord {
        format: 1,
        id: id.clone(),
        matrix_path: "/m.yaml".into(),
        matrix: "load".into(),
        images_dir: "/images".into(),
        started: jiff::Timestamp::from_second(1_700_000_000 + number as i64 * 600)
            .expect("in range"),
        ports: vec![],
        suites: vec![],
        release: None,
        fresh: false,
        reference: None,
        baselines: Default::default(),
        imported: None,
        cluster: None,
        revisions: [("base".to_owned(), format!("{number:040x}"))].into(),
    };
    let run = RunDir::create(runs, &record).expect("a run's directory");
    let cell = |p: usize| CellId {
        suite: "base".into(),
        port: format!("port{p}").as_str().into(),
        variant: "stock".into(),
        side: Side::Candidate,
    };
    let mut log = Vec::new();
    let mut seq = 0;
    let mut put = |what: Event| {
        let line = Stamped {
            seq,
            at: record.started,
            what,
        };
        serde_json::to_writer(&mut log, &line).expect("an event");
        log.push(b'\n');
        seq += 1;
    };
    put(Event::RunStarted {
        run: id,
        matrix: "load".into(),
        cells: (0..PORTS).map(cell).collect(),
    });
    for p in 0..PORTS {
        for n in 0..CASES {
            let dice = (number * 31 + p * 17 + n * 7919) % 997;
            let bad = dice.is_multiple_of(50);
            put(Event::AttemptDone {
                cell: cell(p),
                attempt: Attempt {
                    memory: None,
                    case: case(n),
                    pass: 1,
                    guest: 1,
                    outcome: if bad {
                        Outcome::Failed
                    } else {
                        Outcome::Passed
                    },
                    reason: bad.then(|| {
                        format!(
                            "t_program.c:{dice}: expected {p}, got {}",
                            dice + number % 100
                        )
                    }),
                    duration: Some(Duration::from_millis(dice as u64)),
                    output: None,
                    purpose: fallout::model::Purpose::default(),
                    doubtful: None,
                },
            });
        }
        if (number + p).is_multiple_of(7) {
            put(Event::GuestCrashed {
                cell: cell(p),
                guest: 1,
                crash: Crash {
                    blamed: Some(case(number % CASES)),
                    ..Crash::new(
                        CrashKind::Panic,
                        format!(
                            "panic: kernel diagnostic assertion {} failed",
                            (number + p) % 40
                        ),
                    )
                },
            });
        }
        put(Event::CellFinished {
            cell: cell(p),
            stage: StageResult::Complete,
            cached: false,
        });
    }
    put(Event::RunFinished {
        findings: 0,
        interrupted: false,
    });
    std::fs::write(run.events_path(), log).expect("a log");
    PORTS * CASES
}

async fn ask(index: &Index, label: &str) {
    let mut names: Vec<(&str, Vec<Duration>)> = Vec::new();
    for n in 0..200 {
        let one = case(n * 7 % CASES);
        let mut took = |name: &'static str, since: Instant| match names
            .iter_mut()
            .find(|(known, _)| *known == name)
        {
            Some((_, all)) => all.push(since.elapsed()),
            None => names.push((name, vec![since.elapsed()])),
        };
        let t = Instant::now();
        index.history(&one, None, None, 200).await.expect("history");
        took("history of a case", t);
        let t = Instant::now();
        index
            .history(&one, Some("port8"), None, 200)
            .await
            .expect("history");
        took("history on one port", t);
        let t = Instant::now();
        index.rates(&one).await.expect("rates");
        took("rates of a case", t);
        let t = Instant::now();
        index.runs(None, 50).await.expect("runs");
        took("runs, 50", t);
        let t = Instant::now();
        index.crash_groups(None, 50).await.expect("crashes");
        took("panics by signature", t);
        let t = Instant::now();
        index.ports().await.expect("ports");
        took("health of 9 ports", t);
        let t = Instant::now();
        index.flakes(50).await.expect("flakes");
        took("flakes", t);
        let t = Instant::now();
        index
            .cases("lib/libc/part7", None, 100)
            .await
            .expect("cases");
        took("cases by prefix", t);
    }
    for (name, mut all) in names {
        all.sort();
        let at = |q: f64| all[((all.len() - 1) as f64 * q) as usize].as_secs_f64() * 1000.0;
        println!(
            "{label}: {name:<22} p50 {:>7.2} ms  p95 {:>7.2} ms  max {:>7.2} ms",
            at(0.5),
            at(0.95),
            at(1.0)
        );
    }
}

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let wanted: usize = args
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    let temp = tempfile::tempdir().expect("a directory");
    let dir = args.next().map_or(temp.path().to_owned(), PathBuf::from);
    let runs = dir.join("runs");
    let file = dir.join("index.sqlite");
    let all = wanted.div_ceil(PORTS * CASES).max(10);
    let first = all - all / 10;
    let index = Arc::new(Index::open(&file).await.expect("the index"));
    let mut results = 0;
    let (mut took, mut n) = (Duration::ZERO, 0);
    // In portions, so that the logs need not all lie on the disk.
    while n < first {
        let until = (n + 50).min(first);
        results += (n..until).map(|i| write_run(&runs, i)).sum::<usize>();
        let t = Instant::now();
        index.catch_up(&runs).await.expect("taken in");
        took += t.elapsed();
        std::fs::remove_dir_all(&runs).expect("logs removed");
        n = until;
    }
    println!(
        "taken in: {results} results in {:.1} s, {:.0} a second",
        took.as_secs_f64(),
        results as f64 / took.as_secs_f64()
    );
    ask(&index, "quiet").await;
    let more: usize = (first..all).map(|i| write_run(&runs, i)).sum();
    let writing = {
        let (index, runs) = (index.clone(), runs.clone());
        tokio::spawn(async move {
            let t = Instant::now();
            index.catch_up(&runs).await.expect("taken in");
            t.elapsed()
        })
    };
    ask(&index, "while written").await;
    let took = writing.await.expect("the writer").as_secs_f64();
    println!(
        "taken in while read: {more} results in {took:.1} s, {:.0} a second",
        more as f64 / took
    );
    results += more;
    Arc::into_inner(index).expect("one owner").close().await;
    let bytes = std::fs::metadata(&file).map_or(0, |m| m.len());
    println!(
        "size: {:.1} MiB, {:.0} bytes a result",
        bytes as f64 / (1 << 20) as f64,
        bytes as f64 / results as f64
    );
}
