//! Sign-offs on disk: `STATE/signoffs/ID/{signoff.json, signoff.html}`, each with its signature
//! beside it in `.sig` where a key was there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::model::SignOff;
use crate::model::signoff::FORMAT;

use super::{StoreError, write_atomically};

/// The decision, as it is signed.
pub const JSON: &str = "signoff.json";
/// The same for people.
pub const HTML: &str = "signoff.html";
/// What a signature's file has behind the name of what it signs.
pub const SIGNATURE: &str = ".sig";

/// The directory of one.
pub fn dir(signoffs: &Path, id: &str) -> PathBuf {
    signoffs.join(id)
}

/// Keeps one: files by name. The decision is written last: what has one is whole.
pub fn put(signoffs: &Path, id: &str, files: &[(String, Vec<u8>)]) -> Result<PathBuf, StoreError> {
    let dir = dir(signoffs, id);
    let (last, first): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| name == JSON);
    for (name, bytes) in first.into_iter().chain(last) {
        write_atomically(&dir.join(name), bytes)?;
    }
    Ok(dir)
}

/// The names of all, newest first.
pub fn list(signoffs: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match std::fs::read_dir(signoffs) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("read", signoffs, e)),
    };
    let mut ids: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|e| e.path().join(JSON).is_file())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// A file of one; none where there is no such. `id` is one of [`list`].
pub fn file(signoffs: &Path, id: &str, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let path = dir(signoffs, id).join(name);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io("read", &path, e)),
    }
}

/// Reads a decision.
pub fn read(bytes: &[u8], path: &Path) -> Result<SignOff, StoreError> {
    let form = |cause: String| StoreError::Form {
        path: path.to_owned(),
        cause,
    };
    let one: SignOff = serde_json::from_slice(bytes).map_err(|e| form(e.to_string()))?;
    match one.format {
        FORMAT => Ok(one),
        other => Err(form(format!("format {other}"))),
    }
}

/// One; none where there is no such.
pub fn get(signoffs: &Path, id: &str) -> Result<Option<SignOff>, StoreError> {
    let bytes = file(signoffs, id, JSON)?;
    bytes
        .map(|bytes| read(&bytes, &dir(signoffs, id).join(JSON)))
        .transpose()
}

/// The runs that any sign-off rests on. Who removes runs asks this first, and removes none where it
/// is an error: a sign-off that cannot be read may cite any.
pub fn cited(signoffs: &Path) -> Result<BTreeSet<String>, StoreError> {
    let mut cited = BTreeSet::new();
    for id in list(signoffs)? {
        if let Some(one) = get(signoffs, &id)? {
            cited.extend(one.runs().into_iter().map(str::to_owned));
        }
    }
    Ok(cited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::signoff::{Line, Say};

    #[test]
    fn what_is_cited_is_known_and_what_cannot_be_read_is_an_error() {
        let keep = tempfile::tempdir().unwrap();
        let all = keep.path().join("signoffs");
        assert!(cited(&all).unwrap().is_empty());
        let line = |runs: &[&str]| Line {
            name: "l".into(),
            asks: "a".into(),
            say: Say::Go,
            why: "w".into(),
            evidence: vec![],
            runs: runs.iter().map(|r| (*r).to_owned()).collect(),
            waiver: None,
        };
        let one = SignOff {
            format: 1,
            id: "1".into(),
            policy: "p".into(),
            policy_hash: "h".into(),
            asked: "main".into(),
            revision: "r".into(),
            branch_point: None,
            at: jiff::Timestamp::UNIX_EPOCH,
            go: true,
            lines: vec![line(&["a", "b"]), line(&["b"])],
            notes: vec![],
        };
        let json = serde_json::to_vec(&one).unwrap();
        put(&all, "1", &[(JSON.to_owned(), json)]).unwrap();
        assert_eq!(get(&all, "1").unwrap(), Some(one));
        assert_eq!(cited(&all).unwrap(), ["a", "b"].map(str::to_owned).into());
        put(&all, "2", &[(JSON.to_owned(), b"{".to_vec())]).unwrap();
        assert_eq!(list(&all).unwrap(), ["2", "1"]);
        assert!(cited(&all).is_err());
    }
}
