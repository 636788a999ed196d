//! Saves a guest that is up, and gives life to one that was saved.
//!
//! A saved guest is the emulator's migration stream in a file: memory, CPU and devices at one
//! moment, at which the agent waits for a request. Whoever restores it gets a guest with the same
//! memory, so what must not be the same is set before anybody else may use it: the wall clock and
//! the kernel's random numbers. What stays the same: the addresses in processes that ran already,
//! the boot id, the uptime, process numbers.
//!
//! A guest in which something was run is not saved by mistake: [`Guest::save`] refuses it. Where
//! files lie and which guest they belong to is not known here.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::error::GuestError;
use super::super::family::Seed;
use super::super::qmp::{Qmp, QmpError};
use super::super::state::State;
use super::boot::saved_layer;
use super::{EXIT_LAG, Guest, GuestSpec, Limits};
use crate::host::machine::random_bytes;
use crate::model::ConsoleWatch;

/// How long the emulator may take for a command.
const ANSWER: Duration = Duration::from_secs(20);
/// How long saving and restoring may take each; they take fractions of a second.
const MOVE: Duration = Duration::from_secs(60);
/// How long a restored guest may take for its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(20);
/// Between two questions whether the emulator is done.
const POLL: Duration = Duration::from_millis(4);
/// Bytes a second: without a limit of ours the emulator has one of its own, made for networks.
const UNBOUNDED: u64 = 1 << 40;

fn failed(what: impl Into<String>) -> GuestError {
    GuestError::Snapshot { what: what.into() }
}

fn refused(error: QmpError) -> GuestError {
    failed(error.to_string())
}

impl Guest {
    /// Restores the guest that was saved in `file` by an emulator of the same version with the same
    /// command line. The guest is like one that just booted: it answers, its clock is right, its
    /// random numbers are its own.
    ///
    /// Every error means that there is no guest; the emulator is gone.
    pub async fn restore(
        spec: &GuestSpec,
        limits: Limits,
        watch: Box<dyn ConsoleWatch>,
        file: &Path,
    ) -> Result<Self, GuestError> {
        Self::launch(spec, limits, watch, Some(file)).await
    }

    /// Saves the guest into `file`, which is made or replaced. It goes on afterwards as if it had
    /// been restored itself. Only a guest in which nothing was run or put yet can be saved.
    ///
    /// An error leaves the guest usable where it can; a guest that is of no use any more says so at
    /// the next request.
    pub async fn save(&mut self, file: &Path) -> Result<(), GuestError> {
        if self.used {
            return Err(failed(
                "something was run in the guest before it was to be saved",
            ));
        }
        // Nothing is half read and nothing half written after this.
        self.ready().await?;
        let mut qmp = self.control().await?;
        let saved = async {
            qmp.command("stop", &Value::Null, ANSWER)
                .await
                .map_err(refused)?;
            let fast = json!({ "max-bandwidth": UNBOUNDED });
            qmp.command("migrate-set-parameters", &fast, ANSWER)
                .await
                .map_err(refused)?;
            let to = json!({ "uri": format!("file:{}", file.display()) });
            qmp.command("migrate", &to, ANSWER).await.map_err(refused)?;
            moved(&mut qmp).await?;
            // The emulator has let go of the disk, and the guest does not run.
            match &self.layers {
                None => Ok(()),
                Some(layers) => {
                    let to = saved_layer(file);
                    let copied = layers.save(&to);
                    copied.map_err(GuestError::host("cannot save the guest's disk to", &to))
                }
            }
        }
        .await;
        let goes_on = qmp.command("cont", &Value::Null, ANSWER).await;
        self.give_back(qmp);
        saved?;
        goes_on.map_err(refused)?;
        self.make_own().await
    }

    /// From an emulator that reads the file to a guest that is ready.
    pub(super) async fn wake_up(&mut self) -> Result<(), GuestError> {
        let answered = async {
            let mut qmp = self.control().await?;
            moved(&mut qmp).await?;
            let goes_on = qmp.command("cont", &Value::Null, ANSWER).await;
            self.give_back(qmp);
            goes_on.map_err(refused)?;
            self.state = self.state.to(State::Ready)?;
            match timeout(FIRST_ANSWER, self.ready()).await {
                Ok(said) => said,
                Err(_) => Err(failed(format!(
                    "no answer within {FIRST_ANSWER:?} after a restore"
                ))),
            }
        }
        .await;
        match answered {
            Ok(kernel) => {
                self.kernel = kernel;
                self.boot = self.started.elapsed();
                self.make_own().await
            }
            Err(error) => {
                // Where the emulator ended, it has said why; its sockets close a moment before.
                let ended = timeout(EXIT_LAG, self.process.wait()).await.is_ok();
                self.finish(true).await;
                let said = super::clean(&self.stderr);
                Err(match ended && !said.is_empty() {
                    true => failed(format!("the emulator did not take the file: {said}")),
                    false => error,
                })
            }
        }
    }

    /// Sets what a guest must not share with others that come from the same file.
    async fn make_own(&mut self) -> Result<(), GuestError> {
        let seed: Seed = random_bytes().map_err(GuestError::host("cannot read", "/dev/urandom"))?;
        let set_up = self.set_up(Some(&seed)).await;
        self.used = false;
        match set_up? {
            0 => Ok(()),
            status => Err(failed(format!(
                "clock and random numbers of the restored guest could not be set (status {status})"
            ))),
        }
    }

    async fn control(&mut self) -> Result<Qmp, GuestError> {
        let coming = self.qmp.take();
        let answers = async { timeout(MOVE, coming?).await.ok()?.ok()? };
        let qmp = tokio::select! {
            qmp = answers => qmp,
            // One that has ended says nothing any more.
            _ = self.process.wait() => None,
        };
        qmp.ok_or_else(|| failed("the emulator's control socket does not answer"))
    }

    fn give_back(&mut self, qmp: Qmp) {
        self.qmp = Some(tokio::spawn(std::future::ready(Some(qmp))));
    }
}

/// Returns once the emulator has written or read the file.
async fn moved(qmp: &mut Qmp) -> Result<(), GuestError> {
    let begun = Instant::now();
    loop {
        let state = qmp
            .command("query-migrate", &Value::Null, ANSWER)
            .await
            .map_err(refused)?;
        match state["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed" | "cancelled") => {
                let why = state["error-desc"].as_str().unwrap_or("no reason given");
                let why = crate::host::text::line(why.as_bytes(), 300);
                return Err(failed(format!("the emulator gave up: {why}")));
            }
            _ if begun.elapsed() > MOVE => {
                return Err(failed(format!("the emulator was not done within {MOVE:?}")));
            }
            _ => tokio::time::sleep(POLL).await,
        }
    }
}
