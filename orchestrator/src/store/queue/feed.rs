//! What became of jobs, in order: a table that the database itself fills whenever a job's state
//! changes, in the transaction of the change. Whoever follows goes on after the last step it saw.

use serde::Serialize;
use sqlx::Row as _;

use crate::model::JobState;
use crate::store::StoreError;

use super::{COLUMNS, Job, Queue};

/// A job's state changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Position in the feed, from 1: it only grows.
    pub seq: i64,
    /// When.
    pub at: jiff::Timestamp,
    /// The job's number.
    pub job: i64,
    /// The new state.
    pub state: JobState,
    /// The run, once the job was taken.
    pub run: Option<String>,
}

impl Queue {
    /// The steps after a position, oldest first. The newest hundred thousand are kept.
    pub async fn steps(&self, after: i64, limit: u32) -> Result<Vec<Step>, StoreError> {
        let mut db = self.db.lock().await;
        let rows = sqlx::query(
            "SELECT seq, at_ms, job, state, run FROM feed WHERE seq > ? ORDER BY seq LIMIT ?",
        )
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *db)
        .await
        .map_err(self.failed("read"))?;
        let step = |row: &sqlx::sqlite::SqliteRow| {
            let state = usize::try_from(row.get::<i64, _>("state")).ok()?;
            Some(Step {
                seq: row.get("seq"),
                at: jiff::Timestamp::from_millisecond(row.get("at_ms")).ok()?,
                job: row.get("job"),
                state: *JobState::ALL.get(state)?,
                run: row.get("run"),
            })
        };
        Ok(rows.iter().filter_map(step).collect())
    }

    /// The position of the newest step; 0 where there is none.
    pub async fn newest_step(&self) -> Result<i64, StoreError> {
        let mut db = self.db.lock().await;
        let row = sqlx::query("SELECT max(seq) FROM feed")
            .fetch_one(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        Ok(row.get::<Option<i64>, _>(0).unwrap_or(0))
    }

    /// Jobs that run a commit, newest first.
    pub async fn jobs_of(&self, commit: &str, limit: u32) -> Result<Vec<Job>, StoreError> {
        let mut db = self.db.lock().await;
        let sql = format!("SELECT {COLUMNS} FROM job WHERE new = ? ORDER BY id DESC LIMIT ?");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(commit)
            .bind(limit)
            .fetch_all(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        rows.iter().map(|r| self.job(r)).collect()
    }

    /// The job that a run belongs to, if one does.
    pub async fn job_of_run(&self, run: &str) -> Result<Option<Job>, StoreError> {
        let jobs = self.with_run(run).await?;
        Ok(jobs.into_iter().rfind(|job| job.spec.search.is_none()))
    }

    /// The searches for commits that brought findings of a run, in the order in which they were queued.
    pub async fn searches_of(&self, run: &str) -> Result<Vec<Job>, StoreError> {
        let mut jobs = self.with_run(run).await?;
        jobs.retain(|job| job.spec.search.is_some());
        Ok(jobs)
    }

    async fn with_run(&self, run: &str) -> Result<Vec<Job>, StoreError> {
        let mut db = self.db.lock().await;
        let sql = format!("SELECT {COLUMNS} FROM job WHERE run = ? ORDER BY id LIMIT 1000");
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(run)
            .fetch_all(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        rows.iter().map(|r| self.job(r)).collect()
    }

    /// How many jobs are in each state, in the states' own order.
    pub async fn states(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        let mut db = self.db.lock().await;
        let rows = sqlx::query("SELECT state, count(*) FROM job GROUP BY state")
            .fetch_all(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        let of = |n: usize| {
            let row = rows.iter().find(|r| r.get::<i64, _>(0) == n as i64);
            row.map_or(0, |r| r.get::<i64, _>(1).unsigned_abs())
        };
        let all = JobState::ALL.iter().enumerate();
        Ok(all.map(|(n, state)| (*state, of(n))).collect())
    }
}
