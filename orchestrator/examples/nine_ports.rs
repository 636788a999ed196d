//! The guest part of a matrix, beside a plain driver that does the same with raw QEMU.
//!
//! The driver knows nothing of fallout but the command line and the agent's protocol: it starts the
//! emulator, puts the built tests in, runs Kyua once, takes the results database out, kills the
//! emulator; two ports at a time, in the matrix's order. No log, no list of cases beforehand, no
//! parsing, no watch over the console. fallout does the matrix in turns with it, everything but the
//! cells from the cache.
//!
//! usage: cargo run --release --example nine_ports -- FALLOUT IMAGES MATRIX CASES_ROOT [ROUNDS]

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fallout::guest::command;
use fallout::host::process::cpu_of;
use fallout::model::Port;
use fallout::report;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Guests at a time, as many as the machine that the aims are meant for has cores.
const WORKERS: usize = 2;

struct Job {
    port: Port,
    image: PathBuf,
    tests: PathBuf,
}

/// What the plan of a matrix says of its cells: manifest, image and built tests of each.
fn jobs(fallout: &str, images: &str, matrix: &str, cache: &Path) -> Result<Vec<Job>, Failure> {
    let output = Command::new(fallout)
        .args(["--images", images, "plan", matrix, "--json"])
        .stderr(Stdio::inherit())
        .output()?;
    let plan: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let all = plan["jobs"].as_array().ok_or("a plan without jobs")?;
    let key = |kind: &str, port: &str| -> Result<String, Failure> {
        let job = all
            .iter()
            .find(|job| job["work"][kind]["port"].as_str() == Some(port));
        let key = job.and_then(|job| job["key"].as_str());
        Ok(key.ok_or(format!("no {kind} of {port}"))?.to_owned())
    };
    let mut jobs = Vec::new();
    for job in all {
        let Some(port) = job["work"]["build"]["port"].as_str() else {
            continue;
        };
        let manifest = Path::new(images).join(format!("linux/{port}.yaml"));
        jobs.push(Job {
            port: serde_yaml::from_str(&std::fs::read_to_string(manifest)?)?,
            image: cache.join("images").join(key("image", port)?),
            tests: cache
                .join("builds")
                .join(key("build", port)?)
                .join("tests.tar"),
        });
    }
    Ok(jobs)
}

/// One port with raw QEMU: the emulator's CPU time and the cases that Kyua called passed.
fn raw(job: &Job, dir: &Path, root: &str) -> Result<(Duration, usize), Failure> {
    let (agent, qmp) = (dir.join("a"), dir.join("q"));
    let _ = (std::fs::remove_file(&agent), std::fs::remove_file(&qmp));
    let (agent_socket, _qmp_socket) = (UnixListener::bind(&agent)?, UnixListener::bind(&qmp)?);
    let text = |p: &Path| p.to_string_lossy().into_owned();
    let (kernel, initrd) = (
        text(&job.image.join("kernel")),
        text(&job.image.join("initrd")),
    );
    let (agent, qmp) = (text(&agent), text(&qmp));
    let paths = command::Paths {
        kernel: &kernel,
        initrd: &initrd,
        exchange: "",
        agent: &agent,
        qmp: &qmp,
    };
    let emulator = &job.port.emulator;
    let child = Command::new(&emulator.program)
        .args(command::arguments(emulator, &paths, true))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut child = Ended(child);
    let (mut to, _) = agent_socket.accept()?;
    let mut from = BufReader::new(to.try_clone()?);
    let mut greeting = String::new();
    from.read_line(&mut greeting)?;

    let tests = std::fs::read(&job.tests)?;
    writeln!(to, "put 1 {} /", tests.len())?;
    to.write_all(&tests)?;
    until_end(&mut from, "1")?;
    // Where the family has no Kyua, the shell's runner prints what there is to know.
    let kyua = job.port.image.runner != "sh";
    let (command, good) = if kyua {
        let kyua = "kyua --config=none --logfile=/dev/null -v parallelism=1";
        let command = format!("{kyua} test -k {root}/Kyuafile --results-file=/tmp/db");
        (command, "->  passed")
    } else {
        (
            format!("{} run {root}", fallout::suite::run::RUN_SUITE),
            ", passed",
        )
    };
    writeln!(to, "run 2 {command}")?;
    let said = until_end(&mut from, "2")?;
    let passed = said.lines().filter(|line| line.contains(good)).count();
    if kyua {
        writeln!(to, "get 3 100000000 /tmp/db")?;
        let mut line = String::new();
        from.read_line(&mut line)?;
        let size = line.rsplit(' ').next().and_then(|n| n.trim().parse().ok());
        let size: u64 = size.ok_or_else(|| {
            let port = &job.port.port;
            format!(
                "{port}: no results database ({}); Kyua said:\n{said}",
                line.trim()
            )
        })?;
        let mut database = Vec::new();
        from.by_ref().take(size).read_to_end(&mut database)?;
        std::fs::write(dir.join("db"), database)?;
        until_end(&mut from, "3")?;
    }
    let cpu = cpu_of(child.0.id());
    child.0.kill()?;
    Ok((cpu, passed))
}

