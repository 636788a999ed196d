//! Kyua's results database (SQLite, schema 3). The one file of this stage that does I/O: it opens the
//! path that its caller gives, and nothing else.
//!
//! The file comes from a guest and is untrusted. It is opened read-only and immutable (no journal is
//! looked for, nothing is locked or written), with `trusted_schema` off; the tables must be plain
//! tables with the columns that Kyua gives them, so that no view, virtual table or generated column
//! can make a query compute what a stranger likes; rows, bytes and time are limited.
//!
//! Kyua writes everything in one transaction at its end: a guest that died leaves an empty database.
//! That is [`SuiteError::DbEmpty`], and the streamed results are what there is. Timestamps are
//! microseconds since the epoch by the guest's clock. Deliberately not read: contexts and metadata.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteRow};
use sqlx::{ConnectOptions, Connection, Row};

use super::error::SuiteError;
use super::kyua::broken_outcome;
use super::text::{NAME_MAX_BYTES, OUTPUT_MAX_BYTES, REASON_MAX_BYTES, clean};
use crate::model::{CaseId, Outcome};

/// How much of an untrusted database is read.
#[derive(Debug, Clone, Copy)]
pub struct DbLimits {
    /// The largest file that is opened.
    pub file_bytes: u64,
    /// The most cases that are read.
    pub cases: u32,
    /// How long reading may take.
    pub time: Duration,
}

impl Default for DbLimits {
    fn default() -> Self {
        Self {
            file_bytes: 512 << 20,
            cases: 100_000,
            time: Duration::from_secs(60),
        }
    }
}

/// One case's result in a database. All text is clean and bounded.
#[derive(Debug, Clone, PartialEq)]
pub struct DbResult {
    /// Which case.
    pub case: CaseId,
    /// How it ended; time-outs are told from other broken cases.
    pub outcome: Outcome,
    /// Why.
    pub reason: Option<String>,
    /// When it began, since the epoch, by the guest's clock.
    pub started: Option<Duration>,
    /// How long it took, by the guest's clock.
    pub duration: Option<Duration>,
    /// The end of its standard output; none where there was none.
    pub stdout: Option<String>,
    /// The end of its standard error; none where there was none.
    pub stderr: Option<String>,
}

impl DbResult {
    /// Both outputs as one text, standard output first.
    pub fn output(&self) -> Option<String> {
        match (&self.stdout, &self.stderr) {
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (Some(out), Some(err)) => {
                let gap = if out.ends_with('\n') { "" } else { "\n" };
                Some(format!("{out}{gap}[standard error]\n{err}"))
            }
        }
    }
}

/// The tables that are read, with the columns that they must have.
const TABLES: [(&str, &[&str]); 6] = [
    ("metadata", &["schema_version"]),
    ("test_programs", &["test_program_id", "relative_path"]),
    ("test_cases", &["test_case_id", "test_program_id", "name"]),
    (
        "test_results",
        &[
            "test_case_id",
            "result_type",
            "result_reason",
            "start_time",
            "end_time",
        ],
    ),
    ("test_case_files", &["test_case_id", "file_name", "file_id"]),
    ("files", &["file_id", "contents"]),
];

/// Reads all results, in the order in which the cases were run. Cases that Kyua began and has no
/// result for are not among them.
pub async fn read(path: &Path, limits: DbLimits) -> Result<Vec<DbResult>, SuiteError> {
    let shown = path.display().to_string();
    let size_bytes = std::fs::symlink_metadata(path)
        .and_then(|meta| match meta.is_file() {
            true => Ok(meta.len()),
            false => Err(std::io::Error::other("not a regular file")),
        })
        .map_err(|source| SuiteError::DbOpen {
            path: shown.clone(),
            source,
        })?;
    if size_bytes == 0 {
        return Err(SuiteError::DbEmpty { path: shown });
    }
    if size_bytes > limits.file_bytes {
        return Err(SuiteError::DbTooLarge {
            path: shown,
            size_bytes,
            limit_bytes: limits.file_bytes,
        });
    }
    // The driver runs SQLite on a thread of its own, which the time-out leaves behind until its
    // query is done; the checks of the schema are what keeps a query from running for ever.
    tokio::time::timeout(limits.time, read_checked(path, &shown, limits))
        .await
        .unwrap_or_else(|_| {
            Err(SuiteError::DbTimeout {
                path: shown.clone(),
                limit_s: limits.time.as_secs(),
            })
        })
}

