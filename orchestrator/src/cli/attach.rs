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

/// The terminal's size as a command that tells a guest: a serial line cannot, and a shell that
/// believes in 80 columns folds long lines wrongly. `None` where there is no terminal.
pub fn size_command() -> Option<String> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    let known = size.ws_row > 0 && size.ws_col > 0;
    known.then(|| format!("stty rows {} cols {}", size.ws_row, size.ws_col))
}

/// Whether a program in the guest has switched to the terminal's other screen, as editors do: a
/// guest that ends meanwhile never switches back.
#[derive(Debug, Default)]
struct Screen {
    other: bool,
    tail: Vec<u8>,
}

/// The switches to and fro, without `ESC [ ?` before and `h` or `l` behind.
const SWITCHES: [&[u8]; 3] = [b"1049", b"1047", b"47"];

impl Screen {
    /// Looks through the next bytes, cut anywhere.
    fn feed(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        for at in memchr_all(b'\x1b', &self.tail) {
            let Some(rest) = self.tail[at..].strip_prefix(b"\x1b[?") else {
                continue;
            };
            for switch in SWITCHES {
                match rest.strip_prefix(switch).and_then(<[u8]>::first) {
                    Some(b'h') => self.other = true,
                    Some(b'l') => self.other = false,
                    _ => {}
                }
            }
        }
        // The longest switch, but for its last byte, may go on in what comes next.
        let done = self.tail.len().saturating_sub(b"\x1b[?1049".len());
        self.tail.drain(..done);
    }
}

fn memchr_all(byte: u8, bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let found = move |(at, b): (usize, &u8)| (*b == byte).then_some(at);
    bytes.iter().enumerate().filter_map(found)
}

/// Puts the terminal back when dropped.
struct Raw {
    before: Option<Termios>,
    screen: Screen,
}

impl Raw {
    fn new() -> Self {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok().filter(|before| {
            let mut raw = before.clone();
            raw.make_raw();
            termios::tcsetattr(&stdin, OptionalActions::Now, &raw).is_ok()
        });
        Self {
            before,
            screen: Screen::default(),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Flush, before);
            let mut out = std::io::stdout();
            if self.screen.other {
                let _ = out.write_all(b"\x1b[?1049l");
            }
            // A hidden cursor, colours and character sets that the guest left switched on.
            let _ = out.write_all(b"\x1b[?25h\x1b[0m\x0f\r\n");
            let _ = out.flush();
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
    let mut raw = Raw::new();
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
        raw.screen.feed(&bytes[..n]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_screen_is_noticed_however_the_bytes_are_cut() {
        let edits = b"$ vi\r\n\x1b[?1049h\x1b[1;1Htext\x1b[?25l";
        let leaves = b"\x1b[24;1H\x1b[?1049l$ \x1b[?7h";
        for cut in 1..edits.len() {
            let mut screen = Screen::default();
            edits.chunks(cut).for_each(|piece| screen.feed(piece));
            assert!(screen.other, "{cut}");
            leaves.chunks(cut).for_each(|piece| screen.feed(piece));
            assert!(!screen.other, "{cut}");
        }
    }
}