/// An emulator that does not outlive whoever waits for it.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until_end(from: &mut impl std::io::BufRead, nonce: &str) -> Result<String, Failure> {
    let end = format!("@fallout-end {nonce} ");
    let mut text = String::new();
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        let read = String::from_utf8_lossy(&line);
        if read.starts_with(&end) {
            return Ok(text);
        }
        text.push_str(&read);
        line.clear();
    }
    Err(format!("the guest ended before request {nonce} did:\n{text}").into())
}

/// All ports, two at a time: wall time, emulators' CPU time, cases that passed.
fn raw_all(jobs: &[Job], root: &str) -> Result<(Duration, Duration, usize), Failure> {
    let queue: Mutex<VecDeque<&Job>> = Mutex::new(jobs.iter().collect());
    let sum = Mutex::new((Duration::ZERO, 0));
    let began = Instant::now();
    let worker = || -> Result<(), Failure> {
        let dir = tempfile::tempdir()?;
        loop {
            let job = queue.lock().map_err(|_| "a worker died")?.pop_front();
            let Some(job) = job else { return Ok(()) };
            let (cpu, passed) = raw(job, dir.path(), root)?;
            let mut sum = sum.lock().map_err(|_| "a worker died")?;
            *sum = (sum.0 + cpu, sum.1 + passed);
        }
    };
    std::thread::scope(|scope| -> Result<(), Failure> {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker died")??;
        }
        Ok(())
    })?;
    let (cpu, passed) = sum.into_inner().map_err(|_| "a worker died")?;
    Ok((began.elapsed(), cpu, passed))
}

/// What fallout needed for the matrix.
struct Ours {
    wall: Duration,
    /// Its own CPU time, without its emulators'.
    own: Duration,
    peak_kib: u64,
    report: report::RunReport,
}

fn fallout(program: &str, images: &str, matrix: &str) -> Result<Ours, Failure> {
    let out = tempfile::NamedTempFile::new()?;
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["--images", images, "run", matrix, "--fresh", "--json"])
        .stdout(out.reopen()?)
        .stderr(Stdio::null())
        .spawn()?;
    let id = child.id();
    let pid = Pid::from_child(&child);
    let mut peak_kib = 0;
    // Not reaped at once: a process that has ended still tells what it has used.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while waitid(WaitId::Pid(pid), ended | WaitIdOptions::NOHANG)?.is_none() {
        peak_kib = status_kib(id, "VmHWM:").unwrap_or(0).max(peak_kib);
        std::thread::sleep(Duration::from_millis(100));
    }
    let (wall, own) = (began.elapsed(), cpu_of(id));
    child.wait()?;
    Ok(Ours {
        wall,
        own,
        peak_kib,
        report: report::json::read(&std::fs::read_to_string(out.path())?)?,
    })
}

fn status_kib(pid: u32, field: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [program, images, matrix, root, rest @ ..] = &args[..] else {
        return Err("usage: nine_ports FALLOUT IMAGES MATRIX CASES_ROOT [ROUNDS]".into());
    };
    let rounds: u32 = rest.first().map_or(Ok(3), |n| n.parse())?;
    let cache = fallout::host::dirs::Dirs::from_env()?.cache;
    let jobs = jobs(program, images, matrix, cache.as_std_path())?;
    println!("{} ports, {WORKERS} at a time", jobs.len());
    let (mut best, mut best_ratio) = ([f64::MAX; 2], f64::MAX);
    for round in 1..=rounds {
        let (raw_wall, raw_cpu, raw_passed) = raw_all(&jobs, root)?;
        let ours = fallout(program, images, matrix)?;
        let guests = ours.report.cells.iter().flat_map(|cell| &cell.guests);
        let guests_cpu: Duration = guests.map(|guest| guest.cpu).sum();
        let attempts = ours.report.cells.iter().flat_map(|cell| &cell.attempts);
        let passed = attempts
            .filter(|a| a.outcome == fallout::model::Outcome::Passed)
            .count();
        if passed != raw_passed {
            return Err(format!("{passed} passed with fallout, {raw_passed} without").into());
        }
        let [raw_s, our_s, raw_cpu_s, our_cpu_s, own_s] =
            [raw_wall, ours.wall, raw_cpu, guests_cpu, ours.own].map(|d| d.as_secs_f64());
        let ratio = our_s / raw_s;
        println!(
            "round {round}: {passed} passed; raw {raw_s:.1} s, fallout {our_s:.1} s, ratio {ratio:.2}; emulators' CPU {raw_cpu_s:.1} and {our_cpu_s:.1} s"
        );
        println!(
            "  fallout's own CPU {own_s:.2} s, {:.2}% of its emulators'; at most {:.1} MiB resident; wall / (guests' CPU / {WORKERS}): {:.2}",
            100.0 * own_s / our_cpu_s,
            ours.peak_kib as f64 / 1024.0,
            our_s / (our_cpu_s / WORKERS as f64)
        );
        best = [best[0].min(raw_s), best[1].min(our_s)];
        best_ratio = best_ratio.min(ratio);
    }
    println!(
        "best: raw {:.1} s, fallout {:.1} s; best ratio of a round {best_ratio:.2}",
        best[0], best[1]
    );
    Ok(())
}