async fn read_checked(
    path: &Path,
    shown: &str,
    limits: DbLimits,
) -> Result<Vec<DbResult>, SuiteError> {
    let unreadable = |source| SuiteError::DbUnreadable {
        path: shown.to_owned(),
        source,
    };
    let mut db = SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .immutable(true)
        .pragma("trusted_schema", "OFF")
        .pragma("query_only", "ON")
        .pragma("cell_size_check", "ON")
        .pragma("mmap_size", "0")
        .disable_statement_logging()
        .connect()
        .await
        .map_err(unreadable)?;
    check_schema(&mut db, shown).await?;
    let mut results = read_results(&mut db, limits).await.map_err(unreadable)?;
    if results.is_empty() {
        return Err(SuiteError::DbEmpty {
            path: shown.to_owned(),
        });
    }
    for (rowid, name, text) in read_files(&mut db, limits).await.map_err(unreadable)? {
        let Some(result) = results.get_mut(&rowid) else {
            continue;
        };
        match name.as_str() {
            "__STDOUT__" => result.stdout = text,
            "__STDERR__" => result.stderr = text,
            _ => {}
        }
    }
    // Only read; an error in closing changes nothing.
    let _ = db.close().await;
    Ok(results.into_values().collect())
}

/// Refuses everything but plain tables with the expected columns.
async fn check_schema(db: &mut SqliteConnection, shown: &str) -> Result<(), SuiteError> {
    let form = |detail: String| SuiteError::DbForm {
        path: shown.to_owned(),
        detail,
    };
    let unreadable = |source| SuiteError::DbUnreadable {
        path: shown.to_owned(),
        source,
    };
    let objects =
        sqlx::query("SELECT count(*), sum(type NOT IN ('table', 'index')) FROM sqlite_schema")
            .fetch_one(&mut *db)
            .await
            .map_err(unreadable)?;
    if int(&objects, 0) == Some(0) {
        return Err(SuiteError::DbEmpty {
            path: shown.to_owned(),
        });
    }
    if int(&objects, 1) != Some(0) {
        return Err(form("it has views or triggers".to_owned()));
    }
    for (table, columns) in TABLES {
        // Of a virtual table rootpage is 0; of a generated column hidden is 2 or 3.
        let found = sqlx::query(
            "SELECT c.name FROM sqlite_schema AS s, pragma_table_xinfo(s.name) AS c \
             WHERE s.type = 'table' AND s.name = ? AND s.rootpage > 0 AND c.hidden = 0",
        )
        .bind(table)
        .fetch_all(&mut *db)
        .await
        .map_err(unreadable)?;
        let found: Vec<String> = found.iter().filter_map(|row| text(row, 0, 100)).collect();
        if let Some(missing) = columns.iter().find(|c| !found.iter().any(|f| f == *c)) {
            return Err(form(format!("table {table} has no plain column {missing}")));
        }
    }
    let version = sqlx::query(
        "SELECT max(schema_version) FROM metadata WHERE typeof(schema_version) = 'integer'",
    )
    .fetch_one(&mut *db)
    .await
    .map_err(unreadable)?;
    match int(&version, 0) {
        Some(3) => Ok(()),
        Some(other) => Err(form(format!("it is schema {other}"))),
        None => Err(form("it does not say its schema".to_owned())),
    }
}

