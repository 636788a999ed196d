//! `fallout gc`: takes out of old runs what the limits say, by hand; the daemon does it at night.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use std::time::Duration;

use camino::Utf8Path;

use crate::engine;
use crate::host::yaml;
use crate::model::retention::Retention;
use crate::store::queue::Queue;
use crate::store::retention::{Step, Swept, sweep};
use crate::trigger::Settings;

use super::args::GcArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// Jobs that wait or run, at most: more than any queue has.
const JOBS: u32 = 100_000;

/// `fallout gc`
pub fn run(context: &Context, args: &GcArgs) -> Outcome {
    if let Some(file) = &args.cluster {
        return store(file, args.json);
    }
    let mut limits = match &args.config {
        Some(file) => {
            let settings = yaml::read::<Settings>(file, Settings::check)?.value;
            settings.retention.unwrap_or_default()
        }
        None => Retention::default(),
    };
    for (own, field) in [
        (
            args.passing_consoles_days,
            &mut limits.passing_consoles_days,
        ),
        (args.consoles_days, &mut limits.consoles_days),
        (args.runs_days, &mut limits.runs_days),
        (args.runs_at_most, &mut limits.runs_at_most),
        (args.trees_days, &mut limits.trees_days),
        (args.tries_days, &mut limits.tries_days),
    ] {
        *field = own.or(*field);
    }
    if limits.is_empty() {
        return Err(Failure::usage(
            "no limit is given: expected --config FILE with 'retention:' in it, or one of \
             --passing-consoles-days, --consoles-days, --runs-days, --runs-at-most, --trees-days, --tries-days",
        ));
    }
    let path = super::daemon::queue_path(context);
    let busy = match path.is_file() {
        true => {
            let runtime = failure::one_thread()?;
            runtime.block_on(async { busy(&Queue::open(path.as_std_path()).await?).await })?
        }
        false => BTreeSet::new(),
    };
    let state = context.dirs.state.as_std_path();
    let now = jiff::Timestamp::now();
    let swept = sweep(state, &limits, &busy, now, args.dry_run)?;
    print(&match args.json {
        true => serde_json::to_string_pretty(&swept).map_err(Failure::internal)?,
        false => words(&swept, args.dry_run),
    })?;
    Ok(match swept.trouble.is_empty() {
        true => Exit::Clean,
        false => Exit::Host,
    })
}

/// What is in a cluster's store for longer than this, and used by nobody, goes.
const STORE_AGE: Duration = Duration::from_secs(14 * 24 * 3600);

/// The store of a cluster.
fn store(file: &Utf8Path, json: bool) -> Outcome {
    let setting = super::run::cluster(file)?;
    let runtime = failure::one_thread()?;
    let done = runtime.block_on(engine::cluster::collect(&setting.cluster, STORE_AGE))?;
    print(&match json {
        true => serde_json::to_string_pretty(&done).map_err(Failure::internal)?,
        false => format!(
            "{} runs and {} artifacts went, {} MiB; {} MiB of artifacts are left\n",
            done.runs.len(),
            done.artifacts.objects,
            done.artifacts.size_bytes >> 20,
            done.artifacts.left_bytes >> 20
        ),
    })?;
    Ok(Exit::Clean)
}

/// Runs and commits that the queue still needs.
pub async fn busy(queue: &Queue) -> Result<BTreeSet<String>, Failure> {
    let jobs = queue.open_jobs(JOBS).await?;
    let names = jobs
        .into_iter()
        .flat_map(|job| [job.run, Some(job.change.new), job.change.old]);
    Ok(names.flatten().collect())
}

fn words(swept: &Swept, dry_run: bool) -> String {
    let mut out = String::new();
    for done in &swept.runs {
        let choice = &done.choice;
        let what = match choice.step {
            Step::PassingConsoles => "consoles of passing cells",
            Step::Consoles => "consoles",
            Step::Reduce => "all but its findings",
        };
        let _ = match &choice.kept {
            Some(kept) => writeln!(out, "{}  stays: {kept} ({})", choice.run, choice.why),
            None => writeln!(
                out,
                "{}  {what}, {} KiB: {}",
                choice.run,
                done.freed_bytes.div_ceil(1024),
                choice.why
            ),
        };
    }
    for (tree, bytes) in &swept.trees {
        let _ = writeln!(out, "{}  {} KiB", tree.display(), bytes.div_ceil(1024));
    }
    for why in &swept.trouble {
        let _ = writeln!(out, "not done: {why}");
    }
    let word = if dry_run { "would go" } else { "went" };
    let _ = writeln!(out, "{} KiB {word}", swept.freed_bytes().div_ceil(1024));
    out
}
