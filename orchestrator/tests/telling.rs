//! From the queue to people: a forge, a webhook and a mail server that are told once, whatever is killed;
//! a series that is tried; a remote that is asked. Runs are written as the engine writes them.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use fallout::model::change::Search;
use fallout::model::{
    ChangeSet, Finding, FindingKind, JobSpec, JobState, NewJob, News, Policy, PortTally, Priority,
    RunId,
};
use fallout::report::{self, RunReport};
use fallout::store::queue::Queue;
use fallout::store::runs;
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

#[path = "support/daemon.rs"]
#[expect(dead_code, reason = "others use the rest")]
mod daemon;
#[path = "support/sample.rs"]
#[expect(dead_code, reason = "others use the rest")]
mod sample;

use daemon::{Client, Place, SECRET, jobs};

/// A place with a cache of its own.
fn place() -> (Place, tempfile::TempDir) {
    let cache = tempfile::tempdir().unwrap();
    let place = Place::new(Path::new(env!("CARGO_BIN_EXE_fallout")), cache.path());
    (place, cache)
}

/// Requests that came in: address, signature or token, body.
type Asked = Arc<Mutex<Vec<(String, String, String)>>>;

/// Something like a forge, and anything else that takes a POST.
fn forge(runtime: &tokio::runtime::Runtime) -> (String, Asked) {
    let asked = Asked::default();
    let take = |State(asked): State<Asked>, uri: Uri, headers: HeaderMap, body: Bytes| async move {
        let of = |n: &str| {
            headers
                .get(n)
                .map_or("", |v| v.to_str().unwrap())
                .to_owned()
        };
        let proof = of("authorization") + &of("x-fallout-signature-256");
        let body = String::from_utf8(body.to_vec()).unwrap();
        asked.lock().unwrap().push((uri.to_string(), proof, body));
    };
    let router = Router::new().fallback(take).with_state(asked.clone());
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(router.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    (format!("http://{address}"), asked)
}

/// A mail server that keeps what it gets.
fn sink() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mails: Arc<Mutex<Vec<String>>> = Arc::default();
    let kept = mails.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let kept = kept.clone();
            std::thread::spawn(move || {
                let mut stream = BufReader::new(stream.unwrap());
                let say = |s: &mut BufReader<std::net::TcpStream>, t: &str| {
                    s.get_mut().write_all(t.as_bytes()).is_ok()
                };
                say(&mut stream, "220 sink\r\n");
                let mut line = String::new();
                let mut text = String::new();
                let mut reading = false;
                while stream.read_line(&mut line).is_ok_and(|n| n > 0) {
                    let one = std::mem::take(&mut line);
                    match (reading, one.trim_end()) {
                        (true, ".") => {
                            reading = false;
                            kept.lock().unwrap().push(std::mem::take(&mut text));
                            say(&mut stream, "250 kept\r\n");
                        }
                        (true, _) => text.push_str(&one),
                        (false, "DATA") => {
                            reading = true;
                            say(&mut stream, "354 go on\r\n");
                        }
                        (false, "QUIT") => {
                            say(&mut stream, "221 bye\r\n");
                            return;
                        }
                        (false, _) => {
                            say(&mut stream, "250 ok\r\n");
                        }
                    }
                }
            });
        }
    });
    (port, mails)
}

