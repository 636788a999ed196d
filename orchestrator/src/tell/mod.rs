//! What is told of what became of a job: commit states, webhooks out, mails.
//!
//! ```text
//! step of the feed, verdict --+-- status --> a letter for the forge
//!                             +-- hook ----> a letter for each webhook
//!                             `-- mail ----> letters in threads, one thread a finding
//! ```
//!
//! Pure: the daemon reads the feed and the report, the outbox keeps letters, `host` sends them.

mod hook;
mod mail;
mod status;
#[cfg(test)]
mod tests;

pub use hook::hooks;
pub(crate) use mail::place;
pub use mail::{Words, cause, mails};
pub use status::status;

use std::collections::BTreeSet;

use crate::host::text;
use crate::model::change::Search;
use crate::model::{ChangeSet, Finding, FindingKind, JobState, News, Verdict};

/// A step of a job, with what its run came to.
#[derive(Debug, Clone)]
pub struct Happened {
    /// The step's position in the feed.
    pub seq: i64,
    /// The job.
    pub job: i64,
    /// What it is about.
    pub change: ChangeSet,
    /// The rule that chose it.
    pub rule: String,
    /// Its run.
    pub run: Option<String>,
    /// The new state.
    pub state: JobState,
    /// Why it ended as it did.
    pub note: String,
    /// The run's verdict, where it came to one.
    pub verdict: Option<Verdict>,
    /// Cells that say nothing through a fault of host or emulator.
    pub host_faults: usize,
    /// Suites and columns whose cells are complete.
    pub covered: BTreeSet<(String, String)>,
    /// Where pages are reached, without a slash at the end.
    pub base: Option<String>,
    /// Authors of the commits; of a search, that of the commit that it found.
    pub authors: Vec<String>,
    /// The job is a search for the commit that brought a finding.
    pub search: Option<Search>,
    /// The commit that it found.
    pub found: Option<String>,
}

impl Happened {
    /// The page of the run.
    fn link(&self) -> Option<String> {
        let (base, run) = (self.base.as_ref()?, self.run.as_ref()?);
        Some(format!("{base}/runs/{run}"))
    }

    /// Findings that the baseline does not know.
    fn open(&self) -> impl Iterator<Item = &Finding> {
        let all = self.verdict.iter().flat_map(|v| &v.findings);
        all.filter(|f| f.news != News::Known && f.kind != FindingKind::Fixed)
    }
}

fn line(untrusted: &str, chars: usize) -> String {
    text::line(untrusted.as_bytes(), chars)
}

/// A kind's word in files.
fn word<T: serde::Serialize>(value: &T) -> String {
    let value = serde_json::to_value(value).ok();
    let word = value.as_ref().and_then(serde_json::Value::as_str);
    word.unwrap_or_default().to_owned()
}
