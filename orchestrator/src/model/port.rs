//! A port: one file of data in `images/`, read into this shape.
//!
//! Nothing in the code asks for a port by name. What differs between ports stands in the manifest;
//! what differs between families of systems stands in one file of code behind one trait.

use std::collections::BTreeMap;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use super::accel::{Accel, Native};
use super::ids::PortName;
use super::install::InstallSpec;
use super::script::Step;
use super::units::{de_duration, ser_duration};

/// Facts that can explain a failure: `endian: big`, `word: ILP32`, `char: unsigned`.
pub type Traits = BTreeMap<String, String>;

/// A port's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Version of the manifest's form: 1.
    pub format: u32,
    /// The port's name; equals the file's name.
    pub port: PortName,
    /// The family of systems: `linux`, `netbsd`.
    pub family: String,
    /// `proved on <date> with <what>`, or `from documentation, unproved`.
    pub status: String,
    /// What is known of the machine.
    pub traits: Traits,
    /// How to start the emulator.
    pub emulator: Emulator,
    /// How to build for it.
    pub toolchain: Toolchain,
    /// What its image is made of.
    pub image: ImageSpec,
    /// Whether guest instructions can be counted (`-icount shift=0`): the guest's clock then goes
    /// by them and by nothing else. Not part of `emulator`, because it says what can be asked for.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub icount: bool,
    /// The hosts that can run its instructions themselves. Not part of `emulator`: what a host does with that is
    /// chosen there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub native: Option<Native>,
    /// Other emulations of the port, to tell a fault of the emulator from one of the system.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<Alternative>,
}

/// Another way to emulate a port. What is absent stays as in `emulator`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// What it is called in answers: `cpu qemu64`.
    pub name: String,
    /// Another emulator program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Another `-M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Another `-cpu`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
}

/// By what the clock of a guest goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// The host's time.
    #[default]
    Host,
    /// The guest's instructions, eight nanoseconds each; where all in the guest wait, the clock goes to the
    /// next moment for which something waits, and nobody waits for that.
    Virtual,
}

impl Clock {
    /// Whether it is the host's.
    pub fn is_host(&self) -> bool {
        *self == Self::Host
    }
}

/// What counts instructions.
const ICOUNT: &str = "-icount";
/// How many seconds of a busy host one of a guest whose instructions are counted may take.
const COUNTED_PATIENCE: u32 = 5;

impl Port {
    /// The port with its guests' instructions counted: one of them is one nanosecond of the
    /// guest's clock. `None` where that does not work.
    pub fn counted(&self) -> Option<Self> {
        self.with_icount("shift=0")
    }

    /// The port with guests on this clock. Where instructions cannot be counted it stays the host's.
    pub fn on(&self, clock: Clock) -> Self {
        let moved = match clock {
            Clock::Host => None,
            // About as fast as a guest computes under translation: at a nanosecond each, what spins for a second of
            // its clock takes many of the host's.
            Clock::Virtual => self.with_icount("shift=3,sleep=off"),
        };
        moved.unwrap_or_else(|| self.clone())
    }

    /// Why its guests do not go by this clock, where they do not.
    pub fn refuses(&self, clock: Clock) -> Option<String> {
        let refused = clock == Clock::Virtual && !self.icount;
        refused.then(|| {
            let port = &self.port;
            format!("its guests go by the host's clock: instructions of {port} cannot be counted")
        })
    }

    /// How many times as long as the guest's clock says the host waits before it takes a guest for dead: a
    /// clock of instructions goes slower on a busy host, and the host's own does not.
    pub fn patience(&self) -> u32 {
        match self.is_counted() {
            true => COUNTED_PATIENCE,
            false => 1,
        }
    }

    /// Whether its guests' clock goes by their instructions.
    pub fn is_counted(&self) -> bool {
        self.emulator.args.iter().any(|word| word == ICOUNT)
    }

    fn with_icount(&self, how: &str) -> Option<Self> {
        let mut port = self.clone();
        let args = &mut port.emulator.args;
        // In the place of another way to count: what an instruction is worth is the caller's.
        if let Some(at) = args.iter().position(|word| word == ICOUNT) {
            args.drain(at..args.len().min(at + 2));
        }
        args.extend([ICOUNT, how].map(str::to_owned));
        // Only a translator can count.
        port.emulator.accel = Accel::Tcg;
        self.icount.then_some(port)
    }

    /// The port emulated in another way.
    pub fn emulated_by(&self, other: &Alternative) -> Self {
        let mut port = self.clone();
        let emulator = &mut port.emulator;
        emulator.accel = Accel::Tcg;
        emulator.program = other.program.clone().unwrap_or(emulator.program.clone());
        emulator.machine = other.machine.clone().unwrap_or(emulator.machine.clone());
        emulator.cpu = other.cpu.clone().or(emulator.cpu.take());
        port
    }
}

