//! Patch series: a quilt `series` file, or mails as `git format-patch --stdout` writes them.
//!
//! Both give the same thing, named patches in their order, and an identity that is a hash over the
//! content. Of a mail only what it changes counts: rewording the message, or making the same mails
//! again on another day, gives the same series.
//!
//! Applying is not done here.

use std::fs::{self, File};
use std::io::{self, Read as _};

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use super::files::FileError;
use crate::model::Key;

/// The largest patch or series file, in bytes.
const MAX_PATCH_BYTES: u64 = 64 << 20;

/// One patch of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patch {
    /// As the series names it (`fix/answer.patch`), or by number and subject (`0001-fix-it.patch`).
    /// Relative, without `..`.
    pub name: String,
    /// Its bytes, as patch(1) takes them.
    pub bytes: Vec<u8>,
}

/// Reads a series with its patches.
pub fn read(path: &Utf8Path) -> Result<Vec<Patch>, FileError> {
    let bytes = read_bounded(path)?;
    if is_mails(&bytes) {
        return mails(&bytes).map_err(|why| bad(path, why));
    }
    let text = String::from_utf8_lossy(&bytes);
    let dir = path.parent().unwrap_or(Utf8Path::new(""));
    let mut patches = Vec::new();
    for name in names(&text) {
        let plain = |c: Utf8Component<'_>| matches!(c, Utf8Component::Normal(_));
        if !Utf8Path::new(name).components().all(plain) {
            let why = format!("names '{name}': expected a path beside the series");
            return Err(bad(path, why));
        }
        patches.push(Patch {
            name: name.to_owned(),
            bytes: read_bounded(&dir.join(name))?,
        });
    }
    Ok(patches)
}

/// The identity of a series: for quilt its own text and, by name, that of every patch in it; for
/// mails what each of them changes. What a series does not name does not count.
pub fn hash(path: &Utf8Path) -> Result<Key, FileError> {
    let own = read_bounded(path)?;
    let patches = read(path)?;
    let mut parts: Vec<&[u8]> = Vec::new();
    if is_mails(&own) {
        parts.extend(patches.iter().map(|p| change(&p.bytes)));
        return Ok(Key::of("mails 1", &parts));
    }
    for patch in &patches {
        parts.push(patch.name.as_bytes());
        parts.push(&patch.bytes);
    }
    parts.push(&own);
    Ok(Key::of("series 1", &parts))
}

/// Copies a series into a directory: its own file under the name that it has, and beside it the patches that
/// it names. Gives the copy's path.
pub fn copy(path: &Utf8Path, to: &Utf8Path) -> Result<Utf8PathBuf, FileError> {
    let own = read_bounded(path)?;
    let patches = match is_mails(&own) {
        true => Vec::new(),
        false => read(path)?,
    };
    let kept = to.join(path.file_name().unwrap_or("series"));
    let mut files = vec![(kept.clone(), own)];
    files.extend(patches.into_iter().map(|p| (to.join(p.name), p.bytes)));
    for (file, bytes) in files {
        let failed = |cause| FileError {
            what: "write",
            path: file.clone(),
            cause,
        };
        fs::create_dir_all(file.parent().unwrap_or(to)).map_err(failed)?;
        fs::write(&file, bytes).map_err(failed)?;
    }
    Ok(kept)
}

/// The patches that a quilt series names. Comments, empty lines and what follows a patch's name
/// (`-p1`) are passed by.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.split('#').next()?.split_whitespace().next())
}

/// A mailbox begins with its separator; a quilt series cannot, for that is no relative file name
/// with anything sensible behind it.
fn is_mails(bytes: &[u8]) -> bool {
    bytes
        .split(|b| *b == b'\n')
        .next()
        .is_some_and(is_separator)
}

/// `From 0123…cdef Mon Sep 17 00:00:00 2001`: the line between two mails.
fn is_separator(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"From ") else {
        return false;
    };
    let text = String::from_utf8_lossy(rest);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.len() >= 6 && words.iter().any(|w| w.split(':').count() == 3)
}

fn mails(bytes: &[u8]) -> Result<Vec<Patch>, String> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        if is_separator(line.strip_suffix(b"\n").unwrap_or(line)) {
            starts.push(at);
        }
        at += line.len();
    }
    let mut patches = Vec::new();
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(bytes.len());
        let mail = &bytes[*start..end];
        let head = String::from_utf8_lossy(mail.get(..4096).unwrap_or(mail)).into_owned();
        let head = head.split("\n\n").next().unwrap_or("");
        let lower = head.to_ascii_lowercase();
        for coding in ["quoted-printable", "base64"] {
            if lower.contains(&format!("content-transfer-encoding: {coding}")) {
                return Err(format!(
                    "mail {} is encoded as {coding}: expected plain text, as git format-patch --stdout writes it",
                    i + 1
                ));
            }
        }
        if change(mail).is_empty() {
            // A cover letter.
            continue;
        }
        patches.push(Patch {
            name: format!("{:04}-{}.patch", patches.len() + 1, subject(head)),
            bytes: mail.to_vec(),
        });
    }
    Ok(patches)
}

