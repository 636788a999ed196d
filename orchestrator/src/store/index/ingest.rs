//! From logs into the index.
//!
//! A log is read from where the last reading ended, in pieces; each piece is one transaction with
//! the new position in it. The log has every attempt that was executed in the run. A cell that came
//! from the cache has none there: its attempts were executed elsewhere and count once, under the
//! first cell with its key that the index knows. Findings come from `report.json`, at the run's end.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::Row as _;

use crate::model::outcome::Sense;
use crate::model::{Attempt, CaseId, CellId, Event, Outcome, Purpose, RunId, StageResult, Stamped};
use crate::store::StoreError;
use crate::store::events;
use crate::store::runs::{self, RunDir, RunRecord};

use super::rows::RunPhase;
use super::{Index, Writer, words};

/// How much of a log is read at once, in bytes.
const PIECE: usize = 8 << 20;

/// Rows of one `INSERT`; SQLite takes 32766 parameters, and longer statements gain nothing.
const ROWS: usize = 250;

/// What a look at all runs brought in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Caught {
    /// Runs that had something new.
    pub runs: u64,
    /// Events that were read.
    pub events: u64,
    /// Attempts that were written.
    pub attempts: u64,
}

/// A row that waits for its batch: case, cell, seq, pass, guest, outcome, duration, reason,
/// whether it counts.
type AttemptRow = (i64, i64, i64, i64, i64, i64, Option<i64>, Option<i64>, bool);

/// A run as it is being read.
struct Reading {
    id: i64,
    record: RunRecord,
    dir: RunDir,
    next_seq: u64,
    log_bytes: u64,
    cells: BTreeMap<CellId, i64>,
    /// What this piece adds to the counts of cells that are not done: good, bad, silent.
    counts: BTreeMap<i64, [i64; 3]>,
    /// Attempts of this piece that were written before its end.
    flushed: u64,
}

impl Index {
    /// Brings the index up to date with all runs of a directory. A run that cannot be read is left
    /// out and told in the second value; it is tried again next time.
    pub async fn catch_up(&self, runs_dir: &Path) -> Result<(Caught, Vec<String>), StoreError> {
        let mut all = Caught::default();
        let mut trouble = Vec::new();
        for name in runs::list(runs_dir)? {
            let dir = RunDir {
                path: runs_dir.join(&name),
            };
            match self.ingest(&dir).await {
                Ok(one) => {
                    all.runs += one.runs;
                    all.events += one.events;
                    all.attempts += one.attempts;
                }
                Err(error @ StoreError::Db { .. }) => return Err(error),
                Err(error) => trouble.push(format!("{name}: {error}")),
            }
        }
        Ok((all, trouble))
    }

    /// Reads what one run's log has beyond what is known of it.
    pub async fn ingest(&self, dir: &RunDir) -> Result<Caught, StoreError> {
        let mut writer = self.writer.lock().await;
        let result = writer.run(dir).await;
        if result.is_err() {
            // Whatever a torn transaction numbered is gone with it.
            let _ = sqlx::query("ROLLBACK").execute(&mut writer.db).await;
            writer.forget();
        }
        result
    }
}

