//! `fallout release fetch|show|list`: releases of NetBSD, from a mirror, a directory or an ISO.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Subcommand};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::context::{Context, Loaded};
use super::exit::{Exit, Failure, Outcome};
use super::failure;
use super::install::{self, DiskArgs, InstallArgs};
use super::term::write_table;
use crate::image::release::download::{Http, Note, Patience, Teller};
use crate::image::release::mirror::{self, Ask};
use crate::image::release::sums::Sums;
use crate::image::release::{Release, ReleaseError, Source, Store, Want, cdrom, local, signature};
use crate::plan::matrix::Costs;

/// `fallout release …`
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Bring a release's sets and kernels into the cache, verified, and print where they are
    #[command(
        after_help = "Examples:\n  fallout release fetch https://cdn.netbsd.org/pub/NetBSD/NetBSD-10.1/ --port amd64\n  \
        fallout release fetch https://nycdn.netbsd.org/pub/NetBSD-daily/HEAD/latest/ --port sparc64\n  \
        fallout release fetch NetBSD-10.1-amd64.iso --port amd64\n\n\
        A release that is in the cache needs no network."
    )]
    Fetch(FetchArgs),
    /// Say what a release has, and fetch nothing of it
    #[command(after_help = "Example:\n  fallout release show ~/obj/releasedir --port amd64")]
    Show(FetchArgs),
    /// The releases in the cache
    List,
    /// Install a release on a disk by booting its installation medium; the script of images/FAMILY/install
    /// does the work in the medium's shell
    #[command(
        after_help = "Example:\n  fallout release install ~/obj/releasedir --port netbsd-amd64 --disk amd64.img\n\n\
        Exit status: 3 where the installation stops; the step and the last screen are told."
    )]
    Install(InstallArgs),
    /// Make a disk of one of a release's ready images, as large as wanted
    #[command(
        after_help = "Example:\n  fallout release disk ~/obj/releasedir --port evbarm-aarch64 --image arm64.img \\\n    \
        --disk arm64.disk --size 4GiB"
    )]
    Disk(DiskArgs),
}

