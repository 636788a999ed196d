//! Files in and out by the exchange disk: of guests whose line is too slow for them.
//!
//! Host and guest take turns: the host writes before it asks, the guest before it answers. What the
//! guest says of a length is bounded by the disk and by the asker; the bytes are the asker's to judge.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::super::error::GuestError;
use super::super::layer::EXCHANGE_BYTES;
use super::requests::bad_request;
use super::{Guest, Output, PORT_BYTES, STDERR_BYTES};
use crate::host::text;

const TAKE: &str = "/usr/libexec/fallout/take";
const LONG: &str = "/usr/libexec/fallout/long";
/// The longest command, in bytes: `long` reads one block.
const LONGEST: usize = 65_536;
const GIVE: &str = "/usr/libexec/fallout/give";
/// How long an archive or a file may be under way.
const TRANSFER: Duration = Duration::from_secs(20 * 60);

impl Guest {
    /// Unpacks an archive in the guest's `dir`.
    pub(super) async fn put_by_disk(
        &mut self,
        dir: &str,
        size_bytes: u64,
        mut tar: impl AsyncRead + Unpin,
    ) -> Result<(), GuestError> {
        let failed = |status, message: &str| GuestError::PutFailed {
            dir: dir.to_owned(),
            status,
            message: message.to_owned(),
        };
        if size_bytes > EXCHANGE_BYTES {
            let most = EXCHANGE_BYTES >> 20;
            let message = format!(
                "the archive has {} MiB, of {most} at most",
                size_bytes >> 20
            );
            return Err(failed(1, &message));
        }
        let command = format!("{TAKE} {size_bytes} {}", quoted(dir)?);
        let host = GuestError::host("cannot write the archive for the guest to", dir);
        let written = async {
            let disk = self.exchange()?;
            let mut piece = vec![0; PORT_BYTES];
            let mut at = 0;
            while at < size_bytes {
                let left = usize::try_from(size_bytes - at).unwrap_or(PORT_BYTES);
                let most = left.min(PORT_BYTES);
                let n = match tar.read(&mut piece[..most]).await? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    n => n,
                };
                disk.write_all_at(&piece[..n], at)?;
                at += n as u64;
            }
            Ok(())
        };
        written.await.map_err(host)?;
        match self.said(&command, STDERR_BYTES).await? {
            (_, 0) => Ok(()),
            (said, status) => Err(failed(status, &text::tail(&said, 5, 200).join("; "))),
        }
    }

    /// The guest's file `path`, if there is one that is no larger than `max_bytes`.
    pub(super) async fn get_by_disk(
        &mut self,
        path: &str,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, GuestError> {
        let most = max_bytes.min(EXCHANGE_BYTES);
        let command = format!("{GIVE} {most} {}", quoted(path)?);
        let (said, status) = self.said(&command, STDERR_BYTES).await?;
        let said = text::line(said.split(|b| *b == b'\n').next().unwrap_or_default(), 20);
        let length = said.parse::<u64>().ok().filter(|n| *n <= most);
        let Some(length) = length.filter(|_| status == 0) else {
            return Ok(None);
        };
        let read = || {
            let mut file = vec![0; usize::try_from(length).unwrap_or(0)];
            self.exchange()?.read_exact_at(&mut file, 0)?;
            Ok(file)
        };
        read()
            .map(Some)
            .map_err(GuestError::host("cannot read from the exchange disk", path))
    }

    /// Leaves a long command for the guest; the short one that runs it.
    pub(super) fn command_by_disk(&mut self, command: &str) -> Result<String, GuestError> {
        if command.len() > LONGEST {
            return Err(bad_request(command));
        }
        let written = || self.exchange()?.write_all_at(command.as_bytes(), 0);
        written().map_err(GuestError::host(
            "cannot write a command for the guest to",
            "the exchange disk",
        ))?;
        Ok(format!("{LONG} {}", command.len()))
    }

    fn exchange(&self) -> io::Result<std::fs::File> {
        let layers = self.layers.as_ref();
        layers.ok_or(io::ErrorKind::NotFound)?.exchange()
    }

    /// What a command prints, up to `max_bytes`, and its status.
    async fn said(
        &mut self,
        command: &str,
        max_bytes: usize,
    ) -> Result<(Vec<u8>, i32), GuestError> {
        let mut said = Vec::new();
        let mut stream = self.run(command, TRANSFER, TRANSFER).await?;
        loop {
            match stream.next().await? {
                Output::Chunk(bytes) => {
                    let room = max_bytes.saturating_sub(said.len()).min(bytes.len());
                    said.extend_from_slice(&bytes[..room]);
                }
                Output::End(status) => return Ok((said, status)),
            }
        }
    }
}

/// A path as one word of a shell's.
fn quoted(path: &str) -> Result<String, GuestError> {
    match path.contains(['\'', '\n', '\0']) {
        true => Err(bad_request(path)),
        false => Ok(format!("'{path}'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_or_refused() {
        assert_eq!(quoted("/x y").unwrap(), "'/x y'");
        assert!(quoted("/x'; halt '").is_err());
        assert!(quoted("/x\ny").is_err());
    }
}
