//! What a person sees while a run is under way: bars on a terminal, lines elsewhere.
//!
//! Both are made from the same events and the same sentences; this consumes events and decides
//! nothing. It writes to standard error, so that standard output has the verdict alone.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::mpsc;

use crate::host::text;
use crate::model::outcome::Sense;
use crate::model::{CameUp, CellId, Event, StageResult};

/// What is known of a cell while it runs.
#[derive(Debug, Clone, Default)]
struct CellState {
    total: u64,
    done: u64,
    bad: u64,
    crashes: u64,
}

/// The pure half: from events to sentences.
#[derive(Debug, Default)]
pub struct Narrator {
    cells: BTreeMap<CellId, CellState>,
    cells_total: usize,
    cells_done: usize,
}

impl Narrator {
    /// For a run of so many cells. A run that goes on has told of its start long ago.
    pub fn new(cells_total: usize) -> Self {
        Self {
            cells_total,
            ..Self::default()
        }
    }

    /// The line that an event is worth, if it is worth one.
    pub fn line(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::RunStarted { run, matrix, cells } => {
                self.cells_total = cells.len();
                Some(format!("run {run}: matrix {matrix}, {} cells", cells.len()))
            }
            Event::JobFinished {
                job,
                cached,
                result,
                detail,
                took,
            } => {
                if job.starts_with("cell ") {
                    return None;
                }
                let how = match (result, cached) {
                    (StageResult::Complete, true) => "in the cache".to_owned(),
                    (StageResult::Complete, false) => format!("done in {}", seconds(*took)),
                    (other, _) => format!(
                        "{other}: {}",
                        short(detail.as_deref().unwrap_or("no detail"), 300)
                    ),
                };
                Some(format!("{job}: {how}"))
            }
            Event::GuestReady {
                cell,
                guest,
                kernel,
                boot,
                came_up,
            } => Some(format!(
                "{cell}: guest {guest} {} after {} ({})",
                match came_up {
                    CameUp::Booted => "ready",
                    CameUp::Restored { .. } => "restored",
                },
                seconds(*boot),
                short(kernel, 80)
            )),
            Event::SuiteListed { cell, attempts } => {
                self.cells.entry(cell.clone()).or_default().total = *attempts;
                None
            }
            Event::AttemptDone { cell, attempt } => {
                let state = self.cells.entry(cell.clone()).or_default();
                state.done += 1;
                if attempt.outcome.sense() != Sense::Bad {
                    return None;
                }
                state.bad += 1;
                let reason = attempt.reason.as_deref().unwrap_or("");
                Some(format!(
                    "{cell}: {} {}{}{}",
                    short(&attempt.case.to_string(), 100),
                    attempt.outcome,
                    if reason.is_empty() { "" } else { ": " },
                    short(reason, 120)
                ))
            }
            Event::GuestCrashed { cell, guest, crash } => {
                self.cells.entry(cell.clone()).or_default().crashes += 1;
                Some(format!(
                    "{cell}: guest {guest} died: {}{}",
                    short(&crash.title, 120),
                    crash
                        .blamed
                        .as_ref()
                        .map(|c| format!(", while {} ran", short(&c.to_string(), 100)))
                        .unwrap_or_default()
                ))
            }
            Event::GuestDoubted {
                cell,
                guest,
                why,
                attempts,
            } => {
                let state = self.cells.entry(cell.clone()).or_default();
                state.done = state.done.saturating_sub(attempts.len() as u64);
                Some(format!(
                    "{cell}: guest {guest} is damaged ({}): {} attempts do not count and are made again",
                    short(why, 200),
                    attempts.len()
                ))
            }
            Event::CellFinished {
                cell,
                stage,
                cached,
            } => {
                self.cells_done += 1;
                let state = self.cells.entry(cell.clone()).or_default();
                let at = format!("[{}/{}] {cell}:", self.cells_done, self.cells_total);
                if *cached {
                    return Some(format!("{at} {stage}, from the cache"));
                }
                let lost = match state.crashes {
                    0 => String::new(),
                    n => format!(", guests lost: {n}"),
                };
                Some(format!(
                    "{at} {stage}, {} attempts, {} bad{lost}",
                    state.done, state.bad
                ))
            }
            Event::Notice { port, text } => Some(match port {
                Some(port) => format!("{port}: {}", short(text, 300)),
                None => short(text, 300),
            }),
            Event::RunFinished {
                interrupted: true, ..
            } => Some("interrupted: everything found so far is kept".to_owned()),
            Event::RunFinished { .. }
            | Event::JobQueued { .. }
            | Event::JobStarted { .. }
            | Event::JobProgress { .. }
            | Event::GuestStarted { .. }
            | Event::GuestEnded { .. }
            | Event::CaseStarted { .. } => None,
        }
    }
}

