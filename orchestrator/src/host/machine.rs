//! What this machine has: cores, memory, and the identity of its programs.

use std::os::unix::fs::MetadataExt as _;

use camino::Utf8Path;

use super::files::find_program;
use super::text;

/// What jobs may use together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may run on.
    pub cores: u32,
    /// Memory that is free for use now, a reserve for the rest of the system taken off.
    pub mem_mib: u64,
}

/// What is left to the rest of the system, in MiB.
const RESERVE_MIB: u64 = 256;
/// Taken where the system does not say how much memory there is, in MiB.
const UNKNOWN_MIB: u64 = 2048;

impl Machine {
    /// Asks the system. Affinity, cgroup quotas and cgroup memory limits count.
    pub fn probe() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let available = read("/proc/meminfo").and_then(|text| available_mib(&text));
        let cgroup = "/sys/fs/cgroup/memory";
        let limit = read(&format!("{cgroup}.max")).zip(read(&format!("{cgroup}.current")));
        let limit = limit.and_then(|(max, used)| headroom_mib(&max, &used));
        let free = match (available, limit) {
            (Some(a), Some(b)) => a.min(b),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => UNKNOWN_MIB + RESERVE_MIB,
        };
        Self {
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            mem_mib: free.saturating_sub(RESERVE_MIB),
        }
    }
}

/// Cores that others leave free now, by the load of the last minute; at least half of them, for whoever
/// has the rest may be done in a minute.
pub fn free_cores(cores: u32) -> u32 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    left(cores, &load)
}

fn left(cores: u32, loadavg: &str) -> u32 {
    let load = loadavg.split_whitespace().next();
    let load: f64 = load.and_then(|word| word.parse().ok()).unwrap_or(0.0);
    let used = load.clamp(0.0, f64::from(cores)).round() as u32;
    (cores - used).max(cores.div_ceil(2)).max(1)
}

/// `MemAvailable` of `/proc/meminfo`.
fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib >> 10)
}

/// What a cgroup's limit leaves; none where it has no limit.
fn headroom_mib(max: &str, used: &str) -> Option<u64> {
    let max: u64 = max.trim().parse().ok()?;
    let used: u64 = used.trim().parse().ok()?;
    Some(max.saturating_sub(used) >> 20)
}

/// What tells one installation of a program from another: its file, size and time. It changes
/// with every upgrade and costs no start of the program. None where it is not installed.
pub fn program_identity(name: &str) -> Option<String> {
    let file = find_program(name)?.canonicalize_utf8().ok()?;
    identity_of(&file)
}

/// The version that a program tells with `--version`: its first word with a digit in front, and what is
/// in brackets behind it. None where it does not answer so. Blocks for as long as its start takes.
pub fn program_version(name: &str) -> Option<String> {
    let mut command = std::process::Command::new(name);
    command.arg("--version").stdin(std::process::Stdio::null());
    let said = command.output().ok()?.stdout;
    let line = text::head(&said, 1, 200).into_iter().next()?;
    version_in(&line)
}

fn version_in(line: &str) -> Option<String> {
    let starts = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let mut words = line.split(' ').skip_while(|word| !starts(word));
    let version = words.next()?;
    let more: Vec<&str> = words.collect();
    let more = more.join(" ");
    Some(match more.starts_with('(') {
        true => format!("{version} {more}"),
        false => version.to_owned(),
    })
}

/// How loaded the machine is, in words by what they are about. What the system does not tell is
/// left out. Blocks for as long as reading three small files takes.
pub fn load() -> Vec<(&'static str, String)> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut all = Vec::new();
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if let Some(load) = read("/proc/loadavg").split_whitespace().next() {
        all.push(("load", format!("{load} on {cores} cores")));
    }
    let free = available_mib(&read("/proc/meminfo"));
    if let Some(mib) = free {
        all.push(("memory", format!("{mib} MiB free for use")));
    }
    all
}

/// Random bytes of the host's kernel.
pub fn random_bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    use std::io::Read as _;
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn identity_of(file: &Utf8Path) -> Option<String> {
    let meta = std::fs::metadata(file).ok()?;
    let (size, s, ns) = (meta.size(), meta.mtime(), meta.mtime_nsec());
    Some(format!("{file} {size} {s}.{ns:09}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_gives_half_of_its_cores() {
        assert_eq!(left(8, "0.31 0.2 0.1 1/200 4242\n"), 8);
        assert_eq!(left(8, "1.6 0 0 1/1 1"), 6);
        assert_eq!(left(8, "11.0 0 0 1/1 1"), 4);
        assert_eq!(left(3, "11.0 0 0 1/1 1"), 2);
        assert_eq!(left(1, "4.0 0 0 1/1 1"), 1);
        assert_eq!(left(2, ""), 2);
    }

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let qemu = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)";
        assert_eq!(version_in(qemu).unwrap(), "10.0.2 (Debian 1:10.0.2+ds-2)");
        assert_eq!(version_in("tool v2, 3.1 of May").unwrap(), "3.1");
        assert_eq!(version_in("no number here"), None);
        assert_eq!(program_version("/nonexistent/emulator"), None);
    }

    #[test]
    fn memory_is_read_from_what_linux_says() {
        let text = "MemTotal:  24657600 kB\nMemFree: 1 kB\nMemAvailable:   20480000 kB\n";
        assert_eq!(available_mib(text), Some(20000));
        assert_eq!(available_mib("MemTotal: 5 kB\n"), None);
        assert_eq!(headroom_mib("max\n", "5\n"), None);
        assert_eq!(headroom_mib("4294967296\n", "1073741824\n"), Some(3072));
        assert_eq!(headroom_mib("1\n", "5\n"), Some(0));
    }

    #[test]
    fn a_program_that_changed_is_another() {
        let tmp = tempfile::tempdir().unwrap();
        let file = Utf8Path::from_path(tmp.path()).unwrap().join("p");
        std::fs::write(&file, "1").unwrap();
        let before = identity_of(&file).unwrap();
        assert_eq!(before, identity_of(&file).unwrap());
        std::fs::write(&file, "12").unwrap();
        assert_ne!(before, identity_of(&file).unwrap());
        assert_eq!(identity_of(&file.join("absent")), None);
    }
}
