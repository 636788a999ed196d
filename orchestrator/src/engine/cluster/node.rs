//! What a node does with an order: fetch, run by the same engine as everywhere, hand in.

use std::path::Path;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use tokio_util::sync::CancellationToken;

use crate::build::{self, Origin, Tree};
use crate::engine::bus::Bus;
use crate::engine::cell;
use crate::engine::facts::{Setup, compiler_of};
use crate::engine::jobs::{self, BuildJob, JobFailed, internal};
use crate::engine::prepare::{Parts, cell_job};
use crate::engine::shards::Shards;
use crate::engine::{RunError, kernels};
use crate::host::dirs::Dirs;
use crate::host::machine::{program_identity, program_version};
use crate::image::cache;
use crate::model::project::Source;
use crate::model::{CellId, Key, StageResult};
use crate::plan::Work;
use crate::plan::job::{INPUT_IMAGE, INPUT_SOURCE};
use crate::store::artifacts::{Artifacts, Fetched, Kind, NodeCache};
use crate::store::events::{self, EventLog};

use super::files;
use super::news;
use super::order::{self, BatchFile, Ended, JobDir, JobOrder, JobResult};

/// How a node's work on a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum NodeEnd {
    /// The result is in the store.
    Done(StageResult),
    /// It was there already.
    Already,
    /// It was told to stop, or another process has taken the job over. What was done is kept.
    Stopped,
    /// This node cannot do it; why.
    Refused(String),
}

/// The directory of the job that is this task of a batch.
pub fn job_of_batch(batch: &Utf8Path, task: usize) -> Result<Utf8PathBuf, RunError> {
    let file: Option<BatchFile> = order::read(batch)?;
    let file =
        file.ok_or_else(|| RunError::Input(format!("no file {batch}: expected a batch of jobs")))?;
    let name = file.jobs.get(task).ok_or_else(|| {
        let last = file.jobs.len().saturating_sub(1);
        RunError::Input(format!("{batch} has no job {task}: expected 0 to {last}"))
    })?;
    let run = batch.parent().and_then(Utf8Path::parent);
    Ok(run.unwrap_or(Utf8Path::new(".")).join(name))
}

struct Node<'a> {
    order: &'a JobOrder,
    dir: &'a JobDir,
    setup: Setup,
    cache: NodeCache,
    artifacts: Artifacts,
    bus: Bus,
    claim: u32,
}

/// Does the job of a directory. `home` are this machine's directories, `node` is its name.
pub async fn do_job(
    dir: &Utf8Path,
    home: &Dirs,
    node: &str,
    cancel: &CancellationToken,
) -> Result<NodeEnd, RunError> {
    let began = Instant::now();
    let dir = JobDir(dir.to_owned());
    let order: Option<JobOrder> = order::read(&dir.order_path())?;
    let order = order.ok_or_else(|| RunError::Input(format!("no order in {}", dir.0)))?;
    if order.format != 1 {
        let message = format!(
            "{}: form {} is not known, expected 1",
            dir.order_path(),
            order.format
        );
        return Err(RunError::Input(message));
    }
    if dir.result()?.is_some() {
        return Ok(NodeEnd::Already);
    }
    let claim = dir.claim(node)?;
    news::leave(&dir);
    let log = EventLog::open(dir.events_path(claim).as_std_path())?;
    let log = log.fenced(dir.claim_path(claim + 1).into());
    let mut dirs = home.clone();
    if let Some(cache) = order.cluster.node.cache_on(node) {
        dirs.cache = cache;
    }
    dirs.state.clone_from(&dir.0);
    let setup = Setup {
        resolved: order.resolved.clone(),
        images: order.images.clone(),
        dirs: dirs.clone(),
        fresh: true,
        cores: Some(order.job.cores),
        cluster: None,
    };
    let this = Node {
        order: &order,
        dir: &dir,
        setup,
        cache: NodeCache::new(dirs.cache.into(), order.cluster.node.cache_bytes),
        artifacts: order::artifacts(&order.cluster)?,
        bus: Bus::new(log),
        claim,
    };
    let ended = tokio::select! {
        // A cell ends its guests in order; what else there is may simply stop.
        () = stopped(cancel), if !matches!(order.job.work, Work::Cell(_)) => return Ok(NodeEnd::Stopped),
        ended = this.work(cancel) => ended,
    };
    let ended = ended.unwrap_or_else(|failed| Ended::Failed {
        stage: failed.stage,
        detail: failed.detail,
    });
    let (stage, detail) = ended.stage();
    if stage == StageResult::Interrupted || this.is_taken_over() {
        return Ok(NodeEnd::Stopped);
    }
    let refused = this.bus.failure();
    let refused = refused.or_else(|| stage.is_host_fault().then(|| format!("{stage}: {detail}")));
    let result = JobResult {
        format: 1,
        node: node.to_owned(),
        claim,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        ended,
    };
    this.bus.sync()?;
    if let Some(why) = refused {
        order::write(&dir.refusal_path(claim), &result)?;
        news::leave(&dir);
        return Ok(NodeEnd::Refused(why));
    }
    order::write(&dir.result_path(), &result)?;
    news::leave(&dir);
    Ok(NodeEnd::Done(stage))
}

