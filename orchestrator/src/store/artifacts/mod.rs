//! Artifacts that machines share: directories of the cache, packed and kept by the hash of the pack.
//!
//! ```text
//! objects/ab/HASH      a pack (tar, zstd); HASH is BLAKE3 of its bytes
//! entries/KIND/KEY     which object holds the directory of this key; written last
//! ```
//!
//! - Where an entry is, its object was whole. A part of an upload is never seen: the store writes
//!   under another name and renames, or takes an object whole.
//! - Two writers of one key write the same object, or two that are both right; the later entry wins.
//! - Every object is hashed when it is read. One that is damaged is removed, so that whoever has the
//!   directory uploads it again.
//! - What is offered again is uploaded again only where it is missing; where its entry is getting old
//!   it is stamped anew, so that [`Artifacts::collect`] sees that somebody counts on it.
//!
//! The store is a directory (of this machine, or NFS) or, built with the feature `s3`, a bucket.

mod node;
mod pack;

pub use node::{Fetched, NodeCache};

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::path::Path as At;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use crate::model::Key;

/// What can go wrong. Always a fault of the host.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The store did not answer, or refused.
    #[error("the artifact store cannot {what} {at}: {cause}")]
    Store {
        /// `read`, `write`, `list`, `remove`, `open`.
        what: &'static str,
        /// The object.
        at: String,
        /// What the store said.
        cause: object_store::Error,
    },
    /// A file of this machine's.
    #[error("cannot {what} {path}: {cause}")]
    Io {
        /// `read`, `write`, `create`.
        what: &'static str,
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// What was read is not what was written.
    #[error(
        "artifact {at} is damaged: {why}; it is removed, and made or uploaded again when it is next needed"
    )]
    Damaged {
        /// The object.
        at: String,
        /// How that was seen.
        why: String,
    },
    /// This program was built without it.
    #[error("'{0}' needs a fallout that was built with the feature 's3'")]
    NoS3(String),
}

impl ArtifactError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |cause| Self::Io { what, path, cause }
    }
}

type Result<T> = std::result::Result<T, ArtifactError>;

fn store(what: &'static str, at: &At) -> impl FnOnce(object_store::Error) -> ArtifactError {
    let at = at.to_string();
    move |cause| ArtifactError::Store { what, at, cause }
}

/// The directories of the cache that are shared, by their name there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A bootable image.
    Images,
    /// What the cross compiler needs of an image.
    Sysroots,
    /// A build of a suite, or of a kernel.
    Builds,
    /// A source tree without what is no source.
    Trees,
}

impl Kind {
    /// The directory's name in the cache and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Sysroots => "sysroots",
            Self::Builds => "builds",
            Self::Trees => "trees",
        }
    }
}

/// An artifact's name.
pub type Name = (Kind, Key);

/// `entries/KIND/KEY`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Version of this file's form: 1.
    format: u32,
    object: Key,
    size_bytes: u64,
    unpacked_bytes: u64,
}

/// An entry that is older is stamped anew when its artifact is offered.
const FRESH: Duration = Duration::from_secs(24 * 3600);

/// What [`Artifacts::collect`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Collected {
    /// Entries that went.
    pub entries: u64,
    /// Objects that went.
    pub objects: u64,
    /// Their size.
    pub size_bytes: u64,
    /// The size of what is left.
    pub left_bytes: u64,
}

/// The store.
#[derive(Debug, Clone)]
pub struct Artifacts {
    store: Arc<dyn ObjectStore>,
    prefix: At,
}