fn wait(what: &str, place: &Place, mut there: impl FnMut() -> bool) {
    for _ in 0..600 {
        if there() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let log = std::fs::read_to_string(place.path("daemon.log")).unwrap_or_default();
    panic!("{what}:\n{log}");
}

/// A job that ran and came to this verdict, as the daemon leaves it behind.
async fn ran(place: &Place, commit: &str, old: Option<&str>, mut report: RunReport) -> String {
    let state = place.path("state/fallout");
    let queue = Queue::open(&state.join("daemon.sqlite")).await.unwrap();
    queue
        .accept(commit, &[job(commit, old, None)])
        .await
        .unwrap();
    let run = runs::new_id();
    let taken = queue.take(&run).await.unwrap().unwrap();
    report.run = RunId(run.0.clone());
    let dir = state.join("runs").join(&run.0);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(
        dir.join("report.json"),
        report::json::write(&report).unwrap(),
    )
    .unwrap();
    queue
        .step(taken.id, JobState::Done, "", Some(1))
        .await
        .unwrap();
    run.0
}

fn job(commit: &str, old: Option<&str>, search: Option<Search>) -> NewJob {
    NewJob {
        change: ChangeSet {
            repository: "r".into(),
            reference: "refs/heads/main".into(),
            old: old.map(str::to_owned),
            new: commit.into(),
        },
        choice: "push".into(),
        spec: JobSpec {
            matrix: "/absent.yaml".into(),
            ports: vec![],
            suites: vec![],
            source_dir: ".".into(),
            bisect: 0,
            search,
        },
        priority: Priority::Push,
        policy: Policy::Each,
    }
}

fn clean() -> RunReport {
    let mut cells = sample::cells(0);
    cells.retain(|c| c.id.suite == "portable" && ["amd64", "s390x"].contains(&c.id.port.as_str()));
    for attempt in cells.iter_mut().flat_map(|c| &mut c.attempts) {
        attempt.outcome = fallout::model::Outcome::Passed;
    }
    let mut report = sample::report(cells);
    report.verdict.findings.clear();
    report
}

/// A run in which a case fails on one port.
fn bad() -> RunReport {
    let mut bad = clean();
    let sentence = "`wire/t_pack:big_endian` fails on s390x and passes on amd64".to_owned();
    let case = "wire/t_pack:big_endian".parse().unwrap();
    let mut finding = Finding::new(
        FindingKind::ArchOnly,
        News::New,
        "portable",
        Some(case),
        sentence,
    );
    finding.failing = vec![PortTally {
        port: "s390x".into(),
        bad: 3,
        total: 3,
        outcome: "failed".into(),
        reason: Some("0x12345678 != 0x78563412".into()),
    }];
    bad.verdict.findings = vec![finding];
    bad
}

#[test]
fn a_forge_a_webhook_and_people_are_told_once_whatever_is_killed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (place, _cache) = place();
    let (url, asked) = forge(&runtime);
    let (port, mails) = sink();
    std::fs::write(place.path("token"), "very-secret-token\n").unwrap();
    let settings = format!(
        "format: 1\nlisten: 127.0.0.1:0\npublic_url: https://ci.example.org/\n\
         mail: {{from: fallout <fallout@example.org>, host: 127.0.0.1, port: {port}, tls: none}}\n\
         repositories:\n  - name: r\n    path: r.git\n\
         \x20   status: {{forge: gitea, api: '{url}/api/v1', project: own/r, token_file: token}}\n\
         \x20   hooks: [{{name: chat, url: '{url}/chat', secret_file: secret}}]\n\
         \x20   mail: {{to: [list@example.org], authors: true}}\n"
    );
    std::fs::write(place.path("daemon.yaml"), settings).unwrap();
    drop(place.daemon());

    let first = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    let bad = bad();
    runtime.block_on(ran(&place, &first, None, bad));
    let running = place.daemon();
    wait("nobody was told", &place, || {
        asked.lock().unwrap().len() == 5 && mails.lock().unwrap().len() == 1
    });
    // Killed, as kill -9 does.
    drop(running);

    place.git(&[
        "-C",
        "tree",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "mended",
    ]);
    place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
    let second = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    runtime.block_on(ran(&place, &second, Some(&first), clean()));
    let running = place.daemon();
    wait("nobody heard the end", &place, || {
        asked.lock().unwrap().len() == 10 && mails.lock().unwrap().len() == 2
    });
    drop(running);
    // A third start has nothing to say.
    drop(place.daemon());

    let asked = asked.lock().unwrap().clone();
    let (statuses, hooks): (Vec<_>, Vec<_>) = asked
        .into_iter()
        .partition(|(path, ..)| path.contains("/statuses/"));
    let told: Vec<String> = statuses
        .iter()
        .map(|(path, proof, body)| {
            assert_eq!(proof, "token very-secret-token");
            let body: Value = serde_json::from_str(body).unwrap();
            let link = body["target_url"].as_str().unwrap();
            assert!(link.starts_with("https://ci.example.org/runs/"), "{link}");
            let commit = path.rsplit('/').next().unwrap();
            assert_eq!(path, &format!("/api/v1/repos/own/r/statuses/{commit}"));
            let which = if commit == first { "first" } else { "second" };
            format!("{which} {} {}", body["context"], body["state"])
        })
        .collect();
    assert_eq!(
        told,
        [
            r#"first "fallout/push" "pending""#,
            r#"first "fallout/push" "failure""#,
            r#"second "fallout/push" "pending""#,
            r#"second "fallout/push" "success""#,
        ]
    );
    let states: Vec<Value> = hooks
        .iter()
        .map(|(_, proof, body)| {
            let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
            mac.update(body.as_bytes());
            let bytes = mac.finalize().into_bytes();
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(*proof, format!("sha256={hex}"));
            let body: Value = serde_json::from_str(body).unwrap();
            body["state"].clone()
        })
        .collect();
    let each = ["queued", "running", "done"];
    assert_eq!(states, [each, each].concat());

    let mails = mails.lock().unwrap().clone();
    let field = |mail: &str, name: &str| {
        let line = mail.lines().find(|l| l.starts_with(name));
        line.map(|l| l[name.len()..].trim().to_owned())
    };
    let root = field(&mails[0], "Message-ID:").unwrap();
    assert_eq!(field(&mails[0], "References:"), None);
    assert_eq!(field(&mails[1], "References:"), Some(root.clone()));
    assert_eq!(field(&mails[1], "In-Reply-To:"), Some(root));
    assert_eq!(
        field(&mails[0], "To:").as_deref(),
        Some("e@x, list@example.org")
    );
    assert!(
        mails[0].contains("0x12345678 != 0x78563412"),
        "{}",
        mails[0]
    );
    assert!(mails[1].contains("Fixed with"), "{}", mails[1]);

    let log = std::fs::read_to_string(place.path("daemon.log")).unwrap();
    assert!(
        !log.contains("very-secret") && !log.contains(SECRET),
        "{log}"
    );
}

