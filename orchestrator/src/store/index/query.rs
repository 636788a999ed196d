//! What is asked of the index. Every answer is bounded; lists go on from a cursor.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::model::outcome::Sense;
use crate::model::{
    CaseId, Crash, CrashKind, FindingKind, News, Outcome, PortName, Side, StageResult,
};
use crate::store::StoreError;

use super::{Index, words};

/// Attempts of one case that its rates are computed from: the newest.
const RATED: i64 = 5000;

/// Cells of a port that its health is computed from: the newest.
const LOOKED_AT: i64 = 500;

/// What identifies one and the same crash in several runs.
pub(super) fn signature(crash: &Crash) -> String {
    if crash.signature.is_empty() {
        // A log of an older version.
        crate::model::crash::signature(crash.kind, &crash.title)
    } else {
        crash.signature.clone()
    }
}

/// How far a run is, as its log tells.
///
/// ```text
/// running -> finished
///    ^  `--> interrupted --resume--.
///    `-----------------------------'
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// Its log has no end: it runs, or its process was killed.
    Running,
    /// It came to its verdict.
    Finished,
    /// It was ended early, in order.
    Interrupted,
}

impl RunPhase {
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Running => 0,
            Self::Finished => 1,
            Self::Interrupted => 2,
        }
    }

    fn of(number: i64) -> Self {
        match number {
            1 => Self::Finished,
            2 => Self::Interrupted,
            _ => Self::Running,
        }
    }

    /// The word shown to users.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RunRow {
    /// Its identity, which is also the cursor.
    pub run: String,
    /// The matrix's name.
    pub matrix: String,
    /// When it began.
    pub started: jiff::Timestamp,
    /// When it ended.
    pub ended: Option<jiff::Timestamp>,
    /// How far it is.
    pub phase: RunPhase,
    /// Number of findings.
    pub findings: u64,
    /// Cells of the run.
    pub cells: u64,
    /// Of them, those that are done.
    pub cells_done: u64,
}

/// One attempt in a case's history.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct HistoryRow {
    /// The run in which it was executed.
    pub run: String,
    /// When that run began.
    pub started: jiff::Timestamp,
    /// The suite.
    pub suite: String,
    /// The port.
    pub port: PortName,
    /// The kernel variant.
    pub variant: String,
    /// Baseline or candidate.
    pub side: Side,
    /// What was tested, where the run knew.
    pub revision: Option<String>,
    /// Which pass, from 1.
    pub pass: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// How long it took by the guest's clock, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Why. Untrusted text.
    pub reason: Option<String>,
    /// Where the next page begins: older than this.
    pub cursor: i64,
}

/// How a case does on one port, over its newest attempts.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RateRow {
    /// The suite.
    pub suite: String,
    /// The port.
    pub port: PortName,
    /// Attempts that said anything.
    pub attempts: u64,
    /// Of them, those that ended badly.
    pub bad: u64,
    /// Cells in which it was executed.
    pub cells: u64,
    /// Of them, those where it went both ways: same kernel, same program.
    pub mixed: u64,
    /// Mean time by the guest's clock, in milliseconds.
    pub mean_ms: Option<f64>,
}

/// A case that goes both ways within a cell.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FlakeRow {
    /// The case.
    pub case: CaseId,
    /// The suite.
    pub suite: String,
    /// Cells in which it went both ways.
    pub cells: u64,
    /// Bad attempts in them.
    pub bad: u64,
    /// All attempts in them that said anything.
    pub total: u64,
}

/// Crashes with one signature.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CrashGroup {
    /// What they have in common, as a number of this index: it names the group's page.
    pub id: i64,
    /// Panic or hang.
    pub kind: CrashKind,
    /// The signature.
    pub signature: String,
    /// The title of the newest. Untrusted text.
    pub title: String,
    /// How many.
    pub count: u64,
    /// Ports on which it was seen.
    pub ports: Vec<PortName>,
    /// The newest run that saw it.
    pub last_run: String,
}

