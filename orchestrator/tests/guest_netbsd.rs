//! Real NetBSD guests out of a release's directory, named by FALLOUT_NETBSD_RELEASE. Without one nothing
//! can be tried here, and each test says so.

#[allow(dead_code, reason = "its images are other guests'")]
#[path = "support/guests.rs"]
mod guests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use camino::{Utf8Path, Utf8PathBuf};
use fallout::crash::Recogniser;
use fallout::engine::guests::{GuestOrder, raise};
use fallout::guest::{Guest, GuestError, GuestSpec, Output};
use fallout::host::dirs::Dirs;
use fallout::image::netbsd::config::is_kept;
use fallout::image::{self, Image, manifest};
use fallout::model::{CameUp, Clock, Port};
use fallout::store::snapshots::Snapshots;
use fallout::suite::event::SuiteEvent;
use fallout::suite::tps::TpsParser;
use guests::{output, try_output};

struct Ready {
    port: Port,
    image: Image,
    dir: tempfile::TempDir,
}

/// The image of the release, and a directory for consoles; none where there is no release.
fn ready() -> Option<Ready> {
    ready_with(|_| {})
}

/// The same of a port that is changed before its image is made.
fn ready_with(change: impl FnOnce(&mut Port)) -> Option<Ready> {
    let Some(release) = std::env::var_os("FALLOUT_NETBSD_RELEASE") else {
        eprintln!("skipped: FALLOUT_NETBSD_RELEASE names no release");
        return None;
    };
    let name = std::env::var("FALLOUT_NETBSD_PORT").unwrap_or("netbsd-amd64".to_owned());
    let images = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
    let mut port = manifest::read(&images.join(format!("netbsd/{name}.yaml"))).unwrap();
    let from = Utf8PathBuf::from_path_buf(release.into()).unwrap();
    port.image.release.as_mut().unwrap().from = Some(from);
    change(&mut port);
    let dirs = image::Dirs {
        images,
        cache: Dirs::from_env().unwrap().cache,
    };
    let image = image::make(&port, &dirs, false, &image::Watch::QUIET).unwrap();
    Some(Ready {
        port,
        image,
        dir: tempfile::tempdir().unwrap(),
    })
}

impl Ready {
    fn spec(&self, console: &str) -> GuestSpec {
        GuestSpec {
            port: self.port.clone(),
            kernel: self.image.kernel.clone().into(),
            initrd: self.image.initrd.clone().into(),
            label: "test netbsd".to_owned(),
            run_base: Dirs::from_env().unwrap().runtime.into(),
            console_file: self.dir.path().join(console),
            console_cap_bytes: 64 << 20,
        }
    }

    async fn boot(&self, console: &str) -> Guest {
        let watch = Box::new(Recogniser::new());
        let limits = fallout::engine::guests::limits(&self.port);
        let up = Guest::boot(&self.spec(console), limits, watch).await;
        up.unwrap_or_else(|e| panic!("{e:?}"))
    }
}

#[tokio::test]
async fn commands_files_and_the_right_kernel() {
    let Some(ready) = ready() else { return };
    let mut guest = ready.boot("console").await;
    println!("up after {:?}: {}", guest.boot_time(), guest.kernel());
    assert_eq!(ready.image.record.kernel.refuses(guest.found()), None);
    let (said, status) = output(&mut guest, "echo out; echo err >&2; exit 7").await;
    assert_eq!((said.as_str(), status), ("out\nerr\n", 7));
    // The driver drops what a line has beyond a thousand bytes: a long command goes by the disk.
    let long = "x".repeat(3000);
    assert_eq!(
        output(&mut guest, &format!("echo {long}")).await.0.len(),
        3001
    );
    let (said, _) = output(
        &mut guest,
        "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done",
    )
    .await;
    assert_eq!(said.lines().count(), 2000);
    assert_eq!(said.lines().last(), Some("line 1999"));
    // A mebibyte in and out by the exchange disk.
    let bytes: Vec<u8> = (0..1_000_003u32).map(|n| ((n * 7) >> 3) as u8).collect();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append_data(&mut header, "a b/file", bytes.as_slice())
        .unwrap();
    let tar = tar.into_inner().unwrap();
    guest.put_tar("/var/tmp/in put", &tar).await.unwrap();
    let got = guest
        .get("/var/tmp/in put/a b/file", 2 << 20)
        .await
        .unwrap();
    assert!(got.as_deref() == Some(&bytes[..]));
    assert_eq!(
        guest.get("/var/tmp/in put/a b/file", 1000).await.unwrap(),
        None
    );
    assert_eq!(guest.get("/nonexistent", 1000).await.unwrap(), None);
    let command = guest.health_command();
    let (said, _) = output(&mut guest, command).await;
    let health = guest.read_health(said.as_bytes());
    assert!(!health.is_empty());
    assert_eq!(health.damage(&health), None);
    guest.end(false).await;
}

