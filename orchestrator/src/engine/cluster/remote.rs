//! A job of the run that is done elsewhere: ordered, watched, taken in.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use tokio::sync::{OnceCell, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::build::{self, Built, KernelBuilt, Tree};
use crate::engine::RunError;
use crate::engine::bus::Bus;
use crate::engine::facts::Setup;
use crate::engine::jobs::JobFailed;
use crate::model::{CellId, CellResult, Event, JobKind, Key, StageResult};
use crate::plan::cluster::submit::{self, RunNames};
use crate::plan::cluster::{Class, Cluster};
use crate::plan::{Job, Work};
use crate::store::artifacts::{Artifacts, Kind, Name, NodeCache};
use crate::store::runs::RunDir;

use super::files;
use super::news::News;
use super::order::{self, Ended, JobDir, JobOrder, JobResult, Setting};
use super::progress::{Progress, Watch, seen};
use super::queue::{Queue, ToJob, ToQueue};

/// How often a job looks at its files without being told.
const SELDOM: Duration = Duration::from_secs(30);
/// How long a run that is ended waits for its jobs' last words.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long a store that cannot be written is tried again.
const PATIENCE: Duration = Duration::from_secs(600);
/// What a build may take where no earlier one is known.
const BUILD_LIMIT: Duration = Duration::from_secs(4 * 3600);
/// What a cell may take beyond its own limit: its inputs are fetched, its guests ended.
const CELL_GRACE: Duration = Duration::from_secs(900);

type Once = Arc<OnceCell<()>>;

/// The cluster, as a run's dispatcher sees it, and how long the way is behind the job that it is asked
/// for. Cloneable.
#[derive(Clone)]
pub(in crate::engine) struct Remote(Arc<Inner>, Duration);

struct Inner {
    setting: Setting,
    names: RunNames,
    artifacts: Artifacts,
    /// This machine's cache, where what nodes made is fetched to.
    cache: NodeCache,
    to_queue: mpsc::UnboundedSender<ToQueue>,
    news: News,
    offered: Mutex<HashMap<Name, Once>>,
    /// Events of unfinished cells that are in the run's log already, as text, with their number.
    seen: Mutex<BTreeMap<CellId, HashMap<String, u32>>>,
    cwd: Utf8PathBuf,
}

