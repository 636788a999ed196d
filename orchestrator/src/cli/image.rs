//! `fallout image list|build|verify|gc`: the cache of bootable images.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::failure;
use super::term::write_table;
use crate::host::text;
use crate::image::cache::{Listed, list, verify};
use crate::image::gc::{Policy, gc};
use crate::image::{self, Dirs, Image, ImageError, Planned, Progress, Watch};
use crate::model::Port;
use crate::model::problem::did_you_mean;
use crate::model::units::{parse_duration, parse_size};
use crate::store::snapshots::{Record as Saved, Snapshots};

/// So many images are made at the same time: enough to download one while another is unpacked.
const AT_ONCE: usize = 4;

/// `fallout image …`
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// One line an image: port, key, size, kernel, age, saved guests
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make the images of these ports, or of all
    Build(BuildArgs),
    /// Hash the images anew and compare with what was recorded when they were made
    Verify {
        /// Only these ports
        #[arg(value_name = "PORT")]
        ports: Vec<String>,
    },
    /// Remove what the manifests no longer mean and no process uses
    #[command(after_help = "Example:\n  fallout image gc --max-age 720h --max-size 4GiB")]
    Gc(GcArgs),
}

/// `fallout image build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// Only these ports
    #[arg(value_name = "PORT")]
    ports: Vec<String>,
    /// Ask the archive for newer packages
    #[arg(long)]
    refresh: bool,
}

/// `fallout image gc`
#[derive(Debug, Args)]
pub struct GcArgs {
    /// Only what was not used for this long: 48h, 720h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    max_age: Option<Duration>,
    /// Until no more than this is left, the longest unused first: 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// Also what the manifests mean
    #[arg(long)]
    all: bool,
    /// Only tell what would go
    #[arg(long)]
    dry_run: bool,
}

/// `fallout image …`
pub fn run(context: &Context, command: &ImageCommand) -> Outcome {
    let dirs = Dirs {
        images: context.images_dir(None)?,
        cache: context.dirs.cache.clone(),
    };
    let ports = context.ports(&dirs.images)?;
    match command {
        ImageCommand::List { json } => show_list(&dirs, &ports, *json),
        ImageCommand::Build(args) => {
            let mut ports = chosen(ports, &args.ports)?;
            if args.ports.is_empty() {
                leave_out_releases(&mut ports);
            }
            build(&dirs, ports, args.refresh)
        }
        ImageCommand::Verify { ports: only } => {
            check(&dirs, &chosen(ports, only)?, only.is_empty())
        }
        ImageCommand::Gc(args) => clean(&dirs, &ports, args),
    }
}

/// Leaves out the ports whose images are a release's, which only a run names.
fn leave_out_releases(ports: &mut Vec<Port>) {
    let waits = |p: &Port| p.image.release.as_ref().is_some_and(|r| r.from.is_none());
    let left = ports.iter().filter(|p| waits(p)).count();
    ports.retain(|p| !waits(p));
    if left > 0 {
        eprintln!(
            "{left} ports are left out: their images are made from the release that a run names"
        );
    }
}

/// The ports named, or all where none is.
fn chosen(ports: Vec<Port>, only: &[String]) -> Result<Vec<Port>, Failure> {
    for name in only {
        if !ports.iter().any(|p| p.port.as_str() == name) {
            let known: Vec<&str> = ports.iter().map(|p| p.port.as_str()).collect();
            let help = did_you_mean(name, known.iter().copied());
            return Err(Failure::usage(format!(
                "no port '{name}': expected one of {}{}",
                known.join(", "),
                help.map_or(String::new(), |h| format!("; {h}"))
            )));
        }
    }
    let is_wanted = |p: &Port| only.is_empty() || only.iter().any(|n| n == p.port.as_str());
    Ok(ports.into_iter().filter(is_wanted).collect())
}

fn failed(error: &ImageError) -> Failure {
    match error {
        ImageError::Stopped => Failure {
            exit: Exit::Interrupted,
            message: "interrupted".to_owned(),
        },
        ImageError::UnknownPackage { .. } | ImageError::UnknownModule { .. } => {
            Failure::usage(error)
        }
        _ => Failure::host(error),
    }
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

fn ago(then: jiff::Timestamp) -> String {
    let seconds = jiff::Timestamp::now().duration_since(then).as_secs().max(0);
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7200 => format!("{} min", s / 60),
        s if s < 48 * 3600 => format!("{} h", s / 3600),
        s => format!("{} d", s / 86400),
    }
}

