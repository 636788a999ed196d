//! The daemon that a command asks, in the place of what this machine has: one that is configured, or the one
//! that runs here.
//!
//! ```text
//! --daemon URL, FALLOUT_DAEMON, client.yaml --+--> Far --HTTP--> API of a daemon
//!                    none of them, or `none` -'     |
//!                                                   `--> this machine's state directory
//! ```

use camino::Utf8PathBuf;
use serde::Deserialize;
use serde_json::Value;

use crate::host::{post, text, yaml};
use crate::model::{CellId, Problem};
use crate::store::runs::cell_dir_name;

use super::args::FarArgs;
use super::context::Context;
use super::exit::Failure;
use super::failure;

/// Runs that are looked through for one by the beginning of its name.
const LOOKED_AT: usize = 5_000;

/// The user's `client.yaml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Client {
    format: u32,
    daemon: String,
    #[serde(default)]
    token_file: Option<Utf8PathBuf>,
}

impl Client {
    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.format != 1 {
            let message = format!("is {}: this version reads 1", self.format);
            problems.push(Problem::new("format", message));
        }
        if let Err(why) = address(&self.daemon) {
            problems.push(Problem::new("daemon", why));
        }
        problems
    }
}

/// A daemon's address, without a slash at its end.
fn address(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or(text.strip_prefix("http://"));
    match rest {
        Some(rest) if !rest.is_empty() && !rest.contains([' ', '\n']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(format!(
            "'{text}': expected an address that begins with https:// or http://"
        )),
    }
}

/// A variable of the environment that says something.
fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// The token's file that the user names.
fn given_token(args: &FarArgs) -> Option<Utf8PathBuf> {
    let named = args.token_file.clone();
    named.or_else(|| var("FALLOUT_TOKEN_FILE").map(Utf8PathBuf::from))
}

/// A daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Far {
    url: String,
    token_file: Option<Utf8PathBuf>,
}

impl Far {
    /// The daemon that the user names; none where this machine's state is meant.
    pub fn named(context: &Context, args: &FarArgs) -> Result<Option<Self>, Failure> {
        let file = context.dirs.config.join("client.yaml");
        let client = match file.is_file() {
            true => {
                let doc = yaml::read::<Client>(&file, Client::check)?;
                Some((doc.value, file))
            }
            false => None,
        };
        let (said, origin) = match (&args.daemon, var("FALLOUT_DAEMON"), &client) {
            (Some(url), _, _) => (url.clone(), "--daemon"),
            (None, Some(url), _) => (url, "FALLOUT_DAEMON"),
            (None, None, Some((client, _))) => (client.daemon.clone(), "client.yaml"),
            (None, None, None) => return Ok(None),
        };
        if said == "none" {
            return Ok(None);
        }
        let url = address(&said).map_err(|why| Failure::usage(format!("{origin}: {why}")))?;
        let token = given_token(args);
        let theirs = client.and_then(|(client, file)| {
            let token = client.token_file?;
            // A token goes to the daemon that it is for, and to no other.
            let same = address(&client.daemon).is_ok_and(|a| a == url);
            same.then(|| {
                file.parent()
                    .map_or_else(|| token.clone(), |d| d.join(&token))
            })
        });
        Ok(Some(Self {
            url,
            token_file: token.or(theirs),
        }))
    }

    /// The same, or the daemon that runs on this machine.
    pub fn any(context: &Context, args: &FarArgs) -> Result<Self, Failure> {
        if let Some(far) = Self::named(context, args)? {
            return Ok(far);
        }
        let file = context.dirs.runtime.join("daemon.address");
        let url = std::fs::read_to_string(&file).map_err(|_| {
            Failure::usage("no daemon runs here: expected --daemon with the address of one")
        })?;
        Ok(Self {
            url: url.trim().to_owned(),
            token_file: given_token(args),
        })
    }

