//! What is done in one live guest: tests in, cases listed, what is owed run, results out.

use std::time::Duration;

use crate::guest::{Guest, GuestError, Output};
use crate::host::text;
use crate::model::outcome::Sense;
use crate::model::{Attempt, CaseId, Crash, CrashKind, Event, Outcome};
use crate::suite::kyua_db::{self, DbLimits};
use crate::suite::{PushFile, SuiteEvent, parse_list};

use super::bus::Bus;
use super::cell::{CellJob, invocation, outcome_of};
use super::ledger::Ledger;

/// The most that a suite's list of cases may take.
const LIST_BYTES: usize = 64 << 20;
/// How long listing may take.
const LIST_TIME: Duration = Duration::from_secs(180);
/// A case's own limit is 300 s unless it says otherwise, and Kyua prints nothing meanwhile; a
/// guest that is silent for longer is not busy but gone.
const CASE_SILENCE: Duration = Duration::from_secs(400);
/// The directory in the guest for lists and results.
const WORK_DIR: &str = "/var/tmp/fallout";

/// Why a session ended.
pub(super) enum Stop {
    /// Nothing is owed any more.
    Done,
    /// The kernel died or hung; the blame is entered already.
    Died(Crash),
    /// The emulator ended without a word of the kernel.
    EmulatorExited(String),
    /// The host could not do its part.
    Host(String),
    /// The suite has no cases: it was built wrongly.
    NoCases(String),
    /// The matrix asks for something that cannot be put into a command.
    Refused(String),
    /// The user ended the run.
    Cancelled,
    /// The cell's time is over.
    TooLate,
}

pub(super) struct Session<'a> {
    pub job: &'a CellJob,
    pub bus: &'a Bus,
    pub ledger: &'a mut Ledger,
    pub guest: &'a mut Guest,
    pub number: u32,
}