impl Writer {
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        let failed = self.failed("begin");
        sqlx::query("BEGIN IMMEDIATE")
            .execute(&mut self.db)
            .await
            .map_err(failed)
            .map(drop)
    }

    pub(super) async fn commit(&mut self) -> Result<(), StoreError> {
        let failed = self.failed("commit");
        sqlx::query("COMMIT")
            .execute(&mut self.db)
            .await
            .map_err(failed)
            .map(drop)
    }

    async fn run(&mut self, dir: &RunDir) -> Result<Caught, StoreError> {
        let name = dir.path.file_name().unwrap_or_default().to_string_lossy();
        let size = std::fs::metadata(dir.events_path()).map_or(0, |m| m.len());
        let failed = self.failed("read");
        let known = sqlx::query("SELECT id, next_seq, log_bytes FROM run WHERE name = ?")
            .bind(name.as_ref())
            .fetch_optional(&mut self.db)
            .await
            .map_err(failed)?;
        let mut caught = Caught::default();
        let at = known
            .as_ref()
            .map(|r| (r.get::<i64, _>(0), r.get::<i64, _>(1), r.get::<i64, _>(2)));
        if let Some((id, _, bytes)) = at
            && bytes as u64 == size
        {
            self.late_findings(id, dir).await?;
            return Ok(caught);
        }
        let record = dir.record()?;
        let (id, next_seq, log_bytes) = match at {
            // A log never shrinks; another one stands in its place.
            Some((id, _, bytes)) if bytes as u64 > size => {
                self.remove(id).await?;
                (self.add(&record).await?, 0, 0)
            }
            Some((id, seq, bytes)) => (id, seq as u64, bytes as u64),
            None => (self.add(&record).await?, 0, 0),
        };
        let mut reading = Reading {
            id,
            record,
            dir: dir.clone(),
            next_seq,
            log_bytes,
            cells: BTreeMap::new(),
            counts: BTreeMap::new(),
            flushed: 0,
        };
        loop {
            let (path, from) = (dir.events_path(), reading.log_bytes);
            let piece =
                tokio::task::spawn_blocking(move || events::read_from(&path, from, PIECE)).await;
            let (events, end) = piece.unwrap_or_else(|_| Ok((Vec::new(), from)))?;
            if events.is_empty() {
                break;
            }
            caught.runs = 1;
            caught.events += events.len() as u64;
            self.begin().await?;
            caught.attempts += self.piece(&mut reading, &events, end).await?;
            self.commit().await?;
        }
        Ok(caught)
    }

    async fn add(&mut self, record: &RunRecord) -> Result<i64, StoreError> {
        let RunId(name) = &record.id;
        let matrix = self.text(&record.matrix).await?;
        let failed = self.failed("write");
        sqlx::query("INSERT INTO run (name, matrix, started_ms, phase) VALUES (?, ?, ?, ?)")
            .bind(name)
            .bind(matrix)
            .bind(record.started.as_millisecond())
            .bind(RunPhase::Running.number())
            .execute(&mut self.db)
            .await
            .map(|done| done.last_insert_rowid())
            .map_err(failed)
    }

    async fn remove(&mut self, run: i64) -> Result<(), StoreError> {
        self.begin().await?;
        for sql in [
            // By its key: a look for the cell alone would go through all attempts of all runs.
            "DELETE FROM attempt WHERE (tcase, cell) IN
               (SELECT tcase.id, cell.id FROM cell CROSS JOIN tcase WHERE cell.run = ?)",
            "DELETE FROM flake WHERE cell IN (SELECT id FROM cell WHERE run = ?)",
            "DELETE FROM guest WHERE cell IN (SELECT id FROM cell WHERE run = ?)",
            "DELETE FROM crash WHERE cell IN (SELECT id FROM cell WHERE run = ?)",
            "DELETE FROM finding WHERE run = ?",
            "DELETE FROM cell WHERE run = ?",
            "DELETE FROM run WHERE id = ?",
        ] {
            let failed = self.failed("write");
            sqlx::query(sql)
                .bind(run)
                .execute(&mut self.db)
                .await
                .map_err(failed)?;
        }
        self.commit().await
    }

    /// One transaction's worth of events.
    async fn piece(
        &mut self,
        reading: &mut Reading,
        events: &[Stamped],
        end: u64,
    ) -> Result<u64, StoreError> {
        let mut rows: Vec<AttemptRow> = Vec::with_capacity(events.len());
        for event in events {
            if event.seq < reading.next_seq {
                continue;
            }
            self.event(reading, event, &mut rows).await?;
            reading.next_seq = event.seq + 1;
        }
        let written = std::mem::take(&mut reading.flushed) + rows.len() as u64;
        self.attempts(rows).await?;
        for (cell, [good, bad, silent]) in std::mem::take(&mut reading.counts) {
            let sql =
                "UPDATE cell SET good = good + ?, bad = bad + ?, silent = silent + ? WHERE id = ?";
            self.count(sql, cell, [good, bad, silent]).await?;
        }
        reading.log_bytes = end;
        let failed = self.failed("write");
        sqlx::query("UPDATE run SET next_seq = ?, log_bytes = ? WHERE id = ?")
            .bind(reading.next_seq as i64)
            .bind(end as i64)
            .bind(reading.id)
            .execute(&mut self.db)
            .await
            .map_err(failed)?;
        Ok(written)
    }

    async fn event(
        &mut self,
        reading: &mut Reading,
        event: &Stamped,
        rows: &mut Vec<AttemptRow>,
    ) -> Result<(), StoreError> {
        let failed = self.failed("write");
        match &event.what {
            Event::RunStarted { cells, .. } => {
                for cell in cells {
                    self.cell(reading, cell).await?;
                }
            }
            Event::AttemptDone { cell, attempt } => {
                let cell = self.cell(reading, cell).await?;
                rows.push(self.row(cell, event.seq, attempt).await?);
                if attempt.counts() {
                    reading.counts.entry(cell).or_default()[slot(attempt.outcome)] += 1;
                }
            }
            Event::GuestDoubted {
                cell,
                guest,
                attempts,
                ..
            } => {
                let cell = self.cell(reading, cell).await?;
                // Those of this piece too.
                reading.flushed += rows.len() as u64;
                self.attempts(std::mem::take(rows)).await?;
                for (_, pass, case) in attempts {
                    self.doubt(reading, cell, *guest, *pass, case).await?;
                }
            }
            Event::GuestReady {
                cell, guest, boot, ..
            } => {
                let cell = self.cell(reading, cell).await?;
                sqlx::query(
                    "INSERT OR REPLACE INTO guest (cell, number, boot_ms) VALUES (?, ?, ?)",
                )
                .bind(cell)
                .bind(i64::from(*guest))
                .bind(boot.as_millis() as i64)
                .execute(&mut self.db)
                .await
                .map_err(failed)?;
            }
            Event::GuestCrashed { cell, guest, crash } => {
                let cell = self.cell(reading, cell).await?;
                self.crash(cell, event.seq, *guest, crash).await?;
            }
            Event::CellFinished {
                cell,
                stage,
                cached,
            } => self.cell_done(reading, cell, *stage, *cached, rows).await?,
            Event::RunFinished {
                findings,
                interrupted,
            } => {
                let phase = if *interrupted {
                    RunPhase::Interrupted
                } else {
                    RunPhase::Finished
                };
                sqlx::query("UPDATE run SET phase = ?, findings = ?, ended_ms = ? WHERE id = ?")
                    .bind(phase.number())
                    .bind(*findings as i64)
                    .bind(event.at.as_millisecond())
                    .bind(reading.id)
                    .execute(&mut self.db)
                    .await
                    .map_err(failed)?;
                self.findings(reading.id, &reading.dir).await?;
            }
            // Work in a run that was over: it was resumed.
            Event::JobStarted { .. } => {
                sqlx::query("UPDATE run SET phase = ? WHERE id = ? AND phase <> ?")
                    .bind(RunPhase::Running.number())
                    .bind(reading.id)
                    .bind(RunPhase::Running.number())
                    .execute(&mut self.db)
                    .await
                    .map_err(failed)?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn cell(&mut self, reading: &mut Reading, id: &CellId) -> Result<i64, StoreError> {
        if let Some(known) = reading.cells.get(id) {
            return Ok(*known);
        }
        let place = self.place(&id.suite, id.port.as_str(), &id.variant).await?;
        let revision = match reading.record.revision(id).cloned() {
            Some(revision) => Some(self.text(&revision).await?),
            None => None,
        };
        let failed = self.failed("write");
        sqlx::query("INSERT OR IGNORE INTO cell (run, place, side, revision) VALUES (?, ?, ?, ?)")
            .bind(reading.id)
            .bind(place)
            .bind(words::of_side(id.side))
            .bind(revision)
            .execute(&mut self.db)
            .await
            .map_err(&failed)?;
        let number: i64 =
            sqlx::query("SELECT id FROM cell WHERE run = ? AND place = ? AND side = ?")
                .bind(reading.id)
                .bind(place)
                .bind(words::of_side(id.side))
                .fetch_one(&mut self.db)
                .await
                .map_err(failed)?
                .get(0);
        reading.cells.insert(id.clone(), number);
        Ok(number)
    }

    async fn row(&mut self, cell: i64, seq: u64, a: &Attempt) -> Result<AttemptRow, StoreError> {
        let reason = match &a.reason {
            Some(reason) => Some(self.text(reason).await?),
            None => None,
        };
        Ok((
            self.case(&a.case).await?,
            cell,
            seq as i64,
            i64::from(a.pass),
            i64::from(a.guest),
            words::of_outcome(a.outcome),
            a.duration.map(|d| d.as_millis() as i64),
            reason,
            a.counts(),
        ))
    }

    async fn count(
        &mut self,
        sql: &'static str,
        cell: i64,
        counts: [i64; 3],
    ) -> Result<(), StoreError> {
        let failed = self.failed("write");
        sqlx::query(sql)
            .bind(counts[0])
            .bind(counts[1])
            .bind(counts[2])
            .bind(cell)
            .execute(&mut self.db)
            .await
            .map_err(failed)
            .map(drop)
    }

    /// An attempt whose guest was found damaged after it: it stays and does not count.
    async fn doubt(
        &mut self,
        reading: &mut Reading,
        cell: i64,
        guest: u32,
        pass: u32,
        case: &CaseId,
    ) -> Result<(), StoreError> {
        let case = self.case(case).await?;
        let failed = self.failed("write");
        let rows = sqlx::query(
            "UPDATE attempt SET counted = 0
             WHERE tcase = ? AND cell = ? AND guest = ? AND pass = ? AND counted = 1
             RETURNING outcome",
        )
        .bind(case)
        .bind(cell)
        .bind(i64::from(guest))
        .bind(i64::from(pass))
        .fetch_all(&mut self.db)
        .await
        .map_err(failed)?;
        for row in &rows {
            if let Some(outcome) = words::outcome(row.get(0)) {
                reading.counts.entry(cell).or_default()[slot(outcome)] -= 1;
            }
        }
        Ok(())
    }

    async fn attempts(&mut self, mut rows: Vec<AttemptRow>) -> Result<(), StoreError> {
        // In the table's own order a batch touches each page once.
        rows.sort_unstable();
        for chunk in rows.chunks(ROWS) {
            let mut sql = String::with_capacity(60 + chunk.len() * 18);
            sql.push_str("INSERT OR IGNORE INTO attempt VALUES (?,?,?,?,?,?,?,?,?)");
            for _ in 1..chunk.len() {
                sql.push_str(",(?,?,?,?,?,?,?,?,?)");
            }
            let failed = self.failed("write");
            let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).persistent(chunk.len() == ROWS);
            for r in chunk {
                query = query
                    .bind(r.0)
                    .bind(r.1)
                    .bind(r.2)
                    .bind(r.3)
                    .bind(r.4)
                    .bind(r.5)
                    .bind(r.6)
                    .bind(r.7)
                    .bind(r.8);
            }
            query.execute(&mut self.db).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn crash(
        &mut self,
        cell: i64,
        seq: u64,
        guest: u32,
        crash: &crate::model::Crash,
    ) -> Result<(), StoreError> {
        let title = self.text(&crash.title).await?;
        let signature = self.text(&super::query::signature(crash)).await?;
        let blamed = match &crash.blamed {
            Some(case) => Some(self.case(case).await?),
            None => None,
        };
        let failed = self.failed("write");
        sqlx::query("INSERT OR IGNORE INTO crash VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(cell)
            .bind(seq as i64)
            .bind(i64::from(guest))
            .bind(words::of_crash(crash.kind))
            .bind(signature)
            .bind(title)
            .bind(blamed)
            .execute(&mut self.db)
            .await
            .map_err(failed)
            .map(drop)
    }

    async fn cell_done(
        &mut self,
        reading: &mut Reading,
        id: &CellId,
        stage: StageResult,
        cached: bool,
        rows: &mut Vec<AttemptRow>,
    ) -> Result<(), StoreError> {
        let cell = self.cell(reading, id).await?;
        // An unreadable result costs its flakes; the log has the rest.
        let result = reading.dir.cell(id).ok().flatten();
        let key = result.as_ref().map(|r| r.key.0.clone().into_bytes());
        let failed = self.failed("write");
        let mut first = false;
        if let Some(key) = key.as_ref().filter(|k| !k.is_empty()) {
            first = sqlx::query("SELECT 1 FROM cell WHERE key = ? AND id <> ? AND cached <> 1")
                .bind(key)
                .bind(cell)
                .fetch_optional(&mut self.db)
                .await
                .map_err(&failed)?
                .is_none();
        }
        // 2: came from the cache, and its attempts stand here because nobody else has them.
        let adopted = cached && first && result.is_some();
        sqlx::query("UPDATE cell SET stage = ?, cached = ?, key = ? WHERE id = ?")
            .bind(words::of_stage(stage))
            .bind(if adopted { 2 } else { i64::from(cached) })
            .bind(key)
            .bind(cell)
            .execute(&mut self.db)
            .await
            .map_err(failed)?;
        let Some(result) = result else { return Ok(()) };
        // What the log said so far is in the result too, and there it is whole.
        reading.counts.remove(&cell);
        let mut counts = [0; 3];
        for attempt in result.attempts.iter().filter(|a| a.counts()) {
            counts[slot(attempt.outcome)] += 1;
        }
        let sql = "UPDATE cell SET good = ?, bad = ?, silent = ? WHERE id = ?";
        self.count(sql, cell, counts).await?;
        if adopted {
            // What this run's verdict asked for beside it stands in this run's log.
            let theirs = result
                .attempts
                .iter()
                .filter(|a| a.purpose != Purpose::Adaptive);
            for (n, attempt) in theirs.enumerate() {
                rows.push(self.row(cell, n as u64, attempt).await?);
            }
            for guest in &result.guests {
                if let Some(crash) = &guest.crash {
                    let seq = u64::from(guest.number);
                    self.crash(cell, seq, guest.number, crash).await?;
                }
            }
        }
        if !cached || adopted {
            self.flakes(cell, &result).await?;
        }
        Ok(())
    }
}

/// Where an outcome is counted.
fn slot(outcome: Outcome) -> usize {
    match outcome.sense() {
        Sense::Good => 0,
        Sense::Bad => 1,
        Sense::Silent => 2,
    }
}