/// Another kernel: the release's, with another word in its version.
fn renamed_kernel(stock: &Utf8Path, dir: &Path) -> Utf8PathBuf {
    let mut file = std::fs::read(stock).unwrap();
    let (old, new) = (b"(GENERIC) #", b"(PATCHED) #");
    let places: Vec<usize> = (0..file.len() - old.len())
        .filter(|at| file[*at..].starts_with(old))
        .collect();
    assert!(!places.is_empty(), "{stock} is no GENERIC kernel");
    for at in places {
        file[at..at + new.len()].copy_from_slice(new);
    }
    let to = dir.join("netbsd");
    std::fs::write(&to, file).unwrap();
    Utf8PathBuf::from_path_buf(to).unwrap()
}

#[tokio::test]
async fn a_guest_boots_another_kernel_and_has_the_releases_beside_it() {
    let Some(mut ready) = ready() else { return };
    let stock = ready.image.record.clone();
    let file = renamed_kernel(&ready.image.kernel, ready.dir.path());
    let dirs = image::Dirs {
        images: Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../images"),
        cache: Dirs::from_env().unwrap().cache,
    };
    let made = image::ensure_with_kernel(&ready.port, &file, &dirs, |_| {}).await;
    ready.image = made.unwrap().unwrap();
    let record = &ready.image.record;
    assert_ne!(record.key, stock.key);
    let mut guest = ready.boot("console").await;
    assert_eq!(record.kernel.refuses(guest.found()), None);
    assert!(
        stock.kernel.refuses(guest.found()).is_some(),
        "the stock kernel's marks must not fit: {}",
        guest.kernel()
    );
    let (said, _) = output(
        &mut guest,
        "for k in /netbsd /onetbsd; do strings $k | grep -c '(PATCHED) #'; done",
    )
    .await;
    let counts: Vec<u32> = said.lines().map(|line| line.parse().unwrap()).collect();
    assert!(counts[0] > 0 && counts[1] == 0, "{said}");
    guest.end(false).await;
}

#[tokio::test]
async fn a_saved_guest_comes_up_with_its_disk_and_the_right_time() {
    let Some(ready) = ready() else { return };
    let cache = Utf8Path::from_path(ready.dir.path()).unwrap();
    let snapshots = Snapshots::new(cache, 4 << 30);
    let order = GuestOrder::new(&ready.port, &ready.image.record, snapshots);
    let told = Mutex::new(Vec::new());
    let tell = |text| told.lock().unwrap().push(text);
    for (console, restored) in [("first", false), ("second", true), ("third", true)] {
        let (mut guest, how) = raise(&ready.spec(console), &order, &tell).await.unwrap();
        println!("{console}: {how:?} in {:?}", guest.boot_time());
        assert_eq!(matches!(how, CameUp::Restored { .. }), restored, "{told:?}");
        let (said, status) = output(
            &mut guest,
            "date +%s; ls /var/tmp; echo x >/var/tmp/mark && sync",
        )
        .await;
        assert_eq!(status, 0, "{said}");
        assert!(!said.contains("mark"), "{said}");
        let there: u64 = said.lines().next().unwrap().parse().unwrap();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        assert!(now.unwrap().as_secs().abs_diff(there) <= 5, "{said}");
        guest.end(false).await;
    }
    assert!(told.lock().unwrap().is_empty(), "{told:?}");
}

/// Two bytes of the kernel's code are replaced, by the address that its file tells; the next call of that
/// function is the kernel's end.
const BREAK_SWAPCTL: &str = "a=$(nm /netbsd | while read -r a t n; do [ $n = sys_swapctl ] && echo $a; done); \
    p=$((0x${a#ffffffff8})); printf '\\017\\013' | dd of=/dev/mem bs=1 seek=$p conv=notrunc 2>/dev/null; swapctl -l";

