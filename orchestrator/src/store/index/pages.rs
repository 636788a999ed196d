//! What pages and the API ask of the index beyond a case's history: one run, its cells and findings,
//! a revision, a port's newest cells, the list of cases.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::model::{CaseId, RunId};
use crate::store::StoreError;

use super::query::{RUNS, case_of, cell_of, count, run_row, time};
use super::rows::{CaseRow, CellRow, FindingRow, RunRow};
use super::{Index, words};

/// Cells with what a list shows of them, as [`cell_row`] reads it.
const CELLS: &str = "SELECT c.id, r.name, r.started_ms, s.body AS suite, p.body AS port,
    v.body AS variant, c.side, rev.body AS revision, c.stage, c.cached, c.good, c.bad, c.silent,
    (SELECT count(*) FROM crash k WHERE k.cell = c.id) AS crashes
  FROM cell c JOIN run r ON r.id = c.run JOIN place l ON l.id = c.place
    JOIN text s ON s.id = l.suite JOIN text p ON p.id = l.port JOIN text v ON v.id = l.variant
    LEFT JOIN text rev ON rev.id = c.revision";

const FINDINGS: &str =
    "SELECT r.name, f.number, f.kind, f.news, s.body AS suite, t.body AS sentence,
    bp.body AS program, bn.body AS bname
  FROM finding f JOIN run r ON r.id = f.run JOIN text s ON s.id = f.suite
    JOIN text t ON t.id = f.sentence LEFT JOIN tcase b ON b.id = f.tcase
    LEFT JOIN text bp ON bp.id = b.program LEFT JOIN text bn ON bn.id = b.name";

fn cell_row(r: &SqliteRow) -> CellRow {
    CellRow {
        cursor: r.get("id"),
        run: r.get("name"),
        started: time(r.get("started_ms")),
        cell: cell_of(r),
        revision: r.get("revision"),
        stage: r.get::<Option<i64>, _>("stage").and_then(words::stage),
        cached: r.get::<i64, _>("cached") != 0,
        good: count(r, "good"),
        bad: count(r, "bad"),
        silent: count(r, "silent"),
        crashes: count(r, "crashes"),
    }
}

fn finding_row(r: &SqliteRow) -> FindingRow {
    FindingRow {
        run: r.get("name"),
        kind: words::kind(r.get("kind")),
        news: words::news(r.get("news")),
        suite: r.get("suite"),
        case: case_of(r),
        sentence: r.get("sentence"),
        number: count(r, "number"),
    }
}

impl Index {
    /// One run.
    pub async fn run(&self, run: &str) -> Result<Option<RunRow>, StoreError> {
        let sql = format!("{RUNS} WHERE r.name = ?");
        let row = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(run)
            .fetch_optional(&self.readers)
            .await
            .map_err(self.failed())?;
        Ok(row.as_ref().map(run_row))
    }

    /// Runs whose log has no end: they are under way, or their process was killed.
    pub async fn unfinished(&self, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        // Such a run is among the newest, or was given up long ago.
        let newest = self.runs(None, 200).await?;
        let open = newest.into_iter().filter(|r| r.ended.is_none());
        Ok(open.take(limit as usize).collect())
    }

