//! The daemon's queue of runs, with what must survive beside it: deliveries seen, schedules fired,
//! tokens, and the feed of what became of jobs.
//!
//! A change is acknowledged once the transaction that queued it is on the disk. A delivery's identity
//! goes in with it, so that the same delivery a second time queues nothing. A run gets its identity
//! in the transaction that takes it from the queue: whoever starts after a `kill -9` finds the job
//! running, with the name of the run to go on with. The states are [`JobState`]'s.

mod accept;
mod feed;
#[cfg(test)]
mod tests;
mod tokens;

pub use accept::Accepted;
pub use feed::Step;
pub use tokens::{Scope, TokenRow};

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::model::{ChangeSet, JobSpec, JobState, Priority, RunId};

use super::StoreError;
use super::index;

const MIGRATIONS: [&str; 3] = [
    include_str!("0001.sql"),
    include_str!("0002.sql"),
    include_str!("0003.sql"),
];

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number, which is also the cursor of lists.
    pub id: i64,
    /// The change.
    pub change: ChangeSet,
    /// The rule that chose it.
    pub choice: String,
    /// What is run.
    pub spec: JobSpec,
    /// How urgent it is.
    pub priority: Priority,
    /// How far it is.
    pub state: JobState,
    /// The run, once it was taken.
    pub run: Option<String>,
    /// For people: why it ended as it did.
    pub note: String,
    /// Number of findings, once done.
    pub findings: Option<u64>,
    /// When it was queued.
    pub queued: jiff::Timestamp,
    /// When it was taken.
    pub started: Option<jiff::Timestamp>,
    /// When it ended.
    pub ended: Option<jiff::Timestamp>,
}

/// The queue, open.
#[derive(Debug)]
pub struct Queue {
    db: Arc<tokio::sync::Mutex<SqliteConnection>>,
    path: PathBuf,
    door: Arc<accept::Door>,
}

const COLUMNS: &str =
    "id, repository, reference, old, new, choice, spec, priority, state, run, note,
    findings, queued_ms, started_ms, ended_ms";

fn of_priority(p: Priority) -> i64 {
    match p {
        Priority::Nightly => 0,
        Priority::Try => 1,
        Priority::Push => 2,
        Priority::Signoff => 3,
    }
}

fn priority(n: i64) -> Priority {
    match n {
        0 => Priority::Nightly,
        1 => Priority::Try,
        3 => Priority::Signoff,
        _ => Priority::Push,
    }
}