#[test]
fn the_commit_that_a_search_found_is_told_in_the_thread_and_to_its_author() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (place, _cache) = place();
    let (url, asked) = forge(&runtime);
    let (port, mails) = sink();
    let settings = format!(
        "format: 1\nlisten: 127.0.0.1:0\n\
         mail: {{from: fallout@example.org, host: 127.0.0.1, port: {port}, tls: none}}\n\
         repositories:\n  - name: r\n    path: r.git\n\
         \x20   hooks: [{{name: chat, url: '{url}/chat', secret_file: secret}}]\n\
         \x20   mail: {{to: [list@example.org], authors: true}}\n"
    );
    std::fs::write(place.path("daemon.yaml"), settings).unwrap();
    drop(place.daemon());
    let head = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    let run = runtime.block_on(ran(&place, &head, None, bad()));
    runtime.block_on(async {
        let state = place.path("state/fallout");
        let queue = Queue::open(&state.join("daemon.sqlite")).await.unwrap();
        let finding = &bad().verdict.findings[0];
        let search = Search {
            run: run.clone(),
            cell: "portable/s390x/stock/candidate".parse().unwrap(),
            case: finding.case.clone(),
            about: finding.about(),
            sentence: finding.sentence.clone(),
        };
        let job = job(&head, Some("0"), Some(search));
        queue.accept("search", &[job]).await.unwrap();
        let taken = queue.take(&runs::new_id()).await.unwrap().unwrap();
        // It stands with the run that it belongs to.
        assert_eq!(taken.run, Some(run.clone()));
        let answer = json!({"commit": head, "authors": ["culprit@example.org"]});
        let dir = runs::RunDir {
            path: state.join("runs").join(&run),
        };
        let bytes = serde_json::to_vec(&answer).unwrap();
        dir.write_search(taken.id, &bytes).unwrap();
        let note = "it came in with the culprit (abc) (probability 99.0%)";
        queue
            .step(taken.id, JobState::Done, note, None)
            .await
            .unwrap();
    });
    let running = place.daemon();
    wait("nobody was told", &place, || {
        asked.lock().unwrap().len() == 6 && mails.lock().unwrap().len() == 2
    });
    drop(running);
    let mails = mails.lock().unwrap().clone();
    assert!(
        mails[1].contains("culprit@example.org, e@x, list@example.org"),
        "{}",
        mails[1]
    );
    assert!(
        mails[1].contains("it came in with the culprit"),
        "{}",
        mails[1]
    );
    assert!(mails[1].contains("In-Reply-To:"), "{}", mails[1]);
    let last: Value = serde_json::from_str(&asked.lock().unwrap().last().unwrap().2).unwrap();
    assert_eq!(
        (&last["found"], &last["search"]["run"]),
        (&json!(head), &json!(run))
    );
}

fn say(out: &Output) -> String {
    let text = [out.stdout.as_slice(), out.stderr.as_slice()].concat();
    String::from_utf8(text).unwrap()
}

