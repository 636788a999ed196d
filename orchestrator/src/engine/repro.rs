//! The very guest of a failure, for a person: the same image, build and emulator settings.

use crate::guest::Guest;
use crate::model::{CameUp, CellId, Key};
use crate::suite::Runner;

use super::bus::Bus;
use super::facts::Setup;
use super::jobs::JobFailed;
use super::{RunError, trial};

/// A guest that is up, with the tests in it.
pub struct Ready {
    /// The guest. Dropping it ends it.
    pub guest: Guest,
    /// Booted or restored.
    pub came_up: CameUp,
    /// The cell's key as things are now: equal to the result's key, it is the very same.
    pub key: Option<Key>,
    /// The directory of the suite in the guest.
    pub cases_root: String,
    /// What runs the suite's cases there.
    pub runner: Runner,
}

impl From<JobFailed> for RunError {
    fn from(failed: JobFailed) -> Self {
        Self::Host(format!("{}: {}", failed.stage, failed.detail))
    }
}

/// Brings the guest of a cell up, restored or booted, and puts its tests in place.
pub async fn boot(
    setup: &Setup,
    id: &CellId,
    bus: &Bus,
    console: &std::path::Path,
) -> Result<Ready, RunError> {
    let stage = trial::prepare(setup, id, bus).await?;
    let (guest, came_up) = stage
        .raise("repro", console)
        .await
        .map_err(|e| RunError::Host(e.to_string()))?;
    Ok(Ready {
        guest,
        came_up,
        key: stage.key,
        cases_root: stage.cases_root,
        runner: stage.runner,
    })
}
