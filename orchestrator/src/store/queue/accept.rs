//! What comes in: deliveries, each all or none, and each once.
//!
//! To be on the disk costs a write that waits for the device, a hundred a second where it is slow.
//! Deliveries that come in while one is written therefore go together into the next transaction, each
//! in a savepoint of its own: a burst costs a few such writes, and a lone delivery waits for nobody.
//!
//! ```text
//! accept --> door --whoever holds the database next--> one transaction --> an answer for each
//! ```

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio::sync::oneshot;

use crate::model::{NewJob, Policy};
use crate::store::StoreError;

use super::{Queue, now_ms, of_priority};

/// How long a delivery's identity is remembered, in milliseconds: 30 days.
const REMEMBER_MS: i64 = 30 * 24 * 3600 * 1000;
/// How often it is looked for older ones, in milliseconds: what goes through all of them is no part
/// of every delivery.
const SWEEP_MS: i64 = 3600 * 1000;
/// Deliveries of one transaction at most: others want the database, too.
const TOGETHER: usize = 256;

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// These jobs were queued; those runs under way are to be ended.
    Queued {
        /// The new jobs' numbers.
        jobs: Vec<i64>,
        /// Jobs that are now cancelling.
        cancelling: Vec<i64>,
    },
    /// It was here before.
    Duplicate,
}

/// One that waits at the door.
#[derive(Debug)]
struct Waiting {
    delivery: String,
    jobs: Vec<NewJob>,
    answer: oneshot::Sender<Result<Accepted, String>>,
}

/// Where deliveries wait for the database.
#[derive(Debug, Default)]
pub(super) struct Door {
    waiting: Mutex<Vec<Waiting>>,
    /// When old identities were last removed.
    swept_ms: AtomicI64,
}

impl Door {
    /// Those who wait, the oldest first.
    fn open(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let most = waiting.len().min(TOGETHER);
        waiting.drain(..most).collect()
    }