fn of_state(s: JobState) -> i64 {
    JobState::ALL.iter().position(|x| *x == s).unwrap_or(0) as i64
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Queue {
    /// Opens the queue at `path`, creating it where absent.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let db = index::durable(path, &MIGRATIONS).await?;
        Ok(Self {
            db: Arc::new(tokio::sync::Mutex::new(db)),
            path: path.to_owned(),
            door: Arc::default(),
        })
    }

    fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |e| StoreError::db(what, &path, e)
    }

    fn job(&self, row: &SqliteRow) -> Result<Job, StoreError> {
        let form = |cause: String| StoreError::Form {
            path: self.path.clone(),
            cause,
        };
        let time = |column: &str| {
            row.get::<Option<i64>, _>(column)
                .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok())
        };
        let state: i64 = row.get("state");
        Ok(Job {
            id: row.get("id"),
            change: ChangeSet {
                repository: row.get("repository"),
                reference: row.get("reference"),
                old: row.get("old"),
                new: row.get("new"),
            },
            choice: row.get("choice"),
            spec: serde_json::from_str(row.get("spec")).map_err(|e| form(e.to_string()))?,
            priority: priority(row.get("priority")),
            state: usize::try_from(state)
                .ok()
                .and_then(|n| JobState::ALL.get(n).copied())
                .ok_or_else(|| form(format!("job state {state}")))?,
            run: row.get("run"),
            note: row.get("note"),
            findings: row
                .get::<Option<i64>, _>("findings")
                .and_then(|n| u64::try_from(n).ok()),
            queued: time("queued_ms").unwrap_or_default(),
            started: time("started_ms"),
            ended: time("ended_ms"),
        })
    }

    /// Takes the next job: the most urgent, then that of the reference that was served longest ago,
    /// then the oldest. It is running from here on, as the run that it names; a search keeps the name
    /// of the run that it belongs to.
    pub async fn take(&self, run: &RunId) -> Result<Option<Job>, StoreError> {
        let mut db = self.db.lock().await;
        let row = sqlx::query(sqlx::AssertSqlSafe(format!(
            "UPDATE job SET state = ?1, run = coalesce(run, ?2), started_ms = ?3 WHERE id = (
               SELECT q.id FROM job q WHERE q.state = ?4
               ORDER BY q.priority DESC,
                 (SELECT max(started_ms) FROM job s WHERE s.repository = q.repository
                    AND s.reference = q.reference) NULLS FIRST, q.id LIMIT 1)
             RETURNING {COLUMNS}"
        )))
        .bind(of_state(JobState::Running))
        .bind(&run.0)
        .bind(now_ms())
        .bind(of_state(JobState::Queued))
        .fetch_optional(&mut *db)
        .await
        .map_err(self.failed("write"))?;
        row.map(|r| self.job(&r)).transpose()
    }

    /// Jobs that an earlier process had taken and not ended.
    pub async fn taken(&self) -> Result<Vec<Job>, StoreError> {
        self.select("WHERE state IN (1, 2) ORDER BY id LIMIT 10000", i64::MAX)
            .await
    }

    /// Jobs, newest first, those before the number `before` where one is given.
    pub async fn list(&self, before: Option<i64>, limit: u32) -> Result<Vec<Job>, StoreError> {
        let rest = format!("WHERE id < ? ORDER BY id DESC LIMIT {limit}");
        self.select(&rest, before.unwrap_or(i64::MAX)).await
    }

    /// Jobs that wait or run, in the order in which they would be taken.
    pub async fn open_jobs(&self, limit: u32) -> Result<Vec<Job>, StoreError> {
        let rest = format!(
            "WHERE state <= 2 AND id < ? ORDER BY state DESC, priority DESC, id LIMIT {limit}"
        );
        self.select(&rest, i64::MAX).await
    }

    /// One job.
    pub async fn get(&self, id: i64) -> Result<Option<Job>, StoreError> {
        Ok(self.select("WHERE id = ?", id).await?.pop())
    }

    async fn select(&self, rest: &str, bind: i64) -> Result<Vec<Job>, StoreError> {
        let mut db = self.db.lock().await;
        let sql = format!("SELECT {COLUMNS} FROM job {rest}");
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        if rest.contains('?') {
            query = query.bind(bind);
        }
        let rows = query
            .fetch_all(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        rows.iter().map(|r| self.job(r)).collect()
    }

    /// How many wait and how many run.
    pub async fn depth(&self) -> Result<(u64, u64), StoreError> {
        let mut db = self.db.lock().await;
        let row = sqlx::query(
            "SELECT sum(state = 0) AS waits, sum(state IN (1, 2)) AS runs FROM job WHERE state <= 2",
        )
        .fetch_one(&mut *db)
        .await
        .map_err(self.failed("read"))?;
        let n = |c: &str| row.get::<Option<i64>, _>(c).unwrap_or(0).unsigned_abs();
        Ok((n("waits"), n("runs")))
    }

    /// Moves a job on. A step that [`JobState`] does not have changes nothing and is an error.
    pub async fn step(
        &self,
        id: i64,
        next: JobState,
        note: &str,
        findings: Option<u64>,
    ) -> Result<(), StoreError> {
        let before: Vec<String> = JobState::ALL
            .iter()
            .filter(|s| s.may_become(next))
            .map(|s| of_state(*s).to_string())
            .collect();
        let failed = self.failed("write");
        let mut db = self.db.lock().await;
        let sql = format!(
            "UPDATE job SET state = ?, note = ?, findings = ?, ended_ms = ? WHERE id = ? AND state IN ({})",
            before.join(",")
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(of_state(next))
            .bind(note)
            .bind(findings.map(|n| n as i64))
            .bind(next.is_over().then(now_ms))
            .bind(id)
            .execute(&mut *db)
            .await
            .map_err(failed)?;
        if done.rows_affected() == 1 {
            return Ok(());
        }
        Err(StoreError::Form {
            path: self.path.clone(),
            cause: format!("job {id} cannot become {}", next.word()),
        })
    }

    /// Cancels a job: one that waits at once, one that runs is marked. Returns its new state, none
    /// where there is no such job.
    pub async fn cancel(&self, id: i64, who: &str) -> Result<Option<JobState>, StoreError> {
        let failed = self.failed("write");
        let note = format!("cancelled by {who}");
        let mut db = self.db.lock().await;
        sqlx::query(
            "UPDATE job SET note = ?1, ended_ms = CASE state WHEN 0 THEN ?2 END,
               state = CASE state WHEN 0 THEN 5 ELSE 2 END
             WHERE id = ?3 AND state IN (0, 1)",
        )
        .bind(note)
        .bind(now_ms())
        .bind(id)
        .execute(&mut *db)
        .await
        .map_err(failed)?;
        drop(db);
        Ok(self.get(id).await?.map(|j| j.state))
    }

    /// When a schedule fired last, and on which commit.
    pub async fn fired(&self, name: &str) -> Result<Option<(jiff::Timestamp, String)>, StoreError> {
        let mut db = self.db.lock().await;
        let row = sqlx::query("SELECT at_ms, revision FROM fired WHERE schedule = ?")
            .bind(name)
            .fetch_optional(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        Ok(row.and_then(|r| {
            let at = jiff::Timestamp::from_millisecond(r.get("at_ms")).ok()?;
            Some((at, r.get("revision")))
        }))
    }

    /// Remembers that a schedule was looked at.
    pub async fn set_fired(
        &self,
        name: &str,
        at: jiff::Timestamp,
        revision: &str,
    ) -> Result<(), StoreError> {
        let mut db = self.db.lock().await;
        sqlx::query("INSERT OR REPLACE INTO fired VALUES (?, ?, ?)")
            .bind(name)
            .bind(at.as_millisecond())
            .bind(revision)
            .execute(&mut *db)
            .await
            .map_err(self.failed("write"))
            .map(drop)
    }
}
