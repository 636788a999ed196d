//! The words that confine a program which came with what is tested: no network, nothing writable.
//!
//! Who uses them decides what the program may write after all, and what is done where neither works.

/// Bubblewrap with the host's files to read. Further options may follow, then the program.
pub const BWRAP: [&str; 14] = [
    "bwrap",
    "--ro-bind",
    "/",
    "/",
    "--dev",
    "/dev",
    "--proc",
    "/proc",
    "--unshare-net",
    "--unshare-pid",
    "--unshare-ipc",
    "--die-with-parent",
    "--tmpfs",
    "/dev/shm",
];

/// Without bubblewrap: no network, but files are not confined. The program follows.
///
/// make puts every job into a process group of its own, which outlives the group that is ended: the
/// process namespace ends with its first process, and takes all of them along.
pub const UNSHARE: [&str; 8] = [
    "unshare",
    "--user",
    "--map-current-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
    "--",
];
