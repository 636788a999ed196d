//! The outbox: letters that are to leave, kept until they have.
//!
//! What a step of the queue's feed asks to be told is stored together with the step's number: whoever
//! is killed in between finds either both or neither, and tells nothing twice and leaves nothing out.
//! The feed itself is written in the transaction that moves the job.
//!
//! ```text
//! feed (daemon.sqlite) --take_in: letters, threads, number--> outbox.sqlite --due--> sent
//!                                                                  ^                  |
//!                                                                  `-- failed: later -+-> delivered
//! ```
//!
//! A letter that was delivered, and whose delivery is on the disk, never leaves again. One whose
//! delivery the daemon did not live to write down does, under the same identity.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sqlx::{Connection as _, Row as _, SqliteConnection};

use crate::model::telling::{Letter, Outgoing, Thread};

use super::{StoreError, index};

const MIGRATIONS: [&str; 2] = [include_str!("0001.sql"), include_str!("0002.sql")];

/// How long after a failure it is tried again at first; twice as long each time.
const FIRST: Duration = Duration::from_secs(10);

/// And at most.
const LONGEST: Duration = Duration::from_secs(3600);

/// Tries until a letter is given up: nine that double, then one an hour, about three days in all.
pub const TRIES: u32 = 80;

/// How long what has left is kept, in milliseconds: 30 days.
const KEPT_MS: i64 = 30 * 24 * 3600 * 1000;

/// A letter that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its number.
    pub id: i64,
    /// Its identity, for receivers that want to know one that comes twice.
    pub key: String,
    /// How often it was tried.
    pub tries: u32,
    /// The letter.
    pub letter: Letter,
}

/// How far a letter is, in the order of the stored numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sent {
    /// It waits for its time.
    Waits,
    /// It was taken.
    Delivered,
    /// It was tried [`TRIES`] times.
    GivenUp,
    /// A later one took its place, or somebody took it out.
    Dropped,
}

impl Sent {
    /// Every state, in the order of their stored numbers.
    pub const ALL: [Self; 4] = [Self::Waits, Self::Delivered, Self::GivenUp, Self::Dropped];
}

/// A letter and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number.
    pub id: i64,
    /// How far it is.
    pub state: Sent,
    /// How often it was tried.
    pub tries: u32,
    /// When it was written.
    pub made: jiff::Timestamp,
    /// When it is tried next, where it waits.
    pub due: Option<jiff::Timestamp>,
    /// Why it could not leave the last time. Untrusted text.
    pub note: String,
    /// The letter.
    pub letter: Letter,
}

/// The outbox, open.
#[derive(Debug)]
pub struct Outbox {
    db: tokio::sync::Mutex<SqliteConnection>,
    path: PathBuf,
}

fn ms(at: jiff::Timestamp) -> i64 {
    at.as_millisecond()
}

/// How long to wait after so many failures.
pub fn pause(tries: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(16));
    doubled.min(LONGEST)
}

impl Outbox {
    /// Opens the outbox at `path`, creating it where absent. A new one begins at `newest` in the feed:
    /// nobody wants to hear what was before.
    pub async fn open(path: &Path, newest: i64) -> Result<Self, StoreError> {
        let mut db = index::durable(path, &MIGRATIONS).await?;
        sqlx::query("INSERT OR IGNORE INTO seen VALUES ('queue', ?)")
            .bind(newest)
            .execute(&mut db)
            .await
            .map_err(|e| StoreError::db("write", path, e))?;
        Ok(Self {
            db: tokio::sync::Mutex::new(db),
            path: path.to_owned(),
        })
    }

    fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |e| StoreError::db(what, &path, e)
    }

    /// How far the feed was read.
    pub async fn seen(&self) -> Result<i64, StoreError> {
        let mut db = self.db.lock().await;
        let row = sqlx::query("SELECT seq FROM seen WHERE feed = 'queue'")
            .fetch_one(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        Ok(row.get(0))
    }

    /// The threads of a place.
    pub async fn threads(&self, place: &str) -> Result<Vec<Thread>, StoreError> {
        let mut db = self.db.lock().await;
        let rows = sqlx::query("SELECT body FROM thread WHERE place = ? ORDER BY key")
            .bind(place)
            .fetch_all(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        let form = |e: serde_json::Error| StoreError::Form {
            path: self.path.clone(),
            cause: e.to_string(),
        };
        rows.iter()
            .map(|r| serde_json::from_str(r.get("body")).map_err(form))
            .collect()
    }

    /// Stores what a step asks to be told, and that it was read: all or nothing.
    pub async fn take_in(
        &self,
        seq: i64,
        letters: &[Outgoing],
        place: &str,
        threads: &[Thread],
        now: jiff::Timestamp,
    ) -> Result<(), StoreError> {
        let failed = self.failed("write");
        let mut db = self.db.lock().await;
        let mut tx = db.begin_with("BEGIN IMMEDIATE").await.map_err(&failed)?;
        for one in letters {
            // What a forge was to be told before and could not is out of date by now.
            if matches!(one.letter, Letter::Status { .. }) {
                sqlx::query(
                    "UPDATE message SET state = 3, ended_ms = ? WHERE lane = ? AND state = 0 AND tries > 0",
                )
                .bind(ms(now))
                .bind(&one.lane)
                .execute(&mut *tx)
                .await
                .map_err(&failed)?;
            }
            sqlx::query(
                "INSERT OR IGNORE INTO message (key, lane, letter, made_ms, due_ms) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(&one.key)
            .bind(&one.lane)
            .bind(serde_json::to_string(&one.letter).unwrap_or_default())
            .bind(ms(now))
            .bind(ms(now))
            .execute(&mut *tx)
            .await
            .map_err(&failed)?;
        }
        for thread in threads {
            sqlx::query("INSERT OR REPLACE INTO thread VALUES (?, ?, ?)")
                .bind(&thread.key)
                .bind(place)
                .bind(serde_json::to_string(thread).unwrap_or_default())
                .execute(&mut *tx)
                .await
                .map_err(&failed)?;
        }
        sqlx::query("UPDATE seen SET seq = ? WHERE feed = 'queue'")
            .bind(seq)
            .execute(&mut *tx)
            .await
            .map_err(&failed)?;
        tx.commit().await.map_err(failed)
    }

    /// Letters that may leave now, at most one of a lane, those first that wait longest.
    pub async fn due(&self, now: jiff::Timestamp, limit: u32) -> Result<Vec<Waiting>, StoreError> {
        let mut db = self.db.lock().await;
        let rows = sqlx::query(
            "SELECT id, key, tries, letter FROM message m WHERE state = 0 AND due_ms <= ?
               AND id = (SELECT min(id) FROM message o WHERE o.lane = m.lane AND o.state = 0)
             ORDER BY due_ms, id LIMIT ?",
        )
        .bind(ms(now))
        .bind(limit)
        .fetch_all(&mut *db)
        .await
        .map_err(self.failed("read"))?;
        let waiting = |r: &sqlx::sqlite::SqliteRow| {
            Some(Waiting {
                id: r.get("id"),
                key: r.get("key"),
                tries: u32::try_from(r.get::<i64, _>("tries")).ok()?,
                letter: serde_json::from_str(r.get("letter")).ok()?,
            })
        };
        Ok(rows.iter().filter_map(waiting).collect())
    }

    /// Letters, the newest first: those that have not left, or all.
    pub async fn list(&self, all: bool, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let mut db = self.db.lock().await;
        let rows = sqlx::query(
            "SELECT id, state, tries, made_ms, due_ms, note, letter FROM message
             WHERE state IN (0, 2) OR ? ORDER BY id DESC LIMIT ?",
        )
        .bind(all)
        .bind(limit)
        .fetch_all(&mut *db)
        .await
        .map_err(self.failed("read"))?;
        let entry = |r: &sqlx::sqlite::SqliteRow| {
            let state = usize::try_from(r.get::<i64, _>("state")).ok()?;
            let state = *Sent::ALL.get(state)?;
            let due = jiff::Timestamp::from_millisecond(r.get("due_ms")).ok()?;
            Some(Entry {
                id: r.get("id"),
                state,
                tries: u32::try_from(r.get::<i64, _>("tries")).ok()?,
                made: jiff::Timestamp::from_millisecond(r.get("made_ms")).ok()?,
                due: (state == Sent::Waits).then_some(due),
                note: r.get("note"),
                letter: serde_json::from_str(r.get("letter")).ok()?,
            })
        };
        Ok(rows.iter().filter_map(entry).collect())
    }

    /// Has a letter tried at the next look, with all its tries before it; whether there is one that has not
    /// left.
    pub async fn retry(&self, id: i64, now: jiff::Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE message SET state = 0, tries = 0, due_ms = ?1, ended_ms = NULL
             WHERE id = ?2 AND state IN (0, 2)";
        self.put(sql, id, now).await
    }

    /// Takes a letter out; whether there was one that waited.
    pub async fn forget(&self, id: i64, now: jiff::Timestamp) -> Result<bool, StoreError> {
        let sql = "UPDATE message SET state = 3, ended_ms = ?1 WHERE id = ?2 AND state IN (0, 2)";
        self.put(sql, id, now).await
    }

    async fn put(
        &self,
        sql: &'static str,
        id: i64,
        now: jiff::Timestamp,
    ) -> Result<bool, StoreError> {
        let mut db = self.db.lock().await;
        let done = sqlx::query(sql).bind(ms(now)).bind(id).execute(&mut *db);
        let done = done.await.map_err(self.failed("write"))?;
        Ok(done.rows_affected() == 1)
    }

    /// A letter has left.
    pub async fn delivered(&self, id: i64, now: jiff::Timestamp) -> Result<(), StoreError> {
        let mut db = self.db.lock().await;
        sqlx::query("UPDATE message SET state = 1, ended_ms = ?, tries = tries + 1 WHERE id = ?")
            .bind(ms(now))
            .bind(id)
            .execute(&mut *db)
            .await
            .map_err(self.failed("write"))?;
        sqlx::query("DELETE FROM message WHERE state > 0 AND ended_ms < ?")
            .bind(ms(now) - KEPT_MS)
            .execute(&mut *db)
            .await
            .map_err(self.failed("write"))
            .map(drop)
    }

    /// A letter could not leave: it is tried again later, or given up after [`TRIES`]. Returns whether
    /// it was given up.
    pub async fn failed_to(
        &self,
        letter: &Waiting,
        why: &str,
        now: jiff::Timestamp,
    ) -> Result<bool, StoreError> {
        let tries = letter.tries + 1;
        let over = tries >= TRIES;
        let due = now.checked_add(pause(tries)).unwrap_or(now);
        let mut db = self.db.lock().await;
        sqlx::query(
            "UPDATE message SET state = ?, tries = ?, due_ms = ?, note = ?, ended_ms = ? WHERE id = ?",
        )
        .bind(if over { 2 } else { 0 })
        .bind(tries)
        .bind(ms(due))
        .bind(why)
        .bind(over.then(|| ms(now)))
        .bind(letter.id)
        .execute(&mut *db)
        .await
        .map_err(self.failed("write"))?;
        Ok(over)
    }
}
