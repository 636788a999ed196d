//! `fallout daemon`: runs what pushes and schedules ask for.
//!
//! ```text
//! hook --spool, knock--.
//!                      +--> look: spools, schedules --> queue --> worker --> engine --> run
//! clock ---------------'                                  ^                     |
//!                                 `fallout queue`: list, cancel           index, verdict
//! ```
//!
//! Level-triggered: every look reads what is there (spools, clocks, the queue), whether somebody
//! knocked or not. A lost knock costs a second, a restart costs nothing, a `kill -9` costs what the
//! running cases had not finished: their runs are adopted under the names that the queue has.
//!
//! Pages, the API and webhooks are `crate::web`'s; what they hand in comes to `desk`, and from there
//! into the same queue.

mod desk;
mod intake;
mod night;
mod poll;
mod search;
mod settings;
mod teller;
pub mod token;
mod tries;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::store::index::Index;
use crate::store::queue::Queue;
use crate::store::runs;
use crate::trigger::webhook;
use crate::web;

use super::args::{DaemonArgs, LogFormat};
use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// How long it may take until something is seen that nobody announced.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What all parts of the daemon share.
struct Daemon {
    context: Context,
    settings: settings::Live,
    queue: Arc<Queue>,
    index: Arc<Index>,
    stop: CancellationToken,
    /// Something came over HTTP: the queue is looked at.
    knocked: Notify,
}

impl Daemon {
    /// Where exported trees are.
    fn trees(&self) -> Utf8PathBuf {
        self.context.dirs.state.join("trees")
    }
}

pub(super) fn queue_path(context: &Context) -> Utf8PathBuf {
    context.dirs.state.join("daemon.sqlite")
}

/// `fallout daemon`
pub fn run(context: &Context, args: &DaemonArgs) -> Outcome {
    let settings = settings::Live::open(&args.config)?;
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO);
    let _ = match args.log {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    context.dirs.make_runtime()?;
    let runtime = failure::runtime()?;
    let done = runtime.block_on(serve(context.clone(), settings));
    runtime.shutdown_timeout(Duration::from_secs(2));
    done
}

async fn serve(context: Context, settings: settings::Live) -> Outcome {
    // First: a signal that nobody listens for would end the process.
    let mut signals = Signals::new()?;
    let socket = settings
        .socket
        .clone()
        .unwrap_or_else(|| super::hook::default_socket(&context));
    let queue = Queue::open(queue_path(&context).as_std_path()).await?;
    let index = Index::open(context.dirs.state.join("index.sqlite").as_std_path()).await?;
    let door = open_door(&socket)?;
    let listen = settings.listen;
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| Failure::host(format!("listen: {listen}: {e}")))?;
    let daemon = Arc::new(Daemon {
        context,
        settings,
        queue: Arc::new(queue),
        index: Arc::new(index),
        stop: CancellationToken::new(),
        knocked: Notify::new(),
    });
    let teller = teller::Teller::open(&daemon).await?;
    let web = open_web(&daemon, listener)?;
    let teller = tokio::spawn(teller.work());
    for repository in &daemon.settings.repositories {
        tokio::spawn(poll::watch(daemon.clone(), repository.clone()));
    }
    let mut runs: JoinSet<()> = JoinSet::new();
    for job in daemon.queue.taken().await? {
        info!(job = job.id, run = job.run, "going on with a run");
        runs.spawn(worker::work(daemon.clone(), job));
    }
    info!(socket = socket.as_str(), "ready");
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            knock = door.accept() => drop(knock),
            () = daemon.knocked.notified() => {}
            Some(_) = runs.join_next(), if !runs.is_empty() => {}
            stop = signals.next() => match stop {
                true => break,
                false => daemon.settings.reload(),
            },
        }
        if let Err(why) = intake::look(&daemon).await {
            error!(
                why = why.message,
                "what was asked for could not be queued; it is tried again"
            );
        }
        night::look(&daemon).await;
        if let Err(why) = start_more(&daemon, &mut runs).await {
            error!(why = why.message, "no run could be taken from the queue");
        }
    }
    info!(
        runs = runs.len(),
        "stopping; runs under way are gone on with by the next start"
    );
    daemon.stop.cancel();
    while runs.join_next().await.is_some() {}
    let _ = web.await;
    let _ = teller.await;
    let _ = std::fs::remove_file(&socket);
    let _ = std::fs::remove_file(address_path(&daemon.context));
    Ok(Exit::Clean)
}

/// Where the address is told to other processes, for as long as the daemon serves.
fn address_path(context: &Context) -> Utf8PathBuf {
    context.dirs.runtime.join("daemon.address")
}

/// Serves pages, API and webhooks until the daemon stops.
fn open_web(
    daemon: &Arc<Daemon>,
    listener: TcpListener,
) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let settings = &daemon.settings;
    let address = listener
        .local_addr()
        .map_err(|e| Failure::host(format!("listen: {e}")))?;
    let file = address_path(&daemon.context);
    crate::host::files::write_atomic(&file, format!("http://{address}\n").as_bytes())
        .map_err(Failure::host)?;
    let app = web::App::new(web::Parts {
        index: daemon.index.clone(),
        queue: daemon.queue.clone(),
        runs: daemon.context.dirs.runs().into(),
        ports: manifests(&daemon.context),
        desk: Arc::new(desk::Counter(daemon.clone())),
        options: web::Options {
            public: settings.public,
            hosts: settings.hosts.clone(),
            requests_per_second: settings.requests_per_second,
            webhook_bytes: webhook::MAX_BYTES,
        },
        stop: daemon.stop.clone(),
        changed: Arc::new(Notify::new()),
    });
    tokio::spawn(app.clone().keep_up());
    info!(%address, "serving");
    Ok(tokio::spawn(web::serve(
        listener,
        web::router(app),
        daemon.stop.clone(),
    )))
}

/// The manifests that pages show of ports; none where there is no directory of them, which is no
/// reason not to serve.
fn manifests(context: &Context) -> Vec<crate::model::Port> {
    let images = context.images_dir(None);
    match images.and_then(|dir| context.ports(&dir)) {
        Ok(ports) => ports,
        Err(why) => {
            info!(why = why.message, "pages show no manifests of ports");
            Vec::new()
        }
    }
}

async fn start_more(daemon: &Arc<Daemon>, runs: &mut JoinSet<()>) -> Result<(), Failure> {
    while runs.len() < daemon.settings.runs_at_once as usize {
        let Some(job) = daemon.queue.take(&runs::new_id()).await? else {
            break;
        };
        info!(
            job = job.id,
            run = job.run,
            commit = job.change.new,
            "started"
        );
        runs.spawn(worker::work(daemon.clone(), job));
    }
    Ok(())
}

/// The socket at which hooks knock. One that a killed daemon left is taken over; a live one is not.
fn open_door(socket: &Utf8Path) -> Result<UnixListener, Failure> {
    if std::os::unix::net::UnixStream::connect(socket).is_ok() {
        return Err(Failure::usage(format!("{socket}: another daemon is there")));
    }
    let _ = std::fs::remove_file(socket);
    UnixListener::bind(socket).map_err(|e| Failure::host(format!("{socket}: {e}")))
}

/// Interrupt, terminate, hang-up.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn new() -> Result<Self, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen = |kind| signal(kind).map_err(|e| Failure::host(format!("signals: {e}")));
        Ok(Self([
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ]))
    }

    /// The next signal: whether it asks to stop, or to read the settings again.
    async fn next(&mut self) -> bool {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = hangup.recv() => return false,
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        warn!("asked to stop");
        true
    }
}
