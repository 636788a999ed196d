//! Who takes what was written over HTTP: the daemon, which knows the settings and the stages.

use std::future::Future;
use std::pin::Pin;

use axum::http::HeaderMap;
use serde::Deserialize;

use crate::model::Priority;

/// A future behind the trait object.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What became of a delivery or an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// These jobs are in the queue, on the disk.
    Queued(Vec<i64>),
    /// It was here before: nothing was queued.
    Known,
    /// It asks for nothing: a ping, a deleted branch, a reference that no rule is about.
    Nothing,
}

/// Why nothing was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is no such thing: the message says what, and what there is.
    Unknown(String),
    /// The signature is missing or wrong.
    Forged(String),
    /// It is not what was expected.
    Malformed(String),
    /// The host did not do its part; the sender tries again.
    Trouble(String),
}

/// A run that somebody asks for by hand. What may run is what the settings' rules name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The repository's name in the settings.
    pub repository: String,
    /// The full reference, or the commit's own where there is none: `refs/heads/main`.
    pub reference: String,
    /// The commit; what the reference names now where absent.
    #[serde(default)]
    pub commit: Option<String>,
    /// The rule of the repository that says what is run.
    pub rule: String,
    /// Only these ports of the rule's.
    #[serde(default)]
    pub ports: Vec<String>,
    /// Only these suites of the rule's.
    #[serde(default)]
    pub suites: Vec<String>,
    /// How urgent it is.
    #[serde(default = "by_hand")]
    pub priority: Priority,
}

fn by_hand() -> Priority {
    Priority::Try
}

/// A patch series that somebody wants looked at before it is in.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// The repository's name in the settings.
    pub repository: String,
    /// What it applies to: a branch, a tag or a commit.
    pub base: String,
    /// The rule of the repository that says what is run.
    pub rule: String,
    /// Mails, as `git format-patch --stdout` writes them.
    pub series: String,
}

/// The daemon, as the web sees it.
pub trait Desk: Send + Sync + 'static {
    /// Takes a webhook of a repository. Where this says `Queued`, the jobs are on the disk.
    fn deliver<'a>(
        &'a self,
        source: &'a str,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Answer<'a, Result<Taken, Refused>>;

    /// Takes an order. `delivery` is its identity: the same a second time queues nothing.
    fn order<'a>(
        &'a self,
        order: &'a Order,
        delivery: &'a str,
    ) -> Answer<'a, Result<Taken, Refused>>;

    /// Takes a patch series. The same series on the same base a second time queues nothing.
    fn attempt<'a>(
        &'a self,
        series: &'a Series,
        who: &'a str,
    ) -> Answer<'a, Result<Taken, Refused>>;
}
