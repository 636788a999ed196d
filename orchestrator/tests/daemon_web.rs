//! The daemon over its socket: webhooks, orders and cancelling by tokens, pages, kills and stops. The
//! matrix is one that does not exist, so every job fails for that reason and no guest is needed.

#[path = "support/daemon.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod daemon;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use daemon::{Client, Place, Running, SECRET, push};
use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// A daemon with a source of each kind of forge.
fn place() -> Place {
    let binary = Path::new(env!("CARGO_BIN_EXE_fallout"));
    let place = Place::own(binary);
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

fn output(place: &Place, args: &[&str]) -> String {
    let out = place.fallout(args).output().unwrap();
    assert!(
        out.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// What is asked of a daemon, over a connection of its own each time.
trait Asked {
    fn ask(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String);

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

impl Asked for Running {
    fn ask(&self, head: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut client = Client::new(&self.address).unwrap();
        client.ask(head, headers, body).unwrap()
    }
}

#[test]
fn webhooks_are_verified_queued_before_the_answer_and_never_twice() {
    let place = place();
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
    let place = place();
    let token = output(
        &place,
        &[
            "token",
            "add",
            "ci",
            "--scope",
            "submit",
            "--scope",
            "cancel",
            "--repository",
            "hub",
        ],
    );
    assert!(
        token.starts_with("fallout_") && token.len() == 72,
        "{token}"
    );
    let taken = place
        .fallout(&["token", "add", "ci", "--scope", "submit"])
        .output()
        .unwrap();
    assert_eq!(taken.status.code(), Some(2));
    assert!(output(&place, &["token", "list"]).contains("submit,cancel    hub"));
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
        output(&place, &["token", "revoke", "ci"]),
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
    let place = place();
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