/// A stranger's text, fit to be shown.
fn short(text: &str, max_chars: usize) -> String {
    text::line(text.as_bytes(), max_chars)
}

/// Seconds with one digit, minutes where there are many.
fn seconds(d: Duration) -> String {
    if d < Duration::from_secs(120) {
        format!("{:.1} s", d.as_secs_f64())
    } else {
        format!("{}m {:02}s", d.as_secs() / 60, d.as_secs() % 60)
    }
}

/// Bars, on a terminal.
struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    jobs: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn new(cells: usize, estimate: Option<Duration>) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let overall = all.add(ProgressBar::new(cells as u64));
        let left = estimate.map_or(String::new(), |e| {
            format!(", about {} by earlier runs", seconds(e))
        });
        overall.set_style(style("{bar:24} {pos}/{len} cells, {elapsed}{msg}"));
        overall.set_message(left);
        overall.enable_steady_tick(Duration::from_secs(1));
        Self {
            all,
            overall,
            jobs: BTreeMap::new(),
        }
    }

    fn job(&mut self, name: &str) -> &ProgressBar {
        let (all, overall) = (&self.all, &self.overall);
        self.jobs.entry(name.to_owned()).or_insert_with(|| {
            let bar = all.insert_before(overall, ProgressBar::no_length());
            bar.set_style(style("{spinner} {prefix} {msg}"));
            bar.set_prefix(name.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        })
    }

    fn on(&mut self, event: &Event, narrator: &Narrator) {
        match event {
            Event::JobStarted { job } => self.job(job).set_message("starting"),
            Event::JobProgress { job, doing, done } => {
                let count = done.map_or(String::new(), |(n, of)| format!(" {n}/{of}"));
                self.job(job)
                    .set_message(format!("{}{count}", short(doing, 60)));
            }
            Event::JobFinished { job, .. } => {
                if let Some(bar) = self.jobs.remove(job) {
                    bar.finish_and_clear();
                    self.all.remove(&bar);
                }
            }
            Event::GuestStarted { cell, guest, .. } => {
                self.job(&format!("cell {cell}"))
                    .set_message(format!("guest {guest} boots"));
            }
            Event::GuestReady { cell, guest, .. } => {
                self.job(&format!("cell {cell}"))
                    .set_message(format!("guest {guest} takes the tests"));
            }
            Event::CaseStarted { cell, case } => {
                let state = narrator.cells.get(cell).cloned().unwrap_or_default();
                let bar = self.job(&format!("cell {cell}"));
                let left = time_left(bar.elapsed(), state.done, state.total);
                bar.set_message(format!(
                    "{}/{} {}{left} {}",
                    state.done,
                    state.total,
                    if state.bad > 0 {
                        format!("{} bad", state.bad)
                    } else {
                        "all well".to_owned()
                    },
                    short(&case.to_string(), 40)
                ));
            }
            Event::CellFinished { .. } => self.overall.inc(1),
            _ => {}
        }
    }
}

