//! The serial console: one thread owns the stream; everybody else has a handle.
//!
//! The thread writes what comes to a file, feeds the crash watch, keeps the end for the last screen,
//! and hands copies to people who attached over a unix socket. A guest may print gigabytes: the
//! file keeps the beginning up to a cap, a ring in memory keeps the end, and the end is written
//! behind a line that says how much was cut. An emulated serial port hands over single bytes: reads
//! are gathered, and it is a thread that reads, because the event loop would be woken for each byte.
//!
//! It does not decide anything: a dead kernel, the end of the stream and a full disk are facts that
//! the machine asks for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::num::NonZeroU16;
use std::path::Path;
use std::process::ChildStdout;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::ChildStdin;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::host::text;
use crate::model::{ConsoleWatch, Crash};

use super::marks::Marks;

/// Bytes that a read takes at once, and that a pipe holds.
const READ_BYTES: usize = 64 << 10;
/// The thread's stack: searching and copying take little.
const STACK_BYTES: usize = 512 << 10;
/// After a read of less than this the thread waits a little, so that a serial port which hands over
/// single bytes does not cost a wake-up for each.
const SMALL_READ_BYTES: usize = 4 << 10;
const GATHER: Duration = Duration::from_millis(8);
/// The end that is kept in memory: enough for a screen full of escapes.
const TAIL_BYTES: usize = 16 << 10;
/// What is kept for a listener who does not ask: more is dropped.
const HEARD_BYTES: usize = 256 << 10;
/// The end that a flooded file gets back.
const FLOOD_TAIL_BYTES: usize = 256 << 10;
/// The screen that a failed boot is shown on.
const ROWS: NonZeroU16 = NonZeroU16::MIN.saturating_add(23);
const COLUMNS: NonZeroU16 = NonZeroU16::MIN.saturating_add(79);
/// Pieces that a slow reader may be behind before it loses some.
const ATTACH_LAG: usize = 256;

/// What is known of a console at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    /// Bytes so far.
    pub bytes: u64,
    /// The watch says that the kernel is dead.
    pub dead: bool,
    /// The stream has ended, and everything that came has been seen.
    pub closed: bool,
}

/// What became of a console's file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsoleReport {
    /// Bytes that came.
    pub bytes: u64,
    /// Bytes of those that are not in the file.
    pub cut_bytes: u64,
    /// Why the file could not be written to its end: a full disk, for one.
    pub write_error: Option<String>,
}

struct Shared {
    watch: Box<dyn ConsoleWatch>,
    tail: VecDeque<u8>,
    report: ConsoleReport,
    /// What came since somebody listens; `None` while nobody does.
    heard: Option<Vec<u8>>,
}

/// A handle on a console. Clones are handles on the same one.
#[derive(Clone)]
pub struct Console {
    shared: Arc<Mutex<Shared>>,
    pulse: watch::Receiver<Pulse>,
    input: mpsc::Sender<Vec<u8>>,
}

impl Console {
    /// Starts the thread. `people` is the socket on which others attach.
    ///
    /// Errors: the file cannot be made, or the host gives no thread.
    pub fn start(
        from: ChildStdout,
        to: ChildStdin,
        file: &Path,
        cap_bytes: u64,
        watch: Box<dyn ConsoleWatch>,
        people: UnixListener,
    ) -> io::Result<Self> {
        Self::begin(from, to, file, cap_bytes, watch, people, None)
    }

    /// The same, and everything is [heard](Self::heard) from the first byte on.
    pub fn start_listening(
        from: ChildStdout,
        to: ChildStdin,
        file: &Path,
        cap_bytes: u64,
        watch: Box<dyn ConsoleWatch>,
        people: UnixListener,
    ) -> io::Result<Self> {
        let heard = Some(Vec::new());
        Self::begin(from, to, file, cap_bytes, watch, people, heard)
    }

