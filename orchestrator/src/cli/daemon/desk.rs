//! What comes over HTTP, into the queue: webhooks, verified by the trigger's rules, and orders.

use std::sync::Arc;

use axum::http::HeaderMap;
use tracing::info;

use crate::cli::hook::git_dir;
use crate::host::history;
use crate::model::problem::did_you_mean;
use crate::model::{ChangeSet, NewJob, Policy};
use crate::store::StoreError;
use crate::store::queue::Accepted;
use crate::trigger::choice::{choose, spec};
use crate::trigger::hook::{is_object, is_reference};
use crate::trigger::settings::{Repository, Webhook};
use crate::trigger::webhook::{self, Said};
use crate::web::{Answer, Desk, Order, Refused, Series, Taken};

use super::Daemon;
use super::intake::paths;

/// The daemon at its desk.
pub struct Counter(pub Arc<Daemon>);

fn trouble(why: impl std::fmt::Display) -> Refused {
    Refused::Trouble(why.to_string())
}

impl Desk for Counter {
    fn deliver<'a>(
        &'a self,
        source: &'a str,
        headers: &'a HeaderMap,
        body: &'a [u8],
    ) -> Answer<'a, Result<Taken, Refused>> {
        Box::pin(self.webhook(source, headers, body))
    }

    fn order<'a>(
        &'a self,
        order: &'a Order,
        delivery: &'a str,
    ) -> Answer<'a, Result<Taken, Refused>> {
        Box::pin(self.by_hand(order, delivery))
    }

    fn attempt<'a>(
        &'a self,
        series: &'a Series,
        who: &'a str,
    ) -> Answer<'a, Result<Taken, Refused>> {
        Box::pin(self.tried(series, who))
    }
}

impl Counter {
    /// The repository of a webhook. Whether there is one is said to nobody who cannot sign: the
    /// answer for a name that is not there is the answer for a wrong signature.
    fn source(&self, name: &str) -> Result<(&Repository, &Webhook), Refused> {
        let repository = self.0.settings.repository(name);
        let found = repository.and_then(|r| Some((r, r.webhook.as_ref()?)));
        found.ok_or_else(|| Refused::Forged(webhook::Refused::Signature.to_string()))
    }