#[test]
fn a_series_is_tried_once_and_one_that_does_not_apply_says_where() {
    let (place, _cache) = place();
    let settings = "format: 1\nlisten: 127.0.0.1:0\nrepositories:\n  - name: r\n    path: r.git\n    \
                    rules: [{name: push, refs: ['refs/heads/*'], run: {matrix: absent.yaml}}]\n";
    std::fs::write(place.path("daemon.yaml"), settings).unwrap();
    let lines = |second: &str| format!("one\n{second}\nthree\n");
    std::fs::write(place.path("tree/file"), lines("two")).unwrap();
    place.git(&["-C", "tree", "add", "."]);
    place.git(&["-C", "tree", "commit", "-qm", "file"]);
    place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
    std::fs::write(place.path("tree/file"), lines("2")).unwrap();
    place.git(&["-C", "tree", "commit", "-qam", "a better file"]);
    let series = place.git(&["-C", "tree", "format-patch", "--stdout", "HEAD~1"]) + "\n";
    std::fs::write(place.path("series.mbox"), &series).unwrap();
    std::fs::write(place.path("odd.mbox"), series.replace("-two", "-deux")).unwrap();
    let token = place
        .fallout(&["token", "add", "me", "--scope", "try"])
        .output()
        .unwrap();
    std::fs::write(place.path("token"), &token.stdout).unwrap();
    let running = place.daemon();
    let attempt = |file: &str, rule: &str| {
        let args = [
            "try",
            file,
            "--repository",
            "r",
            "--base",
            "main",
            "--rule",
            rule,
        ];
        let mut command = place.fallout(&args);
        command.args(["--token-file", "token"]).output().unwrap()
    };
    let first = attempt("series.mbox", "push");
    assert_eq!(first.status.code(), Some(0), "{}", say(&first));
    assert_eq!(say(&first), "job 1\n");
    let again = attempt("series.mbox", "push");
    assert!(say(&again).contains("is known already"), "{}", say(&again));
    let odd = attempt("odd.mbox", "push");
    assert_eq!(odd.status.code(), Some(2));
    for part in [
        "0001-a-better-file.patch does not apply to file at line 1",
        "@@ -1,3 +1,3 @@",
        "-deux",
    ] {
        assert!(say(&odd).contains(part), "{part}: {}", say(&odd));
    }
    let typo = attempt("series.mbox", "pusch");
    assert!(
        say(&typo).contains("did you mean 'push'?"),
        "{}",
        say(&typo)
    );

    let mut client = Client::new(&running.address).unwrap();
    wait("the job did not end", &place, || {
        jobs(&mut client)[0]["state"] == "failed"
    });
    let all = jobs(&mut client);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["priority"], "try");
    assert_eq!(
        all[0]["change"]["old"],
        json!(place.git(&["-C", "r.git", "rev-parse", "main"]))
    );
    let note = all[0]["note"].as_str().unwrap();
    assert!(note.contains("absent.yaml"), "{note}");
    // It ran on the tree with the series applied, and the repository has nothing new.
    let commit = all[0]["change"]["new"].as_str().unwrap();
    let tree: PathBuf = place.path("state/fallout/trees/r").join(commit);
    assert_eq!(
        std::fs::read_to_string(tree.join("file")).unwrap(),
        lines("2")
    );
    assert!(place.git(&["-C", "r.git", "for-each-ref"]).lines().count() == 1);
}

#[test]
fn a_remote_is_asked_and_what_is_new_there_is_queued_once() {
    let (place, _cache) = place();
    place.git(&["init", "-q", "--bare", "-b", "main", "there.git"]);
    place.git(&["-C", "tree", "push", "-q", "../there.git", "main"]);
    let settings = format!(
        "format: 1\nlisten: 127.0.0.1:0\nrepositories:\n  - name: r\n    path: r.git\n    \
         remote: {}\n    poll: {{every: 5s}}\n    \
         rules: [{{name: push, refs: ['refs/heads/*'], paths: [new], run: {{matrix: absent.yaml}}}}]\n",
        place.path("there.git").display()
    );
    std::fs::write(place.path("daemon.yaml"), settings).unwrap();
    let running = place.daemon();
    let seen = place.path("state/fallout/polled/r.json");
    wait("the remote was not asked", &place, || seen.exists());
    let mut client = Client::new(&running.address).unwrap();
    assert!(jobs(&mut client).is_empty(), "what was before is nobody's");
    std::fs::write(place.path("tree/new"), "x").unwrap();
    place.git(&["-C", "tree", "add", "."]);
    place.git(&["-C", "tree", "commit", "-qm", "new"]);
    place.git(&["-C", "tree", "push", "-q", "../there.git", "main"]);
    let new = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    wait("the change was not seen", &place, || {
        !jobs(&mut client).is_empty()
    });
    drop(running);
    let running = place.daemon();
    let mut client = Client::new(&running.address).unwrap();
    let all = jobs(&mut client);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["change"]["new"], json!(new));
}
