//! Once a night: what old runs need no longer have goes, by the settings' `retention`.

use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, info, warn};

use crate::cli::exit::Failure;
use crate::cli::gc::busy;
use crate::model::retention::Retention;
use crate::store::retention::sweep;
use crate::trigger::schedule::{Clock, Due};

use super::Daemon;

/// Under which name it is remembered when it was done last. No schedule of the settings has it.
const NAME: &str = "(retention)";

/// Sweeps where it is time. What fails is told and tried again the next night.
pub async fn look(daemon: &Arc<Daemon>) {
    if let Err(why) = due(daemon).await {
        error!(why = why.message, "old runs could not be cleaned");
    }
}

async fn due(daemon: &Arc<Daemon>) -> Result<(), Failure> {
    let Some(limits) = daemon.settings.retention.clone().filter(|l| !l.is_empty()) else {
        return Ok(());
    };
    // Checked when the settings were read.
    let Ok(clock) = Clock::of_retention(&limits) else {
        return Ok(());
    };
    let now = Timestamp::now();
    let last = match daemon.queue.fired(NAME).await? {
        Some((last, _)) => last,
        None => {
            daemon.queue.set_fired(NAME, now, "").await?;
            return Ok(());
        }
    };
    let Due::Fire(at) = clock.due(last, now) else {
        return Ok(());
    };
    // First: a sweep that fails each time must not be tried each second.
    daemon.queue.set_fired(NAME, at, "").await?;
    let own = daemon.clone();
    // Beside everything else: pushes do not wait for it.
    tokio::spawn(async move {
        if let Err(why) = clean(&own, limits, now).await {
            error!(why = why.message, "old runs could not be cleaned");
        }
    });
    Ok(())
}

async fn clean(daemon: &Daemon, limits: Retention, now: Timestamp) -> Result<(), Failure> {
    let busy = busy(&daemon.queue).await?;
    let state = daemon.context.dirs.state.clone();
    let swept =
        tokio::task::spawn_blocking(move || sweep(state.as_std_path(), &limits, &busy, now, false));
    let swept = swept.await.map_err(Failure::internal)??;
    for why in &swept.trouble {
        warn!(why, "not cleaned");
    }
    for done in &swept.runs {
        let choice = &done.choice;
        match &choice.kept {
            Some(kept) => info!(run = choice.run, why = choice.why, kept, "stays"),
            None => info!(run = choice.run, step = ?choice.step, why = choice.why, "cleaned"),
        }
    }
    info!(freed_bytes = swept.freed_bytes(), "old runs were cleaned");
    Ok(())
}