impl Session<'_> {
    /// Runs until nothing is owed or the guest is of no use any more.
    pub async fn run(mut self) -> Stop {
        match self.work().await {
            Ok(()) => Stop::Done,
            Err(stop) => stop,
        }
    }

    async fn work(&mut self) -> Result<(), Stop> {
        let tests = tokio::fs::File::open(&self.job.tests)
            .await
            .map_err(|e| Stop::Host(format!("{}: {e}", self.job.tests.display())))?;
        let size = tests
            .metadata()
            .await
            .map_err(|e| Stop::Host(e.to_string()))?
            .len();
        if let Err(error) = self.guest.put_tar_from("/", size, tests).await {
            return Err(self.lost(error, None));
        }
        let commands = invocation(self.job).map_err(Stop::Refused)?;
        if !self.ledger.is_listed() {
            self.list(&commands.list()).await?;
        }
        // One session asks for each batch at most once more than it has passes: what a runner is
        // silent about twice is missed.
        while let Some(batch) = self.ledger.next_batch() {
            let label = format!("g{}-p{}", self.number, batch.pass);
            let picked = commands.run_cases(&label, &batch.cases);
            for note in picked.notes {
                self.notice(note);
            }
            for part in picked.batches {
                self.push(&part.files).await?;
                self.run_part(batch.pass, &part.command).await?;
                if let Some(db) = &part.results_db {
                    self.collect(batch.pass, db).await?;
                }
            }
            let missed = self
                .ledger
                .batch_ended(&batch, "the runner ended without a result for it");
            self.show(missed);
        }
        Ok(())
    }

    async fn list(&mut self, command: &str) -> Result<(), Stop> {
        let mut listing = Vec::new();
        let end = match self.guest.run(command, LIST_TIME, LIST_TIME).await {
            Err(error) => Err(error),
            Ok(mut stream) => loop {
                match stream.next().await {
                    Ok(Output::Chunk(bytes)) if listing.len() + bytes.len() <= LIST_BYTES => {
                        listing.extend_from_slice(&bytes);
                    }
                    Ok(Output::Chunk(_)) => {}
                    Ok(Output::End(status)) => break Ok(status),
                    Err(error) => break Err(error),
                }
            },
        };
        let status = end.map_err(|error| self.lost(error, None))?;
        let list = parse_list(&listing);
        for note in list.notes.iter().take(5) {
            self.notice(format!("{}: list: {note}", self.job.id));
        }
        if list.cases.is_empty() {
            return Err(Stop::NoCases(format!(
                "no cases in {} (the runner's list ended with status {status}): {}",
                self.job.cases_root,
                text::tail(&listing, 5, 200).join("; ")
            )));
        }
        self.ledger.set_cases(list.cases);
        self.bus.emit(Event::SuiteListed {
            cell: self.job.id.clone(),
            attempts: self.ledger.total(),
        });
        Ok(())
    }

    async fn push(&mut self, files: &[PushFile]) -> Result<(), Stop> {
        if files.is_empty() {
            return Ok(());
        }
        let tar = pack(files).map_err(|e| Stop::Host(e.to_string()))?;
        match self.guest.put_tar(WORK_DIR, &tar).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.lost(error, None)),
        }
    }

    async fn run_part(&mut self, pass: u32, command: &str) -> Result<(), Stop> {
        let mut parser = self.job.runner.parser();
        let idle = CASE_SILENCE.mul_f64(self.job.port.emulator.slowness.max(1.0));
        let total = self.job.timeout;
        let mut received: u64 = 0;
        let error = {
            let mut stream = match self.guest.run(command, idle, total).await {
                Ok(stream) => stream,
                Err(error) => return Err(self.lost(error, None)),
            };
            let mut events = Vec::new();
            loop {
                match stream.next().await {
                    Ok(Output::Chunk(bytes)) => {
                        received += bytes.len() as u64;
                        parser.feed_into(&bytes, &mut events);
                        enter_all(self.job, self.bus, self.ledger, pass, &mut events);
                        if received > self.job.limits.channel_bytes {
                            break Some(GuestError::AgentLost {
                                what: format!("it sent {received} bytes, more than is allowed"),
                            });
                        }
                    }
                    Ok(Output::End(_)) => break None,
                    Err(error) => break Some(error),
                }
            }
        };
        let mut events = parser.finish();
        enter_all(self.job, self.bus, self.ledger, pass, &mut events);
        match error {
            None => Ok(()),
            Some(error) => {
                let open = parser
                    .take_open()
                    .map(|(case, output)| (pass, case, output));
                Err(self.lost(error, open))
            }
        }
    }

    /// A guest that is of no use any more: blames the open case where the guest died of it.
    fn lost(&mut self, error: GuestError, open: Option<(u32, CaseId, Option<String>)>) -> Stop {
        let mut crash = match error {
            GuestError::Crashed(_) | GuestError::Silent { .. } => match error.crash() {
                Some(crash) => crash,
                None => return Stop::Host(error.to_string()),
            },
            GuestError::ShutDown { .. } | GuestError::AgentLost { .. } => Crash {
                excerpt: self.guest.console().last_lines(),
                ..Crash::new(CrashKind::Panic, error.to_string())
            },
            GuestError::EmulatorExited { .. }
            | GuestError::EmulatorRefused { .. }
            | GuestError::EmulatorMissing { .. } => return Stop::EmulatorExited(error.to_string()),
            other => return Stop::Host(other.to_string()),
        };
        if let Some((pass, case, output)) = open {
            crash.blamed = Some(case.clone());
            let outcome = outcome_of(&crash);
            let reason = Some(crash.title.clone());
            let attempt = self
                .ledger
                .enter(pass, &case, outcome, reason, None, output);
            self.show(attempt);
        }
        self.bus.emit(Event::GuestCrashed {
            cell: self.job.id.clone(),
            guest: self.number,
            crash: crash.clone(),
        });
        Stop::Died(crash)
    }

    /// Fetches Kyua's results database: the cases' own output, and a check of what was streamed.
    async fn collect(&mut self, pass: u32, db: &str) -> Result<(), Stop> {
        let most = DbLimits::default()
            .file_bytes
            .min(self.job.limits.channel_bytes);
        let bytes = match self.guest.get(db, most).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.notice(format!(
                    "{}: the runner left no results database",
                    self.job.id
                ));
                return Ok(());
            }
            Err(error) => return Err(self.lost(error, None)),
        };
        let file = tempfile::NamedTempFile::new_in(&self.job.dir)
            .and_then(|file| std::fs::write(file.path(), &bytes).map(|()| file))
            .map_err(|e| Stop::Host(format!("{}: {e}", self.job.dir.display())))?;
        match kyua_db::read(file.path(), DbLimits::default()).await {
            Err(error) => self.notice(format!("{}: results database: {error}", self.job.id)),
            Ok(results) => {
                for result in results {
                    let streamed = self
                        .ledger
                        .attempts()
                        .iter()
                        .rev()
                        .find(|a| a.pass == pass && a.case == result.case)
                        .map(|a| a.outcome);
                    if streamed.is_some_and(|outcome| outcome != result.outcome) {
                        self.notice(format!(
                            "{}: {} streamed as {}, in the database as {}",
                            self.job.id,
                            text::line(result.case.to_string().as_bytes(), 120),
                            streamed.unwrap_or(Outcome::Missed),
                            result.outcome
                        ));
                    }
                    if result.outcome.sense() == Sense::Bad
                        && let Some(output) = result.output()
                    {
                        let output = end_of(output, self.job.limits.output_bytes);
                        self.ledger.add_output(pass, &result.case, output);
                    }
                }
            }
        }
        Ok(())
    }

    fn show(&self, attempts: impl IntoIterator<Item = Attempt>) {
        for attempt in attempts {
            self.bus.emit(Event::AttemptDone {
                cell: self.job.id.clone(),
                attempt,
            });
        }
    }

    fn notice(&self, text: String) {
        self.bus.emit(Event::Notice {
            port: Some(self.job.id.port.clone()),
            text,
        });
    }
}