/// `fallout release fetch`
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// A directory as build.sh leaves it, an ISO, or the address of a release, a port's part of it, or
    /// a branch's dailies (`latest` is the newest that has the port)
    pub source: Source,
    /// The port: amd64, evbarm-aarch64
    #[arg(long, value_name = "PORT")]
    pub port: String,
    /// Files beyond the usual sets and kernels, by pattern: '../images/*-live.img.gz',
    /// 'installation/cdrom/*'
    #[arg(long, value_name = "PATTERN")]
    pub with: Vec<String>,
    /// Only files that fit these patterns: 'binary/sets/{base,etc}.*'
    #[arg(long, value_name = "PATTERN", conflicts_with = "with")]
    pub only: Vec<String>,
    /// A signed list of the release's hashes, a file or an address: NetBSD-10.1_hashes.asc. They count
    /// instead of those beside the files
    #[arg(long, value_name = "LIST", requires = "keyring")]
    pub signed: Option<String>,
    /// The keys that may sign it, as `gpg --export` writes them
    #[arg(long, value_name = "FILE", requires = "signed")]
    pub keyring: Option<Utf8PathBuf>,
    /// Ask the mirror, even where the cache has all of it
    #[arg(long)]
    pub refresh: bool,
    /// Ask nobody: the cache has it, or it is an error
    #[arg(long, conflicts_with = "refresh")]
    pub offline: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout release …`
pub fn run(context: &Context, command: &ReleaseCommand) -> Outcome {
    match command {
        ReleaseCommand::Fetch(args) => fetch(context, args),
        ReleaseCommand::Show(args) => show(context, args),
        ReleaseCommand::List => list(context),
        ReleaseCommand::Install(args) => install::run(context, args),
        ReleaseCommand::Disk(args) => install::disk(context, args),
    }
}

pub(super) fn failed(error: &ReleaseError) -> Failure {
    match error {
        ReleaseError::NoRelease { .. }
        | ReleaseError::Missing { .. }
        | ReleaseError::NothingWanted { .. }
        | ReleaseError::BadPattern { .. } => Failure::usage(error),
        _ => Failure::host(error),
    }
}

fn wanted(args: &FetchArgs) -> Result<Want, Failure> {
    let want = match args.only.is_empty() {
        true => Want::usual(&args.with),
        false => Want::of(args.only.clone()),
    };
    want.map_err(|e| failed(&e))
}

/// Runs a fetch to its end, or until the user ends it: what has come stays.
fn block_on<T>(work: impl Future<Output = Result<T, ReleaseError>>) -> Result<T, Failure> {
    let runtime = failure::runtime()?;
    let done = runtime.block_on(async {
        tokio::select! {
            done = work => Some(done),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    match done {
        Some(done) => done.map_err(|e| failed(&e)),
        None => Err(Failure::interrupted(
            "interrupted: what has come is kept, and the next fetch goes on behind it",
        )),
    }
}

fn fetch(context: &Context, args: &FetchArgs) -> Outcome {
    let want = wanted(args)?;
    let how = How {
        refresh: args.refresh,
        offline: args.offline,
        signed: args.signed.as_deref().zip(args.keyring.as_deref()),
    };
    let release = obtain(context, &args.source, &args.port, &want, how)?;
    print(&args.source, &args.port, &release, args.json)
}

/// How a release is fetched.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How<'a> {
    /// Ask the mirror, even where the cache has all of it.
    pub refresh: bool,
    /// Ask nobody.
    pub offline: bool,
    /// A signed list of hashes, and the keys.
    pub signed: Option<(&'a str, &'a Utf8Path)>,
}

/// A release as a directory of this machine, wherever it is.
pub(super) fn obtain(
    context: &Context,
    source: &Source,
    port: &str,
    want: &Want,
    how: How<'_>,
) -> Result<Release, Failure> {
    let store = Store::new(&context.dirs.cache);
    let screen = Screen::new();
    let tell = |note: Note<'_>| screen.on(note);
    let release = match source {
        Source::Directory(dir) => local::read(dir, port, &[]).map_err(|e| failed(&e))?,
        Source::Iso(path) => block_on(cdrom::take(&store, path, port, &[], want, &tell))?,
        Source::IsoUrl(url) => {
            return Err(Failure::usage(format!(
                "{url} is an ISO: fetch it with any program and name the file; an address of the release's \
                 directory is fetched with its hashes"
            )));
        }
        Source::Mirror(url) => {
            let http = Http::new(Patience::default()).map_err(Failure::host)?;
            block_on(async {
                let signed = signed(&http, how, &tell).await?;
                let ask = Ask {
                    url,
                    port,
                    names: &[],
                    want,
                    // What was fetched without a signature was verified by less.
                    refresh: how.refresh || signed.is_some(),
                    offline: how.offline,
                    signed: signed.as_ref(),
                };
                mirror::fetch(&http, &store, &ask, &tell).await
            })?
        }
    };
    screen.end();
    Ok(release)
}

/// Fetches the release that a matrix has the address of, for each of its ports.
pub(super) fn fetch_for(context: &Context, loaded: &mut Loaded) -> Result<(), Failure> {
    let url = loaded
        .matrix
        .release
        .as_ref()
        .and_then(|r| r.url.as_deref());
    let Some(url) = url else {
        return Ok(());
    };
    let source: Source = url.parse().map_err(Failure::usage)?;
    let want = Want::usual(&[]).map_err(|e| failed(&e))?;
    let how = How {
        offline: !context.may_fetch,
        ..How::default()
    };
    let resolved = loaded.resolved.clone();
    let wanting = loaded.resolved.ports.iter_mut();
    for port in wanting.filter(|port| resolved.wants_release(port)) {
        if let Some(system) = port.image.release.as_mut().filter(|r| r.from.is_none()) {
            let release = obtain(context, &source, &system.machine, &want, how)?;
            for other in system.machines().into_iter().skip(1) {
                obtain(context, &source, other, &want, how)?;
            }
            // The ports of a release stand beside each other.
            system.from = Some(release.dir.parent().unwrap_or(&release.dir).to_owned());
        }
    }
    Ok(())
}

/// One line on what a run costs, and whether there is room for it.
pub(super) fn costs(costs: &Costs, cache: &Utf8Path) -> String {
    let gib = |bytes: u64| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30));
    let minutes = costs.time.as_secs().div_ceil(60);
    let room = cache
        .ancestors()
        .find(|dir| dir.exists())
        .and_then(|dir| rustix::fs::statvfs(dir.as_std_path()).ok())
        .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    let room = room.map_or(String::new(), |free| match free < costs.disk {
        true => format!("; only {} are free in {cache}", gib(free)),
        false => format!("; {} are free", gib(free)),
    });
    format!(
        "costs: about {minutes} min and {} of disk where nothing is cached ({}){room}",
        gib(costs.disk),
        costs.on
    )
}

/// The hashes of the signed list, where one is given.
async fn signed(
    http: &Http,
    how: How<'_>,
    tell: &Teller<'_>,
) -> Result<Option<Sums>, ReleaseError> {
    let Some((list, keyring)) = how.signed else {
        return Ok(None);
    };
    let content = match list.parse() {
        Ok(url) if list.contains("://") => http.text(&url, tell).await?,
        _ => std::fs::read(list).map_err(|source| ReleaseError::Io {
            doing: "read",
            path: list.into(),
            source,
        })?,
    };
    signature::verified(&content, list, keyring).map(Some)
}

fn show(context: &Context, args: &FetchArgs) -> Outcome {
    let Source::Mirror(url) = &args.source else {
        // A directory and an ISO are here: to read them is to fetch nothing.
        return fetch(context, args);
    };
    let want = wanted(args)?;
    let http = Http::new(Patience::default()).map_err(Failure::host)?;
    let ask = Ask {
        url,
        port: &args.port,
        names: &[],
        want: &want,
        refresh: args.refresh,
        offline: false,
        signed: None,
    };
    let tell = |note: Note<'_>| {
        if let Note::Said(sentence) = note {
            eprintln!("{sentence}");
        }
    };
    let (place, found) = block_on(async {
        let place = mirror::locate(&http, &ask, &tell).await?;
        let found = mirror::look(&http, &place.url, &ask, &tell).await?;
        Ok((place, found))
    })?;
    let mut out = std::io::stdout().lock();
    if args.json {
        let files: BTreeMap<&String, String> =
            found.iter().map(|(p, (_, s))| (p, s.to_string())).collect();
        let value = serde_json::json!({"from": place.url.as_str(), "files": files});
        writeln!(out, "{value:#}")?;
    } else {
        writeln!(out, "{}", place.url)?;
        for (path, (_, sum)) in &found {
            writeln!(out, "  {path}  {sum}")?;
        }
    }
    out.flush()?;
    Ok(Exit::Clean)
}

fn print(source: &Source, port: &str, release: &Release, json: bool) -> Outcome {
    let layout = &release.layout;
    let mut out = std::io::stdout().lock();
    let parts = [
        ("sets", &layout.sets),
        ("kernels", &layout.kernels),
        ("media", &layout.media),
        ("images", &layout.images),
    ];
    if json {
        let parts: BTreeMap<_, _> = parts.into_iter().collect();
        let value = serde_json::json!({
            "source": source.to_string(), "port": port, "dir": release.dir,
            "version": layout.version, "files": parts,
        });
        writeln!(out, "{value:#}")?;
        return Ok(Exit::Clean);
    }
    writeln!(out, "{}", release.dir)?;
    for (what, files) in parts {
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        if !names.is_empty() {
            writeln!(out, "  {what}: {}", names.join(" "))?;
        }
    }
    out.flush()?;
    Ok(Exit::Clean)
}

fn list(context: &Context) -> Outcome {
    let mut rows = vec![["PORT", "FILES", "SIZE", "FETCHED", "FROM"].map(String::from)];
    let records = Store::new(&context.dirs.cache).list();
    for record in &records {
        let bytes: u64 = record.files.values().map(|f| f.size_bytes).sum();
        rows.push([
            record.port.clone(),
            record.files.len().to_string(),
            format!("{} MiB", bytes.div_ceil(1 << 20)),
            record.fetched.strftime("%Y-%m-%d").to_string(),
            record.from.clone(),
        ]);
    }
    let mut out = std::io::stdout().lock();
    if !records.is_empty() {
        write_table(&mut out, &rows)?;
    }
    out.flush()?;
    Ok(Exit::Clean)
}

/// A bar for each file that comes, on a terminal; sentences elsewhere.
struct Screen {
    bars: Option<MultiProgress>,
    files: Mutex<BTreeMap<String, ProgressBar>>,
}

impl Screen {
    fn new() -> Self {
        Self {
            bars: std::io::stderr().is_terminal().then(MultiProgress::new),
            files: Mutex::default(),
        }
    }

    fn on(&self, note: Note<'_>) {
        let mut files = self.files.lock().unwrap_or_else(|e| e.into_inner());
        let Some(bars) = &self.bars else {
            match note {
                Note::Said(sentence) => eprintln!("{sentence}"),
                Note::Done { file } => eprintln!("{file}: verified"),
                Note::Begins { .. } | Note::Came { .. } => {}
            }
            return;
        };
        match note {
            Note::Said(sentence) => drop(bars.println(sentence)),
            Note::Begins { file, have, of } => {
                let bar = files.entry(file.to_owned()).or_insert_with(|| {
                    let bar = bars.add(ProgressBar::no_length());
                    bar.set_prefix(file.to_owned());
                    bar.enable_steady_tick(Duration::from_millis(250));
                    bar
                });
                let template = match of {
                    Some(_) => "{prefix:24} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                    None => "{prefix:24} {spinner} {bytes} {bytes_per_sec}",
                };
                bar.set_style(
                    ProgressStyle::with_template(template)
                        .unwrap_or_else(|_| ProgressStyle::default_bar()),
                );
                match of {
                    Some(of) => bar.set_length(of),
                    None => bar.unset_length(),
                }
                bar.set_position(have);
            }
            Note::Came { file, bytes } => {
                if let Some(bar) = files.get(file) {
                    bar.inc(bytes);
                }
            }
            Note::Done { file } => {
                if let Some(bar) = files.remove(file) {
                    bar.finish_and_clear();
                    bars.remove(&bar);
                }
            }
        }
    }

    fn end(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }
}
