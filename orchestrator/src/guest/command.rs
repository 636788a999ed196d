//! The emulator's command line: pure, from the port's data and four paths.
//!
//! A guest runs somebody's patch. It gets no network, no host directory, no default device, and the
//! emulator is confined by its own system call filter. The emulator connects to sockets on which
//! fallout listens already, so nobody has to poll for them.
//!
//! What a machine needs beyond this stands in its manifest's `args`; there is no port's name here.

use std::path::Path;

use crate::model::port::Emulator;
use crate::model::{Accel, Key};

/// The name of the agent's virtio-serial port; the guest finds its device by it.
pub const AGENT_PORT: &str = "org.fallout.agent";

/// The id of the console's character device, for commands over QMP.
pub const CONSOLE_ID: &str = "console";

/// The channel that is the machine's second serial line.
const OWN_LINE: &str = "serial";

/// What `-sandbox` forbids the emulator besides obsolete system calls: new privileges, new
/// programs, other priorities.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Translation, with a bounded buffer for translated code.
const TCG: &str = "tcg,tb-size=256";

/// The paths in a command line.
#[derive(Debug, Clone, Copy)]
pub struct Paths<'a> {
    /// The kernel.
    pub kernel: &'a str,
    /// Its first file system: an initramfs, or the layer over the root's disk.
    pub initrd: &'a str,
    /// The exchange disk, where the root is a disk.
    pub exchange: &'a str,
    /// The socket on which fallout waits for the agent's port.
    pub agent: &'a str,
    /// The socket on which fallout waits for QMP.
    pub qmp: &'a str,
}

/// The words behind the program's name. Without `sandbox` the system call filter is left out, for
/// emulators that were built without it.
pub fn arguments(emulator: &Emulator, paths: &Paths<'_>, sandbox: bool) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut add = |list: &[&str]| words.extend(list.iter().map(|&w| w.to_owned()));

    add(&["-nodefaults", "-no-user-config", "-display", "none"]);
    add(&["-M", &emulator.machine]);
    let translated = emulator.accel == Accel::Tcg;
    let own = emulator.native_cpu.as_ref().filter(|_| !translated);
    if let Some(cpu) = own.or(emulator.cpu.as_ref()) {
        add(&["-cpu", cpu]);
    }
    // Left to itself QEMU takes up to 1 GiB for translated code, which no plan of ours knows of:
    // a long suite on s390x came to 1.2 GiB of resident memory with 256 MiB for the guest.
    let accel = if translated {
        TCG
    } else {
        emulator.accel.word()
    };
    add(&["-accel", accel, "-smp", "1"]);
    add(&["-m", &emulator.mem_mib.to_string()]);
    add(&["-no-reboot"]);
    if sandbox {
        add(&["-sandbox", SANDBOX]);
    }

    // Standard input and output: they need no socket, and what was written before the emulator
    // died can still be read.
    add(&["-chardev", &format!("stdio,id={CONSOLE_ID},signal=off")]);
    add(&["-serial", &format!("chardev:{CONSOLE_ID}")]);
    add(&["-chardev", &socket("qmp", paths.qmp)]);
    add(&["-mon", "chardev=qmp,mode=control"]);
    add(&["-chardev", &socket("agent", paths.agent)]);
    if emulator.channel.starts_with("virtio-serial") {
        add(&["-device", &emulator.channel]);
        let port = format!("virtserialport,chardev=agent,name={AGENT_PORT}");
        add(&["-device", &port]);
    } else if emulator.channel == OWN_LINE {
        add(&["-serial", "chardev:agent"]);
    } else {
        if let Some(bus) = &emulator.channel_bus {
            add(&["-device", bus]);
        }
        // A line of its own, for systems that know no virtio port.
        add(&["-device", &format!("{},chardev=agent", emulator.channel)]);
    }

    match &emulator.disks {
        None => {
            add(&["-kernel", paths.kernel, "-initrd", paths.initrd]);
            add(&["-append", &emulator.append]);
        }
        Some(disks) => {
            if disks.kernel {
                add(&["-kernel", paths.kernel, "-append", &emulator.append]);
            }
            // Both are thrown away with the guest: nothing of them has to reach the host's disk.
            let root = drive(paths.initrd, "qcow2", &disks.root);
            let exchange = drive(paths.exchange, "raw", &disks.exchange);
            add(&["-drive", &root, "-drive", &exchange]);
        }
    }
    words.extend(emulator.args.iter().cloned());
    words
}