fn show_list(dirs: &Dirs, ports: &[Port], json: bool) -> Outcome {
    let images = list(&dirs.cache);
    let saved = Snapshots::new(&dirs.cache, 0).list();
    let mut out = std::io::stdout().lock();
    if json {
        let with_saved: Vec<ListedJson<'_>> = images
            .iter()
            .map(|image| ListedJson {
                image,
                saved_guests: saved_of(&saved, image).collect(),
            })
            .collect();
        serde_json::to_writer_pretty(&mut out, &with_saved).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(Exit::Clean);
    }
    let mut current = BTreeMap::new();
    let mut missing = Vec::new();
    for port in ports {
        match image::planned_image(port, dirs).map_err(|e| failed(&e))? {
            Planned::Cached(key) => drop(current.insert(key, ())),
            Planned::Missing { why, .. } => missing.push((port.port.to_string(), why)),
        }
    }
    let mut rows = vec![
        [
            "PORT",
            "KEY",
            "SIZE",
            "KERNEL",
            "MADE",
            "USED",
            "SAVED GUESTS",
            "",
        ]
        .map(String::from),
    ];
    rows.extend(images.iter().map(|image| {
        let is_current = current.contains_key(&image.record.key);
        row(image, &saved, is_current)
    }));
    if !images.is_empty() {
        write_table(&mut out, &rows)?;
    }
    for (port, why) in missing {
        writeln!(out, "{port}: no image: {}", text::line(why.as_bytes(), 300))?;
    }
    out.flush()?;
    Ok(Exit::Clean)
}

/// An image of `image list --json`, with the guests that were booted from it and saved.
#[derive(serde::Serialize)]
struct ListedJson<'a> {
    #[serde(flatten)]
    image: &'a Listed,
    saved_guests: Vec<&'a Saved>,
}

fn saved_of<'a>(saved: &'a [Saved], image: &Listed) -> impl Iterator<Item = &'a Saved> {
    let key = image.record.key.clone();
    saved.iter().filter(move |s| s.image == key)
}

fn row(image: &Listed, saved: &[Saved], is_current: bool) -> [String; 8] {
    let record = &image.record;
    let standing = if is_current {
        ""
    } else {
        "not what the manifests mean now"
    };
    [
        record.port.clone(),
        record.key.short().to_owned(),
        mib(image.size_bytes),
        record.kernel.release.clone(),
        format!("{} ago", ago(record.made)),
        format!("{} ago", ago(image.used)),
        match saved_of(saved, image).map(|s| s.size_bytes).sum() {
            0 => "none".to_owned(),
            bytes => format!("{}, {}", saved_of(saved, image).count(), mib(bytes)),
        },
        standing.to_owned(),
    ]
}

/// Shows what the ports do: one bar each on a terminal, one line for each new thing elsewhere.
struct Screen {
    bars: Option<MultiProgress>,
}

impl Screen {
    fn new() -> Self {
        Self {
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
        }
    }

    fn teller(&self, port: &Port) -> impl Fn(Progress) + Send + Sync + 'static {
        let name = port.port.to_string();
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_style(style(false));
            bar.set_prefix(name.clone());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let last = Mutex::new(String::new());
        move |progress: Progress| match &bar {
            Some(bar) => {
                if let Some((done, total)) = progress.done {
                    bar.set_style(style(true));
                    bar.set_length(total);
                    bar.set_position(done);
                } else {
                    bar.set_style(style(false));
                }
                bar.set_message(progress.doing);
            }
            None => {
                let mut last = last.lock().unwrap_or_else(|e| e.into_inner());
                if *last != progress.doing {
                    eprintln!("{name}: {}", progress.doing);
                    *last = progress.doing;
                }
            }
        }
    }

    fn line(&self, line: &str) {
        match &self.bars {
            Some(bars) => drop(bars.println(line)),
            None => eprintln!("{line}"),
        }
    }
}