/// One crash.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct CrashRow {
    /// The run.
    pub run: String,
    /// When that run began.
    pub started: jiff::Timestamp,
    /// The cell, as text.
    pub cell: String,
    /// Which guest of the cell.
    pub guest: u32,
    /// The crash's title. Untrusted text.
    pub title: String,
    /// The case that ran.
    pub blamed: Option<CaseId>,
}

/// How a port does.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PortRow {
    /// The port.
    pub port: PortName,
    /// The newest cells that ended there.
    pub cells: u64,
    /// Of them, those that came to their outcomes.
    pub complete: u64,
    /// Of them, those that the host or the emulator broke.
    pub host_faults: u64,
    /// Kernels that died or hung in them.
    pub crashes: u64,
    /// Mean time from the emulator's start to the guest's first word, in milliseconds.
    pub boot_ms: Option<f64>,
    /// Results other than `complete`, with their number.
    pub stages: Vec<(StageResult, u64)>,
}

/// A finding of some run.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct FindingRow {
    /// The run.
    pub run: String,
    /// What it says.
    pub kind: Option<FindingKind>,
    /// Against the baseline.
    pub news: Option<News>,
    /// The suite.
    pub suite: String,
    /// The sentence. Untrusted text is in it.
    pub sentence: String,
}

/// A case in a list.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct CaseRow {
    /// The case.
    pub case: CaseId,
}

/// Attempts of a run by sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct SideCount {
    /// Ended well.
    pub good: u64,
    /// Ended badly.
    pub bad: u64,
    /// Said nothing.
    pub silent: u64,
}

fn time(ms: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(ms).unwrap_or_default()
}

fn count(row: &SqliteRow, column: &str) -> u64 {
    row.get::<Option<i64>, _>(column)
        .and_then(|n| u64::try_from(n).ok())
        .unwrap_or(0)
}

/// Numbers of outcomes of one sense, for SQL: `0,3,4`.
fn of_sense(sense: Sense) -> String {
    let numbers = Outcome::ALL.iter().filter(|o| o.sense() == sense);
    let numbers: Vec<String> = numbers.map(|o| words::of_outcome(*o).to_string()).collect();
    numbers.join(",")
}

impl Index {
    fn failed(&self) -> impl Fn(sqlx::Error) -> StoreError + use<> {
        |e| StoreError::db("read", std::path::Path::new("index.sqlite"), e)
    }

