//! Releases from a mirror that has every fault that mirrors have.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use camino::Utf8PathBuf;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::image::fetch::hex;
use crate::image::release::download::Patience;

/// What goes wrong with one answer.
#[derive(Debug, Clone)]
enum Fault {
    /// The connection dies after so many bytes of the content.
    Dies(usize),
    /// All is said to be well, but the content ends after so many bytes.
    Short(usize),
    /// Another file.
    Other,
    /// A page with status 200.
    Page,
    /// The same as plain text.
    Words,
    Status(u16),
    /// 503, and when to come again.
    Busy(u64),
    Redirect(String),
    /// The whole file, whatever part was asked for.
    Whole,
    /// Nothing at all.
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Apache,
    Nginx,
    Bozohttpd,
    Plain,
    Forbidden,
}

#[derive(Debug)]
struct Mirror {
    files: BTreeMap<String, Vec<u8>>,
    faults: Mutex<BTreeMap<String, VecDeque<Fault>>>,
    form: Form,
    /// Path and `Range` of every request.
    asked: Mutex<Vec<(String, Option<String>)>>,
    sent: Mutex<BTreeMap<String, usize>>,
}

fn content(name: &str, length: usize) -> Vec<u8> {
    name.bytes().cycle().take(length).collect()
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

impl Mirror {
    fn new(form: Form) -> Self {
        Self {
            files: BTreeMap::new(),
            faults: Mutex::default(),
            form,
            asked: Mutex::default(),
            sent: Mutex::default(),
        }
    }

    /// Files in a directory, with their hashes beside them.
    fn with(mut self, dir: &str, names: &[&str]) -> Self {
        let mut sums = String::new();
        for name in names {
            let bytes = content(&format!("{dir}{name}"), 40_000);
            sums += &format!("SHA512 ({name}) = {}\n", sum(&bytes));
            self.files.insert(format!("/{dir}/{name}"), bytes);
        }
        self.files.insert(format!("/{dir}/SHA512"), sums.into());
        self
    }

    fn release(form: Form, port: &str) -> Self {
        let sets = ["base.tgz", "etc.tgz", "tests.tgz", "xbase.tgz"];
        let kernels = ["netbsd-GENERIC.gz", "netbsd-XEN3_DOM0.gz"];
        Self::new(form)
            .with(&format!("{port}/binary/sets"), &sets)
            .with(&format!("{port}/binary/kernel"), &kernels)
    }

    fn fault(self, path: &str, faults: &[Fault]) -> Self {
        let list = faults.iter().cloned().collect();
        self.faults.lock().unwrap().insert(path.to_owned(), list);
        self
    }

    async fn serve(self) -> (Url, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let mirror = Arc::new(self);
        let own = Arc::clone(&mirror);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(Arc::clone(&own), stream));
            }
        });
        (Url::parse(&url).unwrap(), mirror)
    }

    fn listing(&self, path: &str) -> Option<(&'static str, String)> {
        let below = self.files.keys().filter_map(|f| f.strip_prefix(path));
        let mut names: Vec<String> = below
            .map(|rest| match rest.split_once('/') {
                Some((dir, _)) => format!("{dir}/"),
                None => rest.to_owned(),
            })
            .collect();
        names.dedup();
        if names.is_empty() {
            return None;
        }
        let links = |before: &str| -> String {
            let link = |n: &String| format!("<a href=\"{before}{n}\">{n}</a>  1K\n");
            names.iter().map(link).collect()
        };
        let page = |links: String| {
            format!("<html><head><title>Index of {path}</title></head><pre>{links}</pre></html>")
        };
        match self.form {
            Form::Apache => {
                let sort = "<a href=\"?C=N;O=D\">Name</a><a href=\"/\">Parent Directory</a>";
                Some((
                    "text/html;charset=UTF-8",
                    page(sort.to_owned() + &links("")),
                ))
            }
            Form::Nginx => Some((
                "text/html",
                page("<a href=\"../\">../</a>\n".to_owned() + &links("")),
            )),
            Form::Bozohttpd => Some(("text/html", page(links("./")))),
            Form::Plain => Some(("text/plain", names.join("\n"))),
            Form::Forbidden => None,
        }
    }

    fn asked(&self, path: &str) -> Vec<Option<String>> {
        let asked = self.asked.lock().unwrap();
        let of = asked.iter().filter(|(p, _)| p == path);
        of.map(|(_, range)| range.clone()).collect()
    }
}

