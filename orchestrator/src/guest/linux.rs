//! Linux guests: an agent on a virtio-serial port, sysrq for those who fall silent.

use std::time::{SystemTime, UNIX_EPOCH};

use super::family::{Family, Poke, Transport};

/// The family `linux`.
#[derive(Debug, Clone, Copy)]
pub struct Linux;

/// Sysrq comes by a break on most serial ports, by Ctrl-O on hypervisor consoles and by `^-` on
/// those of s390. First `9`, because the command line says quiet; then the stacks of the running
/// tasks (`l`) and of the blocked ones (`w`). Where a way does not apply the bytes reach a shell
/// that is about to be ended.
const POKES: [Poke; 9] = [
    Poke::Break(b"9"),
    Poke::Break(b"l"),
    Poke::Break(b"w"),
    Poke::Keys(b"\x0f9"),
    Poke::Keys(b"\x0fl"),
    Poke::Keys(b"\x0fw"),
    Poke::Keys(b"^-9\n"),
    Poke::Keys(b"^-l\n"),
    Poke::Keys(b"^-w\n"),
];

impl Family for Linux {
    fn name(&self) -> &'static str {
        "linux"
    }

    fn transport(&self) -> Transport {
        Transport::AgentPort
    }

    fn waits_for(&self) -> &'static str {
        "the agent's greeting"
    }

    fn on_ready(&self, now: SystemTime) -> Vec<String> {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        vec![format!("date -s @{} >/dev/null", since.as_secs())]
    }

    fn power_off(&self) -> &'static str {
        "sync; poweroff -f"
    }

    fn pokes(&self) -> &'static [Poke] {
        &POKES
    }
}

#[cfg(test)]
mod tests {
    use super::super::family::{family, names};
    use super::*;
    use std::time::Duration;

    #[test]
    fn found_by_name() {
        assert_eq!(family("linux").map(Family::name), Some("linux"));
        assert!(family("plan9").is_none());
        assert_eq!(names(), ["linux"]);
    }

    #[test]
    fn the_clock_is_the_hosts() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        assert_eq!(Linux.on_ready(now), ["date -s @1795000000 >/dev/null"]);
    }
}
