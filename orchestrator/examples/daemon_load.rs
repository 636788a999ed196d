//! The daemon under load, over its own sockets: webhooks at a rate and in a burst, watchers and
//! readers beside a run, and `kill -9` at random moments while webhooks come in.
//!
//! ```text
//! cargo build --release && cargo run --release --example daemon_load -- hooks 30
//! cargo run --release --example daemon_load -- watchers 60 matrices/quickstart.yaml [STATE]
//! cargo run --release --example daemon_load -- kills 200 1
//! ```
//!
//! `hooks` wants seconds, `watchers` seconds, the matrix of a run that goes on meanwhile, and a state
//! directory that is full already where there is one, `kills` how many and a seed. A time is from
//! the moment at which a request was due, not from that at which it was at last sent.

#[path = "../tests/support/daemon.rs"]
#[allow(dead_code, reason = "tests use the rest")]
mod daemon;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use daemon::{Client, Place, push};

/// Connections over which requests are sent.
const CONNECTIONS: usize = 16;

fn binary() -> PathBuf {
    let here = std::env::current_exe().expect("the program's own path");
    let target = here.parent().and_then(Path::parent);
    target.expect("a target directory").join("fallout")
}

/// The cache with the sysroots that a build needs.
fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from)
}

/// A daemon whose pushes run `matrix`.
fn place(matrix: &str, rate: u32) -> Place {
    let place = Place::new(&binary(), &cache());
    let settings = format!(
        "format: 1\nlisten: 127.0.0.1:0\nrequests_per_second: {rate}\nrepositories:\n  \
         - name: tea\n    path: r.git\n    webhook: {{forge: gitea, secret_file: secret}}\n    \
         rules:\n      - {{name: all, refs: ['refs/heads/*'], policy: each, run: {{matrix: {matrix}}}}}\n"
    );
    std::fs::write(place.path("daemon.yaml"), settings).expect("settings");
    place
}

/// Times of requests, for a line of a table.
fn told(label: &str, mut took: Vec<Duration>) {
    took.sort();
    let at = |q: f64| took[((took.len() - 1) as f64 * q) as usize].as_secs_f64() * 1000.0;
    println!(
        "{label}: {} requests, p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        took.len(),
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0)
    );
}

/// CPU time of a process so far, and its resident memory.
fn cost(pid: u32) -> (Duration, u64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
    let stat = read("stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or("").split(' ').collect();
    let ticks = |n: usize| fields.get(n).and_then(|t| t.parse::<u64>().ok());
    // A hundred ticks a second on every Linux that user space sees.
    let cpu = Duration::from_millis((ticks(11).unwrap_or(0) + ticks(12).unwrap_or(0)) * 10);
    let status = read("status").unwrap_or_default();
    let resident = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|r| r.split_whitespace().next()?.parse().ok());
    (cpu, kib.unwrap_or(0))
}

/// Sends `count` requests, one each `apart`, and gives how long each answer took.
fn paced(
    address: &str,
    count: usize,
    apart: Duration,
    send: impl Fn(&mut Client, usize) -> u16 + Sync,
) -> Vec<Duration> {
    let (next, took) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = Client::new(address).expect("a connection");
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let due = begun + apart * n as u32;
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let status = send(&mut client, n);
                    assert!(status < 300, "request {n}: {status}");
                    took.lock().expect("no panic").push(due.elapsed());
                }
            });
        }
    });
    took.into_inner().expect("no panic")
}

/// Every branch must be queued once.
fn counted(client: &mut Client, branches: usize) {
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for job in daemon::jobs(client) {
        let reference = job["change"]["reference"].as_str().expect("a reference");
        *seen.entry(reference.to_owned()).or_default() += 1;
    }
    let doubled = seen.values().filter(|n| **n > 1).count();
    println!(
        "queued {} of {branches}, doubled {doubled}",
        seen.values().sum::<u32>()
    );
    assert!(seen.len() == branches && doubled == 0);
}

fn hooks(seconds: usize) {
    let place = place("absent.yaml", 1_000_000);
    let commit = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    let running = place.daemon();
    let send = |client: &mut Client, branch: String| {
        let answer = client.hook("tea", &push(&branch, &commit));
        answer.expect("an answer").0
    };
    let (count, apart) = (seconds * 100, Duration::from_millis(10));
    let took = paced(&running.address, count, apart, |c, n| {
        send(c, format!("a{n}"))
    });
    told("webhook to queued, 100 a second", took);
    let begun = Instant::now();
    let took = paced(&running.address, 1000, Duration::ZERO, |c, n| {
        send(c, format!("b{n}"))
    });
    told("a burst of 1000", took);
    println!(
        "the burst was over after {:.2} s",
        begun.elapsed().as_secs_f64()
    );
    let (cpu, kib) = cost(running.child.id());
    println!(
        "daemon: {:.1} s of CPU, {} MiB",
        cpu.as_secs_f64(),
        kib >> 10
    );
    let mut client = Client::new(&running.address).expect("a connection");
    counted(&mut client, count + 1000);
}