/// Where the kernel lets nobody write to its memory once it is up (securelevel 1): a file system whose inodes are
/// in use and whose map, of the time before, has them as free. The kernel finds that out with the next file.
const MOUNT_A_LIE: &str = "set -e; cd /tmp; newfs -F -s 4m fs >/dev/null; cp fs new; vnconfig vnd0 fs; mount /dev/vnd0c /mnt; \
    for n in 1 2 3 4 5 6 7 8; do echo $n >/mnt/$n; done; umount /mnt; vnconfig -u vnd0; \
    set -- $(dumpfs -F new | grep cblkno); dd if=new of=fs bs=$(($(dumpfs -F new | sed -n 's/.*fsize[^0-9]*\\([0-9]*\\).*/\\1/p'))) \
    skip=$4 seek=$4 count=$(($6 - $4)) conv=notrunc 2>/dev/null; vnconfig vnd0 fs; mount /dev/vnd0c /mnt; echo 9 >/mnt/9";

#[tokio::test]
async fn a_dead_kernel_is_asked_in_its_debugger() {
    let Some(ready) = ready() else { return };
    let mut guest = ready.boot("console").await;
    let end_it = match ready.port.port.as_str() {
        "netbsd-sparc64" => MOUNT_A_LIE,
        _ => BREAK_SWAPCTL,
    };
    let (out, end) = try_output(&mut guest, end_it).await;
    keep(ready.dir.path(), "panic");
    let Err(GuestError::Crashed(crash)) = end else {
        let console = std::fs::read(ready.dir.path().join("console")).unwrap();
        panic!(
            "{end:?} after {out:?}: {}",
            String::from_utf8_lossy(&console)
        );
    };
    println!("{}\n{:#?}", crash.title, crash.evidence);
    let names: Vec<&str> = crash.evidence.iter().map(|s| s.name.as_str()).collect();
    assert!(
        names.contains(&"bt") && names.contains(&"registers"),
        "{names:?}"
    );
}

/// Where a part of the tests is; the empty one is all.
fn place(part: &str) -> String {
    let part = part.trim_matches('/');
    format!("/usr/tests/{part}")
        .trim_end_matches('/')
        .to_owned()
}

/// The clock of the guests that are compared: FALLOUT_NETBSD_CLOCK, or the host's.
fn clock_word() -> String {
    std::env::var("FALLOUT_NETBSD_CLOCK").unwrap_or("host".to_owned())
}

/// What `atf-run` says when it is typed in a guest, of a directory or of one program in it: each case's end.
async fn by_hand(ready: &Ready, part: &str, program: &str) -> BTreeMap<String, String> {
    let mut guest = ready.boot("console").await;
    let command = format!("cd {} && atf-run {program} 2>/dev/null", place(part));
    let most = Duration::from_secs(3 * 3600);
    let begun = std::time::Instant::now();
    let mut stream = guest.run(&command, most, most).await.unwrap();
    let mut parser = TpsParser::default();
    let mut events = Vec::new();
    while let Output::Chunk(bytes) = stream.next().await.unwrap() {
        parser.feed_into(&bytes, &mut events);
    }
    events.extend(parser.finish());
    println!("{part}: atf-run by hand: {:?}", begun.elapsed());
    keep(ready.dir.path(), "by-hand");
    guest.end(false).await;
    let ended = events.into_iter().filter_map(|event| match event {
        SuiteEvent::CaseEnded { case, outcome, .. } => {
            Some((case.to_string(), outcome.to_string()))
        }
        _ => None,
    });
    let table: BTreeMap<String, String> = ended.collect();
    if let Some(to) = std::env::var_os("FALLOUT_KEEP_CONSOLES").filter(|_| program.is_empty()) {
        let lines: Vec<String> = table.iter().map(|(c, o)| format!("{c} {o}\n")).collect();
        std::fs::write(Path::new(&to).join("by-hand.table"), lines.concat()).unwrap();
    }
    table
}