fn yes() -> bool {
    true
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// The emulators that there are. Only QEMU is driven; the others stand in manifests of ports that nothing
/// else emulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmulatorKind {
    /// QEMU.
    #[default]
    Qemu,
    /// GXemul: pmax, hpcmips, landisk.
    Gxemul,
    /// SIMH: vax.
    Simh,
}

impl EmulatorKind {
    /// Whether guests can be started by it.
    pub fn is_qemu(&self) -> bool {
        *self == Self::Qemu
    }
}

/// How to start the emulator, and what to expect of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulator {
    /// The program: `qemu-system-s390x`.
    pub program: String,
    /// The packages that have it, the first that exists is named to the user.
    pub packages: Vec<String>,
    /// Whose command line it has.
    #[serde(default, skip_serializing_if = "EmulatorKind::is_qemu")]
    pub kind: EmulatorKind,
    /// QEMU's `-M`.
    pub machine: String,
    /// QEMU's `-cpu`; the machine's default where absent.
    #[serde(default)]
    pub cpu: Option<String>,
    /// What runs the guests here: chosen by the machine that starts them, never by a manifest.
    #[serde(skip)]
    pub accel: Accel,
    /// The `-cpu` in the place of `cpu` where the host's processor runs them.
    #[serde(skip)]
    pub native_cpu: Option<String>,
    /// Guest memory.
    pub mem_mib: u32,
    /// The kernel's command line.
    pub append: String,
    /// The device that carries the agent's port: `virtio-serial-pci`, `virtio-serial-ccw`. A serial
    /// line where a system knows no such port: `isa-serial,index=1`, `usb-serial,bus=usb.0`, or `serial`
    /// for the machine's own next line.
    pub channel: String,
    /// What the channel is plugged into, where the machine has nothing for it: `pci-ohci,id=usb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_bus: Option<String>,
    /// What is answered on the console before the guest comes up: questions of firmware, loader and
    /// kernel. A guest that comes up without having asked is none the worse.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot_dialogue: Vec<Step>,
    /// How the guest's disks are shown to it, where its root is a disk and no initramfs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disks: Option<Disks>,
    /// Further words of the emulator's command line.
    #[serde(default)]
    pub args: Vec<String>,
    /// Whether a booted guest can be restored from a snapshot.
    #[serde(default)]
    pub snapshot: bool,
    /// How long the boot may take on an idle machine.
    #[serde(deserialize_with = "de_duration", serialize_with = "ser_duration")]
    pub boot_timeout: Duration,
    /// By how much the cases' own time limits are stretched here.
    #[serde(default = "one")]
    pub slowness: f64,
}

fn one() -> f64 {
    1.0
}

/// The two disks of a guest whose root is a disk. The root is a layer over the image's, thrown away
/// with the guest; the other one is for files in and out, raw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disks {
    /// What `-drive` says of the root's disk beyond its file: `if=ide,index=0`.
    pub root: String,
    /// The same of the exchange disk.
    pub exchange: String,
    /// The kernel is handed to the emulator; else the guest's loader takes it from the root's disk.
    #[serde(default)]
    pub kernel: bool,
}

/// How to build for the port on the host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Toolchain {
    /// The GNU triplet in front of `-gcc`: `s390x-linux-gnu`.
    pub triplet: String,
    /// Further compiler flags.
    #[serde(default)]
    pub cflags: Vec<String>,
    /// The `ARCH` word of the Linux kernel's makefiles.
    #[serde(default)]
    pub kernel_arch: Option<String>,
    /// The file that the emulator boots, in the kernel's build tree; its last part is the make
    /// target. Needed where a source recipe builds the kernel.
    #[serde(default)]
    pub kernel_image: Option<String>,
}

/// What an image is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// The distribution's suite: `bookworm`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub suite: String,
    /// The distribution's name for the architecture.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// How the system is installed by its own medium, where that was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub install: Option<InstallSpec>,
    /// What is taken of a release of the system, where the image is a release's and has no packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseSpec>,
    /// The package that brings the kernel; none where a source recipe builds it.
    #[serde(default)]
    pub kernel_package: Option<String>,
    /// Kernel modules to load at boot, in this order; their dependencies are found.
    #[serde(default)]
    pub modules: Vec<String>,
    /// Packages in the guest, with all that they depend on.
    #[serde(default)]
    pub packages: Vec<String>,
    /// Packages that only the cross compiler needs (headers, link-time libraries).
    #[serde(default)]
    pub sysroot_packages: Vec<String>,
    /// Components cross-built from source recipes (`images/linux/sources/NAME`).
    #[serde(default)]
    pub sources: Vec<String>,
    /// The runner in the guest: `kyua`, or `sh` for the POSIX-shell runner that prints TPS.
    pub runner: String,
}