async fn answer(mirror: Arc<Mirror>, mut stream: TcpStream) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut some = [0; 1024];
        match stream.read(&mut some).await {
            Ok(n) if n > 0 => head.extend_from_slice(&some[..n]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|l| l.split_once(": "));
        let found = lines.find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let range = header("range");
    mirror
        .asked
        .lock()
        .unwrap()
        .push((path.clone(), range.clone()));
    let fault = mirror
        .faults
        .lock()
        .unwrap()
        .get_mut(&path)
        .and_then(VecDeque::pop_front);
    let mut status = "200 OK".to_owned();
    let mut headers = "ETag: \"v1\"\r\n".to_owned();
    let mut kind = "application/octet-stream";
    let mut dies = None;
    let mut body = match (mirror.files.get(&path), mirror.listing(&path)) {
        (Some(file), _) => file.clone(),
        (None, Some((mime, page))) if path.ends_with('/') => {
            kind = mime;
            page.into_bytes()
        }
        _ if mirror.form == Form::Forbidden && path.ends_with('/') => {
            status = "403 Forbidden".to_owned();
            Vec::new()
        }
        _ => {
            status = "404 Not Found".to_owned();
            Vec::new()
        }
    };
    let from = range.and_then(|r| {
        r.strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse::<usize>()
            .ok()
    });
    let is_whole = matches!(fault, Some(Fault::Whole));
    if let (Some(from), true, false) = (from, status.starts_with("200"), is_whole)
        && header("if-range").is_none_or(|v| v == "\"v1\"")
    {
        let total = body.len();
        if from < total {
            status = "206 Partial Content".to_owned();
            headers += &format!("Content-Range: bytes {from}-{}/{total}\r\n", total - 1);
            body.drain(..from);
        } else {
            status = "416 Range Not Satisfiable".to_owned();
            headers += &format!("Content-Range: bytes */{total}\r\n");
            body.clear();
        }
    }
    match fault {
        None | Some(Fault::Whole) => {}
        Some(Fault::Dies(n)) => dies = Some(n.min(body.len())),
        Some(Fault::Short(n)) => body.truncate(n),
        Some(Fault::Other) => body = content("another", body.len()),
        Some(Fault::Page) => {
            kind = "text/html";
            body = b"<html><head><title>Welcome to our hotel</title></head></html>".to_vec();
        }
        Some(Fault::Words) => {
            kind = "text/plain";
            body = b"Not found\n".to_vec();
        }
        Some(Fault::Status(n)) => status = format!("{n} No"),
        Some(Fault::Busy(seconds)) => {
            status = "503 Busy".to_owned();
            headers += &format!("Retry-After: {seconds}\r\n");
        }
        Some(Fault::Redirect(to)) => {
            status = "302 Found".to_owned();
            headers += &format!("Location: {to}\r\n");
        }
        Some(Fault::Silent) => {
            tokio::time::sleep(Duration::from_secs(30)).await;
            return;
        }
    }
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let part = &body[..dies.unwrap_or(body.len())];
    *mirror.sent.lock().unwrap().entry(path).or_default() += part.len();
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(part).await;
    let _ = stream.shutdown().await;
}

struct Host {
    _guard: tempfile::TempDir,
    store: Store,
    http: Http,
}

impl Host {
    fn new() -> Self {
        let guard = tempfile::tempdir().unwrap();
        let dir = Utf8PathBuf::from_path_buf(guard.path().to_owned()).unwrap();
        let patience = Patience {
            attempts: 3,
            pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(20),
            silence: Duration::from_millis(400),
            at_once: 3,
        };
        Self {
            store: Store::new(&dir),
            http: Http::new(patience).unwrap(),
            _guard: guard,
        }
    }

    async fn fetch(&self, url: &Url, port: &str) -> Result<Release, ReleaseError> {
        self.ask(url, port, false).await
    }

    async fn ask(&self, url: &Url, port: &str, offline: bool) -> Result<Release, ReleaseError> {
        let want = Want::usual(&[]).unwrap();
        let ask = Ask {
            url,
            port,
            names: &[],
            want: &want,
            refresh: false,
            offline,
            signed: None,
        };
        fetch(&self.http, &self.store, &ask, &|_| {}).await
    }
}

fn is_right(release: &Release, port: &str, set: &str) {
    let got = std::fs::read(release.set(set).unwrap()).unwrap();
    let name = format!("{port}/binary/sets{set}.tgz");
    assert_eq!(got, content(&name, 40_000), "{set}");
}

const SETS: &str = "/amd64/binary/sets";