    fn sweeps(&self, now: i64) -> bool {
        let last = self.swept_ms.load(Ordering::Relaxed);
        let due = now - last >= SWEEP_MS;
        due && (self.swept_ms)
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

impl Queue {
    /// Queues the jobs of a delivery, all or none. A delivery that was here before queues nothing. The
    /// answer comes once it is on the disk.
    pub async fn accept(&self, delivery: &str, jobs: &[NewJob]) -> Result<Accepted, StoreError> {
        let (answer, heard) = oneshot::channel();
        let waiting = Waiting {
            delivery: delivery.to_owned(),
            jobs: jobs.to_vec(),
            answer,
        };
        let door = &self.door;
        door.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(waiting);
        let (db, door) = (Arc::clone(&self.db), Arc::clone(door));
        // A task of its own: it writes for others too, so it must not end with the one who asked.
        let writer = tokio::spawn(async move {
            let mut db = db.lock().await;
            let waiting = door.open();
            if !waiting.is_empty() {
                let sweeps = door.sweeps(now_ms());
                together(&mut db, waiting, sweeps).await;
            }
        });
        let gone = |cause: String| StoreError::Form {
            path: self.path.clone(),
            cause,
        };
        // Those at the door are served in their order, at least one by each writer: by now it was.
        writer.await.map_err(|e| gone(e.to_string()))?;
        let said = heard.await;
        let said = said.unwrap_or_else(|_| Err("it was not written".to_owned()));
        said.map_err(gone)
    }
}

/// Writes deliveries in one transaction and tells each what became of it.
async fn together(db: &mut SqliteConnection, waiting: Vec<Waiting>, sweeps: bool) {
    let written = async {
        let mut tx = db.begin_with("BEGIN IMMEDIATE").await?;
        let now = now_ms();
        if sweeps {
            sqlx::query("DELETE FROM delivery WHERE at_ms < ?")
                .bind(now - REMEMBER_MS)
                .execute(&mut *tx)
                .await?;
        }
        let mut all = Vec::with_capacity(waiting.len());
        for one in &waiting {
            let mut part = tx.begin().await?;
            let became = queue_all(&mut part, one, now).await;
            match &became {
                Ok(_) => part.commit().await?,
                Err(_) => part.rollback().await?,
            }
            all.push(became.map_err(|e| e.to_string()));
        }
        tx.commit().await?;
        Ok::<_, sqlx::Error>(all)
    };
    match written.await {
        Ok(all) => {
            for (one, became) in waiting.into_iter().zip(all) {
                // Whoever has gone meanwhile does not hear it; a delivery sent again is known.
                let _ = one.answer.send(became);
            }
        }
        Err(error) => {
            for one in waiting {
                let _ = one.answer.send(Err(error.to_string()));
            }
        }
    }
}

/// The jobs of one delivery.
async fn queue_all(
    tx: &mut SqliteConnection,
    one: &Waiting,
    now: i64,
) -> Result<Accepted, sqlx::Error> {
    let fresh = sqlx::query("INSERT OR IGNORE INTO delivery VALUES (?, ?)")
        .bind(&one.delivery)
        .bind(now)
        .execute(&mut *tx)
        .await?
        .rows_affected();
    if fresh == 0 {
        return Ok(Accepted::Duplicate);
    }
    let (mut jobs, mut cancelling) = (Vec::new(), Vec::new());
    for job in &one.jobs {
        let (id, ended) = queue_one(tx, job, now).await?;
        jobs.push(id);
        cancelling.extend(ended);
    }
    Ok(Accepted::Queued { jobs, cancelling })
}

/// Queues one job and does to older ones what the policy says. Returns its number and the jobs
/// that are now cancelling.
async fn queue_one(
    tx: &mut SqliteConnection,
    job: &NewJob,
    now: i64,
) -> Result<(i64, Vec<i64>), sqlx::Error> {
    let change = &job.change;
    let mut old = change.old.clone();
    let mut cancelling = Vec::new();
    if job.policy != Policy::Each {
        let waiting = sqlx::query(
            "SELECT id, old FROM job WHERE repository = ? AND reference = ? AND choice = ?
             AND state = 0 AND run IS NULL ORDER BY id",
        )
        .bind(&change.repository)
        .bind(&change.reference)
        .bind(&job.choice)
        .fetch_all(&mut *tx)
        .await?;
        // The new run answers for everything since the oldest that waited.
        if let Some(first) = waiting.first() {
            old = first.get("old");
        }
        let note = format!("replaced by {}", change.new);
        for row in &waiting {
            sqlx::query("UPDATE job SET state = 5, note = ?, ended_ms = ? WHERE id = ?")
                .bind(&note)
                .bind(now)
                .bind(row.get::<i64, _>("id"))
                .execute(&mut *tx)
                .await?;
        }
        if job.policy == Policy::Supersede {
            let rows = sqlx::query(
                "UPDATE job SET state = 2, note = ? WHERE repository = ? AND reference = ?
                 AND choice = ? AND state = 1 AND json_extract(spec, '$.search') IS NULL
                 RETURNING id",
            )
            .bind(&note)
            .bind(&change.repository)
            .bind(&change.reference)
            .bind(&job.choice)
            .fetch_all(&mut *tx)
            .await?;
            cancelling.extend(rows.iter().map(|r| r.get::<i64, _>(0)));
        }
    }
    let spec = serde_json::to_string(&job.spec).unwrap_or_default();
    let done = sqlx::query(
        "INSERT INTO job (repository, reference, old, new, choice, spec, priority, state, run, queued_ms)
         VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?)",
    )
    .bind(&change.repository)
    .bind(&change.reference)
    .bind(old)
    .bind(&change.new)
    .bind(&job.choice)
    .bind(spec)
    .bind(of_priority(job.priority))
    .bind(job.spec.search.as_ref().map(|search| &search.run))
    .bind(now)
    .execute(&mut *tx)
    .await?;
    Ok((done.last_insert_rowid(), cancelling))
}