/// Pages without parameters.
const PAGES: [&str; 12] = [
    "/",
    "/runs",
    "/queue",
    "/cases",
    "/panics",
    "/flakes",
    "/ports",
    "/bench",
    "/revisions",
    "/signoffs",
    "/metrics",
    "/readyz",
];

/// All pages, and all reads of the API that its own document names; where one is about something, the
/// first such thing of the state at hand.
fn pages(client: &mut Client) -> Vec<String> {
    let mut read = |path: &str| {
        let (_, body) = client.get(path).expect("an answer");
        serde_json::from_str::<serde_json::Value>(&body).unwrap_or_default()
    };
    let document = read("/api/v1/openapi.json");
    let paths = document["paths"].as_object().expect("the API's document");
    let reads = paths.iter().filter(|(path, what)| {
        !what["get"].is_null() && !path.contains('{') && !path.ends_with("/events")
    });
    let asks = |what: &serde_json::Value| {
        let all = what["get"]["parameters"].as_array();
        all.is_some_and(|all| all.iter().any(|p| p["required"] == true))
    };
    let mut all: Vec<String> = PAGES.map(str::to_owned).into();
    let named = reads.filter(|(_, what)| !asks(what));
    all.extend(named.map(|(path, _)| format!("/api/v1{path}")));
    let mut first = |path: &str| read(path)["items"].as_array().cloned().unwrap_or_default();
    // The newest, which goes on meanwhile, and an older one.
    let runs = first("/api/v1/runs?limit=5");
    for id in runs.iter().step_by(4).filter_map(|run| run["run"].as_str()) {
        all.extend(["", "/report"].map(|what| format!("/runs/{id}{what}")));
        all.extend(["", "/cells", "/findings"].map(|w| format!("/api/v1/runs/{id}{w}")));
    }
    let cases = first("/api/v1/cases?limit=400");
    for case in cases
        .iter()
        .step_by(399)
        .filter_map(|case| case["case"].as_str())
    {
        let name = case.replace('/', "%2F").replace(':', "%3A");
        all.push(format!("/case?case={name}"));
        all.extend(
            ["history", "rates", "findings"].map(|w| format!("/api/v1/cases/{w}?case={name}")),
        );
    }
    if let Some(port) = first("/api/v1/ports")
        .last()
        .and_then(|p| p["port"].as_str())
    {
        all.push(format!("/ports/{port}"));
    }
    all.retain(|path| {
        let (status, _) = client.get(path).expect("an answer");
        if status != 200 {
            println!("left out, as this state has none: {path} ({status})");
        }
        assert!(status < 500, "{path}: {status}");
        status == 200
    });
    all
}

fn watchers(seconds: usize, matrix: &str, state: Option<&str>) {
    let place = place("absent.yaml", 1_000_000);
    if let Some(state) = state {
        let state = Path::new(state).canonicalize().expect("a state directory");
        std::os::unix::fs::symlink(state, place.path("state")).expect("a link");
    }
    let running = place.daemon();
    let matrix = Path::new(matrix).canonicalize().expect("a matrix");
    let words = [
        "run",
        matrix.to_str().expect("text"),
        "--fresh",
        "--suites",
        "portable",
        "--jobs",
        "9",
    ];
    let log = std::fs::File::create(place.path("run.log")).expect("a log");
    let mut run = place
        .fallout(&words)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("fallout runs");
    let (over, bytes) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    for _ in 0..200 {
        let mut stream = TcpStream::connect(&running.address).expect("a stream");
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("a time-out");
        write!(
            stream,
            "GET /api/v1/events HTTP/1.1\r\nhost: {}\r\n\r\n",
            running.address
        )
        .expect("sent");
        let (over, bytes) = (over.clone(), bytes.clone());
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || {
                let mut buffer = [0; 4096];
                while !over.load(Ordering::Relaxed) {
                    match stream.read(&mut buffer) {
                        // The number of bytes tells it too, and 200 messages do not tell more.
                        Ok(0) => return,
                        Ok(n) => _ = bytes.fetch_add(n as u64, Ordering::Relaxed),
                        Err(_) => {}
                    }
                }
            })
            .expect("a thread");
    }
    let mut client = Client::new(&running.address).expect("a connection");
    let paths = pages(&mut client);
    let by_path = Mutex::new(BTreeMap::<String, Vec<Duration>>::new());
    let (before, begun) = (cost(running.child.id()).0, Instant::now());
    let took = paced(
        &running.address,
        seconds * 50,
        Duration::from_millis(20),
        |c, n| {
            let path = &paths[n % paths.len()];
            let sent = Instant::now();
            let status = c.get(path).map_or(0, |(status, _)| status);
            assert!(status == 200, "{path}: {status}");
            let mut all = by_path.lock().expect("no panic");
            all.entry(path.clone()).or_default().push(sent.elapsed());
            status
        },
    );
    let (after, kib) = cost(running.child.id());
    let share = (after - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    told("pages and API, 50 a second, 200 watchers", took);
    for (path, took) in by_path.into_inner().expect("no panic") {
        told(&format!("  {path}"), took);
    }
    println!(
        "daemon: {:.1} % of a core, {} MiB; {} KiB to the watchers",
        share * 100.0,
        kib >> 10,
        bytes.load(Ordering::Relaxed) >> 10
    );
    let pid = run.id().to_string();
    let _ = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    let _ = run.wait();
}

