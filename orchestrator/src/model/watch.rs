//! What watches a console for a dead kernel: the seam between guests and crash recognition.
//!
//! The guest feeds the bytes and asks; who recognises what is not its business. The engine puts
//! the two together.

use super::crash::Crash;

/// Reads a console as it comes and tells when the kernel is dead. No I/O, no clock.
pub trait ConsoleWatch: Send {
    /// Takes the next bytes, cut anywhere.
    fn feed(&mut self, bytes: &[u8]);

    /// No more bytes will come: what stands in an unfinished line counts as well.
    fn finish(&mut self);

    /// True once the console has shown that the kernel is dead. It stays true.
    fn is_dead(&self) -> bool;

    /// The crash as far as it is known; `Some` wherever [`Self::is_dead`] is true.
    fn crash(&self) -> Option<Crash>;

    /// What the kernel complained of without dying, sanitised, bounded in number and length.
    fn notes(&self) -> Vec<String>;

    /// The last lines of the console, sanitised and bounded: evidence for a guest that is silent.
    fn last_lines(&self) -> Vec<String>;
}