impl Remote {
    /// Takes up the work of a run, for as long as it takes a store that is away to come back. None where the run
    /// is ended meanwhile.
    pub(in crate::engine) async fn start(
        setup: &Setup,
        setting: Setting,
        run: &RunDir,
        id: &str,
        bus: &Bus,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>, RunError> {
        let cluster = &setting.cluster;
        let names = submit::names(cluster, id, &cluster.store);
        let open = || {
            let queue = Queue::open(Arc::clone(cluster), names.clone(), bus.clone())?;
            Ok((queue, order::artifacts(cluster)?))
        };
        let tell = |text: String| bus.emit(Event::Notice { port: None, text });
        let Some((queue, artifacts)) = patiently(cancel, tell, open).await? else {
            return Ok(None);
        };
        let (to_queue, from) = mpsc::unbounded_channel();
        tokio::spawn(queue.work(from));
        let cwd = std::env::current_dir()
            .ok()
            .and_then(|d| Utf8PathBuf::from_path_buf(d).ok());
        Ok(Some(Self(
            Arc::new(Inner {
                artifacts,
                cache: NodeCache::new(setup.dirs.cache.clone().into(), u64::MAX),
                to_queue,
                news: News::follow(&names.dir),
                offered: Mutex::default(),
                seen: Mutex::new(seen(run)?),
                cwd: cwd.unwrap_or_else(|| "/".into()),
                names,
                setting,
            }),
            Duration::ZERO,
        )))
    }

    /// The same for a job with so long a way behind it.
    pub(in crate::engine) fn with_way(&self, way: Duration) -> Self {
        Self(Arc::clone(&self.0), way)
    }

    pub(in crate::engine) fn takes(&self, kind: JobKind) -> bool {
        self.cluster().takes(kind)
    }

    pub(in crate::engine) fn cluster(&self) -> &Cluster {
        &self.0.setting.cluster
    }

    /// The run is ended early: nothing more is submitted, and what is in the queue is cancelled
    /// unless somebody goes on with the run.
    pub(in crate::engine) fn stop(&self) {
        let cancel = !self.0.setting.leave.is_cancelled();
        let _ = self.0.to_queue.send(ToQueue::Stop { cancel });
    }

    fn order(&self, setup: &Setup, job: Job) -> JobOrder {
        let port = job.work.port().0.clone();
        let suite = match &job.work {
            Work::Build { suite, .. } | Work::Kernel { suite, .. } => vec![suite.clone()],
            Work::Cell(id) => vec![id.suite.clone()],
            Work::Image { .. } => Vec::new(),
        };
        let run = self.0.names.dir.file_name().unwrap_or_default();
        let resolved = setup.resolved.clone().select(&[port], &suite);
        let resolved = resolved.located(&self.0.cwd);
        JobOrder::new(run, job, resolved, &setup.images, self.cluster())
    }

    /// Puts a directory of the cache into the artifact store, once a run.
    async fn offer(&self, kind: Kind, key: &Key, dir: &Utf8Path) -> Result<(), JobFailed> {
        let name = (kind, key.clone());
        let once = {
            let mut offered = self
                .0
                .offered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            Arc::clone(offered.entry(name.clone()).or_default())
        };
        let tmp = self.0.cache.tmp();
        let put = once.get_or_try_init(|| async {
            let put = self.0.artifacts.offer(&name, dir.as_std_path(), &tmp);
            put.await.map(|_| ())
        });
        put.await.map(|_| ()).map_err(|e| host(e.to_string()))
    }

    /// Forgets that artifacts were offered: one of them was found damaged.
    fn offer_again(&self) {
        self.0
            .offered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    /// Has a build made on a node, and fetches it. The time is the node's, without the queue's.
    pub(in crate::engine) async fn build(
        &self,
        setup: &Setup,
        job: Job,
        tree: &Tree,
        sysroot: (&Key, &Utf8Path),
        watch: &Watch<'_>,
    ) -> Result<(Built, Duration), JobFailed> {
        let key = job.key.clone().ok_or_else(lost)?;
        self.offer(Kind::Sysroots, sysroot.0, sysroot.1).await?;
        let mut order = self.order(setup, job);
        order.sysroot = Some(sysroot.0.clone());
        self.with_tree(setup, &mut order, tree).await?;
        self.with_files(setup, &mut order).await?;
        let took = self.made(order, watch).await?;
        self.fetch(&key).await?;
        let built = build::cached(&setup.dirs.cache, &key).ok_or_else(lost)?;
        Ok((built, took))
    }

    /// Has a kernel built on a node, and fetches it.
    pub(in crate::engine) async fn kernel(
        &self,
        setup: &Setup,
        job: Job,
        tree: &Tree,
        version: &str,
        watch: &Watch<'_>,
    ) -> Result<(KernelBuilt, Duration), JobFailed> {
        let key = job.key.clone().ok_or_else(lost)?;
        let mut order = self.order(setup, job);
        version.clone_into(&mut order.version);
        self.with_tree(setup, &mut order, tree).await?;
        self.with_files(setup, &mut order).await?;
        let took = self.made(order, watch).await?;
        self.fetch(&key).await?;
        let built = build::kernel::cached(&setup.dirs.cache, &key).ok_or_else(lost)?;
        Ok((built, took))
    }

    async fn with_tree(
        &self,
        setup: &Setup,
        order: &mut JobOrder,
        tree: &Tree,
    ) -> Result<(), JobFailed> {
        order.tree = Some(tree.hash.clone());
        let name = (Kind::Trees, tree.hash.clone());
        // Its copy costs more than the question.
        if self
            .0
            .artifacts
            .has(&name)
            .await
            .map_err(|e| host(e.to_string()))?
        {
            return Ok(());
        }
        let (_work, to) = work_dir(setup, "tree")?;
        let (from, into) = (tree.clone(), to.clone());
        let copied = tokio::task::spawn_blocking(move || build::source::copy(&from, &into)).await;
        let copied = copied.map_err(|e| host(e.to_string()))?;
        copied.map_err(|e| host(e.to_string()))?;
        self.offer(Kind::Trees, &tree.hash, &to).await
    }

    async fn with_files(&self, setup: &Setup, order: &mut JobOrder) -> Result<(), JobFailed> {
        let (_work, to) = work_dir(setup, "files")?;
        let (from, into) = (order.clone(), to.clone());
        let gathered = tokio::task::spawn_blocking(move || files::gather(&from, &into)).await;
        if let Some(key) = gathered.map_err(|e| host(e.to_string()))?? {
            self.offer(Kind::Trees, &key, &to).await?;
            order.files = Some(key);
        }
        Ok(())
    }

    async fn made(&self, order: JobOrder, watch: &Watch<'_>) -> Result<Duration, JobFailed> {
        let limit = order
            .job
            .est
            .map_or(BUILD_LIMIT, |est| (est * 4).max(BUILD_LIMIT / 4));
        let result = self.job(&order, limit, watch).await?;
        match result.ended {
            Ended::Built => Ok(Duration::from_millis(result.took_ms)),
            Ended::Failed { stage, detail } => Err(JobFailed { stage, detail }),
            Ended::Cell { .. } => Err(lost()),
        }
    }

    async fn fetch(&self, key: &Key) -> Result<(), JobFailed> {
        let name = (Kind::Builds, key.clone());
        let got = self.0.cache.get(&self.0.artifacts, &name).await;
        match got.map_err(|e| host(e.to_string()))? {
            Some(_) => Ok(()),
            None => Err(host(format!(
                "the artifact store has no build {}",
                key.short()
            ))),
        }
    }

    /// Has a cell run on a node. Its consoles come into `consoles`.
    pub(in crate::engine) async fn cell(
        &self,
        setup: &Setup,
        mut job: Job,
        parts: CellParts,
        watch: &Watch<'_>,
    ) -> Result<(CellResult, Duration), JobFailed> {
        let Work::Cell(id) = job.work.clone() else {
            return Err(lost());
        };
        for (kind, key, dir) in &parts.inputs {
            self.offer(*kind, key, dir).await?;
        }
        let suite = setup.resolved.suite(&id.suite).ok_or_else(lost)?;
        let guests = suite.shards.most(self.cluster().guests);
        job.cores *= guests;
        job.mem_mib *= u64::from(guests);
        let limit = suite.timeout.mul_f64(parts.slowness) + CELL_GRACE;
        let mut order = self.order(setup, job);
        order.image = Some(parts.image);
        order.build = Some(parts.build);
        order.kernel = parts.kernel;
        order.slowness = parts.slowness;
        order.took = parts.took;
        order.earlier = parts.earlier;
        let done = self.job(&order, limit, watch).await?;
        match done.ended {
            Ended::Cell { result } => Ok((*result, Duration::from_millis(done.took_ms))),
            Ended::Failed { stage, detail } => Err(JobFailed { stage, detail }),
            Ended::Built => Err(lost()),
        }
    }

    /// Orders a job and watches it to its end. A result that only faults of hosts kept from being one
    /// is given as the last node left it.
    async fn job(
        &self,
        order: &JobOrder,
        limit: Duration,
        watch: &Watch<'_>,
    ) -> Result<JobResult, JobFailed> {
        let name = order::dir_name(&order.job.name, order.job.key.as_ref());
        let dir = JobDir(self.0.names.dir.join(&name));
        let mut progress = Progress::new(&dir, self.take_seen(&order.job.work));
        self.write_order(&dir, order, watch).await?;
        let job = &order.job;
        let class = Class::of(
            self.cluster(),
            job.work.port(),
            job.cores,
            job.mem_mib,
            limit,
        );
        let (tell, mut troubles) = mpsc::unbounded_channel();
        self.0.news.tell(&name, tell.clone());
        let add = ToQueue::Add {
            name: name.clone(),
            class,
            way: self.1,
            tell,
        };
        let mut queued = false;
        let mut stop_at: Option<Instant> = None;
        let mut add = Some(add);
        let mut given_up = None;
        let end = loop {
            let moved = progress.take_in(watch);
            let result = dir.result();
            match (result, moved) {
                (Ok(Some(result)), _) => {
                    // The last events were written before the result.
                    progress.take_in(watch)?;
                    break Ok(result);
                }
                // A store that does not answer now may do so later.
                (Err(error), _) => watch.notice_once(&mut progress.told, error.to_string()),
                (_, Err(failed)) => watch.notice_once(&mut progress.told, failed.detail),
                _ => {}
            }
            if let Some(why) = given_up.take() {
                break progress.refused.take().ok_or_else(|| host(why));
            }
            if let Some(add) = add.take() {
                let _ = self.0.to_queue.send(add);
                queued = true;
            }
            for refusal in progress.refusals(&dir) {
                let (stage, detail) = refusal.ended.stage();
                watch.notice(format!("{}: node {}: {detail}", job.name, refusal.node));
                self.offer_again();
                let _ = self.0.to_queue.send(ToQueue::Refused {
                    name: name.clone(),
                    node: refusal.node.clone(),
                    why: format!("{stage}: {detail}"),
                });
                progress.refused = Some(refusal);
            }
            if stop_at.is_some_and(|at| Instant::now() >= at) {
                break Err(interrupted());
            }
            // Nodes and the queue say when there may be something to see; this is for what they do not tell.
            let soon = stop_at.map_or(SELDOM, |_| self.cluster().interval);
            tokio::select! {
                () = tokio::time::sleep(soon) => {}
                () = watch.cancel.cancelled(), if stop_at.is_none() => {
                    self.stop();
                    let wait = match self.0.setting.leave.is_cancelled() {
                        true => Duration::ZERO,
                        false => LAST_WORDS,
                    };
                    stop_at = Some(Instant::now() + wait);
                }
                Some(word) = troubles.recv() => {
                    let mut said = Some(word);
                    while let Some(word) = said {
                        match word {
                            ToJob::Look => {}
                            ToJob::Lost { why, gave_up: true } => given_up = Some(why),
                            ToJob::Lost { why, .. } if progress.refused.is_none() => {
                                watch.notice(format!("{}: {why}; handed over again", job.name));
                            }
                            ToJob::Lost { .. } => {}
                        }
                        said = troubles.try_recv().ok();
                    }
                }
            }
        };
        self.0.news.forget(&name);
        if queued && (end.is_ok() || !watch.cancel.is_cancelled()) {
            let _ = self.0.to_queue.send(ToQueue::Finished { name });
        }
        end
    }

    fn take_seen(&self, work: &Work) -> HashMap<String, u32> {
        let Work::Cell(id) = work else {
            return HashMap::new();
        };
        let mut seen = self.0.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.remove(id).unwrap_or_default()
    }

    /// Writes the order, for as long as it takes a full store to be seen to.
    async fn write_order(
        &self,
        dir: &JobDir,
        order: &JobOrder,
        watch: &Watch<'_>,
    ) -> Result<(), JobFailed> {
        let write = || {
            // An order that is there may be at work: it stays as it is.
            let there: Result<Option<JobOrder>, RunError> = order::read(&dir.order_path());
            match there {
                Ok(Some(_)) => Ok(()),
                Ok(None) | Err(_) => order::write(&dir.order_path(), order),
            }
        };
        match patiently(watch.cancel, |text| watch.notice(text), write).await {
            Ok(Some(())) => Ok(()),
            Ok(None) => Err(interrupted()),
            Err(error) => Err(host(error.to_string())),
        }
    }
}

/// Does something to the store, and again for [`PATIENCE`] where that does not go: a store that is full or away
/// is seen to. None where that is cut short.
pub(super) async fn patiently<T>(
    cancel: &CancellationToken,
    tell: impl Fn(String),
    mut attempt: impl FnMut() -> Result<T, RunError>,
) -> Result<Option<T>, RunError> {
    let until = Instant::now() + PATIENCE;
    let mut pause = Duration::from_secs(1);
    let mut told = String::new();
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(Some(done)),
            Err(error) if Instant::now() > until => return Err(error),
            Err(error) => error.to_string(),
        };
        if told != error {
            tell(format!("{error}; it is tried again"));
            told = error;
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(None),
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(Duration::from_secs(30)),
        }
    }
}