fn style(is_counted: bool) -> ProgressStyle {
    let template = match is_counted {
        true => "{prefix:10} {wide_bar} {pos}/{len} {msg}",
        false => "{prefix:10} {spinner} {msg}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn build(dirs: &Dirs, ports: Vec<Port>, refresh: bool) -> Outcome {
    let runtime = failure::one_thread()?;
    let screen = Screen::new();
    let order: Vec<String> = ports.iter().map(|p| p.port.to_string()).collect();
    let done = runtime.block_on(async {
        tokio::select! {
            done = build_all(dirs, ports, refresh, &screen) => Some(done),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    // What is under way has seen its future go, and ends.
    drop(runtime);
    if let Some(bars) = &screen.bars {
        let _ = bars.clear();
    }
    let Some(mut done) = done else {
        return Err(failed(&ImageError::Stopped));
    };
    let mut wrong: Vec<(String, ImageError)> = Vec::new();
    let mut out = std::io::stdout().lock();
    for name in order {
        match done.remove(&name) {
            Some(Ok((image, took))) => {
                let size: u64 = image.record.files.values().map(|f| f.size_bytes).sum();
                let (key, release) = (image.key.short(), &image.record.kernel.release);
                let took = took.as_secs_f32();
                writeln!(
                    out,
                    "{name:<10} {key}  {:>8}  {release}  {took:.1} s",
                    mib(size)
                )?;
            }
            Some(Err(e)) => wrong.push((name, e)),
            None => {}
        }
    }
    out.flush()?;
    let Some((_, first)) = wrong.first() else {
        return Ok(Exit::Clean);
    };
    let exit = failed(first).exit;
    let lines: Vec<String> = wrong
        .iter()
        .map(|(name, e)| format!("{name}: {e}"))
        .collect();
    Err(Failure {
        exit,
        message: lines.join("\n"),
    })
}

type Done = BTreeMap<String, Result<(Image, Duration), ImageError>>;

async fn build_all(dirs: &Dirs, ports: Vec<Port>, refresh: bool, screen: &Screen) -> Done {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut jobs = JoinSet::new();
    for port in ports {
        let (dirs, turns) = (dirs.clone(), turns.clone());
        let tell = screen.teller(&port);
        jobs.spawn(async move {
            let _turn = turns.acquire_owned().await;
            let began = Instant::now();
            let made = image::ensure_image(&port, &dirs, refresh, tell).await;
            (
                port.port.to_string(),
                made.map(|image| (image, began.elapsed())),
            )
        });
    }
    let mut done = Done::new();
    while let Some(job) = jobs.join_next().await {
        if let Ok((name, result)) = job {
            let how = if result.is_ok() { "ready" } else { "failed" };
            screen.line(&format!("{name}: {how}"));
            done.insert(name, result);
        }
    }
    done
}

fn check(dirs: &Dirs, ports: &[Port], is_all: bool) -> Outcome {
    let mut out = std::io::stdout().lock();
    let mut damaged = Vec::new();
    for image in list(&dirs.cache) {
        let record = &image.record;
        if !is_all && !ports.iter().any(|p| p.port.as_str() == record.port) {
            continue;
        }
        let verdict = verify(&dirs.cache, record, &Watch::QUIET);
        let how = if verdict.is_ok() {
            "as recorded"
        } else {
            "damaged"
        };
        writeln!(out, "{:<10} {}  {how}", record.port, record.key.short())?;
        damaged.extend(verdict.err().map(|e| e.to_string()));
    }
    out.flush()?;
    if damaged.is_empty() {
        Ok(Exit::Clean)
    } else {
        Err(Failure::host(damaged.join("\n")))
    }
}

fn clean(dirs: &Dirs, ports: &[Port], args: &GcArgs) -> Outcome {
    let policy = Policy {
        max_age: args.max_age,
        max_bytes: args.max_size,
        all: args.all,
        dry_run: args.dry_run,
    };
    let report = gc(dirs, ports, &policy).map_err(|e| failed(&e))?;
    let mut out = std::io::stdout().lock();
    let verb = if args.dry_run {
        "would remove"
    } else {
        "removed"
    };
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for gone in &report.gone {
        let sum = sums.entry(gone.kind).or_default();
        *sum = (sum.0 + 1, sum.1 + gone.size_bytes);
        if gone.kind == "image" {
            writeln!(
                out,
                "{verb} the image of {} ({})",
                gone.name,
                mib(gone.size_bytes)
            )?;
        }
    }
    for (kind, (count, bytes)) in sums {
        writeln!(out, "{verb} {count} {kind}(s), {}", mib(bytes))?;
    }
    if report.in_use > 0 {
        writeln!(out, "left {} that a running fallout uses", report.in_use)?;
    }
    writeln!(out, "{} left", mib(report.left_bytes))?;
    out.flush()?;
    Ok(Exit::Clean)
}
