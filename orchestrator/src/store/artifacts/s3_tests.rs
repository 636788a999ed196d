//! Artifacts in a bucket of a server of this machine's (moto's, which ci/setup installs).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use object_store::aws::AmazonS3Builder;

use super::*;

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let program = top.join("target/s3-tools/bin/moto_server");
        let child = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let child = child.unwrap_or_else(|e| {
            panic!(
                "{}: {e}: ci/setup --with-tests installs it",
                program.display()
            )
        });
        let mut server = Self {
            child,
            address: String::new(),
        };
        let mut said = BufReader::new(server.child.stderr.take().unwrap());
        let mut all = String::new();
        while server.address.is_empty() {
            let mut line = String::new();
            assert!(said.read_line(&mut line).unwrap() > 0, "no server: {all}");
            if let Some((_, address)) = line.split_once("Running on http://") {
                address.trim().clone_into(&mut server.address);
            }
            all += &line;
        }
        // It tells of every request.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        server
    }

    fn make_bucket(&self, name: &str) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let host = &self.address;
        write!(
            stream,
            "PUT /{name} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

struct Place {
    root: tempfile::TempDir,
    artifacts: Artifacts,
    _server: Server,
}

impl Place {
    fn new() -> Self {
        let server = Server::start();
        server.make_bucket("lab");
        // As the environment gives them.
        let variables = [
            ("AWS_ENDPOINT", format!("http://{}", server.address)),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "secret".to_owned()),
        ];
        let builder =
            variables
                .into_iter()
                .fold(AmazonS3Builder::new(), |builder, (name, value)| {
                    builder.with_config(name.to_ascii_lowercase().parse().unwrap(), value)
                });
        Self {
            root: tempfile::tempdir().unwrap(),
            artifacts: in_bucket(builder, "s3://lab/some/prefix").unwrap(),
            _server: server,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A directory whose pack is larger than what is put in one piece.
    fn large(&self, name: &str, seed: u64) -> PathBuf {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("large"), noise(seed)).unwrap();
        dir
    }

    async fn offer(&self, key: &str, dir: &Path) -> Result<bool> {
        let tmp = self.path("tmp");
        self.artifacts.offer(&name(key), dir, &tmp).await
    }

    async fn fetch(&self, key: &str, to: &str) -> Result<Option<Vec<u8>>> {
        let (to, tmp) = (self.path(to), self.path("tmp"));
        let there = self.artifacts.fetch(&name(key), &to, &tmp).await?;
        Ok(there.map(|_| std::fs::read(to.join("large")).unwrap()))
    }

    async fn object(&self, key: &str) -> (At, u64) {
        let (entry, _) = self.artifacts.entry(&name(key)).await.unwrap().unwrap();
        (self.artifacts.object_at(&entry.object), entry.size_bytes)
    }
}

fn name(key: &str) -> Name {
    (Kind::Builds, Key(key.to_owned()))
}

/// 12 MiB that cannot be compressed.
fn noise(seed: u64) -> Vec<u8> {
    let mut out = vec![0; 12 << 20];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut out);
    out
}

#[tokio::test]
async fn a_directory_comes_back_from_a_bucket_and_is_uploaded_once() {
    let place = Place::new();
    let dir = place.large("d", 1);
    assert!(!place.artifacts.has(&name("k")).await.unwrap());
    assert!(place.fetch("k", "none").await.unwrap().is_none());
    assert!(place.offer("k", &dir).await.unwrap());
    assert!(!place.offer("k", &dir).await.unwrap());
    assert!(place.artifacts.has(&name("k")).await.unwrap());
    assert!(place.fetch("k", "got").await.unwrap() == Some(noise(1)));
    // What is young stays, and is found by listing.
    let done = place.artifacts.collect(&BTreeSet::new(), FRESH).await;
    let done = done.unwrap();
    assert_eq!((done.entries, done.objects), (0, 0));
    assert_eq!(done.left_bytes, place.object("k").await.1);
}

#[tokio::test]
async fn writers_of_one_key_in_a_bucket_do_not_harm_each_other() {
    let place = Place::new();
    let dirs = [place.large("d", 1), place.large("e", 2)];
    let offers = (0..4).map(|n| place.offer("k", &dirs[n % 2]));
    let done: Vec<Result<bool>> = futures_util::future::join_all(offers).await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    // Two that are both right: one of them, and whole.
    let got = place.fetch("k", "got").await.unwrap().unwrap();
    assert!(got == noise(1) || got == noise(2));
}

#[tokio::test]
async fn a_part_of_an_upload_is_never_seen_in_a_bucket() {
    let place = Place::new();
    let dir = place.large("d", 1);
    let (pack, entry) = pack::pack(&dir, &place.path("tmp")).unwrap();
    let at = place.artifacts.object_at(&entry.object);
    // A writer that dies when all parts are there, and nothing has said that it is whole.
    let mut bytes = std::fs::read(pack.path()).unwrap();
    let rest = bytes.split_off(6 << 20);
    let mut upload = place.artifacts.store.put_multipart(&at).await.unwrap();
    for part in [bytes, rest] {
        upload.put_part(PutPayload::from(part)).await.unwrap();
    }
    drop(upload);
    let there = place.artifacts.object_age(&entry.object, entry.size_bytes);
    assert_eq!(there.await.unwrap(), None);
    let listed = place.artifacts.store.list(None).try_collect::<Vec<_>>();
    assert!(listed.await.unwrap().is_empty());
    // An entry without its object, as if the object had gone, is not one.
    place
        .artifacts
        .write_entry(&name("k"), &entry)
        .await
        .unwrap();
    assert!(!place.artifacts.has(&name("k")).await.unwrap());
    assert!(place.fetch("k", "none").await.unwrap().is_none());
    // The next writer is not hindered.
    assert!(place.offer("k", &dir).await.unwrap());
    assert!(place.fetch("k", "got").await.unwrap() == Some(noise(1)));
}

#[tokio::test]
async fn damage_in_a_bucket_is_seen_when_it_is_read_and_heals() {
    let place = Place::new();
    let dir = place.large("d", 1);
    place.offer("k", &dir).await.unwrap();
    let (at, size) = place.object("k").await;
    let mut bytes = place.artifacts.read(&at).await.unwrap().unwrap().0;
    assert_eq!(bytes.len() as u64, size);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let put = place
        .artifacts
        .store
        .put(&at, PutPayload::from(bytes.clone()));
    put.await.unwrap();
    let error = place.fetch("k", "got").await.unwrap_err();
    assert!(matches!(error, ArtifactError::Damaged { .. }), "{error}");
    assert!(!place.path("got").exists());
    assert!(place.offer("k", &dir).await.unwrap());
    assert!(place.fetch("k", "got").await.unwrap() == Some(noise(1)));
    // A cut object has another length: it is not taken for the whole one.
    bytes.truncate(middle);
    let put = place.artifacts.store.put(&at, PutPayload::from(bytes));
    put.await.unwrap();
    assert!(!place.artifacts.has(&name("k")).await.unwrap());
}