/// Enters what a stream said, and tells the watchers.
fn enter_all(
    job: &CellJob,
    bus: &Bus,
    ledger: &mut Ledger,
    pass: u32,
    events: &mut Vec<SuiteEvent>,
) {
    for event in events.drain(..) {
        match event {
            SuiteEvent::CaseStarted { case, .. } => bus.emit(Event::CaseStarted {
                cell: job.id.clone(),
                case,
            }),
            SuiteEvent::CaseEnded {
                case,
                outcome,
                reason,
                duration,
                output,
            } => {
                // A passing case's output is nobody's news, and there are thousands of them.
                let output = output
                    .filter(|_| outcome.sense() == Sense::Bad)
                    .map(|o| end_of(o, job.limits.output_bytes));
                let attempt = ledger.enter(pass, &case, outcome, reason, duration, output);
                if let Some(attempt) = attempt {
                    bus.emit(Event::AttemptDone {
                        cell: job.id.clone(),
                        attempt,
                    });
                }
            }
            SuiteEvent::CaseLost { .. }
            | SuiteEvent::Info { .. }
            | SuiteEvent::Count(_)
            | SuiteEvent::ProgramStarted { .. }
            | SuiteEvent::ProgramEnded { .. }
            | SuiteEvent::Output { .. }
            | SuiteEvent::Summary { .. }
            | SuiteEvent::Note(_) => {}
        }
    }
}

/// The last `max_bytes` of a text, cut at a character's border.
fn end_of(text: String, max_bytes: u64) -> String {
    let max = usize::try_from(max_bytes).unwrap_or(usize::MAX);
    if text.len() <= max {
        return text;
    }
    let mut from = text.len() - max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("[cut]\n{}", &text[from..])
}

/// Packs small files for the guest's work directory.
fn pack(files: &[PushFile]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(file.contents.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_cksum();
        tar.append_data(&mut header, &file.name, file.contents.as_slice())?;
    }
    tar.into_inner()
}
