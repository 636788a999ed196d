//! Asks remotes what is new. What was seen is in `STATE/polled/`, written after the queue has it.

use std::sync::Arc;

use tracing::{info, warn};

use crate::cli::exit::Failure;
use crate::cli::hook::git_dir;
use crate::host::{files, history};
use crate::model::{Key, NewJob};
use crate::store::queue::Accepted;
use crate::trigger::choice::choose;
use crate::trigger::poll::{Seen, compare, jitter};
use crate::trigger::settings::{Poll, Repository};

use super::Daemon;
use super::intake::paths;

/// Asks one remote until the daemon stops. A remote that does not answer is asked again at its time.
pub async fn watch(daemon: Arc<Daemon>, repository: Repository) {
    let Some(poll) = repository.poll.clone() else {
        return;
    };
    for number in 0_u64.. {
        if let Err(why) = look(&daemon, &repository, &poll).await {
            let why = why.message;
            warn!(
                repository = repository.name,
                why, "a remote did not answer; it is asked again"
            );
        }
        let pause = poll.every + jitter(&poll, &repository.name, number);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = daemon.stop.cancelled() => return,
        }
    }
}

async fn look(daemon: &Arc<Daemon>, repository: &Repository, poll: &Poll) -> Result<(), Failure> {
    let file = daemon.context.dirs.state.join("polled");
    let file = file.join(format!("{}.json", repository.name));
    let (own, poll) = (repository.clone(), poll.clone());
    let read = file.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let last: Option<Seen> = match std::fs::read(&read) {
            Ok(bytes) => Some(
                serde_json::from_slice(&bytes)
                    .map_err(|e| Failure::host(format!("{read}: {e}: remove it to begin anew")))?,
            ),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Failure::host(format!("{read}: {e}"))),
        };
        let (dir, remote) = (git_dir(&own.path), own.remote.clone().unwrap_or_default());
        let found = history::remote(&dir, &remote).map_err(Failure::host)?;
        let (seen, changes) = compare(&own.name, &poll, last.as_ref(), &found);
        let mut jobs: Vec<(String, Vec<NewJob>)> = Vec::new();
        for change in &changes {
            // Here and not when its job runs: rules by path want to know what it touches.
            if history::commit(&dir, &change.new)
                .map_err(Failure::host)?
                .is_none()
            {
                history::fetch(&dir, &remote, &change.new, &change.reference)
                    .map_err(Failure::host)?;
            }
            let parts = [&change.reference, &change.new, &seen.looks.to_string()];
            let parts: Vec<&[u8]> = parts.iter().map(|p| p.as_bytes()).collect();
            let delivery = Key::of(&format!("poll {}", own.name), &parts).0;
            let chosen = choose(&own, change, paths(&own, change).as_deref());
            jobs.push((delivery, chosen));
        }
        Ok((last, seen, jobs))
    });
    let looked = looked.await.map_err(|e| Failure::internal(e.to_string()))?;
    let (last, seen, jobs) = looked?;
    if last.as_ref() == Some(&seen) {
        return Ok(());
    }
    for (delivery, jobs) in &jobs {
        match daemon.queue.accept(delivery, jobs).await? {
            Accepted::Queued { jobs, cancelling } => {
                info!(cause = "poll", ?jobs, ?cancelling, "queued");
            }
            Accepted::Duplicate => info!(cause = "poll", delivery, "known already"),
        }
    }
    // Only now: whoever dies in between sees the same again, and the queue knows its deliveries.
    let text = serde_json::to_vec(&seen).map_err(Failure::internal)?;
    files::write_atomic(&file, &text).map_err(Failure::host)?;
    if !jobs.is_empty() {
        daemon.knocked.notify_one();
    }
    Ok(())
}
