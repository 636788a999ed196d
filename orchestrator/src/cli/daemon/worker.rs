//! One job of the queue, from its commit to its verdict: the same engine as `fallout run`.

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::cli::args::Selection;
use crate::cli::exit::Failure;
use crate::cli::hook::git_dir;
use crate::engine::ancestry::Pushed;
use crate::engine::cluster::Setting;
use crate::engine::{self, Setup, baseline};
use crate::host::history;
use crate::model::{JobState, Priority, RunId};
use crate::report;
use crate::store::queue::Job;
use crate::store::runs::{RunDir, RunRecord};

use super::{Daemon, search};

/// How often a run asks whether it is to be cancelled.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How a job ended, as the queue is told.
pub(super) struct End {
    pub interrupted: bool,
    pub note: String,
    pub findings: Option<u64>,
}

/// Carries a job out and tells the queue. Where the daemon stops first, the job stays running in
/// the queue: the next start goes on with it.
pub async fn work(daemon: Arc<Daemon>, job: Job) {
    let cancel = daemon.stop.child_token();
    let asking = tokio::spawn(ask(daemon.clone(), job.id, cancel.clone()));
    let done = match &job.spec.search {
        Some(what) => search::attempt(&daemon, &job, what, cancel).await,
        None => attempt(&daemon, &job, cancel).await,
    };
    asking.abort();
    let now = daemon.queue.get(job.id).await.ok().flatten();
    let cancelling = now.is_some_and(|j| j.state == JobState::Cancelling);
    let (next, note, findings) = match done {
        Ok(end) if end.interrupted && !cancelling => {
            info!(job = job.id, "interrupted; the next start goes on with it");
            return;
        }
        Ok(end) if end.interrupted => {
            let note = "cancelled while it ran".to_owned();
            (JobState::Cancelled, note, None)
        }
        Ok(end) => (JobState::Done, end.note, end.findings),
        Err(_) if daemon.stop.is_cancelled() => return,
        Err(failure) => (JobState::Failed, failure.message, None),
    };
    info!(job = job.id, state = next.word(), findings, note, "ended");
    if let Err(why) = daemon.queue.step(job.id, next, &note, findings).await {
        error!(job = job.id, %why, "the queue did not take the end of a job");
    }
    if let Some(run) = job.run.as_ref().filter(|_| job.spec.search.is_none()) {
        let path = daemon.context.dirs.runs().join(run).into_std_path_buf();
        if let Err(why) = daemon.index.ingest(&RunDir { path }).await {
            error!(run, %why, "the index did not take a run; it is tried again with the next");
        }
    }
}

/// Cancels the run once the queue says so, whoever told the queue.
async fn ask(daemon: Arc<Daemon>, id: i64, cancel: CancellationToken) {
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let job = daemon.queue.get(id).await.ok().flatten();
        if job.is_some_and(|j| j.state == JobState::Cancelling) {
            cancel.cancel();
            return;
        }
    }
}

async fn attempt(
    daemon: &Arc<Daemon>,
    job: &Job,
    cancel: CancellationToken,
) -> Result<End, Failure> {
    let (own, this) = (daemon.clone(), job.clone());
    let prepared = tokio::task::spawn_blocking(move || prepare(&own, &this)).await;
    let (setup, record, run) =
        prepared.map_err(|e| Failure::internal(format!("preparing a run: {e}")))??;
    let _owner = run.lock()?;
    let finished = match engine::ended(&run) {
        // An earlier process came to its end and was killed before it told the queue.
        Some(finished) => finished,
        None => {
            let bus = engine::run::open_bus(&run)?;
            let finished = engine::execute(setup, record, run.clone(), bus.clone(), cancel).await;
            bus.close();
            finished?
        }
    };
    let page = report::html::render(&finished.report).map_err(Failure::internal)?;
    run.write_file("report.html", page.as_bytes())?;
    if !finished.report.interrupted {
        // Before the queue hears of the end: whoever is killed in between comes here again.
        search::order(daemon, job, &finished.report).await;
    }
    Ok(End {
        interrupted: finished.report.interrupted,
        note: match finished.host_trouble {
            true => "some cells say nothing: host or emulator".to_owned(),
            false => String::new(),
        },
        findings: Some(finished.report.verdict.findings.len() as u64),
    })
}

/// What a job is carried out on.
pub(super) struct Ground {
    pub setup: Setup,
    pub pushed: Pushed,
    /// The suites whose source the commit's tree is.
    pub suites: Vec<String>,
    matrix: Utf8PathBuf,
}