    /// Runs, newest first, those before the run `before` where one is given.
    pub async fn runs(&self, before: Option<&str>, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.name, m.body AS matrix, r.started_ms, r.ended_ms, r.phase, r.findings,
               (SELECT count(*) FROM cell WHERE run = r.id) AS cells,
               (SELECT count(stage) FROM cell WHERE run = r.id) AS done
             FROM run r JOIN text m ON m.id = r.matrix
             WHERE r.name < ? ORDER BY r.name DESC LIMIT ?",
        )
        .bind(before.unwrap_or("~"))
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| RunRow {
                run: r.get("name"),
                matrix: r.get("matrix"),
                started: time(r.get("started_ms")),
                ended: r.get::<Option<i64>, _>("ended_ms").map(time),
                phase: RunPhase::of(r.get("phase")),
                findings: count(r, "findings"),
                cells: count(r, "cells"),
                cells_done: count(r, "done"),
            })
            .collect())
    }

    async fn case_number(&self, case: &CaseId) -> Result<Option<i64>, StoreError> {
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
        before: Option<i64>,
        limit: u32,
    ) -> Result<Option<Vec<HistoryRow>>, StoreError> {
        let Some(number) = self.case_number(case).await? else {
            return Ok(None);
        };
        let rows = sqlx::query(
            "SELECT r.name, r.started_ms, s.body AS suite, p.body AS port, v.body AS variant,
               c.side, rev.body AS revision, a.cell, a.pass, a.outcome, a.duration_ms,
               w.body AS reason
             FROM attempt a JOIN cell c ON c.id = a.cell JOIN run r ON r.id = c.run
               JOIN place l ON l.id = c.place JOIN text s ON s.id = l.suite
               JOIN text p ON p.id = l.port JOIN text v ON v.id = l.variant
               LEFT JOIN text rev ON rev.id = c.revision LEFT JOIN text w ON w.id = a.reason
             WHERE a.tcase = ? AND a.cell < ? AND (? IS NULL OR p.body = ?)
             ORDER BY a.cell DESC, a.seq LIMIT ?",
        )
        .bind(number)
        .bind(before.unwrap_or(i64::MAX))
        .bind(port)
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
                        cursor: r.get("cell"),
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
            "SELECT s.body AS suite, p.body AS port, sum(n) AS attempts, sum(bad) AS bad,
               count(*) AS cells, sum(bad > 0 AND bad < n) AS mixed, avg(ms) AS mean
             FROM (SELECT a.cell, sum(a.outcome IN ({good},{bad})) AS n,
                     sum(a.outcome IN ({bad})) AS bad, avg(a.duration_ms) AS ms
                   FROM (SELECT * FROM attempt WHERE tcase = ? ORDER BY cell DESC LIMIT ?) a
                   GROUP BY a.cell) x
               JOIN cell c ON c.id = x.cell JOIN place l ON l.id = c.place
               JOIN text s ON s.id = l.suite JOIN text p ON p.id = l.port
             GROUP BY s.body, p.body ORDER BY s.body, p.body"
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

    /// Crashes by signature, the most frequent first.
    pub async fn crash_groups(&self, limit: u32) -> Result<Vec<CrashGroup>, StoreError> {
        let rows = sqlx::query(
            "SELECT x.signature, x.kind, x.n, t.body,
               (SELECT w.body FROM crash k JOIN text w ON w.id = k.title
                  WHERE k.signature = x.signature ORDER BY k.cell DESC LIMIT 1) AS title,
               (SELECT r.name FROM cell c JOIN run r ON r.id = c.run WHERE c.id = x.last) AS run,
               (SELECT group_concat(DISTINCT p.body) FROM crash k JOIN cell c ON c.id = k.cell
                  JOIN place l ON l.id = c.place JOIN text p ON p.id = l.port
                  WHERE k.signature = x.signature) AS ports
             FROM (SELECT signature, min(kind) AS kind, count(*) AS n, max(cell) AS last
                   FROM crash GROUP BY signature ORDER BY n DESC LIMIT ?) x
               JOIN text t ON t.id = x.signature
             ORDER BY x.n DESC, x.signature",
        )
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| CrashGroup {
                id: r.get("signature"),
                kind: words::crash(r.get("kind")),
                signature: r.get("body"),
                title: r.get::<Option<String>, _>("title").unwrap_or_default(),
                count: count(r, "n"),
                ports: r
                    .get::<Option<String>, _>("ports")
                    .iter()
                    .flat_map(|p| p.split(',').map(PortName::from))
                    .collect(),
                last_run: r.get::<Option<String>, _>("run").unwrap_or_default(),
            })
            .collect())
    }

    /// The crashes of a group, newest first.
    pub async fn crashes(&self, group: i64, limit: u32) -> Result<Vec<CrashRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT r.name, r.started_ms, s.body AS suite, p.body AS port, v.body AS variant,
               c.side, k.guest, t.body AS title, bp.body AS program, bn.body AS bname
             FROM crash k JOIN cell c ON c.id = k.cell JOIN run r ON r.id = c.run
               JOIN place l ON l.id = c.place JOIN text s ON s.id = l.suite
               JOIN text p ON p.id = l.port JOIN text v ON v.id = l.variant
               JOIN text t ON t.id = k.title LEFT JOIN tcase b ON b.id = k.blamed
               LEFT JOIN text bp ON bp.id = b.program LEFT JOIN text bn ON bn.id = b.name
             WHERE k.signature = ? ORDER BY k.cell DESC, k.seq LIMIT ?",
        )
        .bind(group)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| {
                let side = words::side(r.get("side"));
                let part = |c: &str| r.get::<String, _>(c);
                let program: Option<String> = r.get("program");
                let name: Option<String> = r.get("bname");
                CrashRow {
                    run: r.get("name"),
                    started: time(r.get("started_ms")),
                    cell: format!(
                        "{}/{}/{}/{side}",
                        part("suite"),
                        part("port"),
                        part("variant")
                    ),
                    guest: u32::try_from(r.get::<i64, _>("guest")).unwrap_or(0),
                    title: r.get("title"),
                    blamed: program.zip(name).map(|(p, n)| CaseId::new(p, n)),
                }
            })
            .collect())
    }

    /// How every port that was ever used does.
    pub async fn ports(&self) -> Result<Vec<PortRow>, StoreError> {
        let names = sqlx::query(
            "SELECT DISTINCT l.port, t.body FROM place l JOIN text t ON t.id = l.port ORDER BY t.body",
        )
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        let mut ports = Vec::new();
        for row in names {
            ports.push(self.port(row.get(0), row.get(1)).await?);
        }
        Ok(ports)
    }

    async fn port(&self, number: i64, name: String) -> Result<PortRow, StoreError> {
        // The newest cells of each of the port's places, then the newest of those.
        let recent =
            "WITH recent AS (SELECT c.id, c.stage FROM place l JOIN cell c ON c.place = l.id
             WHERE l.port = ?1 AND c.stage IS NOT NULL AND c.cached = 0
             ORDER BY c.id DESC LIMIT ?2)";
        let stages = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{recent} SELECT stage, count(*) AS n FROM recent GROUP BY stage ORDER BY n DESC"
        )))
        .bind(number)
        .bind(LOOKED_AT)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        let facts = sqlx::query(sqlx::AssertSqlSafe(format!(
            "{recent} SELECT (SELECT count(*) FROM crash WHERE cell IN (SELECT id FROM recent)) AS crashes,
               (SELECT avg(boot_ms) FROM guest WHERE cell IN (SELECT id FROM recent)) AS boot"
        )))
        .bind(number)
        .bind(LOOKED_AT)
        .fetch_one(&self.readers)
        .await
        .map_err(self.failed())?;
        let mut port = PortRow {
            port: PortName(name),
            cells: 0,
            complete: 0,
            host_faults: 0,
            crashes: count(&facts, "crashes"),
            boot_ms: facts.get("boot"),
            stages: Vec::new(),
        };
        for row in &stages {
            let n = count(row, "n");
            port.cells += n;
            match words::stage(row.get("stage")) {
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
        Ok(port)
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
        let rows = sqlx::query(
            "SELECT r.name, f.kind, f.news, s.body AS suite, t.body AS sentence
             FROM finding f JOIN run r ON r.id = f.run JOIN text s ON s.id = f.suite
               JOIN text t ON t.id = f.sentence
             WHERE f.tcase = ? ORDER BY f.run DESC LIMIT ?",
        )
        .bind(number)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| FindingRow {
                run: r.get("name"),
                kind: words::kind(r.get("kind")),
                news: words::news(r.get("news")),
                suite: r.get("suite"),
                sentence: r.get("sentence"),
            })
            .collect())
    }

    /// Cases whose program begins with a text, in order, after a case where one is given.
    pub async fn cases(&self, prefix: &str, limit: u32) -> Result<Vec<CaseRow>, StoreError> {
        let rows = sqlx::query(
            "SELECT p.body AS program, n.body AS name
             FROM text p JOIN tcase t ON t.program = p.id JOIN text n ON n.id = t.name
             WHERE p.body >= ?1 AND p.body < ?1 || char(1114111)
             ORDER BY p.body, n.body LIMIT ?2",
        )
        .bind(prefix)
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(self.failed())?;
        Ok(rows
            .iter()
            .map(|r| CaseRow {
                case: CaseId::new(r.get::<String, _>("program"), r.get::<String, _>("name")),
            })
            .collect())
    }
}
