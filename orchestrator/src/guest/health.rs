//! Whether a guest that answers is still the guest that it was. Pure.
//!
//! The family's command tells a line a fact ([`Family::health`](super::family::Family::health), and
//! [`read_health`](super::family::Family::read_health) where it prints something else); a look at a sound guest is compared with later ones. What a test may leave behind without harm
//! (a process or two, a file) is no damage; what makes later results worthless is.
//!
//! | line | meaning |
//! |---|---|
//! | `up SECONDS`, `now SECONDS` | since boot; since the epoch |
//! | `taint BITS` | the kernel's own complaints |
//! | `mem TOTAL AVAILABLE` | KiB |
//! | `disk MOUNT SIZE AVAILABLE` | KiB, of file systems that have a size |
//! | `mount MOUNT TYPE OPTIONS` | what is mounted |
//! | `proc STATE NAME` | a process that is not the kernel's |

use std::collections::{BTreeMap, BTreeSet};

use crate::host::text;

/// The most that is read of one look, in bytes.
pub const MAX_BYTES: usize = 256 << 10;
/// The two clocks may drift apart by so much before somebody must have set one.
const CLOCK_SECONDS: i64 = 5;
/// Processes that may be left behind.
const LEFT_BEHIND: usize = 8;
/// Linux's taint bits that say that the kernel's state is not to be trusted: a machine check (4), a
/// bad page (5), an oops (7), a soft lockup (14).
const TAINT: u64 = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 14;
/// What processes that only look, or that wait and start the shell for people, may be called: they come
/// and go.
const LOOKERS: [&str; 8] = [
    "sh", "df", "ps", "cat", "date", "sleep", "setsid", "cttyhack",
];

/// One look at a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    up: Option<i64>,
    now: Option<i64>,
    taint: u64,
    mem: Option<(u64, u64)>,
    disks: BTreeMap<String, (u64, u64)>,
    mounts: BTreeMap<String, String>,
    procs: BTreeMap<String, usize>,
    busy: BTreeSet<String>,
}

