//! `fallout release fetch|show|list`: releases of NetBSD, from a mirror, a directory or an ISO.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::Duration;

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::term::write_table;
use crate::image::release::download::{Http, Note, Patience, Teller};
use crate::image::release::mirror::{self, Ask};
use crate::image::release::sums::Sums;
use crate::image::release::{Release, ReleaseError, Source, Store, Want, cdrom, local, signature};

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
    }
}

fn failed(error: &ReleaseError) -> Failure {
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
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::host)?;
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
    let store = Store::new(&context.dirs.cache);
    let screen = Screen::new();
    let tell = |note: Note<'_>| screen.on(note);
    let release = match &args.source {
        Source::Directory(dir) => local::read(dir, &args.port, &[]).map_err(|e| failed(&e))?,
        Source::Iso(path) => block_on(cdrom::take(&store, path, &args.port, &[], &want, &tell))?,
        Source::IsoUrl(url) => {
            return Err(Failure::usage(format!(
                "{url} is an ISO: fetch it with any program and name the file; an address of the release's \
                 directory is fetched with its hashes"
            )));
        }
        Source::Mirror(url) => {
            let http = Http::new(Patience::default()).map_err(Failure::host)?;
            block_on(async {
                let signed = signed(&http, args, &tell).await?;
                let ask = Ask {
                    url,
                    port: &args.port,
                    names: &[],
                    want: &want,
                    // What was fetched without a signature was verified by less.
                    refresh: args.refresh || signed.is_some(),
                    offline: args.offline,
                    signed: signed.as_ref(),
                };
                mirror::fetch(&http, &store, &ask, &tell).await
            })?
        }
    };
    screen.end();
    print(&args.source, &args.port, &release, args.json)
}

/// The hashes of the signed list, where one is given.
async fn signed(
    http: &Http,
    args: &FetchArgs,
    tell: &Teller<'_>,
) -> Result<Option<Sums>, ReleaseError> {
    let (Some(list), Some(keyring)) = (&args.signed, &args.keyring) else {
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
