//! How long jobs took before: for time left and for which job to start first.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::model::{Attempt, CaseId};

use super::{StoreError, write_atomically};

/// Durations by job name, in milliseconds, smoothed over runs.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    path: PathBuf,
    millis: BTreeMap<String, u64>,
}

impl Durations {
    /// Reads the file; an absent or unreadable one is an empty memory, not an error.
    pub fn load(path: &Path) -> Self {
        let millis = std::fs::read(path)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        Self {
            path: path.to_owned(),
            millis,
        }
    }

    /// What the job took before.
    pub fn get(&self, job: &str) -> Option<Duration> {
        self.millis.get(job).map(|&ms| Duration::from_millis(ms))
    }

    /// Remembers one more duration; the newest counts for half.
    pub fn learn(&mut self, job: &str, took: Duration) {
        let new = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let entry = self.millis.entry(job.to_owned()).or_insert(new);
        *entry = (*entry / 2).saturating_add(new / 2);
    }

    /// Remembers what the cases of a cell took, by the guest's clock.
    pub fn learn_cases(&mut self, attempts: &[Attempt]) {
        for attempt in attempts.iter().filter(|a| a.counts()) {
            if let Some(took) = attempt.duration {
                self.learn(&attempt.case.to_string(), took);
            }
        }
    }

    /// What is remembered of cases.
    pub fn all(&self) -> HashMap<CaseId, Duration> {
        let case =
            |(name, &ms): (&String, &u64)| Some((name.parse().ok()?, Duration::from_millis(ms)));
        self.millis.iter().filter_map(case).collect()
    }

    /// Writes the file.
    pub fn save(&self) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(&self.millis).map_err(|e| StoreError::Form {
            path: self.path.clone(),
            cause: e.to_string(),
        })?;
        write_atomically(&self.path, &bytes)
    }
}
