//! Which accelerator a guest gets: chosen on the machine where it starts, for that machine.
//!
//! ```text
//! wish tcg ------------------------------------------------> tcg
//! wish auto, kvm, …:  is the port one of this processor's? --no--> tcg
//!                     yes: does the accelerator answer?    --yes-> it
//!                          no:  auto --> tcg, and why; else a fault of the host
//! ```
//!
//! The choice is pure; [`Here`] asks this machine, and asks the emulator itself: what it starts with, it can use.

use std::collections::HashMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::host::text;
use crate::model::Port;
use crate::model::accel::{Accel, AccelWish};

/// An emulator that has not answered by then does not.
const LIMIT: Duration = Duration::from_secs(30);

/// What the choice needs to know of a machine.
pub trait Host {
    /// Its architecture, as `uname -m` says it.
    fn arch(&self) -> &str;
    /// The accelerators that its system can have.
    fn has(&self) -> &[Accel];
    /// Why this emulator cannot use an accelerator here; blocks.
    fn refuses(&self, program: &str, accel: Accel) -> Option<String>;
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The accelerator.
    pub accel: Accel,
    /// Why it is not a faster one, where one was to be expected.
    pub instead: Option<String>,
}

/// Chooses for a port. An error says why what is insisted on cannot be had.
pub fn choose(wish: AccelWish, port: &Port, host: &dyn Host) -> Result<Chosen, String> {
    let tcg = |instead| Chosen {
        accel: Accel::Tcg,
        instead,
    };
    let native = port.native.as_ref();
    if wish.is_tcg() || !native.is_some_and(|n| n.hosts.iter().any(|h| h == host.arch())) {
        return Ok(tcg(None));
    }
    let wanted: Vec<Accel> = wish.only().map_or(host.has().to_vec(), |only| vec![only]);
    let mut reasons = Vec::new();
    for accel in wanted {
        let refused = match host.has().contains(&accel) {
            true => host.refuses(&port.emulator.program, accel),
            false => Some("this host's system has none".to_owned()),
        };
        match refused {
            None => {
                let instead = None;
                return Ok(Chosen { accel, instead });
            }
            Some(why) => reasons.push(format!("{}: {why}", accel.word())),
        }
    }
    let reasons = reasons.join("; ");
    match wish {
        AccelWish::Auto => Ok(tcg((!reasons.is_empty()).then_some(reasons))),
        _ => Err(format!(
            "{}: no accelerator as ordered: {reasons}: expected a host that has it, or `accel: auto`",
            port.port
        )),
    }
}

/// The port as its guests run under an accelerator.
pub fn under(port: &Port, accel: Accel) -> Port {
    let mut port = port.clone();
    port.emulator.accel = accel;
    port.emulator.native_cpu = port.native.as_ref().and_then(|n| n.cpu.clone());
    port
}

/// What emulators said of accelerators: why they cannot use them.
type Answers = HashMap<(String, Accel), Option<String>>;

/// This machine.
#[derive(Debug, Clone, Copy)]
pub struct Here;

impl Host for Here {
    fn arch(&self) -> &str {
        std::env::consts::ARCH
    }

    fn has(&self) -> &[Accel] {
        match std::env::consts::OS {
            "linux" => &[Accel::Kvm],
            "netbsd" => &[Accel::Nvmm],
            "macos" => &[Accel::Hvf],
            _ => &[],
        }
    }

    fn refuses(&self, program: &str, accel: Accel) -> Option<String> {
        static KNOWN: Mutex<Option<Answers>> = Mutex::new(None);
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get_or_insert_default();
        let ask = || {
            let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            let unfit = (accel == Accel::Kvm && self.arch() == "x86_64").then(|| unfit(&info));
            unfit.flatten().or_else(|| starts(program, accel).err())
        };
        let key = (program.to_owned(), accel);
        known.entry(key).or_insert_with(ask).clone()
    }
}

/// Why KVM on a processor of the x86 family runs no kernel as it is. A KVM without the processor's help makes
/// machines all the same, and then runs nothing in them but kernels that were made for it.
fn unfit(cpuinfo: &str) -> Option<String> {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags"))?;
    let helps = flags.split_whitespace().any(|f| f == "vmx" || f == "svm");
    (!helps).then(|| "the processor has neither vmx nor svm".to_owned())
}