/// The further words that make the emulator read a guest that was saved in `file`. It does not run
/// before it is told to.
pub fn incoming(file: &Path) -> [String; 2] {
    ["-incoming".to_owned(), format!("file:{}", file.display())]
}

/// The hash of all that a saved guest depends on: what the emulator is (`program`, by content or
/// by file and time), its command line without paths, and the content of kernel and initramfs (as
/// hashes). The agent and all other programs in the guest are in the initramfs.
pub fn snapshot_key(emulator: &Emulator, program: &str, kernel: &str, initrd: &str) -> Key {
    let paths = Paths {
        kernel,
        initrd,
        exchange: "exchange",
        agent: "agent",
        qmp: "qmp",
    };
    let words = arguments(emulator, &paths, true);
    let mut parts: Vec<&[u8]> = vec![program.as_bytes()];
    parts.extend(words.iter().map(String::as_bytes));
    Key::of("snapshot 1", &parts)
}

fn drive(file: &str, format: &str, shown: &str) -> String {
    let file = file.replace(',', ",,");
    format!("file={file},format={format},cache=unsafe,{shown}")
}

fn socket(id: &str, path: &str) -> String {
    // In the emulator's option lists a comma is written twice.
    format!("socket,id={id},path={}", path.replace(',', ",,"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::port::Disks;
    use std::time::Duration;

    fn emulator() -> Emulator {
        Emulator {
            program: "qemu-system-sparc64".to_owned(),
            packages: vec!["qemu-system-sparc".to_owned()],
            machine: "sun4u".to_owned(),
            cpu: None,
            accel: Accel::Tcg,
            native_cpu: None,
            mem_mib: 256,
            append: "console=ttyS0 quiet panic=0".to_owned(),
            channel: "virtio-serial-pci,bus=pciB".to_owned(),
            channel_bus: None,
            boot_dialogue: Vec::new(),
            disks: None,
            kind: Default::default(),
            args: vec!["-prom-env".to_owned(), "auto-boot?=true".to_owned()],
            snapshot: false,
            boot_timeout: Duration::from_secs(90),
            slowness: 1.0,
        }
    }

    const PATHS: Paths<'static> = Paths {
        kernel: "/i/kernel",
        initrd: "/i/initrd",
        exchange: "",
        agent: "/r/agent",
        qmp: "/r/q,mp",
    };

    #[test]
    fn everything_in_its_place() {
        let line = arguments(&emulator(), &PATHS, true).join(" ");
        insta::assert_snapshot!(line.replace(" -", "\n-"), @r"
        -nodefaults
        -no-user-config
        -display none
        -M sun4u
        -accel tcg,tb-size=256
        -smp 1
        -m 256
        -no-reboot
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
        -chardev stdio,id=console,signal=off
        -serial chardev:console
        -chardev socket,id=qmp,path=/r/q,,mp
        -mon chardev=qmp,mode=control
        -chardev socket,id=agent,path=/r/agent
        -device virtio-serial-pci,bus=pciB
        -device virtserialport,chardev=agent,name=org.fallout.agent
        -kernel /i/kernel
        -initrd /i/initrd
        -append console=ttyS0 quiet panic=0
        -prom-env auto-boot?=true
        ");
    }

    #[test]
    fn a_system_on_a_disk() {
        let disks = |kernel| Disks {
            root: "if=ide,index=0".to_owned(),
            exchange: "if=ide,index=1".to_owned(),
            kernel,
        };
        let own = |kernel| Emulator {
            channel: "isa-serial,index=1".to_owned(),
            disks: Some(disks(kernel)),
            ..emulator()
        };
        let paths = Paths {
            initrd: "/r/la,yer",
            exchange: "/r/exchange",
            ..PATHS
        };
        let line = arguments(&own(false), &paths, false).join(" ");
        let (_, tail) = line.split_once("-chardev socket,id=agent").unwrap();
        insta::assert_snapshot!(tail.replace(" -", "\n-"), @r"
        ,path=/r/agent
        -device isa-serial,index=1,chardev=agent
        -drive file=/r/la,,yer,format=qcow2,cache=unsafe,if=ide,index=0
        -drive file=/r/exchange,format=raw,cache=unsafe,if=ide,index=1
        -prom-env auto-boot?=true
        ");
        let words = arguments(&own(true), &paths, false);
        assert!(words.windows(2).any(|w| w == ["-kernel", "/i/kernel"]));
        assert!(!words.iter().any(|w| w == "-initrd"));
    }

    #[test]
    fn a_line_on_a_bus_comes_behind_it_and_one_of_the_machines_needs_no_device() {
        let with = |channel: &str, bus: Option<&str>| {
            let emulator = Emulator {
                channel: channel.to_owned(),
                channel_bus: bus.map(str::to_owned),
                ..emulator()
            };
            let line = arguments(&emulator, &PATHS, false).join(" ");
            let (_, tail) = line.split_once("path=/r/agent ").unwrap();
            tail.split_once(" -kernel").unwrap().0.to_owned()
        };
        assert_eq!(
            with("usb-serial,bus=usb.0", Some("pci-ohci,bus=pciB,id=usb")),
            "-device pci-ohci,bus=pciB,id=usb -device usb-serial,bus=usb.0,chardev=agent"
        );
        assert_eq!(with("serial", None), "-serial chardev:agent");
    }

    #[test]
    fn a_saved_guest_belongs_to_one_emulator_machine_and_image() {
        let key = |change: &dyn Fn(&mut Emulator), program: &str, kernel: &str| {
            let mut emulator = emulator();
            change(&mut emulator);
            snapshot_key(&emulator, program, kernel, "i")
        };
        let same = |_: &mut Emulator| {};
        let first = key(&same, "qemu 10.0.2", "k");
        // How long a boot may take is no part of the machine.
        let patient = |e: &mut Emulator| e.boot_timeout = Duration::from_secs(7);
        assert_eq!(key(&patient, "qemu 10.0.2", "k"), first);
        for other in [
            key(&same, "qemu 10.0.3", "k"),
            key(&same, "qemu 10.0.2", "k2"),
            key(&|e| e.mem_mib += 1, "qemu 10.0.2", "k"),
            key(&|e| e.append.push('x'), "qemu 10.0.2", "k"),
            key(&|e| e.args.clear(), "qemu 10.0.2", "k"),
            key(&|e| e.accel = Accel::Kvm, "qemu 10.0.2", "k"),
        ] {
            assert_ne!(other, first);
        }
        let words = incoming(Path::new("/c/state"));
        assert_eq!(words, ["-incoming", "file:/c/state"]);
    }

    #[test]
    fn the_hosts_processor_runs_the_guest_as_its_own_model() {
        let start = |accel| {
            let emulator = Emulator {
                cpu: Some("cortex-a57".to_owned()),
                native_cpu: Some("host".to_owned()),
                accel,
                ..emulator()
            };
            arguments(&emulator, &PATHS, false)[4..10].join(" ")
        };
        let lines = [Accel::Tcg, Accel::Kvm, Accel::Nvmm, Accel::Hvf].map(start);
        insta::assert_snapshot!(lines.join("\n"), @r"
        -M sun4u -cpu cortex-a57 -accel tcg,tb-size=256
        -M sun4u -cpu host -accel kvm
        -M sun4u -cpu host -accel nvmm
        -M sun4u -cpu host -accel hvf
        ");
    }

    #[test]
    fn cpu_and_no_sandbox() {
        let emulator = Emulator {
            cpu: Some("max".to_owned()),
            ..emulator()
        };
        let words = arguments(&emulator, &PATHS, false);
        assert!(words.windows(2).any(|w| w == ["-cpu", "max"]));
        assert!(!words.iter().any(|w| w == "-sandbox"));
    }
}