    /// Where its pages are.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn token(&self) -> Result<Option<String>, Failure> {
        let Some(file) = &self.token_file else {
            return Ok(None);
        };
        let token =
            std::fs::read_to_string(file).map_err(|e| Failure::usage(format!("{file}: {e}")))?;
        Ok(Some(token.trim().to_owned()))
    }

    fn ask(&self, path: &str, body: Option<&Value>) -> Result<(u16, String), Failure> {
        let runtime = failure::one_thread()?;
        let token = self.token()?;
        let url = format!("{}/api/v1{path}", self.url);
        let asked = runtime.block_on(post::ask(&url, token.as_deref(), body));
        let (status, answer) =
            asked.map_err(|why| Failure::host(format!("{}: {why}", self.url)))?;
        if (200..300).contains(&status) {
            return Ok((status, answer));
        }
        let problem: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
        let detail = problem["detail"].as_str().unwrap_or("no reason was given");
        let lines = text::head(detail.as_bytes(), 20, 300).join("\n");
        let help = match (status, &self.token_file) {
            (401 | 403, None) => "; expected --token-file with a token that may do it",
            _ => "",
        };
        let message = format!("{} answered {status}: {lines}{help}", self.url);
        Err(match status {
            400..500 => Failure::usage(message),
            _ => Failure::host(message),
        })
    }

    /// What an address of the API answers, as text.
    pub fn text(&self, path: &str) -> Result<String, Failure> {
        Ok(self.ask(path, None)?.1)
    }

    /// What an address of the API answers.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        let text = self.text(path)?;
        let wrong = |e| Failure::host(format!("{}{path}: no JSON: {e}", self.url));
        serde_json::from_str(&text).map_err(wrong)
    }

    /// Asks for something to be done: status and answer.
    pub fn post(&self, path: &str, body: &Value) -> Result<(u16, Value), Failure> {
        let (status, answer) = self.ask(path, Some(body))?;
        Ok((status, serde_json::from_str(&answer).unwrap_or(Value::Null)))
    }

    /// A run's whole name, from `last` or a part that only it has.
    pub fn run(&self, name: &str) -> Result<String, Failure> {
        let mut names: Vec<String> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = self.get(&format!("/runs?limit=200{cursor}"))?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            let runs = items.iter().filter_map(|r| r["run"].as_str());
            names.extend(runs.map(str::to_owned));
            if name == "last" && !names.is_empty() {
                return Ok(names.swap_remove(0));
            }
            match page["next"].as_str() {
                Some(next) if names.len() < LOOKED_AT => cursor = format!("&cursor={next}"),
                _ => break,
            }
        }
        let mut hits = names
            .iter()
            .filter(|id| id.starts_with(name) || id.ends_with(name));
        match (hits.next(), hits.next()) {
            (Some(one), None) => Ok(one.clone()),
            (found, _) => {
                let what = if found.is_some() {
                    "several runs"
                } else {
                    "no run"
                };
                let newest: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
                let newest = match newest.is_empty() {
                    true => "there are no runs yet".to_owned(),
                    false => format!("the newest are {}", newest.join(", ")),
                };
                let message = format!("{} has {what} '{name}'; {newest}", self.url);
                Err(Failure::usage(message))
            }
        }
    }
}

/// A cell as a part of an address.
pub fn part(cell: &CellId) -> String {
    cell_dir_name(cell).replace('%', "%25").replace('+', "%2B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one() {
        assert_eq!(
            address("https://ci.example.org/").unwrap(),
            "https://ci.example.org"
        );
        for bad in ["ci.example.org", "https://", "ftp://x", "http://a b", ""] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_users_file_is_checked() {
        let client = |text: &str| serde_yaml::from_str::<Client>(text).map(|c| c.check().len());
        assert_eq!(client("{format: 1, daemon: 'http://x'}").unwrap(), 0);
        assert_eq!(client("{format: 2, daemon: x}").unwrap(), 2);
        assert!(client("{format: 1, url: 'http://x'}").is_err());
    }
}
