//! Measurements of `fallout bench`, as it wrote them: `STATE/bench/ID.json`, newest by name.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StoreError, runs, write_atomically};

/// The largest file that is read, in bytes.
const BYTES: u64 = 8 << 20;

/// A measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bench {
    /// Version of the form: 1.
    pub format: u32,
    /// Its name, which sorts by time.
    #[serde(default)]
    pub id: String,
    /// When it was done.
    #[serde(default)]
    pub at: jiff::Timestamp,
    /// The matrix's file.
    #[serde(default)]
    pub matrix: String,
    /// The suite.
    #[serde(default)]
    pub suite: String,
    /// What is compared with.
    pub a: Measured,
    /// What is looked at.
    pub b: Measured,
    /// What came of it by port.
    pub ports: Vec<OnPort>,
}

/// One of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The command.
    pub command: String,
    /// The build.
    pub side: crate::model::Side,
}

/// The answer on one port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OnPort {
    /// The port.
    pub port: String,
    /// `time` or `instructions`.
    pub measured: String,
    /// The answer in words.
    pub sentence: String,
    /// The answer in numbers.
    pub comparison: Numbers,
    /// Every pair, in nanoseconds of the guest's clock.
    pub pairs_ns: Vec<(f64, f64)>,
    /// What the measure does not see.
    pub blind_to: String,
}

/// By how much B takes more than A.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// `faster`, `slower`, `no_difference`, `too_few`.
    pub answer: String,
    /// Pairs that were weighed.
    pub pairs: usize,
    /// In percent.
    pub percent: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// No larger difference could hide.
    pub hides: f64,
    /// Further pairs that would show half of that.
    pub more_pairs: Option<u64>,
}

/// Where measurements are kept.
pub fn dir(state: &Path) -> PathBuf {
    state.join("bench")
}

/// Keeps one. It gets its name and time here.
pub fn put(dir: &Path, mut bench: Bench) -> Result<Bench, StoreError> {
    bench.id = runs::new_id().0;
    bench.at = jiff::Timestamp::now();
    std::fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
    let path = dir.join(format!("{}.json", bench.id));
    let bytes = serde_json::to_vec(&bench).map_err(|e| StoreError::Form {
        path: path.clone(),
        cause: e.to_string(),
    })?;
    write_atomically(&path, &bytes)?;
    Ok(bench)
}

/// The names, newest first, of those before `before`.
pub fn list(dir: &Path, before: Option<&str>, limit: usize) -> Result<Vec<String>, StoreError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::io("read", dir, e)),
    };
    let mut names: Vec<String> = entries
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .filter_map(|n| n.strip_suffix(".json").map(str::to_owned))
        .filter(|n| before.is_none_or(|b| n.as_str() < b))
        .collect();
    names.sort_by(|a, b| b.cmp(a));
    names.truncate(limit);
    Ok(names)
}

/// One by its name; none where there is none. Only a name as [`put`] gives them is ever made a path.
pub fn get(dir: &Path, id: &str) -> Result<Option<Bench>, StoreError> {
    use std::io::Read as _;
    if uuid::Uuid::try_parse(id).is_err() || id.len() != 36 {
        return Ok(None);
    }
    let path = dir.join(format!("{id}.json"));
    let mut bytes = Vec::new();
    match std::fs::File::open(&path) {
        Ok(file) => file
            .take(BYTES)
            .read_to_end(&mut bytes)
            .map_err(|e| StoreError::io("read", &path, e))?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("read", &path, e)),
    };
    let form = |e: serde_json::Error| StoreError::Form {
        path: path.clone(),
        cause: e.to_string(),
    };
    serde_json::from_slice(&bytes).map(Some).map_err(form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"format":1,"a":{"command":"x","side":"candidate"},
            "b":{"command":"y","side":"candidate"},"ports":[]}"#;
        let bench: Bench = serde_json::from_str(text).unwrap();
        assert_eq!(list(dir.path(), None, 9).unwrap(), Vec::<String>::new());
        let first = put(dir.path(), bench.clone()).unwrap();
        let second = put(dir.path(), bench).unwrap();
        assert_eq!(
            list(dir.path(), None, 9).unwrap(),
            [second.id.clone(), first.id.clone()]
        );
        assert_eq!(
            list(dir.path(), Some(&second.id), 9).unwrap().as_slice(),
            std::slice::from_ref(&first.id)
        );
        assert_eq!(get(dir.path(), &first.id).unwrap(), Some(first));
        std::fs::write(dir.path().join("secret.json"), "{}").unwrap();
        for name in ["secret", "../secret", "", "..", &second.id[..8]] {
            assert_eq!(get(dir.path(), name).unwrap(), None);
        }
    }
}
