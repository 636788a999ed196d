//! `fallout try`, `fallout order`: hand a daemon a patch series, or a commit.

use std::io::Read as _;

use camino::Utf8Path;
use serde_json::{Value, json};

use super::args::{OrderArgs, TryArgs};
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::far::Far;

/// The largest series that the daemon takes, in bytes: what is left of a body of 4 MiB for text.
const MOST: u64 = 3 << 20;

/// `fallout try`
pub fn run(context: &Context, args: &TryArgs) -> Outcome {
    let series = series(args)?;
    let body = json!({
        "repository": args.repository, "base": args.base, "rule": args.rule, "series": series,
    });
    match Far::any(context, &args.far)?.post("/try", &body)? {
        (202, answer) => print(&taken(&answer))?,
        _ => print("this series on this base is known already: see 'fallout queue'")?,
    }
    Ok(Exit::Clean)
}

/// `fallout order`
pub fn order(context: &Context, args: &OrderArgs) -> Outcome {
    let body = json!({
        "repository": args.repository, "reference": args.reference, "commit": args.commit,
        "rule": args.rule, "ports": args.ports, "suites": args.suites,
    });
    let (_, answer) = Far::any(context, &args.far)?.post("/queue", &body)?;
    print(&taken(&answer))?;
    Ok(Exit::Clean)
}

fn taken(answer: &Value) -> String {
    let jobs = answer["jobs"].as_array().cloned().unwrap_or_default();
    let jobs: Vec<String> = jobs.iter().map(Value::to_string).collect();
    format!("job {}", jobs.join(", "))
}

fn series(args: &TryArgs) -> Result<String, Failure> {
    let name = args.series.as_deref().unwrap_or(Utf8Path::new("-"));
    let mut bytes = Vec::new();
    let read = match name.as_str() {
        "-" => std::io::stdin().take(MOST + 1).read_to_end(&mut bytes),
        _ => std::fs::File::open(name).and_then(|f| f.take(MOST + 1).read_to_end(&mut bytes)),
    };
    read.map_err(|e| Failure::usage(format!("{name}: {e}")))?;
    if bytes.len() as u64 > MOST {
        return Err(Failure::usage(format!(
            "{name}: is larger than {} MiB",
            MOST >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{name}: is not UTF-8")))
}
