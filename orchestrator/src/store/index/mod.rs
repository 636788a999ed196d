//! The index of all runs: an SQLite file that is filled from the runs' logs and can be deleted.
//!
//! ```text
//! runs/ID/events.jsonl --ingest--> index.sqlite --query--> history, flakes, panics, health, pages
//! ```
//!
//! The logs stay the truth (`docs/adr/0002-event-log.md`). How far each log was read is kept in the
//! same transaction as what it gave, so a killed process neither loses a line nor counts one twice:
//! results are identified by run and position. A file of another version, or one that is no
//! database, is removed and made again. There is one writer; readers never wait for it (WAL).
//!
//! What this module does not do: keep anything that is not in a run's directory.

mod causes;
mod ingest;
mod judged;
mod pages;
mod past;
mod ports;
mod query;
mod rows;
#[cfg(test)]
mod tests;
mod words;

pub use ingest::Caught;
pub use rows::{
    CaseRow, CellRow, CrashCause, CrashGroup, CrashRow, FindingRow, FlakeRow, HistoryRow, PastRow,
    PortRow, RateRow, RunPhase, RunRow, Spot,
};

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _, SqliteConnection, SqlitePool};

use super::StoreError;

/// The migrations, oldest first. Append only: a file's `user_version` is how many it has had.
const MIGRATIONS: [&str; 2] = [include_str!("0001.sql"), include_str!("0002.sql")];

/// Texts whose numbers are remembered between batches.
const REMEMBERED: usize = 400_000;

/// The index, open for one writer and several readers.
#[derive(Debug)]
pub struct Index {
    writer: tokio::sync::Mutex<Writer>,
    readers: SqlitePool,
}

/// The writing connection with the numbers that it has given.
#[derive(Debug)]
struct Writer {
    db: SqliteConnection,
    path: PathBuf,
    texts: HashMap<String, i64>,
    places: HashMap<(i64, i64, i64), i64>,
    cases: HashMap<(i64, i64), i64>,
}

impl Index {
    /// Opens the index at `path`, creating it where absent. What is there and cannot be used is
    /// removed: everything in it can be read from the runs again.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
        }
        let db = match connect(path).await {
            Ok(db) => db,
            Err(_) => {
                for end in ["", "-wal", "-shm"] {
                    let _ = std::fs::remove_file(format!("{}{end}", path.display()));
                }
                connect(path).await?
            }
        };
        let readers = SqlitePoolOptions::new()
            .max_connections(4)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(options(path).read_only(true));
        Ok(Self {
            writer: tokio::sync::Mutex::new(Writer {
                db,
                path: path.to_owned(),
                texts: HashMap::new(),
                places: HashMap::new(),
                cases: HashMap::new(),
            }),
            readers,
        })
    }

    /// Closes it in order: what the write-ahead log holds goes into the file.
    pub async fn close(self) {
        self.readers.close().await;
        let _ = self.writer.into_inner().db.close().await;
    }
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(10))
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

/// Opens, and creates where absent, a database in which what was acknowledged survives a power
/// failure too.
pub(super) async fn durable(
    path: &Path,
    migrations: &[&'static str],
) -> Result<SqliteConnection, StoreError> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
    }
    let mut db = options(path)
        .create_if_missing(true)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
        .map_err(|e| StoreError::db("open", path, e))?;
    migrate(&mut db, path, migrations).await?;
    Ok(db)
}

