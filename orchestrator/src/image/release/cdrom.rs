//! A release on an ISO: its sets and kernels are taken out of it, into the cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;

use camino::{Utf8Path, Utf8PathBuf};

use super::download::{Note, Teller};
use super::error::{ReleaseError, io};
use super::iso::{Entry, Iso};
use super::store::{Kept, Record, Store};
use super::sums::{self, Sum, Sums};
use super::verify::hash;
use super::want::Want;
use super::{Release, directory_names};

/// Takes what is wanted out of an ISO. Its files are verified by the hashes that stand beside them on it,
/// where there are some; a CD that is written by hand has none, and is taken as it is.
pub async fn take(
    store: &Store,
    path: &Utf8Path,
    port: &str,
    names: &[String],
    want: &Want,
    tell: &Teller<'_>,
) -> Result<Release, ReleaseError> {
    let path = path.canonicalize_utf8().map_err(io("open", path))?;
    let meta = std::fs::metadata(&path).map_err(io("read", &path))?;
    let changed = meta
        .modified()
        .ok()
        .and_then(|t| jiff::Timestamp::try_from(t).ok());
    // A CD that was written anew is another one, without reading gigabytes to know it.
    let from = format!(
        "{path} ({} bytes of {})",
        meta.len(),
        changed.unwrap_or_default()
    );
    let mut tree = store.tree(&from, port).await?;
    let have = tree.record.as_ref().is_some_and(|record| {
        let asked = want.patterns().iter().all(|p| record.patterns.contains(p));
        asked
            && record
                .files
                .iter()
                .all(|(p, k)| tree.has(store, p, &k.sum).is_some())
    });
    if !have {
        let (iso, root) = open(&path, port, names)?;
        let mut record = Record::new(path.as_str(), &from, port);
        if let Some(old) = &tree.record {
            record.patterns.clone_from(&old.patterns);
            record.files.clone_from(&old.files);
        }
        record
            .files
            .extend(extract(store, &path, iso, &root, want, tell)?);
        record.patterns.extend(want.patterns().iter().cloned());
        for (file, kept) in &record.files {
            tree.put(store, file, &kept.sha512)?;
        }
        if record.files.is_empty() {
            return Err(ReleaseError::NothingWanted {
                place: path.to_string(),
                patterns: want.patterns().join(", "),
            });
        }
        tree.seal(record)?;
    }
    let mut release = tree.release()?;
    // The CD itself is a medium to boot from.
    release.layout.images.insert("iso".to_owned(), path);
    Ok(release)
}

type Open = Iso<BufReader<File>>;

/// The ISO, and the directory on it that is the port's own, with a slash behind it.
fn open(path: &Utf8Path, port: &str, names: &[String]) -> Result<(Open, String), ReleaseError> {
    let file = File::open(path).map_err(io("open", path))?;
    let iso = Iso::open(BufReader::new(file)).map_err(|why| ReleaseError::BadIso {
        path: path.to_owned(),
        why,
    })?;
    let candidates: Vec<&str> = directory_names(port)
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    let roots = candidates.iter().map(|name| format!("{name}/"));
    let is_root = |root: &String| {
        let binary = format!("{root}binary/");
        iso.entries.iter().any(|e| e.path.starts_with(&binary))
    };
    if let Some(root) = roots.chain([String::new()]).find(is_root) {
        return Ok((iso, root));
    }
    let tops = iso
        .entries
        .iter()
        .filter_map(|e| Some(e.path.split_once('/')?.0.to_owned()));
    let tops: std::collections::BTreeSet<String> = tops.collect();
    Err(ReleaseError::NoRelease {
        place: path.to_string(),
        port: port.to_owned(),
        expected: candidates.join(", "),
        has: tops.into_iter().take(40).collect(),
    })
}

