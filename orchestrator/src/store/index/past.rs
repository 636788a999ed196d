//! What a verdict asks of earlier runs of its matrix: counts by cell, not attempts. Runs are those whose
//! name is before the asking one's; names sort by time.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::model::outcome::Sense;
use crate::model::{CaseId, PortName};
use crate::store::StoreError;

use super::query::{case_of, of_sense, time};
use super::{Index, PastRow, words};

/// Who and where, in both queries: from a cell `c`.
const CELL: &str =
    "r.name, r.started_ms, s.body AS suite, p.body AS port, v.body AS variant, c.side,
  rev.body AS revision";
const JOINS: &str = "JOIN run r ON r.id = c.run JOIN place l ON l.id = c.place
  JOIN text s ON s.id = l.suite JOIN text p ON p.id = l.port JOIN text v ON v.id = l.variant
  LEFT JOIN text rev ON rev.id = c.revision
  WHERE r.name < ?2 AND r.matrix = (SELECT id FROM text WHERE body = ?3)";

fn row(r: &SqliteRow) -> PastRow {
    let number = |column: &str| u32::try_from(r.get::<i64, _>(column)).unwrap_or(0);
    PastRow {
        run: r.get("name"),
        started: time(r.get("started_ms")),
        suite: r.get("suite"),
        port: PortName(r.get("port")),
        variant: r.get("variant"),
        side: words::side(r.get("side")),
        revision: r.get("revision"),
        bad: number("bad"),
        total: number("total"),
        blamed: None,
    }
}

fn crash(r: &SqliteRow) -> PastRow {
    PastRow {
        blamed: case_of(r),
        ..row(r)
    }
}

impl Index {
    /// What each cell of the runs of `matrix` before the run `before` showed of a case.
    pub async fn past_of(
        &self,
        case: &CaseId,
        matrix: &str,
        before: &str,
    ) -> Result<Vec<PastRow>, StoreError> {
        let Some(number) = self.case_number(case).await? else {
            return Ok(Vec::new());
        };
        let (good, bad) = (of_sense(Sense::Good), of_sense(Sense::Bad));
        let sql = format!(
            "SELECT {CELL}, x.bad, x.total FROM
               (SELECT cell, sum(outcome IN ({bad})) AS bad, sum(outcome IN ({good},{bad})) AS total
                FROM attempt WHERE tcase = ?1 AND counted GROUP BY cell) x
             JOIN cell c ON c.id = x.cell {JOINS}"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(number)
            .bind(before)
            .bind(matrix);
        self.all(query, row).await
    }

    /// The cells of the runs of `matrix` before the run `before` in which a crash came, one row for each
    /// case that it was blamed on.
    pub async fn crashes_of(
        &self,
        signature: &str,
        matrix: &str,
        before: &str,
    ) -> Result<Vec<PastRow>, StoreError> {
        let sql = format!(
            "SELECT {CELL}, x.n AS bad, x.n AS total, bp.body AS program, bn.body AS bname FROM
               (SELECT cell, blamed, count(*) AS n FROM crash
                WHERE signature = (SELECT id FROM text WHERE body = ?1) GROUP BY cell, blamed) x
             LEFT JOIN tcase b ON b.id = x.blamed LEFT JOIN text bp ON bp.id = b.program
             LEFT JOIN text bn ON bn.id = b.name
             JOIN cell c ON c.id = x.cell {JOINS}"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(signature)
            .bind(before)
            .bind(matrix);
        self.all(query, crash).await
    }

    /// The runs of `matrix` before the run `before`: name and beginning, oldest first.
    pub async fn runs_before(
        &self,
        matrix: &str,
        before: &str,
    ) -> Result<Vec<(String, jiff::Timestamp)>, StoreError> {
        let row = |r: &SqliteRow| (r.get("name"), time(r.get("started_ms")));
        let query = sqlx::query(
            "SELECT name, started_ms FROM run
             WHERE name < ? AND matrix = (SELECT id FROM text WHERE body = ?) ORDER BY name",
        )
        .bind(before)
        .bind(matrix);
        self.all(query, row).await
    }
}