/// What a mail changes: from its first file header to its signature. Empty where it changes nothing.
fn change(mail: &[u8]) -> &[u8] {
    let mut at = 0;
    let mut from = None;
    let mut to = mail.len();
    for line in mail.split_inclusive(|b| *b == b'\n') {
        if from.is_none() && (line.starts_with(b"diff --git ") || line.starts_with(b"--- a/")) {
            from = Some(at);
        }
        // The signature, which names git's version.
        if from.is_some() && line == b"-- \n" {
            to = at;
            break;
        }
        at += line.len();
    }
    from.and_then(|from| mail.get(from..to)).unwrap_or_default()
}

/// A file name's worth of a mail's subject.
fn subject(head: &str) -> String {
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("Subject: "))
        .unwrap_or("patch");
    let line = match line.strip_prefix('[').and_then(|l| l.split_once("] ")) {
        Some((_, rest)) => rest,
        None => line,
    };
    let mut out = String::new();
    for c in line.chars().take(52) {
        match c.is_ascii_alphanumeric() {
            true => out.push(c),
            false if out.ends_with('-') || out.is_empty() => {}
            false => out.push('-'),
        }
    }
    out.trim_end_matches('-').to_owned()
}

fn bad(path: &Utf8Path, why: String) -> FileError {
    FileError {
        what: "use the patch series",
        path: path.to_owned(),
        cause: io::Error::other(why),
    }
}

fn read_bounded(path: &Utf8Path) -> Result<Vec<u8>, FileError> {
    let failed = |cause| FileError {
        what: "read",
        path: path.to_owned(),
        cause,
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|f| f.take(MAX_PATCH_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_PATCH_BYTES {
        let most = MAX_PATCH_BYTES >> 20;
        return Err(failed(io::Error::other(format!(
            "is larger than {most} MiB"
        ))));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAILS: &str = "From 1111111111111111111111111111111111111111 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nSubject: [PATCH 0/2] cover\n\nnothing\n-- \n2.1\n\nFrom 2222222222222222222222222222222222222222 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nDate: today\nSubject: [PATCH 1/2] Fix: the \"answer\" once\n\nbody\n---\n a.c | 2 +-\n\ndiff --git a/a.c b/a.c\n--- a/a.c\n+++ b/a.c\n@@ -1 +1 @@\n-1\n+2\n-- \n2.1\n";

    fn write(text: &str) -> (tempfile::TempDir, camino::Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(dir.path()).unwrap().join("s");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn mails_are_split_and_their_words_do_not_count() {
        let (_keep, path) = write(MAILS);
        let patches = read(&path).unwrap();
        let names: Vec<&str> = patches.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["0001-Fix-the-answer-once.patch"]);
        let key = hash(&path).unwrap();
        let reworded = MAILS
            .replace("today", "tomorrow")
            .replace("body", "better words")
            .replace("\n2.1\n", "\n2.2\n")
            .replace("2222", "3333");
        let (_keep2, other) = write(&reworded);
        assert_eq!(key, hash(&other).unwrap());
        let (_keep3, other) = write(&MAILS.replace("+2", "+3"));
        assert_ne!(key, hash(&other).unwrap());
    }

    #[test]
    fn a_copy_has_the_identity_of_its_series() {
        let (keep, path) = write("fix/one.patch -p1\n# no\ntwo.patch\n");
        std::fs::create_dir(path.with_file_name("fix")).unwrap();
        for name in ["fix/one.patch", "two.patch", "three.patch"] {
            std::fs::write(path.with_file_name(name), name).unwrap();
        }
        let to = path.with_file_name("to");
        assert_eq!(
            hash(&copy(&path, &to).unwrap()).unwrap(),
            hash(&path).unwrap()
        );
        assert!(!to.join("three.patch").exists());
        let (_keep2, mails) = write(MAILS);
        let to = path.with_file_name("mails");
        assert_eq!(
            hash(&copy(&mails, &to).unwrap()).unwrap(),
            hash(&mails).unwrap()
        );
        drop(keep);
    }

    #[test]
    fn an_encoded_mail_is_refused() {
        let coded = MAILS.replace("Date: today", "Content-Transfer-Encoding: base64");
        let (_keep, path) = write(&coded);
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("mail 2 is encoded as base64"), "{error}");
    }

    #[test]
    fn a_series_that_leaves_its_directory_is_refused() {
        let (_keep, path) = write("../x.patch\n");
        let error = read(&path).unwrap_err().to_string();
        assert!(
            error.contains("expected a path beside the series"),
            "{error}"
        );
    }
}
