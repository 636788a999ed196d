//! What was pushed and what the clock says, into the queue.

use camino::Utf8Path;
use jiff::Timestamp;
use tracing::{info, warn};

use crate::cli::exit::Failure;
use crate::cli::hook::git_dir;
use crate::host::history;
use crate::model::{ChangeSet, Key, NewJob, Policy};
use crate::store::queue::Accepted;
use crate::trigger::choice::{choose, spec};
use crate::trigger::hook;
use crate::trigger::schedule::{Clock, Due};
use crate::trigger::settings::{Repository, Schedule};

use super::Daemon;

/// Spooled pushes that one look takes: the rest is seen by the next.
const AT_ONCE: usize = 200;

/// Looks at every spool and every schedule.
pub async fn look(daemon: &Daemon) -> Result<(), Failure> {
    for repository in &daemon.settings.repositories {
        spool(daemon, repository).await?;
    }
    for schedule in &daemon.settings.schedules {
        clock(daemon, schedule).await?;
    }
    Ok(())
}

async fn spool(daemon: &Daemon, repository: &Repository) -> Result<(), Failure> {
    let dir = git_dir(&repository.path).join(hook::SPOOL);
    let Ok(entries) = dir.read_dir_utf8() else {
        return Ok(());
    };
    let mut files: Vec<_> = entries
        .filter_map(Result::ok)
        .map(|e| e.into_path())
        .filter(|p| p.as_str().ends_with(hook::SPOOLED))
        .collect();
    files.sort();
    for file in files.iter().take(AT_ONCE) {
        let text = match read(file) {
            Ok(text) => text,
            Err(e) => {
                warn!(file = file.as_str(), %e, "a spooled push cannot be read");
                continue;
            }
        };
        let changes = hook::changes(&repository.name, &text);
        let jobs: Vec<NewJob> = changes
            .iter()
            .flat_map(|change| choose(repository, change, paths(repository, change).as_deref()))
            .collect();
        let name = file.file_name().unwrap_or_default();
        let parts = [repository.name.as_bytes(), name.as_bytes(), text.as_bytes()];
        let delivery = Key::of("hook", &parts).0;
        accept(daemon, &delivery, &jobs, "push").await?;
        // Only now: whoever dies in between sees the file again, and its delivery is known.
        std::fs::remove_file(file).map_err(|e| Failure::host(format!("{file}: {e}")))?;
    }
    Ok(())
}

fn read(file: &Utf8Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)?
        .take(hook::MAX_BYTES)
        .read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The paths that a change touches, where that can be said.
pub(super) fn paths(repository: &Repository, change: &ChangeSet) -> Option<Vec<String>> {
    let dir = git_dir(&repository.path);
    history::changed(&dir, change.old.as_ref()?, &change.new).ok()
}

async fn accept(
    daemon: &Daemon,
    delivery: &str,
    jobs: &[NewJob],
    cause: &'static str,
) -> Result<(), Failure> {
    match daemon.queue.accept(delivery, jobs).await? {
        Accepted::Queued { jobs, cancelling } => {
            info!(cause, ?jobs, ?cancelling, "queued");
        }
        Accepted::Duplicate => info!(cause, delivery, "known already"),
    }
    Ok(())
}

async fn clock(daemon: &Daemon, schedule: &Schedule) -> Result<(), Failure> {
    // Checked when the settings were read.
    let Ok(clock) = Clock::of(schedule) else {
        return Ok(());
    };
    let now = Timestamp::now();
    let Some((last, revision)) = daemon.queue.fired(&schedule.name).await? else {
        // Seen for the first time: what was before is nobody's.
        daemon.queue.set_fired(&schedule.name, now, "").await?;
        return Ok(());
    };
    let (at, fires) = match clock.due(last, now) {
        Due::At(_) | Due::Never => return Ok(()),
        Due::Fire(at) => (at, true),
        Due::Skip(at) => (at, false),
    };
    if !fires {
        info!(schedule = schedule.name, %at, "missed and left out");
        daemon
            .queue
            .set_fired(&schedule.name, at, &revision)
            .await?;
        return Ok(());
    }
    let Some(repository) = daemon.settings.repository(&schedule.repository) else {
        return Ok(());
    };
    let dir = git_dir(&repository.path);
    let found = history::commit(&dir, &schedule.reference).map_err(Failure::host)?;
    let new = match found {
        Some(new) if !(schedule.only_if_changed && new == revision) => new,
        Some(_) => {
            info!(schedule = schedule.name, %at, "nothing has changed");
            daemon
                .queue
                .set_fired(&schedule.name, at, &revision)
                .await?;
            return Ok(());
        }
        None => {
            warn!(
                schedule = schedule.name,
                reference = schedule.reference,
                "no such reference"
            );
            daemon
                .queue
                .set_fired(&schedule.name, at, &revision)
                .await?;
            return Ok(());
        }
    };
    let job = NewJob {
        change: ChangeSet {
            repository: schedule.repository.clone(),
            reference: schedule.reference.clone(),
            old: (!revision.is_empty()).then(|| revision.clone()),
            new: new.clone(),
        },
        choice: format!("schedule {}", schedule.name),
        spec: spec(&schedule.run),
        priority: schedule.priority,
        policy: Policy::Batch,
    };
    let delivery = format!("schedule {} {at}", schedule.name);
    accept(daemon, &delivery, &[job], "schedule").await?;
    daemon.queue.set_fired(&schedule.name, at, &new).await?;
    Ok(())
}