    fn begin(
        from: ChildStdout,
        to: ChildStdin,
        file: &Path,
        cap_bytes: u64,
        watch: Box<dyn ConsoleWatch>,
        people: UnixListener,
        heard: Option<Vec<u8>>,
    ) -> io::Result<Self> {
        let log = Log::create(file, cap_bytes)?;
        let shared = Arc::new(Mutex::new(Shared {
            watch,
            tail: VecDeque::new(),
            report: ConsoleReport::default(),
            heard,
        }));
        let (pulse_tx, pulse) = watch::channel(Pulse::default());
        let (input, input_rx) = mpsc::channel(16);
        let (copies, _) = broadcast::channel(ATTACH_LAG);
        let over = CancellationToken::new();
        let console = Self {
            shared,
            pulse,
            input,
        };
        tokio::spawn(type_in(to, input_rx, over.clone()));
        tokio::spawn(admit(people, console.clone(), copies.clone(), over.clone()));
        let shared = Arc::clone(&console.shared);
        std::thread::Builder::new()
            .name("console".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                own(from, log, &shared, &pulse_tx, &copies);
                over.cancel();
            })?;
        Ok(console)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// What is known now.
    pub fn pulse(&self) -> Pulse {
        *self.pulse.borrow()
    }

    /// Returns once the watch says that the kernel is dead; never for a kernel that lives.
    pub async fn dead(&mut self) {
        if self.pulse.wait_for(|p| p.dead).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Returns once the stream has ended and all of it has been seen.
    pub async fn closed(&mut self) {
        // An error means that the thread is gone: then nothing more comes either.
        let _ = self.pulse.wait_for(|p| p.closed).await;
    }

    /// Returns once nothing has come for `quiet`, or the stream has ended, or `limit` is over.
    pub async fn settle(&mut self, quiet: Duration, limit: Duration) {
        let settled = async {
            loop {
                let before = self.pulse();
                if before.closed {
                    return;
                }
                tokio::time::sleep(quiet).await;
                if self.pulse().bytes == before.bytes {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// Begins to keep what comes, for [`Self::heard`].
    pub fn listen(&self) {
        self.lock().heard = Some(Vec::new());
    }

    /// What comes is kept no more.
    pub fn ignore(&self) {
        self.lock().heard = None;
    }

    /// What came since [`Self::listen`] or since this was asked last.
    pub fn heard(&self) -> Vec<u8> {
        self.lock()
            .heard
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Returns once something was heard: true; or once the stream has ended: false.
    pub async fn more(&mut self) -> bool {
        loop {
            self.pulse.mark_unchanged();
            if self.lock().heard.as_ref().is_some_and(|h| !h.is_empty()) {
                return true;
            }
            if self.pulse().closed || self.pulse.changed().await.is_err() {
                return false;
            }
        }
    }

    /// Types on the console. What cannot be typed (nobody reads it) is dropped.
    pub async fn type_keys(&self, keys: &[u8]) {
        let _ = self.input.try_send(keys.to_vec());
    }

    /// The crash, as far as it is known.
    pub fn crash(&self) -> Option<Crash> {
        self.lock().watch.crash()
    }

    /// What the kernel complained of without dying.
    pub fn notes(&self) -> Vec<String> {
        self.lock().watch.notes()
    }

    /// The last lines, sanitised.
    pub fn last_lines(&self) -> Vec<String> {
        self.lock().watch.last_lines()
    }

    /// What a terminal of 80 by 24 would show now, sanitised, without empty lines at the end.
    pub fn screen(&self) -> Vec<String> {
        let tail: Vec<u8> = self.lock().tail.iter().copied().collect();
        // The screen is wanted once in a guest's life: keeping it up to date would cost every byte.
        let mut terminal = vt100::Parser::new(ROWS, COLUMNS, 0);
        terminal.process(&tail);
        let mut rows: Vec<String> = terminal
            .screen()
            .rows(0, 80)
            .map(|row| text::line(row.as_bytes(), 80))
            .collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }

    /// Takes the watch back, for a console that was given up before anything came.
    pub(super) fn take_watch(&self) -> Box<dyn ConsoleWatch> {
        std::mem::replace(&mut self.lock().watch, Box::new(Unwatched))
    }

    /// What became of the file so far.
    pub fn report(&self) -> ConsoleReport {
        self.lock().report.clone()
    }
}

/// Sees nothing.
struct Unwatched;

impl ConsoleWatch for Unwatched {
    fn feed(&mut self, _: &[u8]) {}
    fn finish(&mut self) {}
    fn is_dead(&self) -> bool {
        false
    }
    fn crash(&self) -> Option<Crash> {
        None
    }
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }
    fn last_lines(&self) -> Vec<String> {
        Vec::new()
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn own(
    mut from: ChildStdout,
    mut log: Log,
    shared: &Mutex<Shared>,
    pulse: &watch::Sender<Pulse>,
    copies: &broadcast::Sender<Arc<[u8]>>,
) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let n = match from.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        let bytes = &buffer[..n];
        log.write(bytes);
        let dead = {
            let mut shared = lock(shared);
            shared.watch.feed(bytes);
            keep_tail(&mut shared.tail, bytes, TAIL_BYTES);
            if let Some(heard) = &mut shared.heard {
                let room = HEARD_BYTES.saturating_sub(heard.len());
                heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
            shared.report = log.report.clone();
            shared.watch.is_dead()
        };
        pulse.send_modify(|p| {
            p.bytes += n as u64;
            p.dead = dead;
        });
        if copies.receiver_count() > 0 {
            let _ = copies.send(Arc::from(bytes));
        }
        if n < SMALL_READ_BYTES {
            std::thread::sleep(GATHER);
        }
    }
    log.finish();
    let dead = {
        let mut shared = lock(shared);
        shared.watch.finish();
        shared.report = log.report.clone();
        shared.watch.is_dead()
    };
    pulse.send_modify(|p| {
        p.dead = dead;
        p.closed = true;
    });
}

/// Keeps the last `max` bytes of what passes.
fn keep_tail(tail: &mut VecDeque<u8>, bytes: &[u8], max: usize) {
    let bytes = &bytes[bytes.len().saturating_sub(max)..];
    let excess = (tail.len() + bytes.len()).saturating_sub(max);
    tail.drain(..excess);
    tail.extend(bytes);
}

async fn type_in(mut to: ChildStdin, mut keys: mpsc::Receiver<Vec<u8>>, over: CancellationToken) {
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            next = keys.recv() => {
                let Some(bytes) = next else { return };
                if to.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

async fn admit(
    people: UnixListener,
    console: Console,
    copies: broadcast::Sender<Arc<[u8]>>,
    over: CancellationToken,
) {
    loop {
        tokio::select! {
            () = over.cancelled() => return,
            next = people.accept() => match next {
                Ok((stream, _)) => {
                    let before: Vec<u8> = console.lock().tail.iter().copied().collect();
                    let live = copies.subscribe();
                    let input = console.input.clone();
                    let over = over.clone();
                    tokio::spawn(async move {
                        let both = attend(stream, before, live, input);
                        let _ = over.run_until_cancelled(both).await;
                    });
                }
                // Out of file descriptors, most likely: they come back.
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// Serves one who attached: the recent past first, then both ways until one side ends.
async fn attend(
    stream: UnixStream,
    before: Vec<u8>,
    mut live: broadcast::Receiver<Arc<[u8]>>,
    input: mpsc::Sender<Vec<u8>>,
) {
    let (mut from, mut to) = stream.into_split();
    let show = async {
        if to.write_all(&before).await.is_err() {
            return;
        }
        loop {
            let written = match live.recv().await {
                Ok(bytes) => to.write_all(&bytes).await,
                Err(broadcast::error::RecvError::Lagged(_)) => {
                    to.write_all(b"\r\n[fallout: too slow, some output left out]\r\n")
                        .await
                }
                Err(broadcast::error::RecvError::Closed) => return,
            };
            if written.is_err() {
                return;
            }
        }
    };
    let listen = async {
        let mut keys = vec![0; 256];
        while let Ok(n @ 1..) = from.read(&mut keys).await {
            if input.send(keys[..n].to_vec()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = show => {}
        () = listen => {}
    }
}

/// The console's file: the beginning at once, the end when the console ends.
struct Log {
    file: Option<File>,
    marks: Marks,
    /// Bytes of the file.
    put: u64,
    head_left: u64,
    tail: VecDeque<u8>,
    tail_max: usize,
    report: ConsoleReport,
}

impl Log {
    fn create(path: &Path, cap_bytes: u64) -> io::Result<Self> {
        let tail = FLOOD_TAIL_BYTES.min(usize::try_from(cap_bytes / 4).unwrap_or(usize::MAX));
        Ok(Self {
            file: Some(File::create(path)?),
            marks: Marks::beside(path),
            put: 0,
            head_left: cap_bytes - tail as u64,
            tail: VecDeque::new(),
            tail_max: tail,
            report: ConsoleReport::default(),
        })
    }

    fn write(&mut self, bytes: &[u8]) {
        self.report.bytes += bytes.len() as u64;
        let head = usize::try_from(self.head_left).map_or(bytes.len(), |n| n.min(bytes.len()));
        self.head_left -= head as u64;
        self.put(&bytes[..head]);
        keep_tail(&mut self.tail, &bytes[head..], self.tail_max);
        self.report.cut_bytes += (bytes.len() - head) as u64;
    }

    fn put(&mut self, bytes: &[u8]) {
        if let Some(file) = &mut self.file
            && let Err(e) = file.write_all(bytes)
        {
            // The guest's outcomes do not depend on this file: it ends here, and says so.
            self.report.write_error = Some(e.to_string());
            self.file = None;
        }
        self.put += bytes.len() as u64;
        if !bytes.is_empty() {
            self.marks.written(self.put);
        }
    }

    fn finish(&mut self) {
        if !self.tail.is_empty() {
            self.put_tail();
        }
        self.marks.finish();
    }

    fn put_tail(&mut self) {
        self.report.cut_bytes -= self.tail.len() as u64;
        let tail: Vec<u8> = std::mem::take(&mut self.tail).into();
        if self.report.cut_bytes > 0 {
            let cut = self.report.cut_bytes;
            self.put(format!("\n[fallout: {cut} bytes cut here]\n").as_bytes());
        }
        self.put(&tail);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flood_leaves_head_and_tail() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        let mut log = Log::create(&path, 40).unwrap();
        for i in 0..100 {
            log.write(format!("{i:02} ").as_bytes());
        }
        log.finish();
        assert_eq!(log.report.bytes, 300);
        assert_eq!(log.report.cut_bytes, 260);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(
            text,
            "00 01 02 03 04 05 06 07 08 09 \n[fallout: 260 bytes cut here]\n 97 98 99 "
        );
    }

    #[test]
    fn what_fits_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console");
        let mut log = Log::create(&path, 40).unwrap();
        log.write(&[b'x'; 40]);
        log.finish();
        assert_eq!(std::fs::read(&path).unwrap(), [b'x'; 40]);
        assert_eq!(log.report.cut_bytes, 0);
    }

    #[test]
    fn a_full_disk_is_reported_once() {
        let full = Path::new("/dev/full");
        if !full.exists() {
            return;
        }
        let mut log = Log::create(full, 1000).unwrap();
        log.write(b"abc");
        log.write(b"def");
        log.finish();
        assert!(log.report.write_error.is_some());
        assert_eq!(log.report.bytes, 6);
    }

    proptest! {
        #[test]
        fn the_tail_is_the_end(pieces: Vec<Vec<u8>>, max in 0usize..50) {
            let mut tail = VecDeque::new();
            for piece in &pieces {
                keep_tail(&mut tail, piece, max);
            }
            let all = pieces.concat();
            let end = &all[all.len().saturating_sub(max)..];
            prop_assert_eq!(Vec::from(tail), end);
        }
    }
}