impl Health {
    /// Reads the command's output. Lines that make no sense are passed by.
    pub fn parse(output: &[u8]) -> Self {
        let mut health = Self::default();
        for line in output.split(|&b| b == b'\n') {
            health.line(&text::line(line, 300));
        }
        health
    }

    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().ok();
        let whole = |word: &str| word.split('.').next()?.parse::<i64>().ok();
        match words[..] {
            ["up", seconds] => self.up = whole(seconds),
            ["now", seconds] => self.now = whole(seconds),
            ["taint", bits] => self.taint = number(bits).unwrap_or(0),
            ["mem", total, free] => self.mem = number(total).zip(number(free)),
            ["disk", mount, size, free] => {
                if let Some(pair) = number(size).zip(number(free)).filter(|p| p.0 > 0) {
                    self.disks.insert(mount.to_owned(), pair);
                }
            }
            ["mount", mount, kind, options] => {
                let read_only = options.split(',').any(|o| o == "ro");
                let kind = if read_only {
                    format!("{kind}, read-only")
                } else {
                    kind.to_owned()
                };
                self.mounts.insert(mount.to_owned(), kind);
            }
            ["proc", state, name] if !LOOKERS.contains(&name) => {
                *self.procs.entry(name.to_owned()).or_default() += 1;
                if state == "R" {
                    self.busy.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }

    /// True where the look told nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What makes a guest that looked like `self` and looks like `later` not to be trusted, in a
    /// few words; `None` where it is sound.
    pub fn damage(&self, later: &Self) -> Option<String> {
        if later.is_empty() {
            return Some("it does not say how it is".to_owned());
        }
        let mut found = Vec::new();
        let epoch = |h: &Self| h.now.zip(h.up).map(|(now, up)| now - up);
        if let Some((before, after)) = epoch(self).zip(epoch(later))
            && (after - before).abs() > CLOCK_SECONDS
        {
            found.push(format!("its clock was set by {} s", after - before));
        }
        let tainted = later.taint & !self.taint & TAINT;
        if tainted != 0 {
            found.push(format!(
                "the kernel says of itself that it is broken (taint {tainted:#x})"
            ));
        }
        if let Some(((_, before), (total, after))) = self.mem.zip(later.mem)
            && after < before / 4
        {
            found.push(format!("{after} of {total} KiB of memory are left"));
        }
        for (mount, (size, free)) in &later.disks {
            let before = self.disks.get(mount).map_or(*size, |d| d.1);
            if *free < size / 50 && *free < before / 4 {
                found.push(format!("{mount} is full: {free} of {size} KiB are left"));
            }
        }
        for (mount, kind) in &self.mounts {
            match later.mounts.get(mount) {
                None => found.push(format!("{mount} is no longer mounted")),
                Some(now) if now != kind => found.push(format!("{mount} is {now} now")),
                Some(_) => {}
            }
        }
        let added = later
            .mounts
            .keys()
            .filter(|m| !self.mounts.contains_key(*m));
        found.extend(added.map(|mount| format!("{mount} was left mounted")));
        self.processes(later, &mut found);
        (!found.is_empty()).then(|| {
            found.truncate(5);
            found.join("; ")
        })
    }

    fn processes(&self, later: &Self, found: &mut Vec<String>) {
        let gone = self.procs.keys().filter(|n| !later.procs.contains_key(*n));
        found.extend(gone.map(|name| format!("{name} runs no more")));
        let left = |name: &String| later.procs[name] > self.procs.get(name).copied().unwrap_or(0);
        let busy = later.busy.iter().filter(|name| left(name));
        found.extend(busy.map(|name| format!("{name} was left running and is busy")));
        let count = |h: &Self| h.procs.values().sum::<usize>();
        let more = count(later).saturating_sub(count(self));
        if more > LEFT_BEHIND {
            found.push(format!("{more} processes were left behind"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SOUND: &str = "up 10.52\nnow 1000\ntaint 4096\nmem 200000 150000\ndisk /data 1000 900\n\
        mount / rootfs rw\nmount /tmp tmpfs rw,nosuid\nproc S init\nproc S syslogd\nproc R sh\n";

    fn damage(edit: impl Fn(&str) -> String) -> String {
        let (before, after) = (
            Health::parse(SOUND.as_bytes()),
            Health::parse(edit(SOUND).as_bytes()),
        );
        before.damage(&after).unwrap_or_default()
    }

    #[test]
    fn what_is_damage() {
        let edits = [
            ("now 1000", "now 90000"),
            ("taint 4096", "taint 4224"),
            ("mem 200000 150000", "mem 200000 9000"),
            ("disk /data 1000 900", "disk /data 1000 3"),
            ("/tmp tmpfs rw,nosuid", "/tmp tmpfs ro,nosuid"),
            ("mount /tmp tmpfs rw,nosuid\n", ""),
            ("proc S init", "proc S init\nmount /mnt tmpfs rw"),
            ("proc S syslogd\n", ""),
            ("proc S init", "proc S init\nproc R spin"),
        ];
        let told: Vec<String> = edits
            .iter()
            .map(|(from, to)| damage(|sound| sound.replace(from, to)))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        its clock was set by 89000 s
        the kernel says of itself that it is broken (taint 0x80)
        9000 of 200000 KiB of memory are left
        /data is full: 3 of 1000 KiB are left
        /tmp is tmpfs, read-only now
        /tmp is no longer mounted
        /mnt was left mounted
        syslogd runs no more
        spin was left running and is busy
        ");
        assert_eq!(damage(|_| String::new()), "it does not say how it is");
    }

    #[test]
    fn what_is_none() {
        for (from, to) in [
            ("up 10.52\nnow 1000", "up 500.9\nnow 1490"),
            ("taint 4096", "taint 4608"),
            ("150000", "60000"),
            (
                "proc S init",
                "proc S init\nproc S helper\nproc R sh\nproc R date",
            ),
        ] {
            assert_eq!(damage(|sound| sound.replace(from, to)), "", "{to}");
        }
    }

    proptest! {
        #[test]
        fn hostile_output_is_read_without_a_panic(a: Vec<u8>, b in "(up|now|mem|disk|mount|proc|taint) [0-9 .-]{0,40}\n") {
            let (one, two) = (Health::parse(&a), Health::parse(b.as_bytes()));
            let _ = one.damage(&two);
            let _ = two.damage(&one);
        }
    }
}
