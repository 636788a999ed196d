//! What is done in one live guest: tests in, cases listed, what is owed run, results out, and a look
//! at the guest after every batch.
//!
//! A guest that is damaged is left at once: what follows in it would be worth nothing.

use std::time::Duration;

use crate::guest::health::{self, Health};
use crate::guest::{Guest, GuestError, Output};
use crate::host::text;
use crate::model::outcome::{Outcome, Sense};
use crate::model::{CaseId, Crash, CrashKind, Damage, Event, Purpose};
use crate::suite::kyua_db::{self, DbLimits, DbResult};
use crate::suite::{Invocation, PushFile, Runner, SuiteEvent, parse_list};

use super::cell::{Cell, CellJob};
use super::ledger::{Batch, Blame, CaseEnd, Ledger, Next};

/// The most that a suite's list of cases may take.
const LIST_BYTES: usize = 64 << 20;
/// How long listing may take.
const LIST_TIME: Duration = Duration::from_secs(180);
/// How long a look at the guest may take.
const LOOK_TIME: Duration = Duration::from_secs(60);
/// Silence between two cases: a program that lists its cases, a runner that sorts its results.
const PAUSE: Duration = Duration::from_secs(400);
/// Time for a runner to end a case whose limit is over, and to say so.
const GRACE: Duration = Duration::from_secs(60);
/// The directory in the guest for lists and results.
const WORK_DIR: &str = "/var/tmp/fallout";

/// Why a session ended.
pub(super) enum Stop {
    /// Nothing is owed any more, or nothing that this guest may do.
    Done,
    /// The guest lives and is not to be trusted any more.
    Damaged(Damage),
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

/// The case that was under way when a guest was lost, with its batch and its output so far.
type Open<'b> = (&'b Batch, CaseId, Option<String>);

pub(super) struct Session<'a> {
    cell: &'a Cell,
    job: &'a CellJob,
    guest: &'a mut Guest,
    number: u32,
    /// What the guest looked like before any case ran.
    sound: Health,
    batches: u32,
}

