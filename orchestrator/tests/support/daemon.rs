//! A daemon of one's own: a repository, settings, and a client over a socket.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hmac::{Hmac, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

/// What webhooks are signed with.
pub const SECRET: &str = "a secret";

/// A directory with a bare repository `r.git`, a clone `tree` and all that a daemon keeps.
pub struct Place {
    pub dir: tempfile::TempDir,
    /// Further variables of its commands.
    pub env: Vec<(&'static str, PathBuf)>,
    binary: PathBuf,
    cache: PathBuf,
}

impl Place {
    /// One whose daemon is `binary` and has a cache of its own, with nothing in it.
    pub fn own(binary: &Path) -> Self {
        let mut place = Self::new(binary, Path::new(""));
        place.cache = place.path("cache");
        place
    }

    /// One whose daemon is `binary` and has `cache` as its cache.
    pub fn new(binary: &Path, cache: &Path) -> Self {
        let place = Self {
            dir: tempfile::Builder::new()
                .prefix("fd")
                .tempdir_in("/tmp")
                .unwrap(),
            env: Vec::new(),
            binary: binary.to_owned(),
            cache: cache.to_owned(),
        };
        place.git(&["init", "-q", "--bare", "-b", "main", "r.git"]);
        place.git(&["init", "-q", "-b", "main", "tree"]);
        place.git(&["-C", "tree", "commit", "-q", "--allow-empty", "-m", "one"]);
        place.git(&["-C", "tree", "push", "-q", "../r.git", "main"]);
        std::fs::write(place.path("secret"), format!("{SECRET}\n")).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@x"])
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{args:?}: {errors}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    }

    pub fn fallout(&self, args: &[&str]) -> Command {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
        let mut command = Command::new(&self.binary);
        command
            .arg("--images")
            .arg(images)
            .args(args)
            .current_dir(self.dir.path())
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", &self.cache)
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon on the settings in `daemon.yaml` and waits until it is ready.
    pub fn daemon(&self) -> Running {
        let file = self.path("run/fallout/daemon.address");
        let _ = std::fs::remove_file(&file);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("daemon.log"))
            .unwrap();
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
        for _ in 0..1200 {
            let url = std::fs::read_to_string(&file).unwrap_or_default();
            running.address = url.trim().trim_start_matches("http://").to_owned();
            let ready = Client::new(&running.address).map(|mut c| c.get("/readyz"));
            if ready.is_some_and(|answer| answer.is_ok_and(|(status, _)| status == 200)) {
                return running;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let log = std::fs::read_to_string(self.path("daemon.log")).unwrap_or_default();
        panic!("the daemon is not ready: {log}");
    }
}

/// Ended with its owner, whatever that does.
pub struct Running {
    pub child: Child,
    pub address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    /// None where nobody listens.
    pub fn new(address: &str) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_nodelay(true).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .ok()?;
        Some(Self {
            stream: BufReader::new(stream),
            host: address.to_owned(),
        })
    }

    /// Status and body; an error where the connection ends before the answer does.
    pub fn ask(
        &mut self,
        head: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<(u16, String)> {
        let mut request = format!(
            "{head} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n",
            self.host,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.stream.get_mut().write_all(&bytes)?;
        let bad = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let status = line
            .get(9..12)
            .and_then(|s| s.parse().ok())
            .ok_or_else(bad)?;
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(bad());
            }
            let low = line.trim().to_ascii_lowercase();
            if low.is_empty() {
                break;
            }
            if let Some(n) = low.strip_prefix("content-length:") {
                length = n.trim().parse().map_err(|_| bad())?;
            }
            chunked |= low == "transfer-encoding: chunked";
        }
        let mut answer = Vec::new();
        loop {
            if chunked {
                line.clear();
                self.stream.read_line(&mut line)?;
                length = usize::from_str_radix(line.trim(), 16).map_err(|_| bad())?;
            }
            let at = answer.len();
            answer.resize(at + length, 0);
            self.stream.read_exact(&mut answer[at..])?;
            if chunked {
                self.stream.read_line(&mut line)?;
            }
            if !chunked || length == 0 {
                break;
            }
        }
        Ok((status, String::from_utf8_lossy(&answer).into_owned()))
    }

    pub fn get(&mut self, path: &str) -> std::io::Result<(u16, String)> {
        self.ask(&format!("GET {path}"), &[], b"")
    }

    /// A push as Gitea reports it, signed.
    pub fn hook(&mut self, source: &str, body: &[u8]) -> std::io::Result<(u16, String)> {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(body);
        let bytes = mac.finalize().into_bytes();
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let headers = [
            ("content-type", "application/json"),
            ("x-gitea-event", "push"),
            ("x-gitea-signature", hex.as_str()),
        ];
        self.ask(&format!("POST /webhooks/{source}"), &headers, body)
    }
}

/// The body of a push of `commit` to a branch that is new.
pub fn push(branch: &str, commit: &str) -> Vec<u8> {
    let zero = "0".repeat(40);
    json!({"ref": format!("refs/heads/{branch}"), "before": zero, "after": commit})
        .to_string()
        .into_bytes()
}

/// All jobs of the queue, by the API's pages.
pub fn jobs(client: &mut Client) -> Vec<Value> {
    let (mut all, mut path) = (Vec::new(), "/api/v1/queue?limit=500".to_owned());
    loop {
        let (status, body) = client.get(&path).unwrap();
        assert_eq!(status, 200, "{body}");
        let page: Value = serde_json::from_str(&body).unwrap();
        all.extend(page["items"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_i64().map(|n| n.to_string()) else {
            let Some(next) = page["next"].as_str() else {
                return all;
            };
            path = format!("/api/v1/queue?limit=500&cursor={next}");
            continue;
        };
        path = format!("/api/v1/queue?limit=500&cursor={next}");
    }
}
