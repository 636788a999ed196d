//! Runs a recipe's `build.sh`: its environment, its log, the steps it names.
//!
//! The environment is stated in full here and in `images/linux/sources/README.md`; nothing of the
//! user's own environment reaches a build but PATH.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::time::Instant;

use camino::Utf8Path;

use super::super::error::IoContext;
use super::super::exec::{Watch, run};
use super::Step;
use super::error::SourceError;
use super::recipe::Loaded;
use super::toolchain::{Flags, sysroot_flags};
use crate::model::port::Port;

/// What a build may write into its log; beyond that it goes on unrecorded.
const LOG_MAX_BYTES: usize = 64 << 20;
/// The same for every build: 1980, the first year that all archive formats can tell.
const SOURCE_DATE_EPOCH: &str = "315532800";

/// Everything that a build script is told.
pub struct Job<'a> {
    /// The recipe.
    pub loaded: &'a Loaded,
    /// The port.
    pub port: &'a Port,
    /// The unpacked source; the script may write in it.
    pub source: &'a Utf8Path,
    /// Where `root/`, `sysroot/` and `boot/` are to appear.
    pub out: &'a Utf8Path,
    /// The build's own directory.
    pub work: &'a Utf8Path,
    /// What to compile against, if anything.
    pub sysroot: Option<&'a Utf8Path>,
    /// Compilers at the same time.
    pub jobs: usize,
    /// The key's first digits.
    pub key_short: &'a str,
    /// The source's version.
    pub version: &'a str,
}

impl Job<'_> {
    /// The command, ready to run.
    pub fn command(&self, watch: &Watch<'_>) -> Result<Command, SourceError> {
        let triplet = &self.port.toolchain.triplet;
        let ask = |tool: &str, option| -> Result<String, SourceError> {
            let ran = run(Command::new(tool).arg(option), "gcc", watch, &mut |_| {})?;
            Ok(ran.out.trim().to_owned())
        };
        let multiarch = ask(&format!("{triplet}-gcc"), "-print-multiarch")?;
        let build = ask("gcc", "-dumpmachine")?;
        let flags = match self.sysroot {
            Some(dir) => sysroot_flags(
                dir,
                triplet,
                &multiarch,
                cxx_version(dir).as_deref(),
                &self.port.toolchain.cflags,
            ),
            None => {
                let own = self.port.toolchain.cflags.join(" ");
                Flags {
                    cflags: own.clone(),
                    cxxflags: own,
                    ldflags: String::new(),
                }
            }
        };
        // Directory names of this build must not end up in what it makes.
        let maps = format!(
            "-ffile-prefix-map={}=. -ffile-prefix-map={}=.",
            self.source, self.work
        );
        let recipe = self
            .loaded
            .dir
            .canonicalize_utf8()
            .doing("find", &self.loaded.dir)?;

        let mut command = without_network(watch);
        // Errors belong between the lines that they are about.
        command.args(["sh", "-c", "exec sh \"$0\" 2>&1"]);
        command.arg(recipe.join("build.sh"));
        command.current_dir(self.work.join("work")).env_clear();
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        command.env("PATH", path);
        let facts = &self.port.toolchain;
        for (name, value) in [
            ("HOME", self.work.join("home").as_str()),
            ("TMPDIR", self.work.join("home").as_str()),
            ("LC_ALL", "C"),
            ("TZ", "UTC"),
            ("SOURCE_DATE_EPOCH", SOURCE_DATE_EPOCH),
            ("SRC", self.source.as_str()),
            ("WORK", self.work.join("work").as_str()),
            ("OUT", self.out.as_str()),
            ("RECIPE", recipe.as_str()),
            ("FRAGMENTS", &self.loaded.recipe.fragments.join(" ")),
            ("JOBS", &self.jobs.max(1).to_string()),
            ("HOST", triplet),
            ("BUILD", &build),
            ("MULTIARCH", &multiarch),
            ("CROSS_COMPILE", &format!("{triplet}-")),
            ("SYSROOT", self.sysroot.map_or("", Utf8Path::as_str)),
            ("CFLAGS", &format!("{} {maps}", flags.cflags)),
            ("CXXFLAGS", &format!("{} {maps}", flags.cxxflags)),
            ("LDFLAGS", &flags.ldflags),
            ("SOURCE_VERSION", self.version),
            ("KEY_SHORT", self.key_short),
            ("KERNEL_ARCH", facts.kernel_arch.as_deref().unwrap_or("")),
            ("KERNEL_IMAGE", facts.kernel_image.as_deref().unwrap_or("")),
        ] {
            command.env(name, value);
        }
        Ok(command)
    }
}

