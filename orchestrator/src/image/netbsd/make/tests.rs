//! Small releases become disks: what stands where is compared with what firmware, loader and kernel look for.

use super::super::disk::{BOOT_BYTES, SWAP_BYTES};
use super::*;
use crate::image::manifest;

/// A release with one file of each that the manifest names.
fn release(dir: &Utf8Path, machine: &str, boot_blocks: &[u8]) {
    let sets = dir.join(machine).join("binary/sets");
    let kernels = dir.join(machine).join("binary/kernel");
    for dir in [&sets, &kernels] {
        fs::create_dir_all(dir).unwrap();
    }
    let makedev = b"echo './console type=char device=netbsd,0,0 mode=600 gid=0 uid=0'\n";
    let base: [(&str, &[u8]); 7] = [
        ("bin/sh", b"a shell"),
        ("dev/MAKEDEV", makedev),
        ("etc/ttys", b"console x y on\n"),
        ("usr/mdec/boot", b"the loader"),
        ("usr/mdec/bootblk", boot_blocks),
        ("usr/mdec/bootxx_ffsv1", boot_blocks),
        ("usr/mdec/ofwboot", b"the loader of a firmware"),
    ];
    let pack = |name: &str, files: &[(&str, &[u8])]| {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            tar.append_data(&mut header, path, *content).unwrap();
        }
        packed(&sets.join(name), &tar.into_inner().unwrap());
    };
    pack("base", &base);
    for name in ["etc", "comp", "modules", "tests"] {
        pack(name, &[("etc/rc.conf", b"rc_configured=NO\n")]);
    }
    let file = b"\x7fELF\0NetBSD 6.99.16 (GENERIC) #0: Sun Nov 29 22:00:00 UTC 2026\n\0_CFG_options LOCKDEBUG\n\0";
    fs::write(kernels.join("netbsd-GENERIC.gz"), file).unwrap();
}

/// A set's file.
fn packed(place: &Utf8Path, content: &[u8]) {
    fs::write(place, content).unwrap();
    let ran = Command::new("gzip")
        .args(["-S", ".tgz"])
        .arg(place)
        .status();
    assert!(ran.unwrap().success());
}

fn assembled(port: &str, boot_blocks: &[u8]) -> (Result<Image, ImageError>, tempfile::TempDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(temp.path().to_owned()).unwrap();
    let images = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
    let mut port = manifest::read(&images.join(format!("netbsd/{port}.yaml"))).unwrap();
    let spec = port.image.release.as_mut().unwrap();
    spec.from = Some(dir.join("release"));
    spec.size_mib = 128;
    release(&dir.join("release"), &spec.machine, boot_blocks);
    let spec = spec.clone();
    let dirs = Dirs {
        images,
        cache: dir.join("cache"),
    };
    (make(&port, &spec, None, &dirs, &Watch::QUIET), temp)
}

/// The file system's magic number in its byte order, where a first version has its superblock.
const SUPERBLOCK: usize = 8192 + 1372;
const FFS_MAGIC: u32 = 0x0001_1954;

#[test]
fn a_disk_of_a_pc() {
    let blocks: Vec<u8> = (0..BOOT_BYTES).map(|n| (n % 251) as u8).collect();
    for port in ["netbsd-amd64", "netbsd-i386"] {
        let (image, _guard) = assembled(port, &blocks);
        let image = image.unwrap();
        let disk = fs::read(&image.initrd).unwrap();
        assert_eq!(disk.len(), (128 << 20) + SWAP_BYTES as usize);
        assert_eq!(disk[..512], blocks[..512]);
        // The loader's first part leaves room for the label.
        assert_eq!(disk[512..516], 0x8256_4557_u32.to_le_bytes());
        assert_eq!(disk[1024..8192], blocks[1024..]);
        assert_eq!(disk[SUPERBLOCK..][..4], FFS_MAGIC.to_le_bytes());
        let holds = |text: &str| disk.windows(text.len()).any(|w| w == text.as_bytes());
        assert!(holds("the loader") && holds("consdev=com0") && holds("/dev/wd0a / ffs"));
        let checks: Vec<&String> = image.record.kernel.checks.keys().collect();
        assert_eq!(checks, ["LOCKDEBUG"]);
    }
}

#[test]
fn a_disk_of_a_sparc64() {
    let blocks: Vec<u8> = (0..7478).map(|n| (n % 251) as u8).collect();
    let (image, _guard) = assembled("netbsd-sparc64", &blocks);
    let disk = fs::read(image.unwrap().initrd).unwrap();
    // SunOS's label with NetBSD's in it, and boot blocks from the second sector on.
    assert_eq!(disk[508..510], 0xdabe_u16.to_be_bytes());
    assert_eq!(disk[128..132], 0x8256_4557_u32.to_be_bytes());
    assert_eq!(disk[512..512 + 7478], blocks[..]);
    assert_eq!(disk[SUPERBLOCK..][..4], FFS_MAGIC.to_be_bytes());
    let holds = |text: &str| disk.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds("the loader of a firmware") && holds("dtyU0"));
}

#[test]
fn boot_blocks_that_would_run_into_the_file_system_are_named() {
    let (image, _guard) = assembled("netbsd-sparc64", &[1; 7681]);
    let said = image.unwrap_err().to_string();
    assert!(
        said.contains("usr/mdec/bootblk ends behind byte 8192 of the disk: it begins at 512"),
        "{said}"
    );
}

/// A program for Open Firmware that says a text: a head with sum and length, then `b(")`, `type`, `end0`.
fn fcode(text: &str) -> Vec<u8> {
    let mut body = vec![0x12, u8::try_from(text.len()).unwrap()];
    body.extend_from_slice(text.as_bytes());
    body.extend([0x90, 0x00]);
    let sum = body.iter().map(|b| u16::from(*b)).sum::<u16>();
    let length = 8 + u32::try_from(body.len()).unwrap();
    let mut program = vec![0xf1, 0x08];
    program.extend(sum.to_be_bytes());
    program.extend(length.to_be_bytes());
    program.extend(body);
    program
}

/// The firmware itself finds label, partition and boot blocks, or nothing does.
#[test]
fn guest_firmware_runs_the_boot_blocks_of_a_sparc64() {
    use std::io::Read as _;
    use std::process::Stdio;
    use std::time::{Duration, Instant};
    let (image, _guard) = assembled("netbsd-sparc64", &fcode("begun from the disk"));
    let disk = image.unwrap().initrd;
    let mut emulator = Command::new("qemu-system-sparc64")
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-M",
            "sun4u",
            "-serial",
            "stdio",
        ])
        .arg("-drive")
        .arg(format!("file={disk},format=raw,if=ide,index=0"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("qemu-system-sparc64 is installed: ci/setup --with-tests");
    let mut out = emulator.stdout.take().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = out.read(&mut piece) {
            let _ = tell.send(piece[..n].to_vec());
        }
    });
    let (begun, mut said) = (Instant::now(), Vec::new());
    let found = |said: &[u8]| String::from_utf8_lossy(said).contains("begun from the disk");
    while !found(&said) && begun.elapsed() < Duration::from_secs(120) {
        said.extend(
            told.recv_timeout(Duration::from_secs(1))
                .unwrap_or_default(),
        );
    }
    emulator.kill().unwrap();
    emulator.wait().unwrap();
    assert!(found(&said), "{}", String::from_utf8_lossy(&said));
}