/// Pushes run a matrix whose build fails: a run with a log and an end, without a guest.
fn broken_matrix(place: &Place) {
    std::fs::create_dir_all(place.path("src")).expect("a directory");
    std::fs::write(place.path("src/Makefile"), "all:\n\tfalse\n").expect("a makefile");
    let matrix = "format: 1\nname: broken\nports: [arm64]\nsuites:\n  - name: s\n    \
                  source: {path: src}\n    build: {kind: make, prefix: /usr/tests/s}\n";
    std::fs::write(place.path("broken.yaml"), matrix).expect("a matrix");
    place.git(&["-C", "tree", "rm", "-q", "--ignore-unmatch", "-r", "."]);
    std::fs::write(place.path("tree/Makefile"), "all:\n\tfalse\n").expect("a makefile");
    place.git(&["-C", "tree", "add", "Makefile"]);
    place.git(&["-C", "tree", "commit", "-q", "-m", "two"]);
    place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
}

fn kills(wanted: usize, mut seed: u64) {
    let place = place("broken.yaml", 1_000_000);
    broken_matrix(&place);
    let commit = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    let mut dice = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut acknowledged, mut again) = (0, 0);
    let mut running = place.daemon();
    for kill in 0..wanted {
        let pid = running.child.id().to_string();
        let moment = Duration::from_millis(20 + dice(1200));
        let killer = std::thread::spawn(move || {
            std::thread::sleep(moment);
            let _ = std::process::Command::new("kill")
                .args(["-KILL", &pid])
                .status();
        });
        // What was not acknowledged is sent again, as a forge does, until it is.
        let mut client = Client::new(&running.address);
        loop {
            let body = push(&format!("k{acknowledged}"), &commit);
            let answer = client.as_mut().map(|c| c.hook("tea", &body));
            match answer {
                Some(Ok((202, _))) => acknowledged += 1,
                Some(Ok((200, known))) if known.contains("true") => {
                    (acknowledged, again) = (acknowledged + 1, again + 1);
                }
                Some(Ok((status, body))) => panic!("{status}: {body}"),
                _ => break,
            }
            std::thread::sleep(Duration::from_millis(dice(400)));
        }
        killer.join().expect("no panic");
        running.child.wait().expect("it was killed");
        if kill % 20 == 19 {
            println!("{} kills, {acknowledged} acknowledged", kill + 1);
        }
        running = place.daemon();
    }
    let mut client = Client::new(&running.address).expect("a connection");
    counted(&mut client, acknowledged);
    println!(
        "{wanted} kills; {again} were queued though the answer was lost, and known when sent again"
    );
    // The rest of the queue is worked off; then each job has one run with one end.
    let begun = Instant::now();
    loop {
        let open = daemon::jobs(&mut client)
            .iter()
            .filter(|j| j["ended"].is_null())
            .count();
        if open == 0 {
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(1800),
            "{open} jobs do not end"
        );
        std::thread::sleep(Duration::from_secs(2));
    }
    let jobs = daemon::jobs(&mut client);
    let runs = place.path("state/fallout/runs");
    let mut named = BTreeMap::<String, u32>::new();
    for job in &jobs {
        let run = job["run"].as_str().expect("every job was taken").to_owned();
        let log = std::fs::read_to_string(runs.join(&run).join("events.jsonl"));
        let log = log.unwrap_or_else(|e| panic!("{run}: {e}: {job}"));
        let ends = log.matches("\"event\":\"run_finished\"").count();
        assert_eq!(ends, 1, "{run} has {ends} ends");
        *named.entry(run).or_default() += 1;
    }
    let dirs = std::fs::read_dir(&runs).expect("runs").count();
    println!(
        "{} jobs, {} runs, {dirs} directories, each with one end",
        jobs.len(),
        named.len()
    );
    assert!(named.values().all(|n| *n == 1) && dirs == jobs.len());
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |at: usize, default: &str| words.get(at).cloned().unwrap_or(default.to_owned());
    let number = |at, default| word(at, default).parse().expect("a number");
    match word(0, "hooks").as_str() {
        "hooks" => hooks(number(1, "30")),
        "watchers" => watchers(
            number(1, "60"),
            &word(2, "matrices/quickstart.yaml"),
            words.get(3).map(String::as_str),
        ),
        "kills" => kills(number(1, "200"), number(2, "1") as u64 | 1),
        other => panic!("{other}: expected hooks, watchers or kills"),
    }
}
