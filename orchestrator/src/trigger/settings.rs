//! The daemon's settings: one YAML file.
//!
//! [`Settings::check`] finds what the shape cannot say. Paths are relative to the file.

use std::collections::BTreeSet;
// An address is data: nothing is opened here.
use core::net::SocketAddr;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::model::problem::{Problem, did_you_mean};
use crate::model::retention::Retention;
pub use crate::model::telling::Forge;
use crate::model::telling::{HookOut, MailTo, Smtp, Status};
use crate::model::units::{de_duration, ser_duration};
use crate::model::{Policy, Priority};

use super::choice::globs;
use super::schedule;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Version of the file's form: 1.
    pub format: u32,
    /// Where pages and API are served.
    #[serde(default = "loopback")]
    pub listen: SocketAddr,
    /// Everybody who reaches the address may read. Needed for another address than loopback.
    #[serde(default)]
    pub public: bool,
    /// Names under which pages and API are asked for, beside loopback's own: that of a proxy.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The socket that hooks hand pushes to; `daemon.sock` in the runtime directory where absent.
    #[serde(default)]
    pub socket: Option<Utf8PathBuf>,
    /// Runs that may be under way together.
    #[serde(default = "one")]
    pub runs_at_once: u32,
    /// Cores of one run; what its matrix says where absent.
    #[serde(default)]
    pub cores: Option<u32>,
    /// The settings of the cluster that does the jobs; this machine does where absent.
    #[serde(default)]
    pub cluster: Option<Utf8PathBuf>,
    /// Requests that one address may make in a second, on average; bursts may be ten times that.
    #[serde(default = "rate")]
    pub requests_per_second: u32,
    /// Where others reach the pages, for links in what is told.
    #[serde(default)]
    pub public_url: Option<String>,
    /// How mail leaves.
    #[serde(default)]
    pub mail: Option<Smtp>,
    /// What old runs keep; everything where absent.
    #[serde(default)]
    pub retention: Option<Retention>,
    /// What is watched.
    #[serde(default)]
    pub repositories: Vec<Repository>,
    /// What is run by the clock.
    #[serde(default)]
    pub schedules: Vec<Schedule>,
}

/// A git repository on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Its name, in addresses too.
    pub name: String,
    /// The directory: bare, or a `.git`.
    pub path: Utf8PathBuf,
    /// Where commits are fetched from that a webhook names and the directory lacks.
    #[serde(default)]
    pub remote: Option<String>,
    /// A forge that reports pushes.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// How often the remote is asked what is new.
    #[serde(default)]
    pub poll: Option<Poll>,
    /// A forge that shows the status of commits.
    #[serde(default)]
    pub status: Option<Status>,
    /// Webhooks out.
    #[serde(default)]
    pub hooks: Vec<HookOut>,
    /// Who gets mail of findings.
    #[serde(default)]
    pub mail: Option<MailTo>,
    /// What is run on a push; every rule that fits queues one run.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// How a remote is asked what is new. A CVS or hg repository is asked through its git conversion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// From one time to the next.
    #[serde(deserialize_with = "de_duration", serialize_with = "ser_duration")]
    pub every: Duration,
    /// Up to so much later, by a dice.
    #[serde(
        default,
        deserialize_with = "de_duration",
        serialize_with = "ser_duration"
    )]
    pub jitter: Duration,
    /// References that are looked at, as globs.
    #[serde(default = "branches")]
    pub refs: Vec<String>,
}

fn branches() -> Vec<String> {
    vec!["refs/heads/**".to_owned()]
}

/// How a forge proves that it is itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Which kind of forge.
    pub forge: Forge,
    /// The file with the secret that both know; a line end at its end does not count.
    pub secret_file: Utf8PathBuf,
}

/// What is run when which reference changes where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// References, as globs: `refs/heads/*`.
    pub refs: Vec<String>,
    /// Paths, as globs; any change where empty.
    #[serde(default)]
    pub paths: Vec<String>,
    /// What is run.
    pub run: What,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// What becomes of older changes.
    #[serde(default)]
    pub policy: Policy,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct What {
    /// The matrix file.
    pub matrix: Utf8PathBuf,
    /// Only these ports; all where empty.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Only these suites; all where empty.
    #[serde(default)]
    pub suites: Vec<String>,
    /// The directory of the repository that takes the place of the suites' `source.path`.
    #[serde(default = "dot")]
    pub source_dir: Utf8PathBuf,
    /// New findings of a run that answers for several commits whose commit is looked for, at most.
    #[serde(default = "three")]
    pub bisect: u32,
}

/// What is run by the clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Minute, hour, day, month, weekday: `0 3 * * *`.
    pub cron: String,
    /// The time zone that the hours are of: `Europe/Berlin`.
    #[serde(default = "utc")]
    pub zone: String,
    /// It fires up to so much later, by a fixed dice: not everything at the full hour.
    #[serde(
        default,
        deserialize_with = "de_duration",
        serialize_with = "ser_duration"
    )]
    pub jitter: Duration,
    /// What becomes of times that passed while the daemon was down.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// Not where the reference names the same commit as at the last time.
    #[serde(default)]
    pub only_if_changed: bool,
    /// The repository.
    pub repository: String,
    /// The full reference whose commit is run.
    pub reference: String,
    /// What is run.
    pub run: What,
    /// How urgent it is.
    #[serde(default = "nightly")]
    pub priority: Priority,
}

/// What becomes of times that passed while the daemon was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// One run for all of them, at once.
    #[default]
    Once,
    /// They are left out.
    Skip,
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 8077))
}

fn three() -> u32 {
    3
}

fn one() -> u32 {
    1
}

fn rate() -> u32 {
    50
}

fn dot() -> Utf8PathBuf {
    ".".into()
}

