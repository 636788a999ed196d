//! Tells people: reads the queue's feed, keeps what it asks to be told in the outbox, sends what is due.
//!
//! Level-triggered like everything here: each look goes on after the last step that the outbox knows.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use jiff::Timestamp;
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::cli::exit::Failure;
use crate::cli::hook::git_dir;
use crate::host::{history, mail, post};
use crate::model::telling::Letter;
use crate::model::{JobState, Side, StageResult};
use crate::report;
use crate::store::StoreError;
use crate::store::outbox::{Outbox, Waiting};
use crate::store::queue::{Job, Step};
use crate::store::runs::RunDir;
use crate::tell::{self, Happened, Words};
use crate::trigger::settings::Repository;

use super::Daemon;

/// How often it looks. Nobody waits for it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Steps of one look, and letters on their way together.
const STEPS: u32 = 100;
const TOGETHER: u32 = 8;

/// Where a series that somebody tries stands: no forge has such a commit.
pub const TRIED: &str = "refs/fallout/try/";

/// What is needed to tell.
pub struct Teller {
    daemon: Arc<Daemon>,
    outbox: Outbox,
    /// Or why there is none: a host without certificates can still run what is asked for.
    client: Result<reqwest::Client, String>,
    words: Words,
    domain: String,
}

impl Teller {
    /// Opens the outbox and reads the templates, before anything else begins: mistakes are told at once.
    pub async fn open(daemon: &Arc<Daemon>) -> Result<Self, Failure> {
        let path = daemon.context.dirs.state.join("outbox.sqlite");
        let newest = daemon.queue.newest_step().await?;
        let smtp = daemon.settings.mail.as_ref();
        let dir = smtp.and_then(|s| s.templates.as_deref());
        let domain = smtp.map(|s| mail::domain(&s.from)).transpose();
        Ok(Self {
            outbox: Outbox::open(path.as_std_path(), newest).await?,
            client: post::client(),
            words: words(dir)?,
            domain: domain
                .map_err(|why| Failure::usage(format!("mail.from: {why}")))?
                .unwrap_or_default(),
            daemon: daemon.clone(),
        })
    }

    /// Tells until the daemon stops. What was not sent then is sent by the next start.
    pub async fn work(self) {
        let this = Arc::new(self);
        let stop = this.daemon.stop.clone();
        loop {
            if let Err(why) = this.look().await {
                warn!(%why, "nobody can be told for now; it is tried again");
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => break,
            }
        }
    }

