//! Linux guests: an agent on a virtio-serial port, sysrq for those who fall silent.

use std::time::{SystemTime, UNIX_EPOCH};

use super::dialogue::Debugger;
use super::family::{Family, Keys, Seed, Transport, Way};
use super::health::Health;
use crate::host::text;
use crate::model::KernelFound;
use crate::model::kernel::{build_ids, checks};

/// Which kernel runs: release, version, the notes in hexadecimal, and the configuration where the
/// kernel has that. The shell reads what it can by itself: every process is dear under emulation.
const WHICH_KERNEL: &str = "{ read -r release; read -r version <&3; } \
    </proc/sys/kernel/osrelease 3</proc/sys/kernel/version; \
    printf '%s\\n%s\\n' \"$release\" \"$version\"; \
    od -An -v -tx1 /sys/kernel/notes 2>/dev/null; \
    if [ -r /proc/config.gz ]; then zcat /proc/config.gz | grep ^CONFIG_; fi; :";
/// The longest line of the kernel's that is kept, in characters.
const LINE_CHARS: usize = 200;

/// The family `linux`.
#[derive(Debug, Clone, Copy)]
pub struct Linux;

/// Sysrq comes by a break on most serial ports, by Ctrl-O on hypervisor consoles and by `^-` on
/// those of s390. `9` comes first, because the command line says quiet. Where a way does not apply
/// the bytes reach a shell that is about to be ended.
const KEYS: Keys = Keys {
    ways: &[
        way(true, "", ""),
        way(false, "\x0f", ""),
        way(false, "^-", "\n"),
    ],
    louder: "9",
    answers: "sysrq: ",
    unknown: "sysrq: HELP",
    questions: &[
        ("running tasks (sysrq-l)", "l"),
        ("blocked tasks (sysrq-w)", "w"),
        ("locks (sysrq-d)", "d"),
        ("memory (sysrq-m)", "m"),
        ("timers (sysrq-q)", "q"),
        ("all tasks (sysrq-t)", "t"),
    ],
};

const fn way(serial_break: bool, before: &'static str, after: &'static str) -> Way {
    Way {
        serial_break,
        before,
        after,
    }
}

/// One line, for the ash of busybox. The shell reads a file byte by byte, each with a call of its own:
/// it only joins what others print, and [`told`] takes it apart. A look costs a tenth of a second.
const HEALTH: &str = "read -r u _ </proc/uptime; echo up $u; date +'now %s'; \
    read -r t </proc/sys/kernel/tainted; echo taint $t; \
    echo = mem; cat /proc/meminfo; echo = mount; cat /proc/mounts; \
    echo = disk; df -Pk 2>/dev/null; echo = proc; ps -o ppid,pid,stat,comm";

