use super::*;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

struct Place {
    root: tempfile::TempDir,
    artifacts: Artifacts,
}

impl Place {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::in_dir(&root.path().join("store")).unwrap();
        Self { root, artifacts }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A directory with some files of all kinds.
    fn made(&self, name: &str, bytes: usize) -> PathBuf {
        let dir = self.path(name);
        std::fs::create_dir_all(dir.join("sub")).unwrap();
        std::fs::write(dir.join("sub/large"), vec![7_u8; bytes]).unwrap();
        std::fs::write(dir.join("script"), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(dir.join("script"), PermissionsExt::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("sub/large", dir.join("link")).unwrap();
        dir
    }

    async fn offer(&self, key: &str, dir: &Path) -> Result<bool> {
        self.artifacts
            .offer(&name(key), dir, &self.path("tmp"))
            .await
    }

    fn objects(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for dir in std::fs::read_dir(self.path("store/objects")).unwrap() {
            for file in std::fs::read_dir(dir.unwrap().path()).unwrap() {
                found.push(file.unwrap().path());
            }
        }
        found
    }

    async fn fetch(&self, key: &str, to: &Path) -> Result<Option<u64>> {
        let tmp = self.path("tmp");
        self.artifacts.fetch(&name(key), to, &tmp).await
    }
}

fn name(key: &str) -> Name {
    (Kind::Builds, Key(key.to_owned()))
}

#[tokio::test]
async fn a_directory_comes_back_as_it_was_and_is_uploaded_once() {
    let place = Place::new();
    let dir = place.made("d", 3_000_000);
    assert!(!place.artifacts.has(&name("k")).await.unwrap());
    assert!(place.offer("k", &dir).await.unwrap());
    assert!(!place.offer("k", &dir).await.unwrap());
    assert!(place.artifacts.has(&name("k")).await.unwrap());
    let to = place.path("cache/builds/k");
    let size = place.fetch("k", &to).await.unwrap();
    assert_eq!(size, Some(3_000_010));
    let hash = |dir: &Path| {
        crate::host::files::content_hash(camino::Utf8Path::from_path(dir).unwrap()).unwrap()
    };
    assert_eq!(hash(&to), hash(&dir));
    // Equal directories are one object, whatever their keys.
    assert!(
        place
            .offer("other", &place.made("e", 3_000_000))
            .await
            .unwrap()
    );
    let absent = place.fetch("none", &place.path("x")).await;
    assert_eq!(absent.unwrap(), None);
    assert_eq!(
        std::fs::read_dir(place.path("tmp")).unwrap().count(),
        0,
        "work is put away"
    );
}

#[tokio::test]
async fn damage_is_seen_when_it_is_read_and_heals_when_it_is_offered_again() {
    let place = Place::new();
    let dir = place.made("d", 1000);
    place.offer("k", &dir).await.unwrap();
    let object = place.objects().remove(0);
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&object, &bytes).unwrap();
    let to = place.path("cache/builds/k");
    let error = place.fetch("k", &to).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Damaged { .. }), "{error}");
    assert!(!to.exists());
    assert!(place.offer("k", &dir).await.unwrap());
    assert!(place.fetch("k", &to).await.unwrap().is_some());
    // A cut object has another length: it is not taken for the whole one.
    std::fs::write(&object, &bytes[..middle]).unwrap();
    assert!(!place.artifacts.has(&name("k")).await.unwrap());
}

#[tokio::test]
async fn writers_of_one_key_do_not_harm_each_other() {
    let place = Place::new();
    let dir = place.made("d", 200_000);
    let offers = (0..8).map(|_| place.offer("k", &dir));
    let done: Vec<Result<bool>> = futures_util::future::join_all(offers).await;
    assert!(done.into_iter().all(|r| r.is_ok()));
    let to = place.path("got");
    assert!(place.fetch("k", &to).await.unwrap().is_some());
    assert!(
        place
            .objects()
            .iter()
            .all(|o| !o.to_str().unwrap().contains('#'))
    );
}

