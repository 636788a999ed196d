//! What is asked of the index. Every answer is bounded; lists go on from a cursor.

use sqlx::Row as _;
use sqlx::Sqlite;
use sqlx::sqlite::{SqliteArguments, SqliteRow};

use crate::model::outcome::Sense;
use crate::model::{CaseId, CellId, Crash, Outcome, PortName};
use crate::store::StoreError;

use super::rows::{CrashGroup, CrashRow, FlakeRow, HistoryRow, RateRow, RunPhase, RunRow, Spot};
use super::{Index, words};

/// Attempts of one case that its rates are computed from: the newest.
const RATED: i64 = 3000;

/// What identifies one and the same crash in several runs.
pub(super) fn signature(crash: &Crash) -> String {
    if crash.signature.is_empty() {
        // A log of an older version.
        crate::model::crash::signature(crash.kind, &crash.title)
    } else {
        crash.signature.clone()
    }
}

/// Runs with what a list shows of them, as [`run_row`] reads it.
pub(super) const RUNS: &str = "SELECT r.name, m.body AS matrix, r.started_ms, r.ended_ms, r.phase,
    r.findings, (SELECT count(*) FROM cell WHERE run = r.id) AS cells,
    (SELECT count(stage) FROM cell WHERE run = r.id) AS done
  FROM run r JOIN text m ON m.id = r.matrix";

pub(super) fn run_row(r: &SqliteRow) -> RunRow {
    RunRow {
        run: r.get("name"),
        matrix: r.get("matrix"),
        started: time(r.get("started_ms")),
        ended: r.get::<Option<i64>, _>("ended_ms").map(time),
        phase: RunPhase::of(r.get("phase")),
        findings: count(r, "findings"),
        cells: count(r, "cells"),
        cells_done: count(r, "done"),
    }
}

pub(super) fn cell_of(row: &SqliteRow) -> CellId {
    CellId {
        suite: row.get("suite"),
        port: PortName(row.get("port")),
        variant: row.get("variant"),
        side: words::side(row.get("side")),
    }
}

fn spot(row: &SqliteRow) -> Spot {
    Spot {
        cell: row.get("cell"),
        seq: row.get("seq"),
    }
}

pub(super) fn case_of(row: &SqliteRow) -> Option<CaseId> {
    let program: Option<String> = row.get("program");
    let name: Option<String> = row.get("bname");
    program.zip(name).map(|(p, n)| CaseId::new(p, n))
}

pub(super) fn time(ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
}

pub(super) fn count(row: &SqliteRow, column: &str) -> u64 {
    row.get::<Option<i64>, _>(column)
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}

/// Numbers of outcomes of one sense, for SQL: `0,3,4`.
pub(super) fn of_sense(sense: Sense) -> String {
    let numbers = Outcome::ALL.iter().filter(|o| o.sense() == sense);
    let numbers: Vec<String> = numbers.map(|o| words::of_outcome(*o).to_string()).collect();
    numbers.join(",")
}

impl Index {
    pub(super) fn failed(&self) -> impl Fn(sqlx::Error) -> StoreError + use<> {
        |e| StoreError::db("read", std::path::Path::new("index.sqlite"), e)
    }

