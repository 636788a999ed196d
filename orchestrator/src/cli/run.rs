//! `fallout run`: carries a matrix out and prints the verdict.

use std::path::PathBuf;
use std::sync::Arc;

use camino::Utf8Path;
use tokio_util::sync::CancellationToken;

use crate::engine::cluster::Setting;
use crate::engine::{Setup, baseline};
use crate::host::yaml;
use crate::plan::cluster::Cluster;
use crate::store::runs::{self, RunDir, RunRecord};

use super::args::{RunArgs, Selection};
use super::context::Context;
use super::exit::{Failure, Outcome};
use super::release;

/// `fallout run`
pub fn run(context: &Context, args: &RunArgs) -> Outcome {
    let mut setup = setup(context, &args.matrix, &args.only, args.fresh, args.jobs)?;
    setup.set_cluster(args.cluster.as_deref().map(cluster).transpose()?);
    let (baselines, notes) = baseline::choose(&setup, args.baseline.as_deref(), None)?;
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    baseline::prepare(&mut setup, &baselines);
    let matrix_path = args
        .matrix
        .canonicalize_utf8()
        .map_err(|e| Failure::usage(format!("{}: {e}", args.matrix)))?;
    let revisions = setup.revisions()?;
    let record = RunRecord {
        format: 1,
        id: runs::new_id(),
        matrix_path: matrix_path.into(),
        matrix: setup.resolved.name.clone(),
        images_dir: setup.images.clone().into(),
        started: jiff::Timestamp::now(),
        ports: args.only.ports.clone(),
        suites: args.only.suites.clone(),
        release: release_of(&setup),
        fresh: args.fresh,
        revisions,
        reference: None,
        baselines,
        imported: None,
        cluster: setup
            .cluster
            .as_ref()
            .and(args.cluster.as_deref())
            .map(absolute)
            .transpose()?,
    };
    let run = RunDir::create(setup.dirs.runs().as_std_path(), &record)?;
    super::drive::drive(context, setup, record, &run, args.json)
}

/// The directory of the release that a run's images are made of: a run that is gone on with has the same.
fn release_of(setup: &Setup) -> Option<camino::Utf8PathBuf> {
    let ports = setup.resolved.ports.iter();
    let mut from = ports.filter_map(|p| p.image.release.as_ref()?.from.clone());
    let path = from.next()?;
    std::path::absolute(path).ok()?.try_into().ok()
}

fn absolute(file: &Utf8Path) -> Result<PathBuf, Failure> {
    std::path::absolute(file).map_err(|e| Failure::usage(format!("{file}: {e}")))
}

/// The cluster that a file describes. Its jobs are cancelled when the run is ended by the user.
pub fn cluster(file: &Utf8Path) -> Result<Setting, Failure> {
    let doc = yaml::read::<Cluster>(file, Cluster::check)?;
    let dir = absolute(file)?;
    let dir = dir
        .parent()
        .and_then(Utf8Path::from_path)
        .unwrap_or(Utf8Path::new("/"));
    Ok(Setting {
        cluster: Arc::new(doc.value.below(dir)),
        leave: CancellationToken::new(),
    })
}

/// A matrix that can be planned and run.
pub fn setup(
    context: &Context,
    matrix: &Utf8Path,
    only: &Selection,
    fresh: bool,
    cores: Option<u32>,
) -> Result<Setup, Failure> {
    let mut loaded = context.load(matrix, only)?;
    if let Some(costs) = &loaded.matrix.costs {
        eprintln!("{}", release::costs(costs, &context.dirs.cache));
    }
    release::fetch_for(context, &mut loaded)?;
    let resolved = &loaded.resolved;
    let wanting = resolved.ports.iter().filter(|p| resolved.wants_release(p));
    let mut releases = wanting.filter_map(|p| p.image.release.as_ref());
    if releases.any(|release| release.from.is_none()) {
        return Err(Failure::usage(format!(
            "{matrix}: the images of its ports are made of a release, and none is given: expected --release DIR, or release: {{path: DIR}} or {{url: ADDRESS}} in the matrix"
        )));
    }
    let images = loaded
        .images
        .canonicalize_utf8()
        .map_err(|e| Failure::usage(format!("{}: {e}", loaded.images)))?;
    Ok(Setup {
        resolved: loaded.resolved,
        images,
        dirs: context.dirs.clone(),
        fresh,
        cores,
        cluster: None,
    })
}