async fn read_results(
    db: &mut SqliteConnection,
    limits: DbLimits,
) -> Result<BTreeMap<i64, DbResult>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT r.test_case_id, substr(CAST(p.relative_path AS BLOB), 1, ?2), \
                substr(CAST(c.name AS BLOB), 1, ?2), substr(CAST(r.result_type AS BLOB), 1, 100), \
                substr(CAST(r.result_reason AS BLOB), 1, ?3), \
                iif(typeof(r.start_time) = 'integer', r.start_time, NULL), \
                iif(typeof(r.end_time) = 'integer', r.end_time, NULL) \
         FROM test_results AS r JOIN test_cases AS c USING (test_case_id) \
              JOIN test_programs AS p USING (test_program_id) \
         ORDER BY r.test_case_id LIMIT ?1",
    )
    .bind(limits.cases)
    .bind(size(NAME_MAX_BYTES))
    .bind(size(REASON_MAX_BYTES))
    .fetch_all(&mut *db)
    .await?;
    Ok(rows.iter().filter_map(result_of_row).collect())
}

/// None for a row that makes no sense.
fn result_of_row(row: &SqliteRow) -> Option<(i64, DbResult)> {
    let reason = text(row, 4, REASON_MAX_BYTES).filter(|reason| !reason.is_empty());
    let outcome = match text(row, 3, 100)?.as_str() {
        "passed" => Outcome::Passed,
        "failed" => Outcome::Failed,
        "skipped" => Outcome::Skipped,
        "expected_failure" => Outcome::ExpectedFailure,
        "broken" => broken_outcome(reason.as_deref()),
        _ => return None,
    };
    let (program, case) = (text(row, 1, NAME_MAX_BYTES)?, text(row, 2, NAME_MAX_BYTES)?);
    if program.is_empty() || case.is_empty() || case.contains(':') {
        return None;
    }
    let time = |column| int(row, column).and_then(|us| u64::try_from(us).ok());
    let started = time(5).map(Duration::from_micros);
    let ended = time(6).map(Duration::from_micros);
    let result = DbResult {
        case: CaseId::new(program, case),
        outcome,
        reason,
        started,
        duration: ended.and_then(|end| end.checked_sub(started?)),
        stdout: None,
        stderr: None,
    };
    Some((int(row, 0)?, result))
}

async fn read_files(
    db: &mut SqliteConnection,
    limits: DbLimits,
) -> Result<Vec<(i64, String, Option<String>)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT f.test_case_id, substr(CAST(f.file_name AS BLOB), 1, 100), \
                substr(CAST(b.contents AS BLOB), -?2) \
         FROM test_case_files AS f JOIN files AS b USING (file_id) \
         ORDER BY f.test_case_id LIMIT ?1",
    )
    .bind(i64::from(limits.cases) * 2)
    .bind(size(OUTPUT_MAX_BYTES))
    .fetch_all(&mut *db)
    .await?;
    let file = |row: &SqliteRow| Some((int(row, 0)?, text(row, 1, 100)?, output(row, 2)));
    Ok(rows.iter().filter_map(file).collect())
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn int(row: &SqliteRow, column: usize) -> Option<i64> {
    row.try_get_unchecked::<Option<i64>, _>(column).ok()?
}

fn blob(row: &SqliteRow, column: usize) -> Option<&[u8]> {
    row.try_get_unchecked::<Option<&[u8]>, _>(column).ok()?
}

fn text(row: &SqliteRow, column: usize, max_bytes: usize) -> Option<String> {
    Some(clean(blob(row, column)?, max_bytes))
}

/// An output keeps its lines.
fn output(row: &SqliteRow, column: usize) -> Option<String> {
    let bytes = blob(row, column)?;
    let mut text = String::with_capacity(bytes.len());
    for line in bytes.split_inclusive(|&b| b == b'\n') {
        let (line, end) = match line.strip_suffix(b"\n") {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        text.push_str(&clean(line.strip_suffix(b"\r").unwrap_or(line), line.len()));
        text.push_str(end);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
#[path = "kyua_db_tests.rs"]
mod tests;
