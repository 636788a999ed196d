//! A place with two runs, a queue and a desk that only notes what it is handed.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::model::change::Search;
use crate::model::{
    CaseId, ChangeSet, Event, JobSpec, NewJob, Policy, Priority, RunId, StageResult,
};
use crate::report::{RunReport, html, json, sample};
use crate::store::benches;
use crate::store::events::EventLog;
use crate::store::index::Index;
use crate::store::queue::{Accepted, Queue, Scope, TokenRow};
use crate::store::runs::{RunDir, RunRecord};
use crate::web::{Answer, App, Desk, Options, Order, Parts, Refused, Taken, router};

/// Text of a hostile guest: markup, an escape, text that runs backwards.
pub const EVIL: &str = "<script>alert(1)</script>\"'><img src=x>\x1b[31m\u{202e}";

/// The finished run, the one under way, and a run of the same revision.
pub const DONE: &str = "01a20f80-92f4-7588-adee-000000000001";
pub const LIVE: &str = "01a20f80-92f4-7588-adee-000000000002";
const PORTS: [&str; 4] = ["amd64", "i386", "ppc64el", "sparc64"];
pub const REVISION: &str = "1234567890abcdef1234567890abcdef12345678";

/// Takes what it is handed; the answer is by the repository's name.
#[derive(Default)]
pub struct Notes(pub Mutex<Vec<String>>);

impl Desk for Notes {
    fn deliver<'a>(
        &'a self,
        source: &'a str,
        _: &'a HeaderMap,
        body: &'a [u8],
    ) -> Answer<'a, Result<Taken, Refused>> {
        self.0
            .lock()
            .unwrap()
            .push(format!("{source} {}", body.len()));
        Box::pin(async move {
            match source {
                "forged" => Err(Refused::Forged("no".into())),
                "odd" => Err(Refused::Malformed("no".into())),
                "full" => Err(Refused::Trouble("/secret/path: disk full".into())),
                "known" => Ok(Taken::Known),
                "ping" => Ok(Taken::Nothing),
                "panic" => panic!("a fault of ours"),
                _ => Ok(Taken::Queued(vec![7])),
            }
        })
    }

    fn order<'a>(
        &'a self,
        order: &'a Order,
        delivery: &'a str,
    ) -> Answer<'a, Result<Taken, Refused>> {
        let note = format!("{} {} {delivery}", order.repository, order.rule);
        self.0.lock().unwrap().push(note);
        Box::pin(async { Ok(Taken::Queued(vec![8])) })
    }

    fn attempt<'a>(
        &'a self,
        series: &'a crate::web::Series,
        who: &'a str,
    ) -> Answer<'a, Result<Taken, Refused>> {
        let note = format!("{} {} {who}", series.repository, series.series.len());
        self.0.lock().unwrap().push(note);
        Box::pin(async { Ok(Taken::Queued(vec![9])) })
    }
}

pub struct Site {
    pub dir: tempfile::TempDir,
    pub app: App,
    pub router: Router,
    pub desk: Arc<Notes>,
}

pub fn options() -> Options {
    Options {
        public: false,
        hosts: vec!["ci.example".into()],
        requests_per_second: 10_000,
        webhook_bytes: 1 << 20,
    }
}

/// The sample's run with a guest's evil in all that a guest can say.
fn troubled() -> RunReport {
    // A failure now and then, a panic, a hang, and a port that does not build.
    let mut cells = sample::cells(0);
    cells.retain(|c| PORTS.contains(&c.id.port.as_str()));
    for cell in &mut cells {
        if cell.id.to_string() == "portable/sparc64/stock/candidate" {
            cell.stage = StageResult::BuildFailed;
            cell.attempts.clear();
            cell.guests.clear();
        }
    }
    let mut report = sample::report(cells);
    report.run = RunId(DONE.into());
    for finding in &mut report.verdict.findings {
        finding.sentence.push_str(EVIL);
    }
    for cell in &mut report.cells {
        for attempt in &mut cell.attempts {
            if let Some(reason) = &mut attempt.reason {
                reason.push_str(EVIL);
            }
        }
        for guest in &mut cell.guests {
            if let Some(crash) = &mut guest.crash {
                crash.excerpt.push(EVIL.into());
                crash.title.push_str(EVIL);
            }
        }
    }
    report
}

fn record(id: &str) -> RunRecord {
    RunRecord {
        format: 1,
        id: RunId(id.into()),
        matrix_path: "/m.yaml".into(),
        matrix: format!("nightly {EVIL}"),
        images_dir: "/images".into(),
        started: jiff::Timestamp::from_second(1_780_000_000).unwrap(),
        ports: vec![],
        suites: vec![],
        release: None,
        fresh: false,
        reference: None,
        baselines: Default::default(),
        imported: None,
        cluster: None,
        revisions: [("portable".to_owned(), REVISION.to_owned())].into(),
    }
}

