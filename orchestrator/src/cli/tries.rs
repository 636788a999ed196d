//! `fallout try`: hands a patch series to the daemon.

use std::io::Read as _;

use camino::Utf8Path;
use serde_json::{Value, json};

use crate::host::{post, text};

use super::args::TryArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};

/// The largest series that the daemon takes, in bytes: what is left of a body of 4 MiB for text.
const MOST: u64 = 3 << 20;

/// `fallout try`
pub fn run(context: &Context, args: &TryArgs) -> Outcome {
    let series = series(args)?;
    let token = std::fs::read_to_string(&args.token_file)
        .map_err(|e| Failure::usage(format!("{}: {e}", args.token_file)))?;
    let url = match &args.url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => address(context)?,
    };
    let body = json!({
        "repository": args.repository, "base": args.base, "rule": args.rule, "series": series,
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::host(format!("cannot start the runtime: {e}")))?;
    let asked = runtime.block_on(post::ask(&format!("{url}/api/v1/try"), token.trim(), &body));
    let (status, answer) = asked.map_err(|why| Failure::host(format!("the daemon: {why}")))?;
    let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
    match status {
        202 => {
            let jobs = answer["jobs"].as_array().cloned().unwrap_or_default();
            let jobs: Vec<String> = jobs.iter().map(Value::to_string).collect();
            print(&format!("job {}", jobs.join(", ")))?;
            Ok(Exit::Clean)
        }
        200 => {
            print("this series on this base is known already: see 'fallout queue'")?;
            Ok(Exit::Clean)
        }
        _ => {
            let detail = answer["detail"].as_str().unwrap_or("no reason was given");
            let lines = text::head(detail.as_bytes(), 20, 300).join("\n");
            let message = format!("the daemon answered {status}: {lines}");
            Err(match status {
                400..500 => Failure::usage(message),
                _ => Failure::host(message),
            })
        }
    }
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

/// Where the daemon of this machine listens.
fn address(context: &Context) -> Result<String, Failure> {
    let file = context.dirs.runtime.join("daemon.address");
    let text = std::fs::read_to_string(&file).map_err(|_| {
        Failure::usage("no daemon runs here: expected --url with the address of one")
    })?;
    Ok(text.trim().to_owned())
}
