//! What is asked of a guest: commands, files in, files out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};

use super::super::agent::{self, Item};
use super::super::error::GuestError;
use super::super::state::State;
use super::{Guest, Output, PORT_BYTES, STDERR_BYTES, Wake};
use crate::host::text;

/// After so much silence, and again after as much, the emulator is asked whether the machine runs.
const LOOK_EVERY: Duration = Duration::from_secs(20);

/// What a request may have for a line whose driver drops what nobody has read yet.
const LINE_BYTES: usize = 500;

impl Guest {
    /// Starts a command (one line, for `sh -c`) in the guest. `idle` limits the silence between two
    /// pieces of output, `total` the whole. A stream that is dropped before its end leaves the guest
    /// busy for good: it can only be ended then.
    pub async fn run(
        &mut self,
        command: &str,
        idle: Duration,
        total: Duration,
    ) -> Result<RunStream<'_>, GuestError> {
        let nonce = nonce();
        let mut request = agent::run(&nonce, command).ok_or_else(|| bad_request(command))?;
        if self.layers.is_some() && command.len() > LINE_BYTES {
            let short = self.command_by_disk(command)?;
            request = agent::run(&nonce, &short).ok_or_else(|| bad_request(command))?;
        }
        let doing = text::line(command.as_bytes(), 80);
        self.request(&nonce, &request, &doing).await?;
        let now = Instant::now();
        Ok(RunStream {
            guest: self,
            doing,
            idle,
            last: now,
            total,
            begun: now,
            looked: now,
            done: false,
        })
    }

    /// Unpacks a tar archive in the guest's `dir`, which is made where it is missing.
    pub async fn put_tar(&mut self, dir: &str, tar: &[u8]) -> Result<(), GuestError> {
        self.put_tar_from(dir, tar.len() as u64, tar).await
    }

    /// The same from a reader that gives exactly `size_bytes`.
    pub async fn put_tar_from(
        &mut self,
        dir: &str,
        size_bytes: u64,
        mut tar: impl AsyncRead + Unpin,
    ) -> Result<(), GuestError> {
        if self.layers.is_some() {
            return self.put_by_disk(dir, size_bytes, tar).await;
        }
        let nonce = nonce();
        let request = agent::put(&nonce, size_bytes, dir).ok_or_else(|| bad_request(dir))?;
        let doing = format!("put into {}", text::line(dir.as_bytes(), 80));
        self.request(&nonce, &request, &doing).await?;
        let mut piece = vec![0; PORT_BYTES];
        let mut left = size_bytes;
        while left > 0 {
            let most = usize::try_from(left).map_or(piece.len(), |n| n.min(piece.len()));
            let n = match tar.read(&mut piece[..most]).await {
                Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            let n = match n {
                Ok(n) => n,
                Err(source) => {
                    // The guest waits for bytes that will never come.
                    self.finish(true).await;
                    let (what, path) = ("cannot read the archive for the guest", dir.into());
                    return Err(GuestError::Host { what, path, source });
                }
            };
            self.send(&piece[..n], &doing).await?;
            left -= n as u64;
        }
        let mut message = Vec::new();
        let status = self
            .collect(&doing, &mut message, STDERR_BYTES as u64)
            .await?;
        if status == 0 {
            return Ok(());
        }
        Err(GuestError::PutFailed {
            dir: dir.to_owned(),
            status,
            message: text::tail(&message, 5, 200).join("; "),
        })
    }

    /// The guest's file `path`, if it is no larger than `max_bytes`; `None` where there is no such
    /// regular file, or a larger one.
    pub async fn get(&mut self, path: &str, max_bytes: u64) -> Result<Option<Vec<u8>>, GuestError> {
        if self.layers.is_some() {
            return self.get_by_disk(path, max_bytes).await;
        }
        let nonce = nonce();
        let request = agent::get(&nonce, max_bytes, path).ok_or_else(|| bad_request(path))?;
        let doing = format!("get {}", text::line(path.as_bytes(), 80));
        self.request(&nonce, &request, &doing).await?;
        let mut file = Vec::new();
        let status = self.collect(&doing, &mut file, max_bytes).await?;
        Ok((status == 0).then_some(file))
    }

    /// Asks the agent for a sign of life, which costs the guest no process. Gives what its greeting
    /// said, sanitised.
    pub(super) async fn ready(&mut self) -> Result<String, GuestError> {
        let nonce = nonce();
        self.request(&nonce, &agent::ready(&nonce), "ready").await?;
        let mut said = Vec::new();
        match self.collect("ready", &mut said, 1024).await? {
            0 => Ok(text::line(&said, 200)),
            status => Err(GuestError::AgentLost {
                what: format!("it does not know the request 'ready' (status {status})"),
            }),
        }
    }

    async fn request(&mut self, nonce: &str, line: &[u8], doing: &str) -> Result<(), GuestError> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        self.state = self.state.to(State::Busy)?;
        self.used = true;
        self.items.clear();
        self.decoder.expect(nonce);
        self.send(line, doing).await
    }

    /// Writes to the port, and reads meanwhile: a guest that answers before it has read everything
    /// must not be a deadlock.
    async fn send(&mut self, mut bytes: &[u8], doing: &str) -> Result<(), GuestError> {
        let idle = self.limits.idle;
        let mut deadline = Instant::now() + idle;
        while !bytes.is_empty() {
            let (mut from, mut to) = self.port.split();
            let wake = tokio::select! {
                written = to.write(bytes) => match written {
                    Ok(n @ 1..) => {
                        bytes = &bytes[n..];
                        deadline = Instant::now() + idle;
                        continue;
                    }
                    _ => Wake::Over,
                },
                read = from.read(&mut self.buffer) => match read {
                    Ok(n @ 1..) => Wake::Port(n),
                    _ => Wake::Over,
                },
                () = self.console.dead() => Wake::Over,
                _ = self.process.wait() => Wake::Over,
                () = tokio::time::sleep_until(deadline.into()) => Wake::Late,
            };
            match wake {
                Wake::Port(n) => self.decode(n),
                Wake::Late => return Err(self.silent(doing, idle, false).await),
                Wake::Over | Wake::Pause => {
                    self.over().await;
                    return Err(self.take_fault());
                }
            }
        }
        Ok(())
    }

    /// Collects output up to the end mark. Of more than `max_bytes` the rest is dropped.
    async fn collect(
        &mut self,
        doing: &str,
        into: &mut Vec<u8>,
        max_bytes: u64,
    ) -> Result<i32, GuestError> {
        let idle = self.limits.idle;
        let mut last = Instant::now();
        loop {
            match self.take_item() {
                // What a background process printed before the file is not the file.
                Some(Item::Data(_)) => into.clear(),
                Some(Item::Chunk(chunk)) => {
                    let room = usize::try_from(max_bytes).unwrap_or(usize::MAX);
                    let room = room.saturating_sub(into.len()).min(chunk.len());
                    into.extend_from_slice(&chunk[..room]);
                }
                Some(Item::End(status)) => {
                    self.state = self.state.to(State::Ready)?;
                    return Ok(status);
                }
                Some(Item::Greeting { .. }) => return Err(self.restarted().await),
                None => match self.wake(last + idle).await {
                    Wake::Port(n) => {
                        last = Instant::now();
                        self.decode(n);
                    }
                    Wake::Pause => self.pause(),
                    Wake::Late => return Err(self.silent(doing, idle, false).await),
                    Wake::Over => {
                        self.over().await;
                        if self.items.is_empty() {
                            return Err(self.take_fault());
                        }
                    }
                },
            }
        }
    }
}