/// What `fallout run` says of the same part.
async fn by_fallout(ready: &Ready, part: &str) -> BTreeMap<String, String> {
    let dir = ready.dir.path();
    let matrix = dir.join("m.yaml");
    let text = format!(
        "format: 1\nname: m\nports: [{}]\nsuites:\n  - {{name: s, installed: {}, timeout: 3h, \
         shards: auto, clock: {}}}\n",
        ready.port.port,
        place(part),
        clock_word()
    );
    std::fs::write(&matrix, text).unwrap();
    let release = std::env::var_os("FALLOUT_NETBSD_RELEASE").unwrap();
    let begun = std::time::Instant::now();
    let out = tokio::process::Command::new(env!("CARGO_BIN_EXE_fallout"))
        .args(["run", "--fresh", "--json"])
        .arg(&matrix)
        .arg("--release")
        .arg(release)
        .arg("--images")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../images"))
        .env("XDG_STATE_HOME", dir.join("state"))
        .env("XDG_RUNTIME_DIR", dir)
        .output()
        .await
        .unwrap();
    println!("{part}: fallout run: {:?}", begun.elapsed());
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    if let Some(to) = std::env::var_os("FALLOUT_KEEP_CONSOLES") {
        std::fs::write(Path::new(&to).join("by-fallout.json"), &out.stdout).unwrap();
    }
    let report: serde_json::Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let cells = report["report"]["cells"]
        .as_array()
        .unwrap_or_else(|| panic!("{said}"));
    let attempts = cells
        .iter()
        .flat_map(|cell| cell["attempts"].as_array().unwrap());
    let first = attempts.filter(|a| a["pass"] == 1 || a["pass"] == 0);
    let word = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    first
        .map(|a| (word(&a["case"]), word(&a["outcome"])))
        .collect()
}

/// How often a program is run by hand again where the two differ.
const AGAIN: u32 = 6;

#[tokio::test]
async fn a_run_says_what_atf_run_says_by_hand() {
    let clock: Clock = serde_yaml::from_str(&clock_word()).unwrap();
    let Some(ready) = ready_with(|port| *port = port.on(clock)) else {
        return;
    };
    let parts = std::env::var("FALLOUT_NETBSD_PARTS");
    let parts = parts.unwrap_or("lib/libc/gen/posix_spawn".to_owned());
    for part in parts.split(',') {
        // At the same time: all of /usr/tests by hand is one guest for most of an hour.
        let (hand, run) = tokio::join!(by_hand(&ready, part, ""), by_fallout(&ready, part));
        println!("{part}: {} cases", hand.len());
        assert!(!hand.is_empty());
        let mut differ: Vec<&String> = hand
            .keys()
            .chain(run.keys())
            .filter(|c| hand.get(*c) != run.get(*c))
            .collect();
        for case in &differ {
            println!("{case}: {:?} and {:?}", hand.get(*case), run.get(*case));
        }
        // What comes and goes by hand too is no difference between the two.
        for _ in 0..AGAIN {
            let programs: BTreeSet<&str> = differ
                .iter()
                .filter_map(|c| Some(c.rsplit_once(':')?.0))
                .collect();
            for program in programs {
                let (dir, name) = program.rsplit_once('/').unwrap_or(("", program));
                let again = by_hand(&ready, &format!("{part}/{dir}"), name).await;
                differ.retain(|case| {
                    let same = case
                        .strip_prefix(program)
                        .and_then(|c| again.get(&format!("{name}{c}")));
                    same.is_none() || same != run.get(*case)
                });
            }
        }
        assert!(differ.is_empty(), "{part}: {differ:#?}");
    }
}

/// A program of ATF's with one case.
const ONE_CASE: &str = r#"#!/bin/sh
while getopts lr:s:v: option; do
  case $option in
    l) printf 'Content-Type: application/X-atf-tp; version="1"\n\nident: a\n'; exit ;;
    r) result=$OPTARG ;;
  esac
done
echo passed >"$result"
"#;

/// Forty programs under a limit on open files that a shell has no trouble with, unless it keeps one open for each.
#[tokio::test]
async fn a_batch_of_many_programs_keeps_no_file_open() {
    let Some(ready) = ready() else { return };
    let mut tar = tar::Builder::new(Vec::new());
    let mut put = |name: &str, text: &str| {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    };
    let head =
        "Content-Type: application/X-atf-atffile; version=\"1\"\n\nprop: test-suite = many\n\n";
    put("Atffile", &format!("{head}tp-glob: t_*\n"));
    for n in 0..40 {
        put(&format!("t_{n}"), ONE_CASE);
    }
    let tar = tar.into_inner().unwrap();
    let mut guest = ready.boot("console").await;
    guest.put_tar("/tmp/many", &tar).await.unwrap();
    let run =
        "ulimit -n 24; /usr/libexec/fallout/run-suite run /tmp/many | grep -c '^tc-end.* passed$'";
    let said = output(&mut guest, run).await;
    assert_eq!(said, ("40\n".to_owned(), 0));
    guest.end(false).await;
}

