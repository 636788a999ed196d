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

/// One line, for the ash of busybox. A process is dear under emulation: two are started. The kernel's
/// own processes are children of the second.
const HEALTH: &str = "read -r u _ </proc/uptime; echo up $u; echo now $(date +%s); \
    read -r t </proc/sys/kernel/tainted; echo taint $t; \
    while read -r k v _; do case $k in MemTotal:) m=$v;; MemAvailable:) echo mem $m $v;; esac; \
    done </proc/meminfo; \
    while read -r _ m k o _; do echo mount $m $k $o; done </proc/mounts; \
    for p in /proc/[0-9]*; do { read -r n c s f _ <$p/stat; } 2>/dev/null || continue; \
    [ $n = 2 ] || [ \"$f\" = 2 ] || { c=${c#(}; echo proc $s ${c%)}; }; done; \
    df -Pk 2>/dev/null | while read -r _ s _ a _ m; do echo disk $m $s $a; done";

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

    fn health(&self) -> &'static str {
        HEALTH
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