    async fn look(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let after = self.outbox.seen().await?;
            let steps = self.daemon.queue.steps(after, STEPS).await?;
            if steps.is_empty() {
                break;
            }
            for step in &steps {
                self.take_in(step).await?;
            }
        }
        self.send().await
    }

    /// One step, into the outbox.
    async fn take_in(&self, step: &Step) -> Result<(), StoreError> {
        let now = Timestamp::now();
        let job = self.daemon.queue.get(step.job).await?;
        let repository = job.as_ref().and_then(|j| {
            let name = &j.change.repository;
            self.daemon.settings.repository(name)
        });
        let (Some(job), Some(repository)) = (job, repository) else {
            return self.outbox.take_in(step.seq, &[], "", &[], now).await;
        };
        let told = repository.status.is_some()
            || repository.mail.is_some()
            || !repository.hooks.is_empty();
        if !told {
            return self.outbox.take_in(step.seq, &[], "", &[], now).await;
        }
        let what = self.happened(step, job, repository).await;
        let place = tell::place(&what);
        let tried = what.change.reference.starts_with(TRIED);
        let mut letters = tell::hooks(&what, &repository.hooks);
        if repository.status.is_some() && !tried {
            letters.extend(tell::status(&what));
        }
        let mut threads = Vec::new();
        // Nobody's commit yet: a list hears of it when it is in.
        if let Some(to) = repository.mail.as_ref().filter(|_| !tried) {
            let known = self.outbox.threads(&place).await?;
            let write = match what.search {
                Some(_) => tell::cause,
                None => tell::mails,
            };
            let (mails, changed) = write(&what, to, &self.domain, &self.words, &known);
            letters.extend(mails);
            threads = changed;
        }
        self.outbox
            .take_in(step.seq, &letters, &place, &threads, now)
            .await
    }

    async fn happened(&self, step: &Step, job: Job, repository: &Repository) -> Happened {
        let mut what = Happened {
            seq: step.seq,
            job: job.id,
            rule: job.choice,
            // Of the step, not of now: they may be far apart after a start.
            run: step.run.clone(),
            state: step.state,
            note: job.note,
            verdict: None,
            host_faults: 0,
            covered: BTreeSet::new(),
            base: (self.daemon.settings.public_url.as_ref())
                .map(|url| url.trim_end_matches('/').to_owned()),
            authors: Vec::new(),
            search: job.spec.search,
            found: None,
            change: job.change,
        };
        if step.state != JobState::Done {
            return what;
        }
        let runs = self.daemon.context.dirs.runs();
        if let Some(search) = &what.search {
            let run = RunDir {
                path: runs.join(&search.run).into(),
            };
            let answer = run.search(what.job).unwrap_or_default();
            what.found = answer["commit"].as_str().map(str::to_owned);
            let authors = answer["authors"].as_array().into_iter().flatten();
            let authors = authors.filter_map(|a| a.as_str().map(str::to_owned));
            what.authors = authors.collect();
            return what;
        }
        let dir = git_dir(&repository.path);
        let run = step.run.as_ref().map(|run| runs.join(run));
        let change = what.change.clone();
        let read = tokio::task::spawn_blocking(move || {
            let report = run.and_then(|dir| report::json::of_run(dir.as_ref()).ok()?);
            let authors = history::authors(&dir, change.old.as_deref(), &change.new);
            (report, authors.unwrap_or_default())
        });
        let Ok((report, authors)) = read.await else {
            return what;
        };
        what.authors = authors;
        if let Some(report) = report {
            let faults = report.cells.iter().filter(|c| c.stage.is_host_fault());
            what.host_faults = faults.count();
            let candidate = report.cells.iter().filter(|c| c.id.side == Side::Candidate);
            for cell in candidate.filter(|c| c.stage == StageResult::Complete) {
                let id = &cell.id;
                for several in [false, true] {
                    let column = id.column(several).0;
                    what.covered.insert((id.suite.clone(), column));
                }
            }
            what.verdict = Some(report.verdict);
        }
        what
    }

    /// Sends what is due, several at once, of each lane one.
    async fn send(self: &Arc<Self>) -> Result<(), StoreError> {
        loop {
            let due = self.outbox.due(Timestamp::now(), TOGETHER).await?;
            if due.is_empty() || self.daemon.stop.is_cancelled() {
                return Ok(());
            }
            let mut on_their_way = JoinSet::new();
            for letter in due {
                let this = Arc::clone(self);
                on_their_way.spawn(async move { (this.deliver(&letter).await, letter) });
            }
            while let Some(done) = on_their_way.join_next().await {
                let Ok((sent, letter)) = done else { continue };
                let now = Timestamp::now();
                match sent {
                    Ok(()) => {
                        self.outbox.delivered(letter.id, now).await?;
                        info!(letter = letter.key, "told");
                    }
                    Err(why) => {
                        let over = self.outbox.failed_to(&letter, &why, now).await?;
                        let word = if over {
                            "given up"
                        } else {
                            "tried again later"
                        };
                        warn!(
                            letter = letter.key,
                            tries = letter.tries + 1,
                            why,
                            word,
                            "not told"
                        );
                    }
                }
            }
        }
    }

    fn repository(&self, name: &str) -> Result<&Repository, String> {
        let found = self.daemon.settings.repository(name);
        found.ok_or_else(|| format!("the settings have no repository {name}"))
    }

    async fn deliver(&self, letter: &Waiting) -> Result<(), String> {
        let client = || self.client.as_ref().map_err(Clone::clone);
        let absent = || "the settings do not ask for it any more".to_owned();
        match &letter.letter {
            Letter::Status {
                repository,
                commit,
                context,
                state,
                description,
                link,
            } => {
                let to = self.repository(repository)?;
                let to = to.status.as_ref().ok_or_else(absent)?;
                let token = secret(&to.token_file).await?;
                let what = post::CommitStatus {
                    commit,
                    context,
                    state: *state,
                    description,
                    link: link.as_deref(),
                };
                post::status(client()?, to, &token, &what).await
            }
            Letter::Hook {
                repository,
                name,
                body,
            } => {
                let hooks = &self.repository(repository)?.hooks;
                let hook = hooks.iter().find(|h| h.name == *name).ok_or_else(absent)?;
                let key = secret(&hook.secret_file).await?;
                post::hook(client()?, &hook.url, key.as_bytes(), &letter.key, body).await
            }
            Letter::Mail {
                to,
                subject,
                body,
                id,
                references,
            } => {
                let smtp = self.daemon.settings.mail.as_ref().ok_or_else(absent)?;
                let password = match &smtp.password_file {
                    Some(file) => Some(secret(file).await?),
                    None => None,
                };
                let mail = mail::Mail {
                    to,
                    subject,
                    body,
                    id,
                    references,
                };
                mail::send(smtp, password, &mail).await
            }
        }
    }
}

/// A secret's file, without a line end at its end.
async fn secret(file: &Utf8Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|e| format!("{file}: {e}"))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(format!("{file}: is empty")),
        secret => Ok(secret.to_owned()),
    }
}

/// The templates, a user's in the place of our own.
fn words(dir: Option<&Utf8Path>) -> Result<Words, Failure> {
    let mut theirs = Vec::new();
    if let Some(dir) = dir {
        let wrong = |e: std::io::Error| Failure::usage(format!("mail.templates: {dir}: {e}"));
        for entry in dir.read_dir_utf8().map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            if entry.path().is_file() {
                let text = std::fs::read_to_string(entry.path()).map_err(wrong)?;
                theirs.push((entry.file_name().to_owned(), text));
            }
        }
    }
    Words::new(&theirs).map_err(|why| Failure::usage(format!("mail.templates: {why}")))
}