/// Machines with one serial line have the agent's on USB; a PC can have it there too.
#[tokio::test]
async fn the_agent_answers_over_usb() {
    let ready = ready_with(|port| {
        if port.emulator.channel_bus.is_none() {
            port.emulator.channel = "usb-serial,bus=usb.0".to_owned();
            port.emulator.channel_bus = Some("pci-ohci,id=usb".to_owned());
            port.image.release.as_mut().unwrap().line = "dtyU0".to_owned();
        }
    });
    let Some(ready) = ready else { return };
    let mut guest = ready.boot("console").await;
    println!("up after {:?}", guest.boot_time());
    // More than any buffer on the way has.
    let many = "i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done";
    let begun = std::time::Instant::now();
    let (said, status) = output(&mut guest, many).await;
    println!("{} bytes in {:?}", said.len(), begun.elapsed());
    let wanted: String = (0..5000).map(|n| format!("line {n}\n")).collect();
    assert_eq!((said == wanted, status), (true, 0), "{} bytes", said.len());
    let long = "y".repeat(480);
    for _ in 0..20 {
        assert_eq!(
            output(&mut guest, &format!("echo {long}")).await.0,
            format!("{long}\n")
        );
    }
    keep(ready.dir.path(), "usb");
}

/// All files of a guest's root by path: kind, mode, owner, group, a regular file's length, a link's target.
async fn files(guest: &mut Guest) -> BTreeMap<String, String> {
    let list = "cd / && find -x . -print0 | xargs -0 stat -f '%HT|%Lp|%u|%g|%z|%Y|%N' >/tmp/files";
    assert_eq!(output(guest, list).await, (String::new(), 0));
    let list = guest.get("/tmp/files", 64 << 20).await.unwrap().unwrap();
    let list = String::from_utf8(list).unwrap();
    let lines = list
        .lines()
        .map(|line| line.splitn(7, '|').collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() == 7)
        .map(|fields| {
            let mut what = fields[..6].to_vec();
            if what[0] != "Regular File" {
                what[4] = "";
            }
            (
                fields[6].trim_start_matches("./").to_owned(),
                what.join(" "),
            )
        })
        .collect()
}

/// What a running system writes, and what each way makes for itself.
fn is_own(path: &str) -> bool {
    const OWN: [&str; 8] = [
        "var/",
        "dev",
        "tmp",
        "targetroot",
        "netbsd",
        "etc/mtree/",
        "root/.",
        "usr/tests/tmp",
    ];
    !is_kept(path) || OWN.iter().any(|own| path.starts_with(own))
}

#[tokio::test]
async fn what_its_own_medium_installs_is_what_is_assembled() {
    let Some(mut ready) = ready() else { return };
    let medium = ready.port.image.install.clone().and_then(|i| i.medium);
    let release = ready.port.image.release.clone().unwrap();
    let at = medium.map(|m| {
        format!(
            "{}/{}/installation/{m}",
            release.from.unwrap(),
            release.machine
        )
    });
    if !at.as_deref().is_some_and(|at| Path::new(at).exists()) {
        eprintln!("skipped: the release has no installation medium ({at:?})");
        return;
    }
    let assembled = files(&mut ready.boot("assembled").await).await;
    let disk = ready.dir.path().join("disk");
    let begun = std::time::Instant::now();
    let ran = std::process::Command::new(env!("CARGO_BIN_EXE_fallout"))
        .args(["release", "install"])
        .arg(std::env::var_os("FALLOUT_NETBSD_RELEASE").unwrap())
        .args(["--port", ready.port.port.as_str(), "--disk"])
        .arg(&disk)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    println!("{said}installed in {:?}", begun.elapsed());
    assert!(ran.status.success());
    ready.image.initrd = Utf8PathBuf::from_path_buf(disk).unwrap();
    let mut guest = ready.boot("console").await;
    println!("up after {:?}", guest.boot_time());
    assert_eq!(ready.image.record.kernel.refuses(guest.found()), None);
    let installed = files(&mut guest).await;
    let paths = assembled.keys().chain(installed.keys());
    let differ: BTreeSet<_> = paths
        .filter(|path| !is_own(path) && assembled.get(*path) != installed.get(*path))
        .map(|path| (path, assembled.get(path), installed.get(path)))
        .collect();
    println!(
        "{} files assembled, {} installed",
        assembled.len(),
        installed.len()
    );
    assert!(differ.is_empty(), "{differ:#?}");
}

/// Keeps a console for whoever wants it as a fixture.
fn keep(dir: &Path, name: &str) {
    if let Some(to) = std::env::var_os("FALLOUT_KEEP_CONSOLES") {
        std::fs::copy(dir.join("console"), Path::new(&to).join(name)).unwrap();
    }
}