async fn stopped(cancel: &CancellationToken) {
    cancel.cancelled().await;
}

impl Node<'_> {
    fn is_taken_over(&self) -> bool {
        self.dir.claim_path(self.claim + 1).exists()
    }

    async fn work(&self, cancel: &CancellationToken) -> Result<Ended, JobFailed> {
        match &self.order.job.work {
            Work::Image { .. } => Err(internal("images are not made on nodes".to_owned())),
            Work::Build { .. } => self.build().await,
            Work::Kernel { .. } => self.kernel().await,
            Work::Cell(id) => self.cell(id, cancel).await,
        }
    }

    /// The planner's facts about a program of the host must be this node's, or the key would lie.
    fn check(&self, label: &str, program: &str) -> Result<(), JobFailed> {
        let planned = self.order.job.inputs.get(label).cloned().flatten();
        let planned = planned.filter(|p| !p.is_empty());
        let here = program_identity(program);
        if planned == here {
            return Ok(());
        }
        let told = |what: Option<String>| what.unwrap_or_else(|| "none".to_owned());
        Err(host(format!(
            "{label} here: {}, but the run was planned with {}: expected the same package of {program} on all nodes",
            told(here),
            told(planned)
        )))
    }

    async fn get(&self, kind: Kind, key: &Key) -> Result<Fetched, JobFailed> {
        let name = (kind, key.clone());
        let got = self.cache.get(&self.artifacts, &name).await;
        let got = got.map_err(|e| host(e.to_string()))?;
        got.ok_or_else(|| {
            host(format!(
                "the artifact store has no {} {}",
                kind.word(),
                key.short()
            ))
        })
    }

    async fn tree(&self, key: &Key, source: &Source) -> Result<(Fetched, Tree), JobFailed> {
        let got = self.get(Kind::Trees, key).await?;
        let dir = utf8(&got.dir)?;
        // What names a git tree is no hash of a directory's.
        let origin = match source.git {
            Some(_) => Origin::Whole(dir),
            None => Origin::Dir(dir),
        };
        let hash = key.clone();
        Ok((got, Tree { origin, hash }))
    }

    /// The setup with the files that came with the order in their places.
    async fn setup_with_files(&self) -> Result<(Option<Fetched>, Setup), JobFailed> {
        let mut setup = self.setup.clone();
        let Some(key) = &self.order.files else {
            return Ok((None, setup));
        };
        let got = self.get(Kind::Trees, key).await?;
        files::place(&mut setup, &self.order.job.work, &utf8(&got.dir)?);
        Ok((Some(got), setup))
    }

    async fn build(&self) -> Result<Ended, JobFailed> {
        let (order, setup) = (self.order, &self.setup);
        let Work::Build { suite, port, side } = &order.job.work else {
            return Err(internal("no build".to_owned()));
        };
        self.check("compiler", &compiler_of(jobs::port_of(setup, port)?))?;
        let lost = || internal("an order without its inputs".to_owned());
        let sysroot_key = order.sysroot.as_ref().ok_or_else(lost)?;
        let sysroot = self.get(Kind::Sysroots, sysroot_key).await?;
        let source = jobs::suite_of(setup, suite)?.source(*side);
        let (_held, tree) = self
            .tree(order.tree.as_ref().ok_or_else(lost)?, source)
            .await?;
        let (_files, setup) = self.setup_with_files().await?;
        let mut job = order.job.clone();
        let known = [(INPUT_SOURCE, &tree.hash), (INPUT_IMAGE, sysroot_key)];
        let key = job.key_with(&known).cloned().ok_or_else(lost)?;
        let what = BuildJob {
            suite,
            port,
            side: *side,
            job: &job.name,
            key: &key,
            tree,
            sysroot: utf8(&sysroot.dir)?,
        };
        jobs::build(&setup, what, &self.bus).await?;
        self.hand_in(&key).await
    }

    async fn kernel(&self) -> Result<Ended, JobFailed> {
        let lost = || internal("an order without its inputs".to_owned());
        let Work::Kernel { suite, side, .. } = &self.order.job.work else {
            return Err(internal("no kernel".to_owned()));
        };
        let source = jobs::suite_of(&self.setup, suite)?.kernel_source(*side);
        let key = self.order.tree.as_ref().ok_or_else(lost)?;
        let (_held, tree) = self.tree(key, source.ok_or_else(lost)?).await?;
        let (_files, setup) = self.setup_with_files().await?;
        let job = self.order.job.clone();
        let version = self.order.version.clone();
        let built = kernels::build(&setup, job, tree, &version, &self.bus).await?;
        self.hand_in(&built.key).await
    }

    async fn hand_in(&self, key: &Key) -> Result<Ended, JobFailed> {
        let dir = self.setup.dirs.cache.join(Kind::Builds.word()).join(&key.0);
        let name = (Kind::Builds, key.clone());
        let tmp = self.cache.tmp();
        let put = self.artifacts.offer(&name, dir.as_std_path(), &tmp);
        put.await.map_err(|e| host(e.to_string()))?;
        Ok(Ended::Built)
    }

    async fn cell(&self, id: &CellId, cancel: &CancellationToken) -> Result<Ended, JobFailed> {
        let (order, setup) = (self.order, &self.setup);
        let lost = || internal("an order without its inputs".to_owned());
        let port = jobs::port_of(setup, &id.port)?;
        self.check("emulator", &port.emulator.program)?;
        let (image, build) = (order.image.as_ref(), order.build.as_ref());
        let (image, build) = image.zip(build).ok_or_else(lost)?;
        let _image = self.get(Kind::Images, image).await?;
        let _build = self.get(Kind::Builds, build).await?;
        let _kernel = match &order.kernel {
            Some(key) => Some(self.get(Kind::Builds, key).await?),
            None => None,
        };
        let cache = &setup.dirs.cache;
        let damaged = |what: &str| host(format!("{what} was fetched and is not usable"));
        let image = cache::find(cache, image).map_err(|e| host(e.to_string()))?;
        let image = image.ok_or_else(|| damaged("the image"))?;
        let built = build::cached(cache, build).ok_or_else(|| damaged("the build"))?;
        let kernel = match &order.kernel {
            Some(key) => {
                let built = build::kernel::cached(cache, key);
                Some(built.ok_or_else(|| damaged("the kernel"))?.into())
            }
            None => None,
        };
        let program = port.emulator.program.clone();
        let emulator = tokio::task::spawn_blocking(move || program_version(&program)).await;
        let took = order.took.iter();
        let job = cell_job(
            setup,
            Parts {
                id,
                key: order.job.key.clone().ok_or_else(lost)?,
                image: Some(&image),
                tests: &built.tar,
                kernel: kernel.as_ref(),
                earlier: self.earlier(id)?,
                slowness: order.slowness,
                took: took
                    .map(|(c, ms)| (c.clone(), Duration::from_millis(*ms)))
                    .collect(),
                emulator: emulator.ok().flatten(),
                shards: Shards::fixed(order.job.cores.max(1)),
                snapshots: setup.snapshots(),
                dir: self.dir.cell().into(),
                run: &order.run,
            },
        )?;
        let result = cell::run(&job, &self.bus, cancel).await;
        Ok(Ended::Cell {
            result: Box::new(result),
        })
    }

    /// What the claims before this one did: their events, up to where they were fenced off.
    fn earlier(&self, id: &CellId) -> Result<crate::engine::earlier::Earlier, JobFailed> {
        let mut earlier = self.order.earlier.clone();
        for claim in 1..self.claim {
            let path = self.dir.events_path(claim);
            if path.exists() {
                let events = events::read(path.as_std_path()).map_err(|e| host(e.to_string()))?;
                earlier = earlier.followed_by(id, events);
            }
        }
        Ok(earlier)
    }
}

fn host(detail: String) -> JobFailed {
    JobFailed {
        stage: StageResult::HostFailed,
        detail,
    }
}

fn utf8(path: &Path) -> Result<Utf8PathBuf, JobFailed> {
    Utf8PathBuf::from_path_buf(path.to_owned())
        .map_err(|p| host(format!("{}: not a UTF-8 path", p.display())))
}