/// Applies what a database lacks of `migrations`; refuses one that has had more.
pub(super) async fn migrate(
    db: &mut SqliteConnection,
    path: &Path,
    migrations: &[&'static str],
) -> Result<(), StoreError> {
    let failed = |e: sqlx::Error| StoreError::db("migrate", path, e);
    // Two processes may open a new file at once: the second waits here, and finds it made.
    let mut tx = db.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let row = sqlx::query("PRAGMA user_version")
        .fetch_one(&mut *tx)
        .await
        .map_err(failed)?;
    let have = usize::try_from(row.get::<i64, _>(0)).unwrap_or(usize::MAX);
    if have > migrations.len() {
        return Err(StoreError::Form {
            path: path.to_owned(),
            cause: format!(
                "it is of version {have}, and this program knows {}",
                migrations.len()
            ),
        });
    }
    for (number, sql) in migrations.iter().enumerate().skip(have) {
        sqlx::raw_sql(*sql)
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        let version = format!("PRAGMA user_version = {}", number + 1);
        sqlx::raw_sql(sqlx::AssertSqlSafe(version))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
    }
    tx.commit().await.map_err(failed)
}

async fn connect(path: &Path) -> Result<SqliteConnection, StoreError> {
    let mut db = options(path)
        .create_if_missing(true)
        .connect()
        .await
        .map_err(|e| StoreError::db("open", path, e))?;
    migrate(&mut db, path, &MIGRATIONS).await?;
    Ok(db)
}

impl Writer {
    fn failed(&self, what: &'static str) -> impl Fn(sqlx::Error) -> StoreError + use<> {
        let path = self.path.clone();
        move |e| StoreError::db(what, &path, e)
    }

    /// Forgets numbers that a transaction gave which was not kept, or that are too many.
    fn forget(&mut self) {
        self.texts.clear();
        self.places.clear();
        self.cases.clear();
    }

    async fn text(&mut self, body: &str) -> Result<i64, StoreError> {
        if let Some(id) = self.texts.get(body) {
            return Ok(*id);
        }
        if self.texts.len() > REMEMBERED {
            self.texts.clear();
        }
        let failed = self.failed("write");
        sqlx::query("INSERT OR IGNORE INTO text (body) VALUES (?)")
            .bind(body)
            .execute(&mut self.db)
            .await
            .map_err(&failed)?;
        let id: i64 = sqlx::query("SELECT id FROM text WHERE body = ?")
            .bind(body)
            .fetch_one(&mut self.db)
            .await
            .map_err(failed)?
            .get(0);
        self.texts.insert(body.to_owned(), id);
        Ok(id)
    }

    async fn place(&mut self, suite: &str, port: &str, variant: &str) -> Result<i64, StoreError> {
        let key = (
            self.text(suite).await?,
            self.text(port).await?,
            self.text(variant).await?,
        );
        if let Some(id) = self.places.get(&key) {
            return Ok(*id);
        }
        let failed = self.failed("write");
        sqlx::query("INSERT OR IGNORE INTO place (suite, port, variant) VALUES (?, ?, ?)")
            .bind(key.0)
            .bind(key.1)
            .bind(key.2)
            .execute(&mut self.db)
            .await
            .map_err(&failed)?;
        let id = sqlx::query("SELECT id FROM place WHERE suite = ? AND port = ? AND variant = ?")
            .bind(key.0)
            .bind(key.1)
            .bind(key.2)
            .fetch_one(&mut self.db)
            .await
            .map_err(failed)?
            .get(0);
        self.places.insert(key, id);
        Ok(id)
    }

    async fn case(&mut self, case: &crate::model::CaseId) -> Result<i64, StoreError> {
        let key = (
            self.text(&case.program).await?,
            self.text(&case.case).await?,
        );
        if let Some(id) = self.cases.get(&key) {
            return Ok(*id);
        }
        let failed = self.failed("write");
        sqlx::query("INSERT OR IGNORE INTO tcase (program, name) VALUES (?, ?)")
            .bind(key.0)
            .bind(key.1)
            .execute(&mut self.db)
            .await
            .map_err(&failed)?;
        let id = sqlx::query("SELECT id FROM tcase WHERE program = ? AND name = ?")
            .bind(key.0)
            .bind(key.1)
            .fetch_one(&mut self.db)
            .await
            .map_err(failed)?
            .get(0);
        self.cases.insert(key, id);
        Ok(id)
    }
}
