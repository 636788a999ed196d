//! What a crash was blamed on: one signature may have come under several cases.

use sqlx::Row as _;

use crate::model::PortName;
use crate::store::StoreError;

use super::query::{case_of, count, time};
use super::{CrashCause, Index};

impl Index {
    /// The causes of a crash, the most frequent first.
    pub async fn crash_causes(
        &self,
        signature: &str,
        limit: u32,
    ) -> Result<Vec<CrashCause>, StoreError> {
        let query = sqlx::query(
            "SELECT s.body AS suite, bp.body AS program, bn.body AS bname, x.n, x.ports,
               f.name AS first, f.started_ms AS first_ms, e.name AS last, e.started_ms AS last_ms
             FROM (SELECT l.suite, k.blamed, count(*) AS n, min(k.cell) AS first, max(k.cell) AS last,
                     group_concat(DISTINCT p.body) AS ports
                   FROM crash k JOIN cell c ON c.id = k.cell JOIN place l ON l.id = c.place
                     JOIN text p ON p.id = l.port
                   WHERE k.signature = (SELECT id FROM text WHERE body = ?1)
                   GROUP BY l.suite, k.blamed ORDER BY n DESC, l.suite, k.blamed LIMIT ?2) x
               JOIN text s ON s.id = x.suite
               JOIN cell fc ON fc.id = x.first JOIN run f ON f.id = fc.run
               JOIN cell ec ON ec.id = x.last JOIN run e ON e.id = ec.run
               LEFT JOIN tcase b ON b.id = x.blamed
               LEFT JOIN text bp ON bp.id = b.program LEFT JOIN text bn ON bn.id = b.name
             ORDER BY x.n DESC, s.body, bp.body, bn.body",
        )
        .bind(signature)
        .bind(limit);
        self.all(query, |r| {
            let ports: Option<String> = r.get("ports");
            CrashCause {
                suite: r.get("suite"),
                blamed: case_of(r),
                count: count(r, "n"),
                ports: ports
                    .iter()
                    .flat_map(|p| p.split(',').map(PortName::from))
                    .collect(),
                first_run: r.get("first"),
                first: time(r.get("first_ms")),
                last_run: r.get("last"),
                last: time(r.get("last_ms")),
            }
        })
        .await
    }
}