/// Writes a run as the engine does: log, results, report, consoles.
fn write(runs: &std::path::Path, report: &RunReport) {
    let dir = RunDir::create(runs, &record(&report.run.0)).unwrap();
    let mut log = EventLog::open(&dir.events_path()).unwrap();
    let mut put = |event| drop(log.append(event).unwrap());
    put(Event::RunStarted {
        run: report.run.clone(),
        matrix: "nightly".into(),
        cells: report.cells.iter().map(|c| c.id.clone()).collect(),
    });
    for cell in &report.cells {
        dir.put_cell(cell).unwrap();
        if !cell.cached {
            for attempt in &cell.attempts {
                put(Event::AttemptDone {
                    cell: cell.id.clone(),
                    attempt: attempt.clone(),
                });
            }
            for guest in cell.guests.iter().filter(|g| g.crash.is_some()) {
                put(Event::GuestCrashed {
                    cell: cell.id.clone(),
                    guest: guest.number,
                    crash: guest.crash.clone().unwrap(),
                });
            }
        }
        // One is long enough for three pages.
        let long = cell.id.to_string() == "portable/i386/stock/candidate";
        let text = format!("boot\r\n{EVIL}\r\nlogin:\n").repeat(if long { 1500 } else { 1 });
        for guest in 1..=cell.guests.len().max(1) {
            let console = dir
                .cell_dir(&cell.id)
                .join(format!("guest-{guest}.console"));
            std::fs::write(console, &text).unwrap();
        }
        put(Event::CellFinished {
            cell: cell.id.clone(),
            stage: cell.stage,
            cached: cell.cached,
        });
    }
    put(Event::RunFinished {
        findings: report.verdict.findings.len() as u64,
        interrupted: false,
    });
    let text = json::write(report).unwrap();
    dir.write_file("report.json", text.as_bytes()).unwrap();
    let page = html::render(report).unwrap();
    dir.write_file("report.html", page.as_bytes()).unwrap();
}

/// A sign-off's name.
pub const SIGNOFF: &str = "019a9f3c-0000-7000-8000-000000000001";

/// A sign-off, as `fallout signoff` keeps it.
fn signoff(signoffs: &std::path::Path) {
    let text = json!({
        "format": 1, "id": SIGNOFF, "policy": "release", "policy_hash": "0", "asked": format!("main{EVIL}"),
        "revision": REVISION, "at": "2026-11-29T00:00:00Z", "go": false, "notes": [EVIL],
        "lines": [
            {"name": "nightlies", "asks": "a", "say": "go", "why": "w", "evidence": [], "runs": [DONE]},
            {"name": "freeze.abi", "asks": "a", "say": "waived", "why": EVIL, "evidence": [EVIL], "runs": [],
             "waiver": {"line": "freeze.abi", "by": "x", "reason": EVIL, "until": "2999-01-01"}},
        ],
    });
    let one: crate::model::SignOff = serde_json::from_value(text).unwrap();
    let page = crate::report::signoff::html(&one).unwrap();
    assert!(!page.contains("<script") && !page.contains("<img"));
    let files = [
        ("signoff.html".to_owned(), page.into_bytes()),
        ("signoff.json.sig".to_owned(), b"signed".to_vec()),
        ("signoff.json".to_owned(), serde_json::to_vec(&one).unwrap()),
    ];
    crate::store::signoffs::put(signoffs, SIGNOFF, &files).unwrap();
}

/// A run under way: begun, and one attempt of its first cell made.
fn begin(runs: &std::path::Path, like: &RunReport) {
    let dir = RunDir::create(runs, &record(LIVE)).unwrap();
    let mut log = EventLog::open(&dir.events_path()).unwrap();
    let cell = &like.cells[0];
    log.append(Event::RunStarted {
        run: RunId(LIVE.into()),
        matrix: "nightly".into(),
        cells: vec![cell.id.clone(), like.cells[1].id.clone()],
    })
    .unwrap();
    log.append(Event::AttemptDone {
        cell: cell.id.clone(),
        attempt: cell.attempts[0].clone(),
    })
    .unwrap();
}