impl Artifacts {
    /// The store in a directory, which is made where it is not there.
    pub fn in_dir(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir).map_err(ArtifactError::io("create", dir))?;
        let local = object_store::local::LocalFileSystem::new_with_prefix(dir);
        let local = local.map_err(store("open", &At::default()))?;
        Ok(Self {
            store: Arc::new(local.with_fsync(true)),
            prefix: At::default(),
        })
    }

    /// The store at `url`, `s3://BUCKET/PREFIX`; endpoint and keys come from the `AWS_` variables of
    /// the environment.
    pub fn at_url(url: &str) -> Result<Self> {
        bucket(url)
    }

    /// A store that a test made.
    #[cfg(test)]
    fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            prefix: At::default(),
        }
    }

    fn at(&self, parts: &[&str]) -> At {
        parts
            .iter()
            .fold(self.prefix.clone(), |at, part| at.join(*part))
    }

    fn entry_at(&self, (kind, key): &Name) -> At {
        self.at(&["entries", kind.word(), &key.0])
    }

    fn object_at(&self, object: &Key) -> At {
        self.at(&["objects", object.0.get(..2).unwrap_or("00"), &object.0])
    }

    async fn read(&self, at: &At) -> Result<Option<(Vec<u8>, Duration)>> {
        match self.store.get(at).await {
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(store("read", at)(cause)),
            Ok(found) => {
                let age = age(&found.meta);
                let bytes = found.bytes().await.map_err(store("read", at))?;
                Ok(Some((bytes.to_vec(), age)))
            }
        }
    }

    /// The entry and its age; one that cannot be read counts as absent and is written anew.
    async fn entry(&self, name: &Name) -> Result<Option<(Entry, Duration)>> {
        let found = self.read(&self.entry_at(name)).await?;
        Ok(found.and_then(|(bytes, age)| {
            let entry: Entry = serde_json::from_slice(&bytes).ok()?;
            (entry.format == 1).then_some((entry, age))
        }))
    }

    async fn write_entry(&self, name: &Name, entry: &Entry) -> Result<()> {
        let at = self.entry_at(name);
        let bytes = serde_json::to_vec(entry).unwrap_or_default();
        let put = self.store.put(&at, PutPayload::from(bytes)).await;
        put.map(|_| ()).map_err(store("write", &at))
    }

    /// The age of an object of this size; none where there is none.
    async fn object_age(&self, object: &Key, size_bytes: u64) -> Result<Option<Duration>> {
        let at = self.object_at(object);
        match self.store.head(&at).await {
            Ok(meta) if meta.size == size_bytes => Ok(Some(age(&meta))),
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(cause) => Err(store("read", &at)(cause)),
        }
    }

    /// Whether an artifact is there, as far as that can be seen without reading it.
    pub async fn has(&self, name: &Name) -> Result<bool> {
        match self.entry(name).await? {
            None => Ok(false),
            Some((entry, _)) => {
                let age = self.object_age(&entry.object, entry.size_bytes).await?;
                Ok(age.is_some())
            }
        }
    }

    /// Puts the directory `dir` there under its name, unless it is there already. `tmp` is a directory
    /// for the pack. True where something was uploaded.
    pub async fn offer(&self, name: &Name, dir: &Path, tmp: &Path) -> Result<bool> {
        if let Some((entry, entry_age)) = self.entry(name).await?
            && let Some(object_age) = self.object_age(&entry.object, entry.size_bytes).await?
            // An old object is uploaded again, which stamps it: nothing else does in every store.
            && object_age <= FRESH
        {
            if entry_age > FRESH {
                self.write_entry(name, &entry).await?;
            }
            return Ok(false);
        }
        let (pack, entry) = {
            let (dir, tmp) = (dir.to_owned(), tmp.to_owned());
            let packed = tokio::task::spawn_blocking(move || pack::pack(&dir, &tmp)).await;
            packed.map_err(joined)??
        };
        let at = self.object_at(&entry.object);
        self.upload(&at, pack.path()).await?;
        self.write_entry(name, &entry).await?;
        Ok(true)
    }

    async fn upload(&self, at: &At, file: &Path) -> Result<()> {
        let failed = ArtifactError::io("read", file);
        let mut from = tokio::fs::File::open(file).await.map_err(failed)?;
        let mut to = object_store::buffered::BufWriter::new(Arc::clone(&self.store), at.clone());
        let copied = tokio::io::copy(&mut from, &mut to).await;
        let done = match copied {
            Ok(_) => to.shutdown().await,
            Err(cause) => {
                let _ = to.abort().await;
                Err(cause)
            }
        };
        done.map_err(|cause| ArtifactError::Io {
            what: "upload",
            path: file.to_owned(),
            cause,
        })
    }

    /// Fetches an artifact into the new directory `to`, which appears whole or not at all; `tmp` is a
    /// directory on the same file system. Returns the size there, or none where there is no such
    /// artifact.
    pub async fn fetch(&self, name: &Name, to: &Path, tmp: &Path) -> Result<Option<u64>> {
        let Some((entry, _)) = self.entry(name).await? else {
            return Ok(None);
        };
        let at = self.object_at(&entry.object);
        std::fs::create_dir_all(tmp).map_err(ArtifactError::io("create", tmp))?;
        let work = tempfile::tempdir_in(tmp).map_err(ArtifactError::io("create", tmp))?;
        let pack = work.path().join("pack");
        let found = match self.store.get(&at).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            other => other.map_err(store("read", &at))?,
        };
        let mut file = tokio::fs::File::create(&pack)
            .await
            .map_err(ArtifactError::io("create", &pack))?;
        let mut hasher = blake3::Hasher::new();
        let mut stream = found.into_stream();
        while let Some(bytes) = stream.try_next().await.map_err(store("read", &at))? {
            hasher.update(&bytes);
            let wrote = file.write_all(&bytes).await;
            wrote.map_err(ArtifactError::io("write", &pack))?;
        }
        let closed = file.flush().await;
        closed.map_err(ArtifactError::io("write", &pack))?;
        drop(file);
        let hash = hasher.finalize().to_hex().to_string();
        if hash != entry.object.0 {
            let _ = self.store.delete(&at).await;
            return Err(ArtifactError::Damaged {
                at: at.to_string(),
                why: format!("its hash is {hash:.16}…"),
            });
        }
        let (to, out) = (to.to_owned(), work.path().join("out"));
        let unpacked = tokio::task::spawn_blocking(move || {
            pack::unpack(&pack, &out)?;
            if let Some(parent) = to.parent() {
                std::fs::create_dir_all(parent).map_err(ArtifactError::io("create", parent))?;
            }
            match std::fs::rename(&out, &to) {
                // Somebody else made the same meanwhile.
                Err(_) if to.is_dir() => Ok(()),
                other => other.map_err(ArtifactError::io("rename to", &to)),
            }
        });
        unpacked.await.map_err(joined)??;
        drop(work);
        Ok(Some(entry.unpacked_bytes))
    }

    /// Removes what nobody counts on: entries that are not in `keep` and were neither made nor stamped
    /// for `min_age`, and objects of that age without an entry. `min_age` must be several times the
    /// day after which an entry in use is stamped anew; less is taken as three days.
    pub async fn collect(&self, keep: &BTreeSet<Name>, min_age: Duration) -> Result<Collected> {
        let min_age = min_age.max(3 * FRESH);
        let mut done = Collected::default();
        let mut wanted: BTreeSet<String> = BTreeSet::new();
        let kept: BTreeSet<At> = keep.iter().map(|name| self.entry_at(name)).collect();
        let entries = self.at(&["entries"]);
        let listed: Vec<_> = self
            .store
            .list(Some(&entries))
            .try_collect()
            .await
            .map_err(store("list", &entries))?;
        for meta in listed {
            let found = self.read(&meta.location).await?;
            let entry = found.and_then(|(b, _)| serde_json::from_slice::<Entry>(&b).ok());
            if kept.contains(&meta.location) || age(&meta) < min_age {
                wanted.extend(entry.map(|e| e.object.0));
                continue;
            }
            self.remove(&meta.location).await?;
            done.entries += 1;
        }
        let objects = self.at(&["objects"]);
        let listed: Vec<_> = self
            .store
            .list(Some(&objects))
            .try_collect()
            .await
            .map_err(store("list", &objects))?;
        for meta in listed {
            let name = meta.location.filename().unwrap_or_default();
            if wanted.contains(name) || age(&meta) < min_age {
                done.left_bytes += meta.size;
                continue;
            }
            self.remove(&meta.location).await?;
            done.objects += 1;
            done.size_bytes += meta.size;
        }
        Ok(done)
    }

    async fn remove(&self, at: &At) -> Result<()> {
        match self.store.delete(at).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(cause) => Err(store("remove", at)(cause)),
        }
    }
}