fn time_left(elapsed: Duration, done: u64, total: u64) -> String {
    if done < 3 || total <= done {
        return String::new();
    }
    let left = elapsed.mul_f64((total - done) as f64 / done as f64);
    format!(", {} left,", seconds(left))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Shows the events of a run of so many cells until the stream ends. `estimate` is how long earlier
/// runs of the same work took.
pub async fn show(
    mut events: mpsc::UnboundedReceiver<Arc<Event>>,
    cells: usize,
    estimate: Option<Duration>,
    quiet: bool,
) {
    let mut narrator = Narrator::new(cells);
    let mut bars = (std::io::stderr().is_terminal() && !quiet).then(|| Bars::new(cells, estimate));
    let began = Instant::now();
    while let Some(event) = events.recv().await {
        let line = narrator.line(&event);
        match &mut bars {
            Some(bars) => {
                if let Some(line) = line {
                    let _ = bars.all.println(line);
                }
                bars.on(&event, &narrator);
            }
            None if quiet => {}
            None => {
                if let Some(line) = line {
                    eprintln!("{:7.1}s {line}", began.elapsed().as_secs_f64());
                }
            }
        }
    }
    if let Some(bars) = bars {
        bars.overall.finish_and_clear();
        let _ = bars.all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attempt, CaseId, Crash, CrashKind, Outcome, RunId, Side};

    #[test]
    fn a_run_in_plain_lines() {
        let cell = CellId {
            suite: "portable".into(),
            port: "s390x".into(),
            variant: "stock".into(),
            side: Side::Candidate,
        };
        let attempt = |case: &str, outcome, reason: &str| Event::AttemptDone {
            cell: cell.clone(),
            attempt: Attempt {
                memory: None,
                case: CaseId::new("codec/t_pack", case),
                pass: 1,
                purpose: Default::default(),
                doubtful: None,
                guest: 1,
                outcome,
                reason: (!reason.is_empty()).then(|| reason.to_owned()),
                duration: None,
                output: None,
            },
        };
        let events = [
            Event::RunStarted {
                run: RunId("0199".into()),
                matrix: "quickstart".into(),
                cells: vec![cell.clone()],
            },
            Event::JobFinished {
                job: "image s390x".into(),
                cached: true,
                result: StageResult::Complete,
                detail: None,
                took: Duration::ZERO,
            },
            Event::GuestReady {
                cell: cell.clone(),
                guest: 1,
                kernel: "Linux 6.1 s390x\x1b[2J".into(),
                boot: Duration::from_millis(4210),
                came_up: CameUp::Booted,
            },
            attempt("be32", Outcome::Passed, ""),
            attempt("be64", Outcome::Failed, "1 != \x1b]0;pwn\x07 2"),
            Event::GuestCrashed {
                cell: cell.clone(),
                guest: 1,
                crash: Crash {
                    blamed: Some(CaseId::new("a", "b")),
                    ..Crash::new(CrashKind::Panic, "Kernel panic")
                },
            },
            Event::CellFinished {
                cell: cell.clone(),
                stage: StageResult::Complete,
                cached: false,
            },
        ];
        let mut resumed = Narrator::new(3);
        let last = resumed.line(events.last().unwrap()).unwrap();
        assert!(last.starts_with("[1/3] portable/s390x"), "{last}");
        let mut narrator = Narrator::new(1);
        let lines: Vec<String> = events.iter().filter_map(|e| narrator.line(e)).collect();
        assert!(lines.iter().all(|l| !l.contains('\x1b')));
        insta::assert_snapshot!(lines.join("\n"), @r"
        run 0199: matrix quickstart, 1 cells
        image s390x: in the cache
        portable/s390x/stock/candidate: guest 1 ready after 4.2 s (Linux 6.1 s390x)
        portable/s390x/stock/candidate: codec/t_pack:be64 failed: 1 !=  2
        portable/s390x/stock/candidate: guest 1 died: Kernel panic, while a:b ran
        [1/1] portable/s390x/stock/candidate: complete, 2 attempts, 1 bad, guests lost: 1
        ");
    }
}