/// A measurement with a command of somebody's.
fn keep_bench(dir: &std::path::Path) {
    let numbers = |answer: &str, percent: f64| {
        serde_json::json!({"answer": answer, "pairs": 12, "percent": percent, "low": percent - 1.5,
            "high": percent + 2.0, "hides": 3.0, "more_pairs": null})
    };
    let on = |port: &str, numbers| {
        let pairs: Vec<(f64, f64)> = (0..12).map(|i| (2e8, 2e8 + f64::from(i) * 1e6)).collect();
        serde_json::json!({"port": port, "measured": "time", "sentence": format!("B is B {EVIL}"),
            "comparison": numbers, "pairs_ns": pairs, "blind_to": "caches"})
    };
    let bench = serde_json::json!({
        "format": 1,
        "a": {"command": format!("x fork {EVIL}"), "side": "candidate"},
        "b": {"command": "x spawn", "side": "candidate"},
        "ports": [on("i386", numbers("slower", 4.0)), on("s390x", numbers("no_difference", 0.5))],
    });
    benches::put(dir, serde_json::from_value(bench).unwrap()).unwrap();
}

pub fn job(repository: &str, reference: &str) -> NewJob {
    NewJob {
        change: ChangeSet {
            repository: repository.into(),
            reference: reference.into(),
            old: None,
            new: REVISION.into(),
        },
        choice: "all".into(),
        spec: JobSpec {
            matrix: "/m.yaml".into(),
            ports: vec![],
            suites: vec![],
            source_dir: ".".into(),
            bisect: 0,
            search: None,
        },
        priority: Priority::Push,
        policy: Policy::Each,
    }
}

/// A search for the commit that brought a finding of the finished run.
pub fn search() -> NewJob {
    let mut search = job("r", "refs/heads/main");
    search.spec.bisect = 3;
    search.spec.search = Some(Search {
        run: DONE.into(),
        cell: "portable/i386/stock/candidate".parse().unwrap(),
        case: Some(CaseId::new("proc/t_spawn", "deep_chain")),
        about: "proc/t_spawn:deep_chain".into(),
        sentence: EVIL.into(),
    });
    search
}

impl Site {
    /// With runs, jobs 1 to 3 (the first is running) and tokens.
    pub async fn new() -> Self {
        Self::with(options()).await
    }

    pub async fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let report = troubled();
        write(&runs, &report);
        begin(&runs, &report);
        signoff(&dir.path().join("signoffs"));
        keep_bench(&dir.path().join("bench"));
        let index = Index::open(&dir.path().join("index.sqlite")).await.unwrap();
        let queue = Queue::open(&dir.path().join("daemon.sqlite"))
            .await
            .unwrap();
        let jobs = [
            job("r", "refs/heads/main"),
            job("r", "refs/heads/<b>"),
            job("q", "refs/heads/main"),
        ];
        let accepted = queue.accept("first", &jobs).await.unwrap();
        assert!(matches!(accepted, Accepted::Queued { .. }));
        queue.take(&RunId(LIVE.into())).await.unwrap();
        for (name, scopes, repositories) in [
            ("all", vec![Scope::Submit, Scope::Cancel], vec![]),
            ("submit", vec![Scope::Submit], vec![]),
            ("try-q", vec![Scope::Try], vec!["q".to_owned()]),
            (
                "only-q",
                vec![Scope::Submit, Scope::Cancel],
                vec!["q".to_owned()],
            ),
        ] {
            let row = TokenRow {
                name: name.into(),
                scopes,
                repositories,
            };
            let token = format!("token-of-{name}");
            assert!(queue.put_token(&row, &token).await.unwrap());
        }
        let (_, trouble) = index.catch_up(&runs).await.unwrap();
        assert!(trouble.is_empty(), "{trouble:?}");
        let desk = Arc::new(Notes::default());
        let app = App::new(Parts {
            index: Arc::new(index),
            queue: Arc::new(queue),
            runs,
            ports: Vec::new(),
            desk: desk.clone(),
            options,
            stop: CancellationToken::new(),
            changed: Arc::new(Notify::new()),
        });
        Self {
            router: router(app.clone()),
            dir,
            app,
            desk,
        }
    }

    pub async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Response<Body> {
        self.send(Request::get(path).body(Body::empty()).unwrap())
            .await
    }

    /// The text of a page that is there.
    pub async fn page(&self, path: &str) -> String {
        let response = self.get(path).await;
        let status = response.status();
        let text = text(response).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        text
    }

    pub async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.page(path).await).unwrap()
    }

    pub async fn write(&self, path: &str, token: Option<&str>, body: &str) -> (StatusCode, Value) {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let response = self
            .send(request.body(Body::from(body.to_owned())).unwrap())
            .await;
        let status = response.status();
        let text = text(response).await;
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

pub async fn text(response: Response<Body>) -> String {
    let bytes = to_bytes(response.into_body(), 64 << 20).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The name of a cell of the finished run in an address.
pub const CELL: &str = "portable%2Bi386%2Bstock%2Bcandidate";