impl<'a> Session<'a> {
    pub fn new(cell: &'a Cell, guest: &'a mut Guest, number: u32) -> Self {
        Self {
            cell,
            job: &cell.job,
            guest,
            number,
            sound: Health::default(),
            batches: 0,
        }
    }

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
        // Two blocks of zeros are an archive of nothing: the image has the cases.
        if size > 1024
            && let Err(error) = self.guest.put_tar_from("/", size, tests).await
        {
            return Err(self.lost(error, None));
        }
        let commands = invocation(self.job, self.guest.unprivileged_user());
        let mut commands = commands.map_err(Stop::Refused)?;
        if self.guest.has_exchange() {
            commands = commands.copied();
        }
        let kyua = self.job.runner == Runner::Kyua;
        let wants_list = self.cell.ledger().wants_list(kyua);
        if wants_list {
            self.list(&commands.list()).await?;
        }
        self.sound = self.look().await?;
        // What a runner is silent about twice is missed, so this ends.
        loop {
            let next = self.cell.ledger().next(self.number);
            match next {
                Next::Batch(batch) => self.batch(&batch, &commands).await?,
                Next::Fresh | Next::Nothing => return Ok(()),
            }
        }
    }

    async fn batch(&mut self, batch: &Batch, commands: &Invocation) -> Result<(), Stop> {
        self.batches += 1;
        let label = format!("g{}-b{}", self.number, self.batches);
        let picked = {
            let ledger = self.cell.ledger();
            commands.run_in_order(&label, &batch.cases, |case| ledger.place(case))
        };
        for note in picked.notes {
            self.cell.notice(note);
        }
        let mut open = None;
        let memory = self.cell.ledger().memory(batch.purpose, batch.pass);
        let first = memory.map_or(String::new(), |byte| {
            format!("{}; ", self.guest.memory_command(byte))
        });
        for part in picked.batches {
            self.push(&part.files).await?;
            let command = format!("{first}{}", part.command);
            open = self.run_part(batch, commands, &command).await?;
            if let Some(db) = &part.results_db {
                self.collect(batch, db).await?;
            }
            if let Some(copy) = &part.results_copy {
                self.cross_check(batch, copy).await?;
            }
            if open.is_some() {
                break;
            }
        }
        let silent = "the runner ended without a result for it";
        let ended =
            |ledger: &mut Ledger| ledger.batch_ended(batch, self.number, open.as_ref(), silent);
        let missed = ended(&mut self.cell.ledger());
        self.cell.show(missed);
        self.check(batch, open.as_ref()).await
    }

    /// The command's output, up to a bound, and its status.
    async fn ask(
        &mut self,
        command: &str,
        limit: Duration,
        max_bytes: usize,
    ) -> Result<(Vec<u8>, i32), Stop> {
        let mut out = Vec::new();
        let limit = limit * self.job.port.patience();
        let end = match self.guest.run(command, limit, limit).await {
            Err(error) => Err(error),
            Ok(mut stream) => loop {
                match stream.next().await {
                    Ok(Output::Chunk(bytes)) if out.len() + bytes.len() <= max_bytes => {
                        out.extend_from_slice(&bytes);
                    }
                    Ok(Output::Chunk(_)) => {}
                    Ok(Output::End(status)) => break Ok(status),
                    Err(error) => break Err(error),
                }
            },
        };
        let status = end.map_err(|error| self.lost(error, None))?;
        Ok((out, status))
    }

    /// A look at how the guest is.
    async fn look(&mut self) -> Result<Health, Stop> {
        let command = self.guest.health_command();
        let (out, _) = self.ask(command, LOOK_TIME, health::MAX_BYTES).await?;
        Ok(self.guest.read_health(&out))
    }

    /// Looks whether the guest is still what it was before the batch.
    async fn check(&mut self, batch: &Batch, open: Option<&CaseId>) -> Result<(), Stop> {
        let now = self.look().await?;
        // A guest that never said how it is cannot be compared.
        let damage = (!self.sound.is_empty()).then(|| self.sound.damage(&now));
        let Some(what) = damage.flatten() else {
            return Ok(());
        };
        let blame = self.cell.ledger().damaged(batch, self.number, open, &what);
        let culprit = match blame {
            Blame::Culprit(case) => {
                self.cell.notice(format!(
                    "{}: guest {} is damaged after {}: {what}",
                    self.job.id,
                    self.number,
                    text::line(case.to_string().as_bytes(), 120)
                ));
                Some(case)
            }
            Blame::Doubt(attempts) => {
                self.cell.bus.emit(Event::GuestDoubted {
                    cell: self.job.id.clone(),
                    guest: self.number,
                    why: what.clone(),
                    attempts,
                });
                None
            }
        };
        Err(Stop::Damaged(Damage { what, culprit }))
    }

    async fn list(&mut self, command: &str) -> Result<(), Stop> {
        let (listing, status) = self.ask(command, LIST_TIME, LIST_BYTES).await?;
        let list = parse_list(&listing);
        for note in list.notes.iter().take(5) {
            self.cell.notice(format!("{}: list: {note}", self.job.id));
        }
        if list.cases.is_empty() {
            return Err(Stop::NoCases(format!(
                "no cases in {} (the runner's list ended with status {status}): {}",
                self.job.cases_root,
                text::tail(&listing, 5, 200).join("; ")
            )));
        }
        let total = {
            let mut ledger = self.cell.ledger();
            ledger.set_cases(list.cases);
            ledger.set_limits(list.limits);
            ledger.total()
        };
        if total > 0 {
            self.cell.bus.emit(Event::SuiteListed {
                cell: self.job.id.clone(),
                attempts: total,
            });
            self.cell.wish(1);
        }
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

    /// Runs one command; gives the case that was open where the runner ended without its result.
    async fn run_part(
        &mut self,
        batch: &Batch,
        commands: &Invocation,
        command: &str,
    ) -> Result<Option<CaseId>, Stop> {
        let mut parser = self.job.runner.parser();
        let total = self.job.timeout;
        let patience = self.job.port.patience();
        let slow = |d: Duration| d.mul_f64(self.job.slowness) * patience;
        let idle = slow(PAUSE);
        let (cell, number) = (self.cell, self.number);
        let mut received: u64 = 0;
        let mut events = Vec::new();
        let error = {
            let mut stream = match self.guest.run(command, idle, total).await {
                Ok(stream) => stream,
                Err(error) => return Err(self.lost(error, None)),
            };
            loop {
                match stream.next().await {
                    Ok(Output::Chunk(bytes)) => {
                        received += bytes.len() as u64;
                        parser.feed_into(&bytes, &mut events);
                        // A case is silent for as long as it may run; Kyua says nothing meanwhile.
                        match events.iter().rev().find_map(under_way) {
                            Some(Some(case)) => {
                                let limit = commands.case_limit(cell.ledger().limit(case));
                                stream
                                    .set_idle(limit.map_or(total, |l| l * patience + slow(GRACE)));
                            }
                            Some(None) => stream.set_idle(idle),
                            None => {}
                        }
                        enter_all(cell, batch, number, &mut events);
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
        enter_all(cell, batch, number, &mut events);
        let open = parser.take_open();
        match error {
            None => Ok(open.map(|(case, _)| case)),
            Some(error) => {
                let open = open.map(|(case, output)| (batch, case, output));
                Err(self.lost(error, open))
            }
        }
    }

    /// A guest that is of no use any more: blames the open case where the guest died of it.
    fn lost(&mut self, error: GuestError, open: Option<Open<'_>>) -> Stop {
        let mut crash = match error {
            GuestError::Crashed(_) | GuestError::Silent { .. } => match error.crash() {
                Some(crash) => crash,
                None => return Stop::Host(error.to_string()),
            },
            GuestError::ShutDown { .. } | GuestError::AgentLost { .. } => Crash {
                excerpt: self.guest.console().last_lines(),
                ..Crash::new(CrashKind::Gone, error.to_string())
            },
            GuestError::EmulatorExited { .. }
            | GuestError::Standstill { .. }
            | GuestError::EmulatorRefused { .. }
            | GuestError::EmulatorMissing { .. } => return Stop::EmulatorExited(error.to_string()),
            other => return Stop::Host(other.to_string()),
        };
        let mut ledger = self.cell.ledger();
        match &open {
            Some((_, case, _)) => crash.blamed = Some(case.clone()),
            // It died between two cases, or the runner had said nothing yet.
            None => crash.candidates = ledger.last_in(self.number),
        }
        // The crash goes first: an attempt that is in the log has its explanation there too.
        self.cell.bus.emit(Event::GuestCrashed {
            cell: self.job.id.clone(),
            guest: self.number,
            crash: crash.clone(),
        });
        if let Some((batch, case, output)) = open {
            if matches!(batch.purpose, Purpose::Pass | Purpose::Repeat) {
                ledger.suspect(&case);
            }
            let end = CaseEnd {
                case,
                outcome: crash.kind.outcome(),
                reason: Some(crash.title.clone()),
                duration: None,
                output,
            };
            let attempt = ledger.enter_death(batch, self.number, end);
            self.cell.show(attempt);
        }
        Stop::Died(crash)
    }

    /// Fetches Kyua's results database: the cases' own output, and a check of what was streamed.
    async fn collect(&mut self, batch: &Batch, db: &str) -> Result<(), Stop> {
        let most = DbLimits::default()
            .file_bytes
            .min(self.job.limits.channel_bytes);
        let bytes = match self.guest.get(db, most).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                self.cell.notice(format!(
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
            Err(error) => self
                .cell
                .notice(format!("{}: results database: {error}", self.job.id)),
            Ok(results) => {
                for result in &results {
                    self.compare(batch, result);
                }
            }
        }
        Ok(())
    }

    /// Fetches the runner's own copy of its results: what came over the line must be the same.
    async fn cross_check(&mut self, batch: &Batch, copy: &str) -> Result<(), Stop> {
        let most = self.job.limits.channel_bytes;
        let bytes = match self.guest.get(copy, most).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let text = format!("{}: the runner left no copy of its results", self.job.id);
                self.cell.notice(text);
                return Ok(());
            }
            Err(error) => return Err(self.lost(error, None)),
        };
        let mut parser = self.job.runner.parser();
        let mut events = Vec::new();
        parser.feed_into(&bytes, &mut events);
        events.extend(parser.finish());
        for event in events {
            let SuiteEvent::CaseEnded { case, outcome, .. } = event else {
                continue;
            };
            let streamed = self.streamed(batch, &case);
            if streamed != Some(outcome) {
                let streamed = streamed.map_or("nothing".to_owned(), |o| o.to_string());
                self.cell.notice(format!(
                    "{}: {} streamed as {streamed}, in the copy as {outcome}",
                    self.job.id,
                    text::line(case.to_string().as_bytes(), 120),
                ));
            }
        }
        Ok(())
    }

    /// What was streamed of a case in this batch.
    fn streamed(&self, batch: &Batch, case: &CaseId) -> Option<Outcome> {
        let ledger = self.cell.ledger();
        let mut attempts = ledger.attempts().iter().rev();
        let streamed = attempts.find(|a| {
            (a.purpose, a.pass, a.guest) == (batch.purpose, batch.pass, self.number)
                && a.case == *case
        });
        streamed.map(|a| a.outcome)
    }

    /// One result of the database against what was streamed.
    fn compare(&self, batch: &Batch, result: &DbResult) {
        let streamed = self.streamed(batch, &result.case);
        let mut ledger = self.cell.ledger();
        if result.outcome.sense() == Sense::Bad
            && let Some(output) = result.output()
        {
            let output = end_of(output, self.job.limits.output_bytes);
            ledger.add_output(batch, self.number, &result.case, output);
        }
        drop(ledger);
        if let Some(streamed) = streamed.filter(|outcome| *outcome != result.outcome) {
            self.cell.notice(format!(
                "{}: {} streamed as {streamed}, in the database as {}",
                self.job.id,
                text::line(result.case.to_string().as_bytes(), 120),
                result.outcome
            ));
        }
    }
}

/// The commands for a cell's suite.
fn invocation(job: &CellJob, user: &str) -> Result<Invocation, String> {
    Invocation::new(
        job.runner,
        &job.cases_root,
        WORK_DIR,
        Some(user),
        job.slowness,
    )
    .map_err(|e| e.to_string())
}

/// What an event says of the case that is under way: one is, none is any more, or nothing (`None`).
fn under_way(event: &SuiteEvent) -> Option<Option<&CaseId>> {
    match event {
        SuiteEvent::CaseStarted { case, .. } => Some(Some(case)),
        SuiteEvent::CaseEnded { .. } | SuiteEvent::CaseLost { .. } => Some(None),
        _ => None,
    }
}

/// Enters what a stream said, and tells the watchers.
fn enter_all(cell: &Cell, batch: &Batch, number: u32, events: &mut Vec<SuiteEvent>) {
    for event in events.drain(..) {
        match event {
            SuiteEvent::CaseStarted { case, .. } => cell.bus.emit(Event::CaseStarted {
                cell: cell.job.id.clone(),
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
                    .map(|o| end_of(o, cell.job.limits.output_bytes));
                let end = CaseEnd {
                    case,
                    outcome,
                    reason,
                    duration,
                    output,
                };
                let attempt = cell.ledger().enter(batch, number, end);
                cell.show(attempt);
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
pub(super) fn pack(files: &[PushFile]) -> std::io::Result<Vec<u8>> {
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
