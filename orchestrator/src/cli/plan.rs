//! `fallout plan`: what a run would do and why. Nothing is made, fetched or started.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;

use super::args::PlanArgs;
use super::context::Context;
use super::exit::{Exit, Outcome};
use super::run::setup;
use super::term::write_table;
use crate::engine::Memory;
use crate::engine::facts::Ahead;
use crate::model::{JobKind, PortName};
use crate::plan::{Capacity, Job, Plan, Todo, forecast};

/// `fallout plan`
pub fn run(context: &Context, args: &PlanArgs) -> Outcome {
    // A plan fetches nothing.
    let mut context = context.clone();
    context.may_fetch = false;
    let context = &context;
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
            "guests": setup.guests_ahead().into_iter().collect::<BTreeMap<_, _>>(),
        });
        serde_json::to_writer_pretty(&mut out, &value).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(Exit::Clean);
    }
    let mut rows = vec![["JOB", "DO", "TOOK", "KEY", "WHY"].map(String::from)];
    rows.extend(plan.jobs.iter().map(row));
    write_table(&mut out, &rows)?;
    if plan
        .jobs
        .iter()
        .any(|j| j.kind() == JobKind::Cell && j.todo == Todo::Run)
    {
        writeln!(out, "{}", guests(&setup.guests_ahead()))?;
    }
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

/// How guests would come up, ports with the same way together.
fn guests(ahead: &[(PortName, Ahead)]) -> String {
    let of = |words: &str, is: fn(&Ahead) -> bool| {
        let ports = ahead.iter().filter(|(_, a)| is(a));
        let ports: Vec<&str> = ports.map(|(port, _)| port.as_str()).collect();
        (!ports.is_empty()).then(|| format!("{words} {}", ports.join(", ")))
    };
    let ways = [
        of("restored on", |a| matches!(a, Ahead::Restored { .. })),
        of("booted once and saved on", |a| *a == Ahead::BootedOnce),
        of("booted on", |a| *a == Ahead::Booted),
    ];
    let ways: Vec<String> = ways.into_iter().flatten().collect();
    format!("guests: {}", ways.join("; "))
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
    let on = format!("{} cores and {} MiB", capacity.cores, capacity.mem_mib);
    let guessed = match unseen {
        0 => String::new(),
        // A sum of guesses would look like knowledge.
        n if n == run => {
            return format!("{run} to run, {cached} cached; none was ever timed here; {on}");
        }
        1 => ", 1 job never timed here".to_owned(),
        n => format!(", {n} jobs never timed here"),
    };
    format!(
        "{run} to run, {cached} cached; about {} on {on}{guessed}",
        seconds(takes)
    )
}