#[tokio::test]
async fn a_release_comes_whole_and_stays_without_a_network() {
    for form in [
        Form::Apache,
        Form::Nginx,
        Form::Bozohttpd,
        Form::Plain,
        Form::Forbidden,
    ] {
        let host = Host::new();
        let (url, mirror) = Mirror::release(form, "amd64").serve().await;
        let release = host.fetch(&url, "amd64").await.unwrap();
        is_right(&release, "amd64", "base");
        assert!(release.kernel("GENERIC").unwrap().is_file());
        // Nobody asked for X11 and Xen.
        assert!(release.set("xbase").is_err());
        assert!(release.kernel("XEN3_DOM0").is_err());
        let before = mirror.asked.lock().unwrap().len();
        let again = host.ask(&url, "amd64", true).await.unwrap();
        assert_eq!(again, release);
        assert_eq!(host.fetch(&url, "amd64").await.unwrap(), release);
        assert_eq!(mirror.asked.lock().unwrap().len(), before, "{form:?}");
        // The port's own address is the same release: nothing is fetched twice.
        let own = url.join("amd64/").unwrap();
        host.fetch(&own, "amd64").await.unwrap();
        assert_eq!(mirror.asked(&format!("{SETS}/base.tgz")).len(), 1);
    }
}

#[tokio::test]
async fn a_connection_that_dies_is_gone_on_with() {
    let base = format!("{SETS}/base.tgz");
    let host = Host::new();
    let many: Vec<Fault> = (0..8).map(|_| Fault::Dies(4_000)).collect();
    let (url, mirror) = Mirror::release(Form::Nginx, "amd64")
        .fault(&base, &many)
        .serve()
        .await;
    let release = host.fetch(&url, "amd64").await.unwrap();
    is_right(&release, "amd64", "base");
    let ranges = mirror.asked(&base);
    assert_eq!(ranges.len(), 9);
    assert_eq!(ranges[1].as_deref(), Some("bytes=4000-"));
    assert_eq!(mirror.sent.lock().unwrap()[&base], 40_000);
}

#[tokio::test]
async fn what_heals_is_healed() {
    let base = format!("{SETS}/base.tgz");
    for faults in [
        vec![Fault::Dies(100), Fault::Whole],
        vec![Fault::Short(100)],
        vec![Fault::Words],
        vec![Fault::Busy(3600), Fault::Status(502)],
        vec![Fault::Silent],
        vec![Fault::Other],
        vec![
            Fault::Dies(0),
            Fault::Dies(0),
            Fault::Dies(9),
            Fault::Dies(0),
            Fault::Dies(0),
        ],
        vec![
            Fault::Redirect(format!("{SETS}/etc.tgz")),
            Fault::Redirect(format!("{SETS}/base.tgz")),
        ],
    ] {
        let host = Host::new();
        let mirror = Mirror::release(Form::Apache, "amd64").fault(&base, &faults);
        let (url, _) = mirror.serve().await;
        let release = host.fetch(&url, "amd64").await;
        let release = release.unwrap_or_else(|e| panic!("{faults:?}: {e}"));
        is_right(&release, "amd64", "base");
    }
}

#[tokio::test]
async fn a_mirror_that_shows_a_page_for_its_listing_is_as_good_as_one_that_lists_nothing() {
    let host = Host::new();
    let faults = vec![Fault::Page; 9];
    let mirror = Mirror::release(Form::Nginx, "amd64").fault("/", &faults);
    let (url, _) = mirror.serve().await;
    is_right(&host.fetch(&url, "amd64").await.unwrap(), "amd64", "base");
    // Where there is nothing else either, the page is named.
    let mirror = Mirror::new(Form::Nginx)
        .with("vax/x", &["y"])
        .fault("/", &faults);
    let (url, _) = mirror.serve().await;
    let said = host.fetch(&url, "amd64").await.unwrap_err().to_string();
    assert!(
        said.contains("its title is 'Welcome to our hotel'"),
        "{said}"
    );
}

