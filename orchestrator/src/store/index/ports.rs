//! How ports do: one question for all of them, as each costs a turn of a reader's thread.

use sqlx::Row as _;

use crate::model::{PortName, StageResult};
use crate::store::StoreError;

use super::query::count;
use super::rows::PortRow;
use super::{Index, words};

/// Cells of a port that its health is computed from: the newest.
const LOOKED_AT: i64 = 500;

/// From the oldest cell that is looked at on: ?1 is how many come after it, ?2 a port or null for all.
/// A port none of whose cells has ended has one row without a stage.
const HEALTH: &str = "WITH since AS (
    SELECT p.port, t.body AS name, coalesce((
        SELECT c.id FROM place l JOIN cell c ON c.place = l.id
        WHERE l.port = p.port AND c.stage IS NOT NULL AND c.cached = 0
        ORDER BY c.id DESC LIMIT 1 OFFSET ?1), 0) AS first
    FROM (SELECT DISTINCT port FROM place) p JOIN text t ON t.id = p.port
    WHERE ?2 IS NULL OR t.body = ?2)
  SELECT s.name, c.stage, count(c.id) AS n,
    coalesce(sum((SELECT count(*) FROM crash k WHERE k.cell = c.id)), 0) AS crashes,
    coalesce(sum((SELECT count(*) FROM guest g WHERE g.cell = c.id)), 0) AS guests,
    coalesce(sum((SELECT sum(g.boot_ms) FROM guest g WHERE g.cell = c.id)), 0) AS boots
  FROM since s JOIN place l ON l.port = s.port
  LEFT JOIN cell c
    ON c.place = l.id AND c.id >= s.first AND c.stage IS NOT NULL AND c.cached = 0
  GROUP BY s.port, c.stage ORDER BY s.name, n DESC, c.stage";

impl Index {
    /// How every port that was ever used does.
    pub async fn ports(&self) -> Result<Vec<PortRow>, StoreError> {
        self.health(None).await
    }

    /// How one port does; None where it was never used.
    pub async fn port(&self, port: &str) -> Result<Option<PortRow>, StoreError> {
        Ok(self.health(Some(port)).await?.pop())
    }

    async fn health(&self, port: Option<&str>) -> Result<Vec<PortRow>, StoreError> {
        let rows = sqlx::query(HEALTH)
            .bind(LOOKED_AT - 1)
            .bind(port)
            .fetch_all(&self.readers)
            .await
            .map_err(self.failed())?;
        let mut ports: Vec<PortRow> = Vec::new();
        let (mut guests, mut boots) = (0, 0);
        for row in &rows {
            let name: String = row.get("name");
            if ports.last().is_none_or(|p| p.port.as_str() != name) {
                (guests, boots) = (0, 0);
                ports.push(PortRow {
                    port: PortName(name),
                    cells: 0,
                    complete: 0,
                    host_faults: 0,
                    crashes: 0,
                    boot_ms: None,
                    stages: Vec::new(),
                });
            }
            let Some(port) = ports.last_mut() else {
                continue;
            };
            let n = count(row, "n");
            port.cells += n;
            port.crashes += count(row, "crashes");
            guests += count(row, "guests");
            boots += count(row, "boots");
            port.boot_ms = (guests > 0).then(|| boots as f64 / guests as f64);
            match row.get::<Option<i64>, _>("stage").and_then(words::stage) {
                Some(StageResult::Complete) => port.complete += n,
                Some(stage) => {
                    if stage.is_host_fault() {
                        port.host_faults += n;
                    }
                    port.stages.push((stage, n));
                }
                None => {}
            }
        }
        Ok(ports)
    }
}