/// What an image takes of a release, and how the release's system is set up on its disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSpec {
    /// The directory of this machine that has the release. A manifest cannot know it: it comes from
    /// the matrix or the command line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Utf8PathBuf>,
    /// The port's directory in a release: `amd64`, `evbarm`.
    pub machine: String,
    /// The sets, the later over the earlier. One that ends in `?` may be missing; `i386/tests` is that
    /// of another port of the release.
    pub sets: Vec<String>,
    /// The kernel that is booted: `GENERIC`.
    pub kernel: String,
    /// Boot blocks that stand in front of the root's file system, as a path in it:
    /// `usr/mdec/bootxx_ffsv1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_blocks: Option<String>,
    /// The byte of the disk at which they begin.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub boot_offset: u32,
    /// Files of the system that stand at another place too: `boot: usr/mdec/boot`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, String>,
    /// Where the disk's label stands.
    pub label: LabelSpec,
    /// The root's disk as the system calls it: `wd0`.
    pub disk: String,
    /// The raw device of the exchange disk: `rwd1d`.
    pub exchange: String,
    /// The device of the agent's line: `dty01`.
    pub line: String,
    /// Files with this content, beyond what every guest of the family gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// How large the root's file system is, in MiB.
    pub size_mib: u32,
}

impl ReleaseSpec {
    /// The sets: port in the release, name, and whether the set may be missing.
    pub fn wanted(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.sets.iter().map(|word| {
            let name = word.trim_end_matches('?');
            let may_be_missing = name.len() < word.len();
            let (machine, name) = name.split_once('/').unwrap_or((&self.machine, name));
            (machine, name, may_be_missing)
        })
    }

    /// The ports of the release that sets are taken from, its own first.
    pub fn machines(&self) -> Vec<&str> {
        let mut machines = vec![self.machine.as_str()];
        for (machine, ..) in self.wanted() {
            if !machines.contains(&machine) {
                machines.push(machine);
            }
        }
        machines
    }
}

/// Where a disk's label stands and which partition is the whole disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelSpec {
    /// The sector.
    pub sector: u32,
    /// Bytes into the sector.
    #[serde(default)]
    pub offset: u32,
    /// The partition that is the whole disk: `d`.
    pub raw: char,
    /// The sector is one of SunOS's, which the firmware reads; the label is inside of it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub sun: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(more: &str) -> Port {
        let text = "{format: 1, port: p, family: f, status: s, traits: {}, emulator: {program: q, \
            packages: [], machine: m, cpu: c, mem_mib: 1, append: a, channel: v, boot_timeout: 1s}, \
            toolchain: {triplet: t}, image: {suite: s, arch: a, runner: sh}MORE}";
        serde_yaml::from_str(&text.replace("MORE", more)).unwrap()
    }

    #[test]
    fn instructions_are_counted_unless_the_manifest_says_no() {
        let counted = port("").counted().unwrap();
        assert_eq!(counted.emulator.args, ["-icount", "shift=0"]);
        assert_eq!(port(", icount: false").counted(), None);
    }

    #[test]
    fn a_virtual_clock_is_where_instructions_can_be_counted() {
        let (plain, uncounted) = (port(""), port(", icount: false"));
        let on = plain.on(Clock::Virtual);
        assert_eq!(on.emulator.args, ["-icount", "shift=3,sleep=off"]);
        // What is measured is a nanosecond each, whatever clock the suite's guests go by.
        assert_eq!(on.counted(), plain.counted());
        assert!(on.patience() > plain.patience());
        assert_eq!(plain.on(Clock::Host), plain);
        assert_eq!(uncounted.on(Clock::Virtual), uncounted);
        // Who wished for it is told.
        assert!(uncounted.refuses(Clock::Virtual).is_some());
        assert_eq!(uncounted.refuses(Clock::Host), None);
        assert_eq!(plain.refuses(Clock::Virtual), None);
    }

    #[test]
    fn what_an_alternative_does_not_name_stays() {
        let port = port(", alternatives: [{name: n, cpu: other}, {name: o, machine: x}]");
        let by = |n: usize| port.emulated_by(&port.alternatives[n]).emulator;
        assert_eq!(
            (by(0).cpu.as_deref(), by(0).machine.as_str()),
            (Some("other"), "m")
        );
        assert_eq!(
            (by(1).cpu.as_deref(), by(1).machine.as_str()),
            (Some("c"), "x")
        );
        // The keys of cells hold `emulator`, and an answer to a doubt is no reason to run them again.
        assert_eq!(port.emulator, by(0).clone_with_cpu("c"));
    }

    impl Emulator {
        fn clone_with_cpu(&self, cpu: &str) -> Self {
            Self {
                cpu: Some(cpu.to_owned()),
                ..self.clone()
            }
        }
    }
}