fn utc() -> String {
    "UTC".to_owned()
}

fn nightly() -> Priority {
    Priority::Nightly
}

impl Settings {
    /// What is wrong beyond the shape.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.format != 1 {
            let message = format!("is {}: this version reads 1", self.format);
            problems.push(Problem::new("format", message));
        }
        if !self.listen.ip().is_loopback() && !self.public {
            let message = format!(
                "{} can be reached from other machines: expected a loopback address, or public: true",
                self.listen
            );
            problems.push(Problem::new("listen", message));
        }
        for (i, host) in self.hosts.iter().enumerate() {
            if host.is_empty() || host.contains([':', '/', ' ']) {
                let message = format!("'{host}': expected a name without scheme and port");
                problems.push(Problem::new(format!("hosts[{i}]"), message));
            }
        }
        for (field, n) in [
            ("runs_at_once", self.runs_at_once),
            ("requests_per_second", self.requests_per_second),
        ] {
            if n == 0 {
                problems.push(Problem::new(field, "is 0: expected at least 1"));
            }
        }
        let names: Vec<&str> = self.repositories.iter().map(|r| r.name.as_str()).collect();
        twice("repositories", &names, &mut problems);
        for (i, repository) in self.repositories.iter().enumerate() {
            let at = format!("repositories[{i}]");
            bad_name(&format!("{at}.name"), &repository.name, &mut problems);
            if repository
                .remote
                .as_ref()
                .is_some_and(|r| r.starts_with('-') || r.is_empty())
            {
                let message = "is not an address that git could fetch from";
                problems.push(Problem::new(format!("{at}.remote"), message));
            }
            let rules: Vec<&str> = repository.rules.iter().map(|r| r.name.as_str()).collect();
            twice(&format!("{at}.rules"), &rules, &mut problems);
            for (k, rule) in repository.rules.iter().enumerate() {
                let at = format!("{at}.rules[{k}]");
                if rule.refs.is_empty() {
                    let message = "is empty: expected for example [refs/heads/*]";
                    problems.push(Problem::new(format!("{at}.refs"), message));
                }
                for (field, list) in [("refs", &rule.refs), ("paths", &rule.paths)] {
                    if let Err(why) = globs(list) {
                        problems.push(Problem::new(format!("{at}.{field}"), why));
                    }
                }
                outside(&format!("{at}.run.source_dir"), &rule.run, &mut problems);
            }
        }
        if let Some(limits) = &self.retention {
            if let Err((field, why)) = schedule::Clock::of_retention(limits) {
                problems.push(Problem::new(format!("retention.{field}"), why));
            }
            if limits.runs_at_most == Some(0) {
                problems.push(Problem::new(
                    "retention.runs_at_most",
                    "is 0: expected at least 1",
                ));
            }
        }
        let schedules: Vec<&str> = self.schedules.iter().map(|s| s.name.as_str()).collect();
        twice("schedules", &schedules, &mut problems);
        for (i, one) in self.schedules.iter().enumerate() {
            let at = format!("schedules[{i}]");
            if !names.contains(&one.repository.as_str()) {
                let message = format!("no repository '{}'", one.repository);
                let help = did_you_mean(&one.repository, names.iter().copied());
                problems.push(Problem::new(format!("{at}.repository"), message).help(help));
            }
            if let Err((field, why)) = schedule::Clock::of(one) {
                problems.push(Problem::new(format!("{at}.{field}"), why));
            }
            outside(&format!("{at}.run.source_dir"), &one.run, &mut problems);
        }
        super::telling::check(self, &mut problems);
        problems
    }

    /// The repository of a name.
    pub fn repository(&self, name: &str) -> Option<&Repository> {
        self.repositories.iter().find(|r| r.name == name)
    }

    /// The same with every path made absolute or relative to what `base` is relative to.
    #[must_use]
    pub fn below(mut self, base: &camino::Utf8Path) -> Self {
        let join = |path: &mut Utf8PathBuf| *path = base.join(&*path);
        self.socket.iter_mut().for_each(join);
        self.cluster.iter_mut().for_each(join);
        if let Some(mail) = &mut self.mail {
            mail.password_file.iter_mut().for_each(join);
            mail.ca_file.iter_mut().for_each(join);
            mail.templates.iter_mut().for_each(join);
        }
        for repository in &mut self.repositories {
            join(&mut repository.path);
            if let Some(webhook) = &mut repository.webhook {
                join(&mut webhook.secret_file);
            }
            if let Some(status) = &mut repository.status {
                join(&mut status.token_file);
            }
            (repository.hooks.iter_mut()).for_each(|h| join(&mut h.secret_file));
            repository
                .rules
                .iter_mut()
                .for_each(|r| join(&mut r.run.matrix));
        }
        self.schedules
            .iter_mut()
            .for_each(|s| join(&mut s.run.matrix));
        self
    }
}

fn twice(at: &str, names: &[&str], problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (i, name) in names.iter().enumerate() {
        if !seen.insert(name) {
            let message = format!("'{name}' is there twice");
            problems.push(Problem::new(format!("{at}[{i}].name"), message));
        }
    }
}

fn bad_name(at: &str, name: &str, problems: &mut Vec<Problem>) {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    if name.is_empty() || !name.chars().all(fits) || name.starts_with('.') {
        let message = format!("'{name}': expected letters, digits and . _ + -");
        problems.push(Problem::new(at, message));
    }
}

fn outside(at: &str, what: &What, problems: &mut Vec<Problem>) {
    let dir = &what.source_dir;
    if dir.is_absolute() || dir.components().any(|c| c.as_str() == "..") {
        let message = format!("'{dir}' leads out of the repository");
        problems.push(Problem::new(at, message));
    }
}