#[tokio::test]
async fn every_fault_that_stays_is_named() {
    let base = format!("{SETS}/base.tgz");
    let sums = format!("{SETS}/SHA512");
    let mut said = Vec::new();
    for (path, fault) in [
        (base.as_str(), Fault::Page),
        (&base, Fault::Words),
        (&base, Fault::Short(39_999)),
        (&base, Fault::Other),
        (&base, Fault::Status(404)),
        (&base, Fault::Status(403)),
        (&base, Fault::Busy(9)),
        (&base, Fault::Dies(0)),
        (&base, Fault::Silent),
        (&base, Fault::Redirect(base.clone())),
        (&sums, Fault::Page),
        (&sums, Fault::Words),
        ("/", Fault::Busy(9)),
    ] {
        let host = Host::new();
        let faults = vec![fault.clone(); 40];
        let (url, mirror) = Mirror::release(Form::Nginx, "amd64")
            .fault(path, &faults)
            .serve()
            .await;
        let error = host.fetch(&url, "amd64").await.unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        said.push(format!("{fault:?}: {}", error.replace(url.as_str(), "M/")).replace(SETS, "/S"));
        if path == base {
            // What was right beside it is kept.
            mirror.faults.lock().unwrap().clear();
            host.fetch(&url, "amd64").await.unwrap();
            assert_eq!(
                mirror.asked(&format!("{SETS}/etc.tgz")).len(),
                1,
                "{fault:?}"
            );
        }
    }
    insta::assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn the_newest_daily_that_has_the_port_is_taken() {
    let daily = |mirror: Mirror, stamp: &str, port: &str| {
        mirror.with(&format!("HEAD/{stamp}/{port}/binary/sets"), &["base.tgz"])
    };
    let mirror = Mirror::new(Form::Apache);
    let mirror = daily(mirror, "202411211610Z", "sparc64");
    let mirror = daily(mirror, "20251023170937Z", "sparc64");
    // Newer, and its sets are not there yet.
    let mut mirror = daily(mirror, "20251101000000Z", "amd64");
    mirror.files.insert(
        "/HEAD/20251102000000Z/sparc64/INSTALL.txt".to_owned(),
        b"soon".to_vec(),
    );
    let (url, mirror) = mirror.serve().await;
    for address in ["HEAD/latest/", "HEAD/latest/sparc64/", "HEAD/"] {
        let host = Host::new();
        let at = url.join(address).unwrap();
        let release = host.fetch(&at, "sparc64").await.unwrap();
        is_right(&release, "HEAD/20251023170937Z/sparc64", "base");
        // The same address without a network is what it last was.
        assert_eq!(host.ask(&at, "sparc64", true).await.unwrap(), release);
        // A network that goes away does not take it away.
        let paths = ["/HEAD/"].map(str::to_owned);
        for path in paths {
            let away = vec![Fault::Dies(0); 40].into();
            mirror.faults.lock().unwrap().insert(path, away);
        }
        assert_eq!(host.fetch(&at, "sparc64").await.unwrap(), release);
        mirror.faults.lock().unwrap().clear();
    }
    let host = Host::new();
    let none = host
        .fetch(&url.join("HEAD/latest/").unwrap(), "vax")
        .await
        .unwrap_err();
    let none = none.to_string();
    assert!(none.contains("has no release for vax"), "{none}");
}

#[tokio::test]
async fn md5_alone_is_taken_and_no_hash_is_not() {
    use md5::Md5;
    let mut mirror = Mirror::release(Form::Nginx, "vax");
    let base = mirror.files["/vax/binary/sets/base.tgz"].clone();
    let line = format!("MD5 (base.tgz) = {}\n", hex(&Md5::digest(&base)));
    mirror.files.remove("/vax/binary/sets/SHA512");
    mirror
        .files
        .insert("/vax/binary/sets/MD5".to_owned(), line.into());
    let (url, mirror) = mirror.serve().await;
    let host = Host::new();
    let release = host.fetch(&url, "vax").await.unwrap();
    is_right(&release, "vax", "base");
    drop(mirror);

    let mut mirror = Mirror::release(Form::Nginx, "vax");
    mirror.files.remove("/vax/binary/sets/SHA512");
    let (url, _) = mirror.serve().await;
    let said = Host::new()
        .fetch(&url, "vax")
        .await
        .unwrap_err()
        .to_string();
    assert!(said.contains("neither SHA512 nor MD5"), "{said}");
}

#[tokio::test]
async fn another_port_and_an_absent_cache_are_told() {
    let (url, _) = Mirror::release(Form::Nginx, "amd64").serve().await;
    let host = Host::new();
    let said = host.fetch(&url, "i386").await.unwrap_err().to_string();
    assert!(said.ends_with("directories i386; it has amd64"), "{said}");
    let said = host.ask(&url, "amd64", true).await.unwrap_err().to_string();
    assert!(said.contains("the cache does not have"), "{said}");
}

fn any_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        (0_usize..50_000).prop_map(Fault::Dies),
        (0_usize..40_000).prop_map(Fault::Short),
        Just(Fault::Other),
        Just(Fault::Words),
        Just(Fault::Page),
        Just(Fault::Whole),
        Just(Fault::Busy(0)),
        Just(Fault::Status(500)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_a_mirror_does_a_file_is_right_or_not_there(faults in prop::collection::vec(any_fault(), 0..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let host = Host::new();
            let base = format!("{SETS}/base.tgz");
            let (url, mirror) = Mirror::release(Form::Nginx, "amd64").fault(&base, &faults).serve().await;
            match host.fetch(&url, "amd64").await {
                Ok(release) => is_right(&release, "amd64", "base"),
                Err(_) => {
                    // And it is right once the mirror is.
                    mirror.faults.lock().unwrap().clear();
                    let release = host.fetch(&url, "amd64").await.unwrap();
                    is_right(&release, "amd64", "base");
                }
            }
        });
    }
}
