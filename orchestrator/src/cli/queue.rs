//! `fallout queue`: what waits and runs in a daemon, and what became of the rest.

use serde_json::Value;

use crate::host::text;
use crate::store::queue::{Job, Queue};

use super::args::QueueArgs;
use super::context::Context;
use super::daemon::queue_path;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure;
use super::far::Far;

/// Jobs that a daemon hands out at once.
const PAGE: u32 = 200;

/// `fallout queue`
pub fn run(context: &Context, args: &QueueArgs) -> Outcome {
    let far = Far::named(context, &args.far)?;
    if let Some(id) = args.cancel {
        let state = match far {
            Some(far) => {
                let path = format!("/queue/{id}/cancel");
                let (_, job) = far.post(&path, &Value::Null)?;
                job["state"].as_str().unwrap_or_default().to_owned()
            }
            None => cancel(context, id)?,
        };
        print(&format!("job {id} is {state}"))?;
        return Ok(Exit::Clean);
    }
    let jobs = match far {
        Some(far) => fetched(&far, args.limit)?,
        None => own(context, args.limit)?,
    };
    print(&match args.json {
        true => serde_json::to_string_pretty(&jobs).map_err(Failure::internal)?,
        false => jobs.iter().map(line).collect(),
    })?;
    Ok(Exit::Clean)
}

fn opened<T>(
    context: &Context,
    ask: impl AsyncFnOnce(Queue) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = failure::one_thread()?;
    runtime.block_on(async {
        let queue = Queue::open(queue_path(context).as_std_path()).await?;
        ask(queue).await
    })
}

fn own(context: &Context, limit: u32) -> Result<Vec<Job>, Failure> {
    opened(context, async |queue| Ok(queue.list(None, limit).await?))
}

fn cancel(context: &Context, id: i64) -> Result<String, Failure> {
    opened(context, async |queue| {
        let state = queue.cancel(id, "hand").await?;
        let state = state.ok_or_else(|| Failure::usage(format!("no job {id}")))?;
        Ok(state.word().to_owned())
    })
}

fn fetched(far: &Far, limit: u32) -> Result<Vec<Job>, Failure> {
    let mut jobs = Vec::new();
    let mut cursor = String::new();
    while (jobs.len() as u32) < limit {
        let n = PAGE.min(limit - jobs.len() as u32);
        let mut page = far.get(&format!("/queue?limit={n}{cursor}"))?;
        let items: Vec<Job> = serde_json::from_value(page["items"].take())
            .map_err(|e| Failure::host(format!("{}: a queue of another form: {e}", far.url())))?;
        jobs.extend(items);
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    Ok(jobs)
}

fn line(job: &Job) -> String {
    let findings = job.findings.map_or(String::new(), |n| {
        format!(", {n} finding{}", if n == 1 { "" } else { "s" })
    });
    let search = job.spec.search.as_ref();
    let search = search.map_or(String::new(), |s| format!(", commit of {}", s.what()));
    let note = match job.note.as_str() {
        "" => String::new(),
        note => format!("  {}", text::line(note.as_bytes(), 200)),
    };
    format!(
        "{:>5}  {:<10} {:<8} {} {} {:.12}  {}{findings}{search}{note}\n",
        job.id,
        job.state.word(),
        job.priority.word(),
        job.change.repository,
        job.change.reference,
        job.change.new,
        job.run.as_deref().unwrap_or("-"),
    )
}
