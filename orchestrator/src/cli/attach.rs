//! Joins the user's terminal to a guest's console, until Ctrl-] or the guest's end.
//!
//! This is the one place where a guest's bytes reach the terminal as they are: whoever attaches to a
//! console wants the console. The terminal is put right again on every way out.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::termios::{self, OptionalActions, Termios};

use super::exit::Failure;

/// Ctrl-].
const LEAVE: u8 = 0x1d;

/// Puts the terminal back when dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn new() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = termios::tcgetattr(&stdin) else {
            return Self(None);
        };
        let mut raw = before.clone();
        raw.make_raw();
        let set = termios::tcsetattr(&stdin, OptionalActions::Now, &raw);
        Self(set.is_ok().then_some(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
            // Colours and character sets that the guest left switched on.
            let _ = std::io::stdout().write_all(b"\x1b[0m\x0f\r\n");
            let _ = std::io::stdout().flush();
        }
    }
}

/// Attaches to the console behind `socket`. Returns when the user leaves or the guest has ended.
pub fn attach(socket: &Path) -> Result<(), Failure> {
    let stream = UnixStream::connect(socket)
        .map_err(|e| Failure::host(format!("{}: cannot attach: {e}", socket.display())))?;
    let mut reader = stream
        .try_clone()
        .map_err(|e| Failure::host(format!("cannot attach: {e}")))?;
    eprintln!("attached; Ctrl-] leaves");
    let raw = Raw::new();
    let mut writer = stream;
    // Reading standard input cannot be cancelled, so it has a thread that ends with the process.
    let typing = writer.try_clone();
    std::thread::spawn(move || {
        let Ok(typing) = typing else { return };
        let mut keys = [0; 256];
        let mut stdin = std::io::stdin().lock();
        while let Ok(n @ 1..) = stdin.read(&mut keys) {
            let typed = &keys[..n];
            let upto = typed.iter().position(|&k| k == LEAVE).unwrap_or(n);
            if writer.write_all(&typed[..upto]).is_err() || upto < n {
                break;
            }
        }
        let _ = typing.shutdown(std::net::Shutdown::Both);
    });
    let mut bytes = [0; 16 * 1024];
    let mut out = std::io::stdout().lock();
    while let Ok(n @ 1..) = reader.read(&mut bytes) {
        if out
            .write_all(&bytes[..n])
            .and_then(|()| out.flush())
            .is_err()
        {
            break;
        }
    }
    drop(out);
    drop(raw);
    Ok(())
}