    /// A run's cells in its own order, those after the number `after` where one is given.
    pub async fn cells_of(
        &self,
        run: &str,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<CellRow>, StoreError> {
        let sql = format!(
            "{CELLS} WHERE c.run = (SELECT id FROM run WHERE name = ?) AND c.id > ?
             ORDER BY c.id LIMIT ?"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(run)
            .bind(after.unwrap_or(-1))
            .bind(limit);
        self.all(query, cell_row).await
    }

    /// The newest cells on a port, those before the number `before` where one is given.
    pub async fn cells_on(
        &self,
        port: &str,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<CellRow>, StoreError> {
        let sql = format!(
            "{CELLS} WHERE c.place IN (SELECT id FROM place
               WHERE port = (SELECT id FROM text WHERE body = ?)) AND c.id < ?
             ORDER BY c.id DESC LIMIT ?"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(port)
            .bind(before.unwrap_or(i64::MAX))
            .bind(limit);
        self.all(query, cell_row).await
    }

    /// How long the newest guests of a port took to come up, in milliseconds, newest first.
    pub async fn boots(&self, port: &str, limit: u32) -> Result<Vec<u64>, StoreError> {
        let query = sqlx::query(
            "SELECT g.boot_ms FROM
               (SELECT c.id FROM cell c WHERE c.place IN (SELECT id FROM place
                  WHERE port = (SELECT id FROM text WHERE body = ?1)) ORDER BY c.id DESC LIMIT ?2) n
             JOIN guest g ON g.cell = n.id ORDER BY g.cell DESC, g.number DESC LIMIT ?2",
        )
        .bind(port)
        .bind(limit);
        self.all(query, |r| count(r, "boot_ms")).await
    }

    /// A run's findings in the verdict's order, those after the position `after` where one is given.
    pub async fn findings_in(
        &self,
        run: &str,
        after: Option<i64>,
        limit: u32,
    ) -> Result<Vec<FindingRow>, StoreError> {
        let sql = format!(
            "{FINDINGS} WHERE f.run = (SELECT id FROM run WHERE name = ?) AND f.number > ?
             ORDER BY f.number LIMIT ?"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(run)
            .bind(after.unwrap_or(-1))
            .bind(limit);
        self.all(query, finding_row).await
    }

    /// The findings about a case, newest run first.
    pub async fn findings_of(
        &self,
        case: &CaseId,
        limit: u32,
    ) -> Result<Vec<FindingRow>, StoreError> {
        let Some(number) = self.case_number(case).await? else {
            return Ok(Vec::new());
        };
        let sql = format!("{FINDINGS} WHERE f.tcase = ? ORDER BY f.run DESC, f.number LIMIT ?");
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(number)
            .bind(limit);
        self.all(query, finding_row).await
    }

    /// Revisions whose name begins with `prefix`, in order.
    pub async fn revisions(&self, prefix: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query(
            "SELECT t.body FROM text t WHERE t.body >= ?1 AND t.body < ?1 || char(1114111)
               AND EXISTS (SELECT 1 FROM cell WHERE revision = t.id) ORDER BY t.body LIMIT ?2",
        )
        .bind(prefix)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }

    /// The runs that tested a revision, newest first, those before the run `before` where one is
    /// given.
    pub async fn runs_of(
        &self,
        revision: &str,
        before: Option<&RunId>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError> {
        let sql = format!(
            "{RUNS} WHERE r.id IN (SELECT DISTINCT run FROM cell
               WHERE revision = (SELECT id FROM text WHERE body = ?)) AND r.name < ?
             ORDER BY r.name DESC LIMIT ?"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(revision)
            .bind(before.map_or("~", |r| r.0.as_str()))
            .bind(limit);
        self.all(query, run_row).await
    }

    /// Cases whose program begins with a text, in order, those after a case where one is given.
    pub async fn cases(
        &self,
        prefix: &str,
        after: Option<&CaseId>,
        limit: u32,
    ) -> Result<Vec<CaseRow>, StoreError> {
        let (program, name) = after.map_or(("", ""), |c| (c.program.as_str(), c.case.as_str()));
        let rows = sqlx::query(
            "SELECT p.body AS program, n.body AS bname
             FROM text p JOIN tcase t ON t.program = p.id JOIN text n ON n.id = t.name
             WHERE p.body >= max(?1, ?2) AND p.body < ?1 || char(1114111)
               AND (p.body, n.body) > (?2, ?3)
             ORDER BY p.body, n.body LIMIT ?4",
        )
        .bind(prefix)
        .bind(program)
        .bind(name)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        let case = |r| case_of(r).map(|case| CaseRow { case });
        Ok(rows.iter().filter_map(case).collect())
    }
}
