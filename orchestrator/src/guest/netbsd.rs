//! NetBSD guests: the agent on a serial line of its own, files by the exchange disk, ddb for those who
//! fall silent or die.
//!
//! The agent's protocol is that of Linux guests. Old releases have no virtio console, and a line takes
//! some ten kilobytes a second of input at best, so that archives go by the exchange disk
//! (`images/netbsd/overlay`: `take` and `give`). The console stays the kernel's and people's.

use std::time::{SystemTime, UNIX_EPOCH};

use super::bsd::DDB;
use super::dialogue::Debugger;
use super::family::{Family, Keys, Seed, Transport};
use super::health::Health;
use crate::host::text;
use crate::model::KernelFound;

/// Release, then version, which has two lines of which the second tells the builder.
const WHICH_KERNEL: &str = "sysctl -n kern.osrelease kern.version";
/// The longest line of the kernel's that is kept, in characters.
const LINE_CHARS: usize = 200;

/// One line, for NetBSD's sh. kernfs has the time of the boot as a number; sysctl has it in words.
const HEALTH: &str = "read -r b </kern/boottime; n=$(date +%s); echo up $((n - b)); echo now $n; \
    echo = mem; vmstat -s; echo = mount; mount; echo = disk; df -Pk 2>/dev/null; \
    echo = proc; ps -axo ppid,pid,stat,ucomm";

/// The family `netbsd`.
#[derive(Debug, Clone, Copy)]
pub struct NetBsd;

/// What a look printed, in the lines that [`Health`] reads. The kernel's own process is left out.
fn told(said: &[u8]) -> String {
    let (mut part, mut lines) = (String::new(), String::new());
    let (mut page_kib, mut total, mut free) = (4, 0, 0);
    for line in said.split(|b| *b == b'\n') {
        let line = text::line(line, LINE_CHARS);
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let number = |word: &str| word.parse::<u64>().unwrap_or(0);
        let fact = match (part.as_str(), &words[..]) {
            (_, ["=", name]) => {
                if part == "mem" && total > 0 {
                    lines += &format!("mem {} {}\n", total * page_kib, free * page_kib);
                }
                part = (*name).to_owned();
                continue;
            }
            ("mem", [bytes, "bytes", "per", "page"]) => {
                page_kib = (number(bytes) / 1024).max(1);
                continue;
            }
            ("mem", [pages, "pages", "managed"]) => {
                total = number(pages);
                continue;
            }
            // What only keeps files is given back when somebody needs it.
            ("mem", [pages, "pages", "free" | "inactive"] | [pages, "cached", "file", "pages"]) => {
                free += number(pages);
                continue;
            }
            ("mount", [_, "on", at, "type", kind, options @ ..]) => {
                let options = options.join(" ");
                let word = if options.contains("read-only") {
                    "ro"
                } else {
                    "rw"
                };
                format!("mount {at} {kind} {word}")
            }
            ("disk", [_, size, _, free, _, at]) => format!("disk {at} {size} {free}"),
            ("proc", [_, id, state, name @ ..]) if *id != "0" && id.parse::<u32>().is_ok() => {
                let state = state.get(..1).unwrap_or_default();
                format!("proc {state} {}", name.join("_"))
            }
            ("", _) => line.clone(),
            _ => continue,
        };
        lines += &fact;
        lines.push('\n');
    }
    lines
}

impl Family for NetBsd {
    fn name(&self) -> &'static str {
        "netbsd"
    }

    fn transport(&self) -> Transport {
        Transport::AgentLine
    }

    fn waits_for(&self) -> &'static str {
        "the agent's greeting, which init starts beside the console's login"
    }

    /// `date` knows no fractions of a second.
    fn on_ready(&self, now: SystemTime, seed: Option<&Seed>) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        let stamp = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let date = format!("date -u {} >/dev/null", stamp.strftime("%Y%m%d%H%M.%S"));
        match seed {
            None => format!("{date}; {WHICH_KERNEL}"),
            Some(seed) => {
                let seed: String = seed.iter().map(|byte| format!("\\{byte:03o}")).collect();
                format!("{date} && printf '{seed}' >/dev/urandom || exit 1; {WHICH_KERNEL}")
            }
        }
    }

    fn kernel(&self, said: &[u8]) -> KernelFound {
        let mut lines = said.split(|b| *b == b'\n');
        let mut line = || text::line(lines.next().unwrap_or_default(), LINE_CHARS);
        KernelFound {
            release: line(),
            version: line(),
            ..KernelFound::default()
        }
    }

    fn health(&self) -> &'static str {
        HEALTH
    }

    fn read_health(&self, said: &[u8]) -> Health {
        Health::parse(told(said).as_bytes())
    }

    /// Its malloc fills new memory with 0xa5, or with zeros, and with nothing else.
    fn memory(&self, byte: u8) -> String {
        let word = if byte == 0 { "Z" } else { "J" };
        format!("export MALLOC_OPTIONS={word}")
    }

    fn user(&self) -> &'static str {
        "_tests"
    }

    fn power_off(&self) -> &'static str {
        "halt -p"
    }

    fn keys(&self) -> Option<&'static Keys> {
        None
    }

    fn debugger(&self) -> Option<&'static Debugger> {
        Some(&DDB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_look_is_told_in_facts() {
        let said = "up 61\nnow 1795000000\n= mem\n     4096 bytes per page\n   10 pages managed\n\
            \x20    3 pages free\n     2 pages inactive\n     4 pages active\n     1 cached file pages\n\
            = mount\n/dev/wd0a on / type ffs (asynchronous, local)\nkernfs on /kern type kernfs (read-only)\n\
            = disk\nFilesystem 1024-blocks Used Available Capacity Mounted on\n/dev/wd0a 1000 400 600 40% /\n\
            = proc\n PPID  PID STAT COMMAND\n    0    0 DKl  system\n    0    1 Is   init\n    1  300 R+   my own\n";
        insta::assert_snapshot!(told(said.as_bytes()), @r"
        up 61
        now 1795000000
        mem 40 24
        mount / ffs rw
        mount /kern kernfs ro
        disk / 1000 600
        proc I init
        proc R my_own
        ");
        assert_eq!(told(b"= proc\n= = =\n1 x S sh\n1 \xff\n"), "");
    }

    #[test]
    fn the_clock_is_the_hosts() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let command = NetBsd.on_ready(now, None);
        assert!(
            command.starts_with("date -u 202611181106.40 >/dev/null; "),
            "{command}"
        );
        let command = NetBsd.on_ready(now, Some(&[0x5a; 64]));
        assert!(command.contains("printf '\\132\\132"), "{command}");
        assert!(!command.contains('\n'));
    }

    #[test]
    fn a_kernel_is_read_from_what_a_guest_printed() {
        let said = b"6.99.16\nNetBSD 6.99.16 (GENERIC) #0: Sun Nov 29 2026\n\tme@here:/obj\n\n";
        let found = NetBsd.kernel(said);
        assert_eq!(found.release, "6.99.16");
        assert_eq!(
            found.version,
            "NetBSD 6.99.16 (GENERIC) #0: Sun Nov 29 2026"
        );
    }
}