/// What a look printed, in the lines that [`Health`] reads. The kernel's own processes, children of
/// the second, are left out.
fn told(said: &[u8]) -> String {
    let (mut part, mut total, mut lines) = (String::new(), String::new(), String::new());
    for line in said.split(|b| *b == b'\n') {
        let line = text::line(line, LINE_CHARS);
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let fact = match (part.as_str(), &words[..]) {
            (_, ["=", name]) => {
                part = (*name).to_owned();
                continue;
            }
            ("mem", ["MemTotal:", kib, ..]) => {
                total = (*kib).to_owned();
                continue;
            }
            ("mem", ["MemAvailable:", kib, ..]) => format!("mem {total} {kib}"),
            ("mount", [_, at, kind, options, ..]) => format!("mount {at} {kind} {options}"),
            ("disk", [_, size, _, free, _, at]) => format!("disk {at} {size} {free}"),
            ("proc", [parent, id, state, name @ ..])
                if *parent != "2" && *id != "2" && id.parse::<u32>().is_ok() =>
            {
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

    fn on_ready(&self, now: SystemTime, seed: Option<&Seed>) -> String {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanoseconds) = (since.as_secs(), since.subsec_nanos());
        match seed {
            None => format!("date -s @{seconds} >/dev/null; {WHICH_KERNEL}"),
            Some(seed) => {
                let seed: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
                format!(
                    "/usr/libexec/fallout/awake {seconds} {nanoseconds} {seed} || exit 1; {WHICH_KERNEL}"
                )
            }
        }
    }

    /// The GNU C library fills with the complement of what it is told, and what is given back with that
    /// itself.
    fn memory(&self, byte: u8) -> String {
        format!("export MALLOC_PERTURB_={}", !byte)
    }

    fn kernel(&self, said: &[u8]) -> KernelFound {
        let mut lines = said.split(|b| *b == b'\n');
        let mut line = || text::line(lines.next().unwrap_or_default(), LINE_CHARS);
        let (release, version) = (line(), line());
        let (mut notes, mut config) = (Vec::new(), String::new());
        for line in lines {
            if line.starts_with(b"CONFIG_") {
                config += &text::line(line, LINE_CHARS);
                config.push('\n');
                continue;
            }
            let words = line.split(|b| *b == b' ').filter(|word| word.len() == 2);
            notes
                .extend(words.filter_map(|w| u8::from_str_radix(str::from_utf8(w).ok()?, 16).ok()));
        }
        KernelFound {
            release,
            version,
            // Those of the kernel's own notes: it has one.
            build_id: build_ids(&notes).into_iter().next(),
            checks: checks(&config),
        }
    }

    fn health(&self) -> &'static str {
        HEALTH
    }

    fn read_health(&self, said: &[u8]) -> Health {
        Health::parse(told(said).as_bytes())
    }

    fn user(&self) -> &'static str {
        "tests"
    }

    fn power_off(&self) -> &'static str {
        "sync; poweroff -f"
    }

    fn keys(&self) -> Option<&'static Keys> {
        Some(&KEYS)
    }

    /// A Linux kernel that is dead takes no questions.
    fn debugger(&self) -> Option<&'static Debugger> {
        None
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
        assert_eq!(names(), ["linux", "netbsd"]);
    }

    #[test]
    fn a_look_is_told_in_facts() {
        let said = "up 10.52\nnow 1000\ntaint 4096\n= mem\nMemTotal:  200 kB\nMemFree: 1 kB\nMemAvailable:  150 kB\n\
            = mount\nproc /proc proc rw,nosuid 0 0\n= disk\nFilesystem 1024-blocks Used Available Capacity Mounted on\n\
            tmpfs 1000 100 900 10% /data\n= proc\n PPID   PID STAT COMMAND\n    0     1 S    init\n    0     2 SW   kthreadd\n\
                2     3 IW<  rcu_gp\n    1    40 R    my  own\n";
        insta::assert_snapshot!(told(said.as_bytes()), @r"
        up 10.52
        now 1000
        taint 4096
        mem 200 150
        mount /proc proc rw,nosuid
        disk /data 1000 900
        proc S init
        proc R my_own
        ");
        assert_eq!(told(b"= proc\n= = =\n1 x S sh\n1 \xff\n"), "");
    }

    #[test]
    fn the_clock_is_the_hosts() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_000_000);
        let command = Linux.on_ready(now, None);
        assert!(command.starts_with("date -s @1795000000 >/dev/null; "));
        let command = Linux.on_ready(now + Duration::from_nanos(7), Some(&[0x5a; 64]));
        let awake = format!(
            "/usr/libexec/fallout/awake 1795000000 7 {}",
            "5a".repeat(64)
        );
        assert!(command.starts_with(&awake), "{command}");
        assert!(!command.contains('\n'));
    }

    #[test]
    fn a_kernel_is_read_from_what_a_guest_printed() {
        let said = format!(
            "6.1.0-50-s390x\n#1 SMP \x1b[31mDebian\n 00 00 00 04 00 00 00 14 00 00 00 03 47 4e 55 00\n {}\n\
             CONFIG_KASAN=y\nCONFIG_NET=y\n",
            "ab ".repeat(20)
        );
        let found = Linux.kernel(said.as_bytes());
        assert_eq!(found.release, "6.1.0-50-s390x");
        assert!(!found.version.contains('\x1b'));
        assert_eq!(found.build_id, Some("ab".repeat(20)));
        assert_eq!(found.checks.len(), 1);
        assert_eq!(
            Linux.kernel(b"\xff"),
            KernelFound {
                release: Linux.kernel(b"\xff").release,
                ..KernelFound::default()
            }
        );
    }
}