/// The commit's tree and the matrix on it, or some of its ports and suites. Blocks.
pub(super) fn ground(daemon: &Daemon, job: &Job, only: &Selection) -> Result<Ground, Failure> {
    let change = &job.change;
    let repository = daemon
        .settings
        .repository(&change.repository)
        .ok_or_else(|| Failure::usage(format!("no repository '{}'", change.repository)))?;
    let tree = daemon.trees().join(&change.repository).join(&change.new);
    let dir = match change.reference.starts_with(super::teller::TRIED) {
        true => super::tries::home(daemon, repository, &change.new)?,
        false => git_dir(&repository.path),
    };
    if let Some(remote) = &repository.remote
        && !tree.is_dir()
        && history::commit(&dir, &change.new)
            .map_err(Failure::host)?
            .is_none()
    {
        history::fetch(&dir, remote, &change.new, &change.reference).map_err(Failure::host)?;
    }
    history::export(&dir, &change.new, &tree).map_err(Failure::host)?;
    let source = tree.join(&job.spec.source_dir);
    let matrix = Utf8PathBuf::from_path_buf(job.spec.matrix.clone())
        .map_err(|p| Failure::usage(format!("{}: not a UTF-8 path", p.display())))?;
    let cores = daemon.settings.cores;
    let mut setup = crate::cli::run::setup(&daemon.context, &matrix, only, false, cores)?;
    let suites = replaced(&mut setup, &source);
    if suites.is_empty() {
        let message =
            format!("{matrix}: no selected suite has a source.path that a commit could replace");
        return Err(Failure::usage(message));
    }
    let pushed = Pushed {
        repository: dir,
        commit: change.new.clone(),
        old: change.old.clone(),
        source_dir: job.spec.source_dir.clone().into(),
        trees: daemon.trees().join(&change.repository),
        reference: format!("{} {}", change.repository, change.reference),
    };
    Ok(Ground {
        setup,
        pushed,
        suites,
        matrix,
    })
}

/// The run's directory: a new one, or that of an earlier process. Blocks.
fn prepare(daemon: &Daemon, job: &Job) -> Result<(Setup, RunRecord, RunDir), Failure> {
    let only = Selection {
        ports: job.spec.ports.clone(),
        suites: job.spec.suites.clone(),
        release: None,
    };
    let Ground {
        mut setup,
        pushed,
        suites,
        matrix,
    } = ground(daemon, job, &only)?;
    setup.set_cluster(cluster(daemon, job)?);
    let id = RunId(job.run.clone().unwrap_or_default());
    let path = daemon.context.dirs.runs().join(&id.0);
    if path.join("run.json").is_file() {
        let run = RunDir {
            path: path.into_std_path_buf(),
        };
        let record = run.record()?;
        baseline::prepare(&mut setup, &record.baselines);
        return Ok((setup, record, run));
    }
    let (baselines, notes) = baseline::choose(&setup, None, Some(&pushed))?;
    for note in notes {
        info!("{id}: {note}");
    }
    baseline::prepare(&mut setup, &baselines);
    let record = RunRecord {
        format: 1,
        id,
        matrix_path: matrix.into(),
        matrix: setup.resolved.name.clone(),
        images_dir: setup.images.clone().into(),
        started: jiff::Timestamp::now(),
        ports: only.ports,
        suites: only.suites,
        release: None,
        fresh: false,
        revisions: suites
            .into_iter()
            .map(|suite| (suite, pushed.commit.clone()))
            .collect(),
        reference: Some(pushed.reference),
        baselines,
        imported: None,
        cluster: daemon.settings.cluster.clone().map(Into::into),
    };
    let run = RunDir::create(daemon.context.dirs.runs().as_std_path(), &record)?;
    Ok((setup, record, run))
}

/// The cluster, where there is one. What is in its queue stays there when the daemon stops: the next
/// start goes on with it. A job's priority is the scheduler's nice, unless the file says one.
fn cluster(daemon: &Daemon, job: &Job) -> Result<Option<Setting>, Failure> {
    let Some(file) = &daemon.settings.cluster else {
        return Ok(None);
    };
    let mut setting = crate::cli::run::cluster(file)?;
    setting.leave = daemon.stop.clone();
    let ask = &mut Arc::make_mut(&mut setting.cluster).ask;
    ask.nice = ask.nice.or(match job.priority {
        Priority::Signoff => None,
        Priority::Push => Some(100),
        Priority::Try => Some(200),
        Priority::Nightly => Some(1000),
    });
    Ok(Some(setting))
}

/// Puts the commit's tree in the place of the suites' own, where they have one on this machine.
/// Returns the suites that it is for.
fn replaced(setup: &mut Setup, source: &Utf8Path) -> Vec<String> {
    let mut suites = Vec::new();
    for suite in &mut setup.resolved.suites {
        if let Some(path) = &mut suite.project.source.path {
            *path = source.to_owned();
            suites.push(suite.name.clone());
        }
    }
    suites
}