fn make_old(dir: &Path, days: u32) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            make_old(&path, days);
        } else {
            let then = std::time::SystemTime::now() - FRESH * days;
            std::fs::File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(then)
                .unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_young_kept_or_offered_again_is_not_collected() {
    let place = Place::new();
    let dirs: Vec<PathBuf> = (1..=4)
        .map(|n| place.made(&format!("d{n}"), n * 1000))
        .collect();
    for (n, dir) in dirs.iter().enumerate().take(3) {
        place.offer(&format!("k{n}"), dir).await.unwrap();
    }
    make_old(&place.path("store"), 9);
    // One is offered again and one is new: both are somebody's, the third is a running job's.
    place.offer("k0", &dirs[0]).await.unwrap();
    place.offer("k3", &dirs[3]).await.unwrap();
    let keep = BTreeSet::from([name("k1")]);
    let done = place.artifacts.collect(&keep, FRESH * 7).await.unwrap();
    assert_eq!((done.entries, done.objects), (1, 1));
    for (key, there) in [("k0", true), ("k1", true), ("k2", false), ("k3", true)] {
        assert_eq!(
            place.artifacts.has(&name(key)).await.unwrap(),
            there,
            "{key}"
        );
    }
    // Nothing of a few hours' age is ever taken, whatever was asked for.
    let done = place
        .artifacts
        .collect(&BTreeSet::new(), Duration::ZERO)
        .await
        .unwrap();
    assert!(place.artifacts.has(&name("k3")).await.unwrap());
    assert_eq!(done.entries, 1);
}

#[tokio::test]
async fn a_store_that_fails_half_way_shows_nothing() {
    let place = Place::new();
    let dir = place.made("d", 1000);
    // A file where the store wants a directory.
    std::fs::write(place.path("store/objects"), "").unwrap();
    assert!(place.offer("k", &dir).await.is_err());
    std::fs::remove_file(place.path("store/objects")).unwrap();
    assert!(!place.artifacts.has(&name("k")).await.unwrap());
    assert!(place.offer("k", &dir).await.unwrap());
    // The same over a store that is no directory.
    let memory = Artifacts::over(Arc::new(object_store::memory::InMemory::new()));
    assert!(
        memory
            .offer(&name("k"), &dir, &place.path("tmp"))
            .await
            .unwrap()
    );
    assert!(
        memory
            .fetch(&name("k"), &place.path("m"), &place.path("tmp"))
            .await
            .unwrap()
            .is_some()
    );
}

#[tokio::test]
async fn a_node_fetches_once_and_keeps_within_its_limit_what_was_used_last() {
    let place = Place::new();
    for n in 0..3 {
        place
            .offer(&format!("k{n}"), &place.made(&format!("d{n}"), 10_000 + n))
            .await
            .unwrap();
    }
    let node = NodeCache::new(place.path("node"), 25_000);
    let first = node
        .get(&place.artifacts, &name("k0"))
        .await
        .unwrap()
        .unwrap();
    drop(
        node.get(&place.artifacts, &name("k1"))
            .await
            .unwrap()
            .unwrap(),
    );
    // Once it is here, the store is not asked.
    let object = place.objects();
    std::fs::rename(place.path("store"), place.path("away")).unwrap();
    assert!(
        node.get(&place.artifacts, &name("k1"))
            .await
            .unwrap()
            .is_some()
    );
    std::fs::rename(place.path("away"), place.path("store")).unwrap();
    assert_eq!(object.len(), 3);
    // The third does not fit beside both: the one that is in use stays.
    drop(
        node.get(&place.artifacts, &name("k2"))
            .await
            .unwrap()
            .unwrap(),
    );
    let there = |key: &str| place.path("node/builds").join(key).is_dir();
    assert!(there("k0") && first.dir.is_dir());
    assert!(!there("k1"));
    assert!(
        node.get(&place.artifacts, &name("none"))
            .await
            .unwrap()
            .is_none()
    );
}
