//! `fallout plan`: what a run would do and why. Nothing is made, fetched or started.

use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::args::PlanArgs;
use super::context::Context;
use super::exit::{Exit, Outcome};
use super::run::setup;
use super::term::write_table;
use crate::engine::Memory;
use crate::plan::{Capacity, Job, Plan, Todo, forecast};

/// `fallout plan`
pub fn run(context: &Context, args: &PlanArgs) -> Outcome {
    let setup = setup(context, &args.matrix, &args.only, args.fresh, None)?;
    let plan = setup.plan(&Memory::load(&setup.dirs))?;
    let capacity = setup.capacity();
    let takes = forecast(&plan, capacity);
    let mut out = std::io::stdout().lock();
    if args.json {
        let value = json!({
            "format": 1,
            "matrix": setup.resolved.name,
            "cores": capacity.cores,
            "mem_mib": capacity.mem_mib,
            "forecast_ms": u64::try_from(takes.as_millis()).unwrap_or(u64::MAX),
            "jobs": plan.jobs,
        });
        serde_json::to_writer_pretty(&mut out, &value).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(Exit::Clean);
    }
    let mut rows = vec![["JOB", "DO", "TOOK", "KEY", "WHY"].map(String::from)];
    rows.extend(plan.jobs.iter().map(row));
    write_table(&mut out, &rows)?;
    writeln!(out, "{}", summary(&plan, capacity, takes))?;
    out.flush()?;
    Ok(Exit::Clean)
}

fn row(job: &Job) -> [String; 5] {
    let todo = match job.todo {
        Todo::Run => "run",
        Todo::Cached => "cached",
        Todo::NotNeeded => "-",
    };
    let key = match &job.key {
        Some(key) => key.short().to_owned(),
        None => format!("after {}", job.unknown().join(", ")),
    };
    [
        job.name.clone(),
        todo.to_owned(),
        job.est.map_or("?".to_owned(), seconds),
        key,
        if job.todo == Todo::Cached {
            String::new()
        } else {
            job.why.clone()
        },
    ]
}

fn seconds(time: Duration) -> String {
    match time.as_secs() {
        0 => "<1s".to_owned(),
        s @ 1..120 => format!("{s}s"),
        s => format!("{}m{:02}s", s / 60, s % 60),
    }
}

fn summary(plan: &Plan, capacity: Capacity, takes: Duration) -> String {
    let count = |todo: Todo| plan.jobs.iter().filter(|j| j.todo == todo).count();
    let (run, cached) = (count(Todo::Run), count(Todo::Cached));
    if run == 0 {
        return format!("nothing to do: all {cached} jobs are cached");
    }
    let unseen = plan
        .jobs
        .iter()
        .filter(|j| j.todo == Todo::Run && j.est.is_none())
        .count();
    let guessed = match unseen {
        0 => String::new(),
        1 => ", 1 job never timed here".to_owned(),
        n => format!(", {n} jobs never timed here"),
    };
    format!(
        "{run} to run, {cached} cached; about {} on {} cores and {} MiB{guessed}",
        seconds(takes),
        capacity.cores,
        capacity.mem_mib
    )
}