fn extract(
    store: &Store,
    path: &Utf8Path,
    mut iso: Open,
    root: &str,
    want: &Want,
    tell: &Teller<'_>,
) -> Result<BTreeMap<String, Kept>, ReleaseError> {
    let bad = |why: String| ReleaseError::BadIso {
        path: path.to_owned(),
        why,
    };
    let entries: Vec<(String, Entry)> = iso
        .entries
        .iter()
        .filter_map(|e| Some((e.path.strip_prefix(root)?.to_owned(), e.clone())))
        .collect();
    let mut hashes: BTreeMap<Utf8PathBuf, Sums> = BTreeMap::new();
    // MD5 first, so that SHA512 counts where there are both.
    for name in ["MD5", "SHA512"] {
        for (file, entry) in &entries {
            let file = Utf8Path::new(file);
            if file.file_name() != Some(name) || entry.size_bytes > 4 << 20 {
                continue;
            }
            let mut text = Vec::new();
            iso.copy(entry, &mut text).map_err(bad)?;
            let sums =
                sums::parse(&text).map_err(|what| bad(format!("has a {file} that {what}")))?;
            let dir = file.parent().unwrap_or(Utf8Path::new("")).to_owned();
            hashes.entry(dir).or_default().extend(sums);
        }
    }
    let mut files = BTreeMap::new();
    for (file, entry) in &entries {
        let at = Utf8Path::new(file);
        let name = at.file_name().unwrap_or(file);
        if !want.has(file) || super::layout::is_about(name) {
            continue;
        }
        tell(Note::Begins {
            file: name,
            have: 0,
            of: Some(entry.size_bytes),
        });
        let expected = hashes
            .get(at.parent().unwrap_or(at))
            .and_then(|s| s.get(name));
        let part = store.part(&Sum::Sha512(format!(
            "cd-{}",
            uuid::Uuid::now_v7().simple()
        )));
        let kept = one(store, path, &mut iso, file, entry, expected, &part);
        let _ = std::fs::remove_file(&part);
        files.insert(file.clone(), kept?);
        tell(Note::Done { file: name });
    }
    Ok(files)
}

fn one(
    store: &Store,
    path: &Utf8Path,
    iso: &mut Open,
    file: &str,
    entry: &Entry,
    expected: Option<&Sum>,
    part: &Utf8Path,
) -> Result<Kept, ReleaseError> {
    if let Some(dir) = part.parent() {
        std::fs::create_dir_all(dir).map_err(io("create", dir))?;
    }
    let mut to = File::create(part).map_err(io("write", part))?;
    iso.copy(entry, &mut to)
        .map_err(|why| ReleaseError::BadIso {
            path: path.to_owned(),
            why,
        })?;
    let hashes = hash(part)?;
    if let Some(expected) = expected
        && !hashes.agree(expected)
    {
        return Err(ReleaseError::Corrupt {
            url: format!("{file} on {path}"),
            sums: "the list of hashes beside it".to_owned(),
            expected: expected.clone(),
            got: hashes.like(expected),
            size_bytes: hashes.size_bytes,
        });
    }
    store.accept(part, &hashes.sha512)?;
    Ok(Kept {
        sum: Sum::Sha512(hashes.sha512.clone()),
        sha512: hashes.sha512,
        size_bytes: hashes.size_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sets_and_kernels_are_taken_out_of_a_cd() {
        let guard = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(guard.path()).unwrap();
        let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/release");
        let packed = std::fs::read(format!("{fixtures}/mkisofs.iso.zst")).unwrap();
        let bytes = zstd::decode_all(&packed[..]).unwrap();
        let cd = dir.join("NetBSD-10.1-amd64.iso");
        std::fs::write(&cd, &bytes).unwrap();
        let store = Store::new(&dir.join("cache"));
        let want = Want::usual(&[]).unwrap();
        let quiet = |_: Note<'_>| {};
        let release = take(&store, &cd, "amd64", &[], &want, &quiet)
            .await
            .unwrap();
        let base = std::fs::read(release.set("base").unwrap()).unwrap();
        assert_eq!(base, b"base content\n".repeat(300));
        assert!(release.kernel("GENERIC").unwrap().is_file());
        assert_eq!(
            release.layout.images["iso"],
            cd.canonicalize_utf8().unwrap()
        );
        let again = take(&store, &cd, "amd64", &[], &want, &quiet)
            .await
            .unwrap();
        assert_eq!(again, release);

        let other = take(&store, &cd, "i386", &[], &want, &quiet)
            .await
            .unwrap_err();
        assert!(
            other.to_string().contains("has no release for i386"),
            "{other}"
        );
        // One byte of the set is another one: the hash on the CD tells it.
        let at = bytes
            .windows(12)
            .position(|w| w == b"base content")
            .unwrap();
        let mut damaged = bytes;
        damaged[at] = b'B';
        std::fs::write(&cd, &damaged).unwrap();
        let said = take(&store, &cd, "amd64", &[], &want, &quiet)
            .await
            .unwrap_err();
        let said = said.to_string();
        assert!(said.contains("binary/sets/base.tgz on "), "{said}");
    }
}