fn joined(error: tokio::task::JoinError) -> ArtifactError {
    ArtifactError::Io {
        what: "finish the work on",
        path: "a pack".into(),
        cause: std::io::Error::other(error),
    }
}

/// How long ago an object was written. The store's clock and this one's may differ by minutes; what is
/// decided by ages goes by days.
fn age(meta: &object_store::ObjectMeta) -> Duration {
    let now = jiff::Timestamp::now().as_second();
    let then = meta.last_modified.timestamp();
    Duration::from_secs(u64::try_from(now - then).unwrap_or(0))
}

#[cfg(feature = "s3")]
fn bucket(url: &str) -> Result<Artifacts> {
    in_bucket(object_store::aws::AmazonS3Builder::from_env(), url)
}

#[cfg(feature = "s3")]
fn in_bucket(builder: object_store::aws::AmazonS3Builder, url: &str) -> Result<Artifacts> {
    let bad = |why: String| ArtifactError::Store {
        what: "open",
        at: url.to_owned(),
        cause: object_store::Error::Generic {
            store: "S3",
            source: why.into(),
        },
    };
    let rest = url
        .strip_prefix("s3://")
        .ok_or_else(|| bad("expected s3://BUCKET/PREFIX".into()))?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    // The client panics without, whether or not the endpoint speaks TLS. An error means that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let built = builder.with_bucket_name(name).build();
    Ok(Artifacts {
        store: Arc::new(built.map_err(|e| bad(e.to_string()))?),
        prefix: At::from(prefix),
    })
}

#[cfg(not(feature = "s3"))]
fn bucket(url: &str) -> Result<Artifacts> {
    Err(ArtifactError::NoS3(url.to_owned()))
}

#[cfg(test)]
mod tests;

#[cfg(all(test, feature = "s3"))]
mod s3_tests;