/// Whether an emulator starts with an accelerator, without a machine. What it says where it does not.
fn starts(program: &str, accel: Accel) -> Result<(), String> {
    let mut child = Command::new(program)
        .args(["-M", "none", "-accel", accel.word(), "-nodefaults"])
        .args(["-no-user-config", "-display", "none", "-monitor", "stdio"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("{program}: {e}"))?;
    if let Some(mut monitor) = child.stdin.take() {
        // One that has ended does not listen; its status says the rest.
        let _ = monitor.write_all(b"quit\n");
    }
    let until = Instant::now() + LIMIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(_)) => break,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{program} did not come up with it"));
            }
        }
    }
    let said = child.wait_with_output().map(|out| out.stderr);
    let said = text::head(&said.unwrap_or_default(), 1, 200);
    let said = said.into_iter().next();
    Err(said.unwrap_or_else(|| format!("{program} ended at once")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that is made up: its system has KVM, and this is what KVM says.
    struct Made(&'static str, Option<&'static str>);

    impl Host for Made {
        fn arch(&self) -> &str {
            self.0
        }

        fn has(&self) -> &[Accel] {
            &[Accel::Kvm]
        }

        fn refuses(&self, _: &str, _: Accel) -> Option<String> {
            self.1.map(str::to_owned)
        }
    }

    fn port() -> Port {
        let text = "{format: 1, port: p, family: f, status: s, traits: {}, emulator: {program: q, \
            packages: [], machine: m, cpu: c, mem_mib: 1, append: a, channel: v, boot_timeout: 1s}, \
            toolchain: {triplet: t}, image: {suite: s, arch: a, runner: sh}, native: {hosts: [x86_64]}}";
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn a_host_takes_what_its_processor_runs() {
        let works = Made("x86_64", None);
        let chosen = |wish, host: &Made| choose(wish, &port(), host).map(|c| c.accel);
        assert_eq!(chosen(AccelWish::Auto, &works), Ok(Accel::Kvm));
        assert_eq!(chosen(AccelWish::Kvm, &works), Ok(Accel::Kvm));
        // Reproducible unless somebody wishes otherwise.
        assert_eq!(chosen(AccelWish::default(), &works), Ok(Accel::Tcg));
        // Another processor's port is translated, whatever is wished.
        for wish in [AccelWish::Auto, AccelWish::Kvm] {
            assert_eq!(chosen(wish, &Made("aarch64", None)), Ok(Accel::Tcg));
        }
        let foreign = Port {
            native: None,
            ..port()
        };
        let chosen = choose(AccelWish::Kvm, &foreign, &works).unwrap();
        assert_eq!((chosen.accel, chosen.instead), (Accel::Tcg, None));
    }

    #[test]
    fn what_does_not_answer_is_told_and_replaced_only_where_that_is_allowed() {
        let broken = Made("x86_64", Some("Could not access KVM kernel module"));
        let chosen = choose(AccelWish::Auto, &port(), &broken).unwrap();
        assert_eq!(chosen.accel, Accel::Tcg);
        let told = [
            chosen.instead.unwrap(),
            choose(AccelWish::Kvm, &port(), &broken).unwrap_err(),
            choose(AccelWish::Nvmm, &port(), &broken).unwrap_err(),
        ];
        insta::assert_snapshot!(told.join("\n"), @r"
        kvm: Could not access KVM kernel module
        p: no accelerator as ordered: kvm: Could not access KVM kernel module: expected a host that has it, or `accel: auto`
        p: no accelerator as ordered: nvmm: this host's system has none: expected a host that has it, or `accel: auto`
        ");
    }

    #[test]
    fn kvm_without_the_processors_help_is_none() {
        assert_eq!(unfit("flags\t\t: fpu vme vmx\n"), None);
        assert_eq!(unfit("flags\t\t: fpu svm\n"), None);
        assert!(unfit("flags\t\t: fpu hypervisor\n").is_some());
        // A system that does not tell is not judged by it.
        assert_eq!(unfit(""), None);
    }

    #[test]
    fn an_emulator_is_asked_by_starting_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let able = script(
            "able",
            "case $* in *'-accel kvm'*) read word; exit 0 ;; esac; exit 1",
        );
        assert_eq!(starts(&able, Accel::Kvm), Ok(()));
        assert!(starts(&able, Accel::Hvf).is_err());
        let unable = script(
            "unable",
            "echo 'failed to initialize kvm: No such device' >&2; exit 1",
        );
        assert_eq!(
            starts(&unable, Accel::Kvm),
            Err("failed to initialize kvm: No such device".to_owned())
        );
        assert!(starts("/none/emulator", Accel::Kvm).is_err());
    }
}
