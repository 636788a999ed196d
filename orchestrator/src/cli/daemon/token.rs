//! `fallout token`: who may write over HTTP. Works on the queue's file, with and without a daemon.

use crate::cli::args::TokenCommand;
use crate::cli::context::Context;
use crate::cli::drive::print;
use crate::cli::exit::{Exit, Failure, Outcome};
use crate::cli::failure;
use crate::host::machine::random_bytes;
use crate::store::queue::{Queue, TokenRow};

use super::queue_path;

/// `fallout token`
pub fn run(context: &Context, command: &TokenCommand) -> Outcome {
    let runtime = failure::one_thread()?;
    let said = runtime.block_on(async {
        let queue = Queue::open(queue_path(context).as_std_path()).await?;
        match command {
            TokenCommand::Add {
                name,
                scopes,
                repositories,
            } => add(&queue, name, scopes, repositories).await,
            TokenCommand::List { json } => list(&queue, *json).await,
            TokenCommand::Revoke { name } => revoke(&queue, name).await,
        }
    })?;
    print(&said)?;
    Ok(Exit::Clean)
}

fn checked(what: &str, name: &str) -> Result<(), Failure> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if name.is_empty() || name.len() > 100 || !name.chars().all(fits) {
        let message = format!("{what} '{name}': expected letters, digits and . _ + -");
        return Err(Failure::usage(message));
    }
    Ok(())
}

async fn add(
    queue: &Queue,
    name: &str,
    scopes: &[crate::store::queue::Scope],
    repositories: &[String],
) -> Result<String, Failure> {
    checked("name", name)?;
    for repository in repositories {
        checked("repository", repository)?;
    }
    let secret = random_bytes::<32>()
        .map_err(|e| Failure::host(format!("no random numbers from the system: {e}")))?;
    let digits: String = secret.iter().map(|b| format!("{b:02x}")).collect();
    let token = format!("fallout_{digits}");
    let mut scopes = scopes.to_vec();
    scopes.sort_unstable();
    scopes.dedup();
    let row = TokenRow {
        name: name.to_owned(),
        scopes,
        repositories: repositories.to_vec(),
    };
    if !queue.put_token(&row, &token).await? {
        let message = format!("there is a token '{name}': revoke it first, or take another name");
        return Err(Failure::usage(message));
    }
    eprintln!("note: this is shown once; keep it where only {name} can read it");
    Ok(token)
}

async fn list(queue: &Queue, json: bool) -> Result<String, Failure> {
    let tokens = queue.tokens().await?;
    if json {
        return serde_json::to_string_pretty(&tokens).map_err(Failure::internal);
    }
    let line = |row: &TokenRow| {
        let scopes: Vec<&str> = row.scopes.iter().map(|s| s.word()).collect();
        let repositories = match row.repositories.as_slice() {
            [] => "all repositories".to_owned(),
            some => some.join(", "),
        };
        format!("{:<20} {:<16} {repositories}\n", row.name, scopes.join(","))
    };
    Ok(tokens.iter().map(line).collect())
}

async fn revoke(queue: &Queue, name: &str) -> Result<String, Failure> {
    if queue.remove_token(name).await? {
        return Ok(format!("token {name} is revoked"));
    }
    let tokens = queue.tokens().await?;
    let names = tokens.iter().map(|t| t.name.as_str());
    let near = crate::model::problem::did_you_mean(name, names);
    let near = near.map_or(String::new(), |n| format!("; {n}"));
    Err(Failure::usage(format!("no token '{name}'{near}")))
}