/// The version directory of the C++ headers that a sysroot brings, if it brings any.
fn cxx_version(sysroot: &Utf8Path) -> Option<String> {
    let dir = sysroot.join("usr/include/c++");
    let entries = std::fs::read_dir(dir).ok()?;
    let names = entries.filter_map(|e| e.ok()?.file_name().into_string().ok());
    names.max_by_key(|n| n.parse::<u32>().unwrap_or(0))
}

/// A prefix that takes the network away, where the host lets a user do that; a build that wants
/// the network is a fault of the recipe, found on the hosts that can.
fn without_network(watch: &Watch<'_>) -> Command {
    let words = ["--map-current-user", "--net", "--"];
    let mut probe = Command::new("unshare");
    probe.args(words).arg("true");
    if run(&mut probe, "util-linux", watch, &mut |_| {}).is_ok_and(|r| r.ok) {
        let mut command = Command::new("unshare");
        command.args(words);
        command
    } else {
        Command::new("env")
    }
}

/// The step that a line of a build script announces: `== step: compile`.
pub fn step_of(line: &str) -> Option<&str> {
    let name = line.strip_prefix("== step: ")?.trim();
    (!name.is_empty() && name.len() <= 40).then_some(name)
}

/// Runs the script into its log and gives how long each step took.
pub fn run_logged(
    mut command: Command,
    log_path: &Utf8Path,
    watch: &Watch<'_>,
    loaded: &Loaded,
    port: &Port,
) -> Result<Vec<Step>, SourceError> {
    let mut log = File::create(log_path).doing("create", log_path)?;
    let mut log_room = LOG_MAX_BYTES;
    let mut log_error = None;
    let mut steps: Vec<Step> = Vec::new();
    let mut current = ("start".to_owned(), Instant::now());
    let mut lines = 0;
    let mut tail = VecDeque::new();
    let ran = run(&mut command, "util-linux", watch, &mut |line| {
        if tail.len() == 25 {
            tail.pop_front();
        }
        tail.push_back(line.chars().take(300).collect::<String>());
        if log_room > line.len() {
            log_room -= line.len() + 1;
            if let Err(e) = writeln!(log, "{line}") {
                log_error.get_or_insert(e);
                log_room = 0;
            }
        }
        if let Some(name) = step_of(line) {
            let (name_before, since) =
                std::mem::replace(&mut current, (name.to_owned(), Instant::now()));
            if name_before != "start" {
                steps.push(Step {
                    name: name_before,
                    took: since.elapsed(),
                });
            }
            lines = 0;
            (watch.progress)(&format!("{name} {}", loaded.name), None);
        } else if current.0 == "compile" {
            lines += 1;
            if lines % 16 == 0 {
                let total = loaded.recipe.compile_lines;
                (watch.progress)(
                    &format!("compile {}", loaded.name),
                    total.map(|t| (lines.min(t), t)),
                );
            }
        }
    })?;
    steps.push(Step {
        name: current.0.clone(),
        took: current.1.elapsed(),
    });
    if !ran.ok {
        return Err(SourceError::Build {
            component: loaded.name.clone(),
            port: port.port.to_string(),
            step: current.0,
            log: log_path.to_owned(),
            tail: Vec::from(tail).join("\n"),
        });
    }
    match log_error {
        Some(e) => Ok(Err(e).doing("write", log_path)?),
        None => Ok(steps),
    }
}