    async fn webhook(
        &self,
        source: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Taken, Refused> {
        let (repository, webhook) = self.source(source)?;
        let secret = tokio::fs::read(&webhook.secret_file)
            .await
            .map_err(|e| trouble(format!("{}: {e}", webhook.secret_file)))?;
        let secret = secret.strip_suffix(b"\n").unwrap_or(&secret);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.is_empty() {
            return Err(trouble(format!("{}: is empty", webhook.secret_file)));
        }
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        let said = webhook::read(webhook.forge, secret, &repository.name, &header, body);
        let (change, delivery) = match said {
            Ok(Said::Push { change, delivery }) => (change, delivery),
            Ok(Said::Nothing) => return Ok(Taken::Nothing),
            Err(why @ webhook::Refused::Signature) => return Err(Refused::Forged(why.to_string())),
            Err(why @ webhook::Refused::Body) => return Err(Refused::Malformed(why.to_string())),
        };
        let touched = touched(repository, &change).await;
        let jobs = choose(repository, &change, touched.as_deref());
        if jobs.is_empty() {
            return Ok(Taken::Nothing);
        }
        self.accept(&delivery, &jobs, "webhook").await
    }

    async fn by_hand(&self, order: &Order, delivery: &str) -> Result<Taken, Refused> {
        let settings = &self.0.settings;
        let repository = settings.repository(&order.repository).ok_or_else(|| {
            let names = settings.repositories.iter().map(|r| r.name.as_str());
            Refused::Unknown(nearest("repository", &order.repository, names))
        })?;
        let rule = repository.rules.iter().find(|r| r.name == order.rule);
        let rule = rule.ok_or_else(|| {
            let names = repository.rules.iter().map(|r| r.name.as_str());
            Refused::Unknown(nearest("rule", &order.rule, names))
        })?;
        if !is_reference(&order.reference) {
            let why = "reference: expected a full one, for example refs/heads/main";
            return Err(Refused::Malformed(why.to_owned()));
        }
        let mut spec = spec(&rule.run);
        narrow("ports", &mut spec.ports, &order.ports)?;
        narrow("suites", &mut spec.suites, &order.suites)?;
        let name = match &order.commit {
            Some(commit) if is_object(commit) => commit.clone(),
            Some(_) => {
                let why = "commit: expected 40 or 64 hexadecimal digits";
                return Err(Refused::Malformed(why.to_owned()));
            }
            None => order.reference.clone(),
        };
        let (dir, asked) = (git_dir(&repository.path), name.clone());
        let found = tokio::task::spawn_blocking(move || history::commit(&dir, &asked)).await;
        let found = found.map_err(trouble)?.map_err(trouble)?;
        let new = found.ok_or_else(|| {
            Refused::Unknown(format!("repository {} has no {name}", repository.name))
        })?;
        let job = NewJob {
            change: ChangeSet {
                repository: repository.name.clone(),
                reference: order.reference.clone(),
                old: None,
                new,
            },
            choice: rule.name.clone(),
            spec,
            priority: order.priority,
            // Somebody wants this very run.
            policy: Policy::Each,
        };
        self.accept(delivery, &[job], "order").await
    }

    async fn tried(&self, series: &Series, who: &str) -> Result<Taken, Refused> {
        let settings = &self.0.settings;
        let repository = settings.repository(&series.repository).ok_or_else(|| {
            let names = settings.repositories.iter().map(|r| r.name.as_str());
            Refused::Unknown(nearest("repository", &series.repository, names))
        })?;
        let (daemon, repository) = (self.0.clone(), repository.clone());
        let (series, who) = (series.clone(), who.to_owned());
        let taken = tokio::task::spawn_blocking(move || {
            super::tries::take(&daemon, &repository, &series, &who)
        });
        let (job, delivery) = taken.await.map_err(trouble)??;
        self.accept(&delivery, &[job], "try").await
    }

    async fn accept(
        &self,
        delivery: &str,
        jobs: &[NewJob],
        cause: &'static str,
    ) -> Result<Taken, Refused> {
        let accepted = self.0.queue.accept(delivery, jobs).await;
        match accepted.map_err(|e: StoreError| trouble(e))? {
            Accepted::Queued { jobs, cancelling } => {
                info!(cause, ?jobs, ?cancelling, "queued");
                self.0.knocked.notify_one();
                Ok(Taken::Queued(jobs))
            }
            Accepted::Duplicate => {
                info!(cause, delivery, "known already");
                Ok(Taken::Known)
            }
        }
    }
}

/// The paths of a change, where a rule asks for them and they can be known.
async fn touched(repository: &Repository, change: &ChangeSet) -> Option<Vec<String>> {
    if repository.rules.iter().all(|r| r.paths.is_empty()) {
        return None;
    }
    let (repository, change) = (repository.clone(), change.clone());
    let asked = tokio::task::spawn_blocking(move || paths(&repository, &change));
    asked.await.ok().flatten()
}

pub(super) fn nearest<'a>(
    what: &str,
    given: &str,
    names: impl Iterator<Item = &'a str> + Clone,
) -> String {
    let near = did_you_mean(given, names).map_or(String::new(), |n| format!("; {n}"));
    format!("no {what} '{given}'{near}")
}

/// Leaves of what a rule runs what the order asks for; a rule without a list runs all there are.
fn narrow(field: &str, rule: &mut Vec<String>, order: &[String]) -> Result<(), Refused> {
    if order.is_empty() {
        return Ok(());
    }
    if let Some(other) = order.iter().find(|o| !rule.is_empty() && !rule.contains(o)) {
        let have = rule.join(", ");
        let why = format!("{field}: the rule does not run '{other}', only {have}");
        return Err(Refused::Malformed(why));
    }
    *rule = order.to_vec();
    Ok(())
}