/// The output of a command in the guest.
#[derive(Debug)]
pub struct RunStream<'a> {
    guest: &'a mut Guest,
    doing: String,
    idle: Duration,
    last: Instant,
    total: Duration,
    begun: Instant,
    /// When the emulator was last asked whether the machine runs.
    looked: Instant,
    done: bool,
}

impl RunStream<'_> {
    /// From here on the silence between two pieces may last so long: what is under way has changed.
    pub fn set_idle(&mut self, idle: Duration) {
        self.idle = idle;
    }

    /// The next piece. [`Output::End`] is the last; whoever asks again gets an error. What came
    /// before a crash is handed over before the error. Can be dropped and called again.
    pub async fn next(&mut self) -> Result<Output, GuestError> {
        if self.done {
            let (from, to) = (self.guest.state, State::Busy);
            return Err(GuestError::IllegalTransition { from, to });
        }
        loop {
            match self.guest.take_item() {
                Some(Item::Chunk(chunk)) => return Ok(Output::Chunk(chunk)),
                Some(Item::End(status)) => {
                    self.done = true;
                    // A guest that died right after it has its fault for the next request.
                    if self.guest.state == State::Busy {
                        self.guest.state = self.guest.state.to(State::Ready)?;
                    }
                    return Ok(Output::End(status));
                }
                Some(Item::Data(_)) => continue,
                Some(Item::Greeting { .. }) => {
                    self.done = true;
                    return Err(self.guest.restarted().await);
                }
                None => {}
            }
            let (idle, total) = (self.last + self.idle, self.begun + self.total);
            let look = self.last.max(self.looked) + LOOK_EVERY;
            match self.guest.wake(idle.min(total).min(look)).await {
                Wake::Port(n) => {
                    self.last = Instant::now();
                    self.guest.decode(n);
                }
                Wake::Pause => self.guest.pause(),
                Wake::Over => {
                    self.guest.over().await;
                    if self.guest.items.is_empty() {
                        self.done = true;
                        return Err(self.guest.take_fault());
                    }
                }
                Wake::Late if Instant::now() < idle.min(total) => {
                    self.looked = Instant::now();
                    if let Some(fault) = self.guest.standstill().await {
                        self.done = true;
                        return Err(fault);
                    }
                }
                Wake::Late => {
                    self.done = true;
                    let is_total = total <= idle;
                    let limit = if is_total { self.total } else { self.idle };
                    return Err(self.guest.silent(&self.doing, limit, is_total).await);
                }
            }
        }
    }
}

pub(super) fn bad_request(what: &str) -> GuestError {
    GuestError::BadRequest {
        what: text::line(what.as_bytes(), 200),
    }
}

/// A name for a request that no test has seen before: 16 hexadecimal digits.
fn nonce() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut hasher = blake3::Hasher::new();
    // A version 7 UUID has 74 random bits.
    hasher.update(uuid::Uuid::now_v7().as_bytes());
    hasher.update(&count.to_le_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_differ() {
        let (a, b) = (nonce(), nonce());
        assert_eq!(a.len(), 16);
        assert_ne!(a, b);
    }
}
