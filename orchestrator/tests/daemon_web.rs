//! The daemon over its socket: webhooks, orders and cancelling by tokens, pages, kills and stops. The
//! matrix is one that does not exist, so every job fails for that reason and no guest is needed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

struct Place {
    dir: tempfile::TempDir,
}

/// Ended with the test, whatever the test does.
struct Running {
    child: Child,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SECRET: &str = "a secret";

impl Place {
    fn new() -> Self {
        let place = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        place.git(&["init", "-q", "--bare", "-b", "main", "r.git"]);
        place.git(&["init", "-q", "-b", "main", "tree"]);
        place.git(&["-C", "tree", "commit", "-q", "--allow-empty", "-m", "one"]);
        place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
        std::fs::write(place.path("secret"), format!("{SECRET}\n")).unwrap();
        let forge = |name: &str, forge: &str| {
            format!(
                "  - name: {name}\n    path: r.git\n    webhook: {{forge: {forge}, secret_file: secret}}\n    \
                 rules:\n      - {{name: all, refs: ['refs/heads/*'], policy: each, run: {{matrix: absent.yaml, ports: [a, b]}}}}\n"
            )
        };
        let settings = format!(
            "format: 1\nlisten: 127.0.0.1:0\nrequests_per_second: 1000\nrepositories:\n{}{}{}",
            forge("hub", "github"),
            forge("lab", "gitlab"),
            forge("tea", "gitea")
        );
        std::fs::write(place.path("daemon.yaml"), settings).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@x"])
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    fn fallout(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fallout"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    fn said(&self, args: &[&str]) -> String {
        let out = self.fallout(args).output().unwrap();
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    /// Starts the daemon and waits until it is ready.
    fn daemon(&self) -> Running {
        let file = self.path("run/fallout/daemon.address");
        let _ = std::fs::remove_file(&file);
        let log = std::fs::File::create(self.path("daemon.log")).unwrap();
        let child = self
            .fallout(&["daemon", "--config", "daemon.yaml"])
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut running = Running {
            child,
            address: String::new(),
        };
        for _ in 0..600 {
            let url = std::fs::read_to_string(&file).unwrap_or_default();
            running.address = url.trim().trim_start_matches("http://").to_owned();
            if !running.address.is_empty() && running.get("/readyz").0 == 200 {
                return running;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
        panic!("the daemon is not ready: {log}");
    }
}

impl Running {
    fn ask(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(&self.address) else {
            return (0, String::new());
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut request = format!(
            "{head} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let status = answer.get(9..12).and_then(|s| s.parse().ok()).unwrap_or(0);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, b)| b);
        (status, body.to_owned())
    }

    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path}"), &[], b"")
    }

    fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    fn post(&self, path: &str, token: &str, body: &Value) -> (u16, Value) {
        let token = format!("Bearer {token}");
        let headers = [
            ("authorization", token.as_str()),
            ("content-type", "application/json"),
        ];
        let (status, text) = self.ask(
            &format!("POST {path}"),
            &headers,
            body.to_string().as_bytes(),
        );
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn hook(&self, source: &str, body: &[u8], secret: &str) -> (u16, Value) {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        let bytes = mac.finalize().into_bytes();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let hub = format!("sha256={hex}");
        let headers = match source {
            "hub" => [
                ("X-GitHub-Event", "push"),
                ("X-Hub-Signature-256", hub.as_str()),
            ],
            "lab" => [("X-Gitlab-Event", "Push Hook"), ("X-Gitlab-Token", secret)],
            _ => [
                ("X-Gitea-Event", "push"),
                ("X-Gitea-Signature", hex.as_str()),
            ],
        };
        let (status, text) = self.ask(&format!("POST /webhooks/{source}"), &headers, body);
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

fn push(branch: &str, commit: &str) -> Vec<u8> {
    let zero = "0".repeat(40);
    json!({"ref": format!("refs/heads/{branch}"), "before": zero, "after": commit})
        .to_string()
        .into_bytes()
}

#[test]
fn webhooks_are_verified_queued_before_the_answer_and_never_twice() {
    let place = Place::new();
    let commit = place.git(&["-C", "tree", "rev-parse", "HEAD"]);
    let mut daemon = place.daemon();
    for (n, source) in ["hub", "lab", "tea"].into_iter().enumerate() {
        let body = push("main", &commit);
        let (status, said) = daemon.hook(source, &body, "a guess");
        assert_eq!(status, 403, "{source} {said}");
        let (status, said) = daemon.hook(source, &body, SECRET);
        assert_eq!(
            (status, &said["jobs"]),
            (202, &json!([n + 1])),
            "{source} {said}"
        );
        let (status, said) = daemon.hook(source, &body, SECRET);
        assert_eq!((status, &said), (200, &json!({"jobs": [], "known": true})));
    }
    // A source that is not there is answered like a wrong signature, and a tag has no rule.
    assert_eq!(daemon.hook("absent", &push("main", &commit), SECRET).0, 403);
    let tag = String::from_utf8(push("x", &commit))
        .unwrap()
        .replace("heads", "tags");
    let (status, said) = daemon.hook("hub", tag.as_bytes(), SECRET);
    assert_eq!((status, &said["jobs"]), (200, &json!([])));

    // Killed right after the answers: what was answered is there, and known.
    let bodies: Vec<Vec<u8>> = (0..20).map(|n| push(&format!("b{n}"), &commit)).collect();
    for body in &bodies {
        assert_eq!(daemon.hook("hub", body, SECRET).0, 202);
    }
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    let daemon = place.daemon();
    for body in &bodies {
        let (status, said) = daemon.hook("hub", body, SECRET);
        assert_eq!((status, &said["known"]), (200, &json!(true)));
    }
    let jobs = daemon.json("/api/v1/queue?limit=500");
    let jobs = jobs["items"].as_array().unwrap();
    let branches: std::collections::BTreeSet<&str> = jobs
        .iter()
        .filter(|j| j["change"]["repository"] == "hub")
        .map(|j| j["change"]["reference"].as_str().unwrap())
        .collect();
    assert_eq!((jobs.len(), branches.len()), (23, 21));
    let (status, page) = daemon.get("/queue");
    assert!(status == 200 && page.contains("refs/heads/b19"));
    let log = std::fs::read_to_string(place.path("daemon.log")).unwrap();
    assert!(!log.contains(SECRET), "{log}");
}

#[test]
fn tokens_order_and_cancel_what_they_may() {
    let place = Place::new();
    let token = place.said(&[
        "token",
        "add",
        "ci",
        "--scope",
        "submit",
        "--scope",
        "cancel",
        "--repository",
        "hub",
    ]);
    assert!(
        token.starts_with("fallout_") && token.len() == 72,
        "{token}"
    );
    let taken = place
        .fallout(&["token", "add", "ci", "--scope", "submit"])
        .output()
        .unwrap();
    assert_eq!(taken.status.code(), Some(2));
    assert!(
        place
            .said(&["token", "list"])
            .contains("submit,cancel    hub")
    );
    let mut daemon = place.daemon();
    let order = |repository: &str, rule: &str| json!({"repository": repository, "reference": "refs/heads/main", "rule": rule});
    assert_eq!(
        daemon
            .post("/api/v1/queue", "fallout_x", &order("hub", "all"))
            .0,
        401
    );
    assert_eq!(
        daemon.post("/api/v1/queue", &token, &order("lab", "all")).0,
        403
    );
    let (status, said) = daemon.post("/api/v1/queue", &token, &order("hub", "al"));
    assert_eq!(status, 404);
    assert!(
        said["detail"]
            .as_str()
            .unwrap()
            .contains("did you mean 'all'?"),
        "{said}"
    );
    let mut wide = order("hub", "all");
    wide["ports"] = json!(["a", "c"]);
    let (status, said) = daemon.post("/api/v1/queue", &token, &wide);
    assert_eq!(status, 422, "{said}");
    wide["ports"] = json!(["b"]);
    let (status, said) = daemon.post("/api/v1/queue", &token, &wide);
    assert_eq!((status, &said["jobs"]), (202, &json!([1])), "{said}");
    let job = daemon.json("/api/v1/queue/1");
    assert_eq!(job["spec"]["ports"], json!(["b"]));
    assert_eq!(
        job["change"]["new"],
        json!(place.git(&["-C", "tree", "rev-parse", "HEAD"]))
    );
    let (status, job) = daemon.post("/api/v1/queue/1/cancel", &token, &json!({}));
    assert!(status == 200 && job["state"] != "queued", "{job}");
    assert_eq!(
        place.said(&["token", "revoke", "ci"]),
        "token ci is revoked"
    );
    assert_eq!(
        daemon.post("/api/v1/queue", &token, &order("hub", "all")).0,
        401
    );

    // An open stream does not hold up the end.
    let mut stream = TcpStream::connect(&daemon.address).unwrap();
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n"
    )
    .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let pid = daemon.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let began = Instant::now();
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(60));
    assert!(!place.path("run/fallout/daemon.address").exists());
}

#[test]
fn an_address_that_is_taken_is_told() {
    let place = Place::new();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = format!("format: 1\nlisten: {}\n", other.local_addr().unwrap());
    std::fs::write(place.path("taken.yaml"), settings).unwrap();
    let out = place
        .fallout(&["daemon", "--config", "taken.yaml"])
        .output()
        .unwrap();
    assert_eq!(out.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&out.stderr).contains("listen: 127.0.0.1:"));
}