    /// All rows that a query gives, read by `row`.
    pub(super) async fn all<T>(
        &self,
        query: sqlx::query::Query<'_, Sqlite, SqliteArguments>,
        row: impl FnMut(&SqliteRow) -> T,
    ) -> Result<Vec<T>, StoreError> {
        let rows = query
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed())?;
        Ok(rows.iter().map(row).collect())
    }

    /// Runs, newest first, those before the run `before` where one is given.
    pub async fn runs(&self, before: Option<&str>, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        let query = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{RUNS} WHERE r.name < ? ORDER BY r.name DESC LIMIT ?"
        )))
        .bind(before.unwrap_or("~"))
        .bind(limit);
        self.all(query, run_row).await
    }

    pub(super) async fn case_number(&self, case: &CaseId) -> Result<Option<i64>, StoreError> {
        sqlx::query(
            "SELECT c.id FROM tcase c JOIN text p ON p.id = c.program JOIN text n ON n.id = c.name
             WHERE c.program = (SELECT id FROM text WHERE body = ?)
               AND c.name = (SELECT id FROM text WHERE body = ?)",
        )
        .bind(&case.program)
        .bind(&case.case)
        .fetch_optional(&self.readers)
        .await
        .map_err(self.failed())
        .map(|row| row.map(|r| r.get(0)))
    }

    /// A case's attempts, newest cell first, on one port where one is given. None where no run has
    /// the case.
    pub async fn history(
        &self,
        case: &CaseId,
        port: Option<&str>,
        after: Option<Spot>,
        limit: u32,
    ) -> Result<Option<Vec<HistoryRow>>, StoreError> {
        let after = after.unwrap_or(Spot::TOP);
        let Some(number) = self.case_number(case).await? else {
            return Ok(None);
        };
        let rows = sqlx::query(
            "SELECT r.name, r.started_ms, s.body AS suite, p.body AS port, v.body AS variant,
               c.side, rev.body AS revision, a.cell, a.seq, a.counted, a.pass, a.outcome, a.duration_ms,
               w.body AS reason
             FROM attempt a JOIN cell c ON c.id = a.cell JOIN run r ON r.id = c.run
               JOIN place l ON l.id = c.place JOIN text s ON s.id = l.suite
               JOIN text p ON p.id = l.port JOIN text v ON v.id = l.variant
               LEFT JOIN text rev ON rev.id = c.revision LEFT JOIN text w ON w.id = a.reason
             WHERE a.tcase = ?1 AND a.cell <= ?2 AND (a.cell < ?2 OR a.seq > ?3)
               AND (?4 IS NULL OR p.body = ?4)
             ORDER BY a.cell DESC, a.seq LIMIT ?5",
        )
        .bind(number)
        .bind(after.cell)
        .bind(after.seq)
        .bind(port)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(Some(
            rows.iter()
                .filter_map(|r| {
                    Some(HistoryRow {
                        run: r.get("name"),
                        started: time(r.get("started_ms")),
                        suite: r.get("suite"),
                        port: PortName(r.get("port")),
                        variant: r.get("variant"),
                        side: words::side(r.get("side")),
                        revision: r.get("revision"),
                        pass: u32::try_from(r.get::<i64, _>("pass")).unwrap_or(0),
                        outcome: words::outcome(r.get("outcome"))?,
                        duration_ms: r
                            .get::<Option<i64>, _>("duration_ms")
                            .and_then(|ms| u64::try_from(ms).ok()),
                        reason: r.get("reason"),
                        counted: r.get("counted"),
                        cursor: spot(r),
                    })
                })
                .collect(),
        ))
    }

    /// How a case does on every port, over its newest attempts.
    pub async fn rates(&self, case: &CaseId) -> Result<Vec<RateRow>, StoreError> {
        let Some(number) = self.case_number(case).await? else {
            return Ok(Vec::new());
        };
        let (good, bad) = (of_sense(Sense::Good), of_sense(Sense::Bad));
        let sql = format!(
            "SELECT s.body AS suite, p.body AS port, y.attempts, y.bad, y.cells, y.mixed, y.mean FROM (
             SELECT l.suite, l.port, sum(x.n) AS attempts, sum(x.bad) AS bad,
               count(*) AS cells, sum(x.bad > 0 AND x.bad < x.n) AS mixed, avg(x.ms) AS mean
             FROM (SELECT a.cell, sum(a.outcome IN ({good},{bad})) AS n,
                     sum(a.outcome IN ({bad})) AS bad, avg(a.duration_ms) AS ms
                   FROM (SELECT * FROM attempt WHERE tcase = ? AND counted ORDER BY cell DESC LIMIT ?) a
                   GROUP BY a.cell) x
               JOIN cell c ON c.id = x.cell JOIN place l ON l.id = c.place
             GROUP BY l.suite, l.port) y
             JOIN text s ON s.id = y.suite JOIN text p ON p.id = y.port ORDER BY s.body, p.body"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(number)
            .bind(RATED)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| RateRow {
                suite: r.get("suite"),
                port: PortName(r.get("port")),
                attempts: count(r, "attempts"),
                bad: count(r, "bad"),
                cells: count(r, "cells"),
                mixed: count(r, "mixed"),
                mean_ms: r.get("mean"),
            })
            .collect())
    }

    /// The cases that most often went both ways within a cell, over the newest cells.
    pub async fn flakes(&self, limit: u32) -> Result<Vec<FlakeRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.body AS program, n.body AS name, s.body AS suite, count(*) AS cells,
               sum(f.bad) AS bad, sum(f.total) AS total
             FROM (SELECT * FROM flake LIMIT 50000) f JOIN tcase t ON t.id = f.tcase
               JOIN text p ON p.id = t.program JOIN text n ON n.id = t.name
               JOIN cell c ON c.id = f.cell JOIN place l ON l.id = c.place
               JOIN text s ON s.id = l.suite
             GROUP BY f.tcase, l.suite ORDER BY cells DESC, program, name LIMIT ?",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| FlakeRow {
                case: CaseId::new(r.get::<String, _>("program"), r.get::<String, _>("name")),
                suite: r.get("suite"),
                cells: count(r, "cells"),
                bad: count(r, "bad"),
                total: count(r, "total"),
            })
            .collect())
    }

    /// Crashes by signature, the most frequent first; only those of one signature where one is given.
    pub async fn crash_groups(
        &self,
        signature: Option<&str>,
        limit: u32,
    ) -> Result<Vec<CrashGroup>, StoreError> {
        let rows = sqlx::query(
            "SELECT x.signature, x.kind, x.n, t.body,
               (SELECT w.body FROM crash k JOIN text w ON w.id = k.title
                  WHERE k.signature = x.signature ORDER BY k.cell DESC LIMIT 1) AS title,
               (SELECT r.name FROM cell c JOIN run r ON r.id = c.run WHERE c.id = x.last) AS run,
               (SELECT group_concat(DISTINCT p.body) FROM crash k JOIN cell c ON c.id = k.cell
                  JOIN place l ON l.id = c.place JOIN text p ON p.id = l.port
                  WHERE k.signature = x.signature) AS ports,
               (SELECT count(DISTINCT coalesce(k.blamed, -1)) FROM crash k
                  WHERE k.signature = x.signature) AS causes
             FROM (SELECT signature, min(kind) AS kind, count(*) AS n, max(cell) AS last
                   FROM crash WHERE ?1 IS NULL
                     OR signature = (SELECT id FROM text WHERE body = ?1)
                   GROUP BY signature ORDER BY n DESC LIMIT ?2) x
               JOIN text t ON t.id = x.signature
             ORDER BY x.n DESC, x.signature",
        )
        .bind(signature)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| CrashGroup {
                kind: words::crash(r.get("kind")),
                signature: r.get("body"),
                title: r.get::<Option<String>, _>("title").unwrap_or_default(),
                count: count(r, "n"),
                ports: r
                    .get::<Option<String>, _>("ports")
                    .iter()
                    .flat_map(|p| p.split(',').map(PortName::from))
                    .collect(),
                causes: count(r, "causes"),
                last_run: r.get::<Option<String>, _>("run").unwrap_or_default(),
            })
            .collect())
    }

    /// The crashes with a signature, newest first, those after a spot of the list where one is given.
    pub async fn crashes(
        &self,
        signature: &str,
        after: Option<Spot>,
        limit: u32,
    ) -> Result<Vec<CrashRow>, StoreError> {
        let after = after.unwrap_or(Spot::TOP);
        let rows = sqlx::query(
            "SELECT r.name, r.started_ms, s.body AS suite, p.body AS port, v.body AS variant,
               c.side, k.cell, k.seq, k.guest, t.body AS title, bp.body AS program, bn.body AS bname
             FROM crash k JOIN cell c ON c.id = k.cell JOIN run r ON r.id = c.run
               JOIN place l ON l.id = c.place JOIN text s ON s.id = l.suite
               JOIN text p ON p.id = l.port JOIN text v ON v.id = l.variant
               JOIN text t ON t.id = k.title LEFT JOIN tcase b ON b.id = k.blamed
               LEFT JOIN text bp ON bp.id = b.program LEFT JOIN text bn ON bn.id = b.name
             WHERE k.signature = (SELECT id FROM text WHERE body = ?1)
               AND k.cell <= ?2 AND (k.cell < ?2 OR k.seq > ?3)
             ORDER BY k.cell DESC, k.seq LIMIT ?4",
        )
        .bind(signature)
        .bind(after.cell)
        .bind(after.seq)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| CrashRow {
                run: r.get("name"),
                started: time(r.get("started_ms")),
                cell: cell_of(r),
                guest: u32::try_from(r.get::<i64, _>("guest")).unwrap_or(0),
                title: r.get("title"),
                blamed: case_of(r),
                cursor: spot(r),
            })
            .collect())
    }
}