/// The path of a new directory that goes with the first of these.
fn work_dir(setup: &Setup, name: &str) -> Result<(tempfile::TempDir, Utf8PathBuf), JobFailed> {
    let tmp = setup.dirs.cache.join("tmp-artifacts");
    std::fs::create_dir_all(&tmp).map_err(|e| host(format!("cannot create {tmp}: {e}")))?;
    let work = tempfile::tempdir_in(&tmp).map_err(|e| host(format!("{tmp}: {e}")))?;
    let to = Utf8PathBuf::from_path_buf(work.path().join(name));
    let to = to.map_err(|p| host(format!("{}: not a UTF-8 path", p.display())))?;
    Ok((work, to))
}

/// What a cell needs, and where it is on this machine.
pub(in crate::engine) struct CellParts {
    pub(in crate::engine) image: Key,
    pub(in crate::engine) build: Key,
    pub(in crate::engine) kernel: Option<Key>,
    pub(in crate::engine) inputs: Vec<(Kind, Key, Utf8PathBuf)>,
    pub(in crate::engine) slowness: f64,
    pub(in crate::engine) took: Vec<(crate::model::CaseId, u64)>,
    pub(in crate::engine) earlier: crate::engine::earlier::Earlier,
}

pub(super) fn host(detail: String) -> JobFailed {
    JobFailed {
        stage: StageResult::HostFailed,
        detail,
    }
}

fn lost() -> JobFailed {
    host("internal error: what this job needs was not handed on".to_owned())
}

fn interrupted() -> JobFailed {
    JobFailed {
        stage: StageResult::Interrupted,
        detail: "the run was interrupted".to_owned(),
    }
}
