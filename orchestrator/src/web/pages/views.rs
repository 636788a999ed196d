//! What several pages show: rows of the index and the queue as cleaned strings.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::host::text;
use crate::model::{CaseId, CellId, FindingKind, JobState, News};
use crate::report::duration_words;
use crate::report::html::words::{kind_words, news_words, parts};
use crate::store::index::{CellRow, FindingRow, RunPhase, RunRow};
use crate::store::queue::Job;
use crate::store::runs::{RunDir, cell_dir_name};

const NAME: usize = 200;

/// One line of untrusted text.
pub fn clean(text: &str, chars: usize) -> String {
    text::line(text.as_bytes(), chars)
}

/// A name of the user's or a guest's.
pub fn name(text: &str) -> String {
    clean(text, NAME)
}

/// A part of an address: what is not plain is written as `%XX`.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// The address of a case's page.
pub fn case_link(case: &CaseId) -> String {
    format!("/case?case={}", encoded(&case.to_string()))
}

/// The address of a recorded console.
pub fn console_link(run: &str, cell: &CellId, guest: u32) -> String {
    let dir = encoded(&cell_dir_name(cell));
    format!("/runs/{run}/cells/{dir}/console/{guest}")
}

/// A time for people, and for the machine.
pub struct When {
    pub words: String,
    pub machine: String,
}

pub fn when(at: Timestamp) -> When {
    When {
        words: at.strftime("%F %R").to_string(),
        machine: at.strftime("%FT%TZ").to_string(),
    }
}

/// From one time to another, or until now.
pub fn took(from: Timestamp, to: Option<Timestamp>) -> String {
    let to = to.unwrap_or_else(Timestamp::now);
    let ms = to.as_millisecond().saturating_sub(from.as_millisecond());
    duration_words(Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

/// Milliseconds in words.
pub fn ms_words(ms: f64) -> String {
    match ms {
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms => duration_words(Duration::from_secs_f64((ms / 1000.0).min(1e9))),
    }
}

/// The first digits of a commit or an identity.
pub fn short(id: &str) -> String {
    name(id).chars().take(12).collect()
}

/// A run in a list.
pub struct RunView {
    pub run: String,
    pub matrix: String,
    pub started: When,
    pub took: String,
    pub phase: &'static str,
    pub class: &'static str,
    pub live: bool,
    pub findings: u64,
    pub cells: u64,
    pub done: u64,
}

pub fn run(row: &RunRow) -> RunView {
    RunView {
        run: name(&row.run),
        matrix: name(&row.matrix),
        started: when(row.started),
        took: took(row.started, row.ended),
        phase: row.phase.word(),
        class: match (row.phase, row.findings) {
            (RunPhase::Running, _) => "live",
            (RunPhase::Interrupted, _) => "missed",
            (RunPhase::Finished, 0) => "passed",
            // Whose fault the findings are is theirs to say, not a colour's.
            (RunPhase::Finished, _) => "missed",
        },
        live: row.phase == RunPhase::Running,
        findings: row.findings,
        cells: row.cells,
        done: row.cells_done,
    }
}

/// A job of the queue.
pub struct JobView {
    pub id: i64,
    pub repository: String,
    pub reference: String,
    pub commit: String,
    pub commit_short: String,
    pub rule: String,
    pub priority: &'static str,
    pub state: &'static str,
    pub class: &'static str,
    pub run: String,
    /// The failure whose commit is looked for; empty where the job is a run.
    pub search: String,
    pub note: String,
    pub findings: String,
    pub queued: When,
    pub took: String,
}

/// A job; its run is linked to where it came so far as to have one below `runs`.
pub fn job(job: &Job, runs: &Path) -> JobView {
    let run = job.run.as_deref().filter(|run| runs.join(run).is_dir());
    JobView {
        id: job.id,
        repository: name(&job.change.repository),
        reference: name(&job.change.reference),
        commit: name(&job.change.new),
        commit_short: short(&job.change.new),
        rule: name(&job.choice),
        priority: job.priority.word(),
        state: job.state.word(),
        class: match (job.state, job.findings) {
            (JobState::Queued, _) => "missed",
            (JobState::Running | JobState::Cancelling, _) => "live",
            (JobState::Done, _) if job.spec.search.is_some() => "passed",
            (JobState::Done, Some(0)) => "passed",
            (JobState::Failed, _) => "failed",
            (JobState::Done | JobState::Cancelled, _) => "missed",
        },
        run: name(run.unwrap_or_default()),
        search: job
            .spec
            .search
            .as_ref()
            .map_or_else(String::new, |search| clean(&search.what(), 200)),
        note: clean(&job.note, 300),
        findings: match job.findings {
            None => String::new(),
            Some(1) => "1 finding".to_owned(),
            Some(n) => format!("{n} findings"),
        },
        queued: when(job.queued),
        took: match (job.started, job.ended) {
            (Some(from), to) => took(from, to),
            _ => String::new(),
        },
    }
}

/// A cell in a list.
pub struct CellView {
    pub run: String,
    pub started: When,
    pub suite: String,
    pub port: String,
    pub variant: String,
    pub side: String,
    pub stage: &'static str,
    pub class: &'static str,
    pub cached: bool,
    pub good: u64,
    pub bad: u64,
    pub silent: u64,
    pub crashes: u64,
    /// Empty where none was recorded: a run made elsewhere, or an old one.
    pub console: String,
}

/// A cell of a run below `runs`.
pub fn cell(row: &CellRow, runs: &Path) -> CellView {
    let dir = RunDir {
        path: runs.join(&row.run),
    };
    let recorded = dir.cell_dir(&row.cell).join("guest-1.console").is_file();
    CellView {
        run: name(&row.run),
        started: when(row.started),
        suite: name(&row.cell.suite),
        port: name(row.cell.port.as_str()),
        variant: name(&row.cell.variant),
        side: row.cell.side.to_string(),
        stage: row.stage.map_or("running", |s| s.word()),
        class: match row.stage {
            None => "live",
            Some(crate::model::StageResult::Complete) if row.bad == 0 => "passed",
            Some(crate::model::StageResult::Complete) => "flaky",
            Some(stage) if stage.is_host_fault() => "missed",
            Some(_) => "failed",
        },
        cached: row.cached,
        good: row.good,
        bad: row.bad,
        silent: row.silent,
        crashes: row.crashes,
        console: match recorded {
            true => console_link(&row.run, &row.cell, 1),
            false => String::new(),
        },
    }
}

/// A finding in a list.
pub struct FindingLine {
    pub run: String,
    pub class: &'static str,
    pub word: &'static str,
    pub news: &'static str,
    pub news_class: &'static str,
    pub suite: String,
    pub sentence: Vec<(bool, String)>,
    pub case_link: String,
}

pub fn finding(row: &FindingRow) -> FindingLine {
    // A kind that this version does not know is shown as the weakest claim.
    let kind = row.kind.unwrap_or(FindingKind::Undecided);
    let (class, word) = kind_words(kind);
    let (news, news_class) = news_words(kind, row.news.unwrap_or(News::Unclear));
    FindingLine {
        run: name(&row.run),
        class,
        word,
        news,
        news_class,
        suite: name(&row.suite),
        sentence: parts(&row.sentence),
        case_link: row.case.as_ref().map(case_link).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_hold_any_name() {
        let case = CaseId::new("lib/a b&c", "d\"<é");
        assert_eq!(
            case_link(&case),
            "/case?case=lib%2Fa%20b%26c%3Ad%22%3C%C3%A9"
        );
    }
}
