//! What the daemon shows and takes over HTTP: pages for people, an API for programs, webhooks.
//!
//! ```text
//! connection --guard: host, rate, time-out--> pages -----.
//!                                        |-> api/v1 -----+--> index, run directories, queue
//!                                        |-> events -----'
//!                                        `-> webhooks, orders --Desk--> the daemon --> queue
//! ```
//!
//! Reading is open to whoever reaches the address, which is loopback unless the settings say
//! otherwise. Writing needs a token of the right scope, or a webhook's signature; nothing is written
//! by cookies, so no other site can write through somebody's browser. What came out of a guest is
//! cleaned (`host::text`) and escaped by the templates, and a content security policy forbids
//! everything that is not this server's own.
//!
//! What it does not do: run anything, decide what is run (the daemon does, behind [`Desk`]), judge, or
//! keep anything of its own beside counters.

mod api;
mod auth;
mod console;
mod desk;
mod guard;
mod health;
mod hooks;
mod live;
mod metrics;
mod pages;
mod problem;
mod rate;
mod serve;
#[cfg(test)]
mod tests;

pub use desk::{Answer, Desk, Order, Refused, Series, Taken};
pub use metrics::Metrics;
pub use serve::serve;

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::{get, post};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

use crate::model::Port;
use crate::store::benches;
use crate::store::index::Index;
use crate::store::queue::Queue;

/// The largest body that anything but a webhook may have, in bytes.
const BODY_BYTES: usize = 64 << 10;

/// What the settings say about serving.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everybody who reaches the address may read, under whatever name it has.
    pub public: bool,
    /// Names under which the server is asked for, beside loopback's own.
    pub hosts: Vec<String>,
    /// Requests that one address may make in a second, on average.
    pub requests_per_second: u32,
    /// The largest webhook that is taken, in bytes.
    pub webhook_bytes: usize,
}

/// What every handler has at hand.
pub struct Parts {
    /// The index over all runs.
    pub index: Arc<Index>,
    /// The daemon's queue.
    pub queue: Arc<Queue>,
    /// Where runs are.
    pub runs: PathBuf,
    /// Who takes orders and webhooks.
    pub desk: Arc<dyn Desk>,
    /// The manifests of ports, where there are any.
    pub ports: Vec<Port>,
    /// The settings.
    pub options: Options,
    /// Ends streams, and then the server.
    pub stop: CancellationToken,
    /// Something changed that followers want to see: a job was queued, cancelled, taken.
    pub changed: Arc<Notify>,
}

struct Inner {
    parts: Parts,
    metrics: Metrics,
    rates: rate::Rates,
    live: live::Live,
    finished: pages::Finished,
    ready: AtomicBool,
}

/// The application: cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Inner>);

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl App {
    /// Nothing is served yet.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Inner {
            rates: rate::Rates::new(parts.options.requests_per_second),
            parts,
            metrics: Metrics::new(),
            live: live::Live::new(),
            finished: pages::Finished::default(),
            ready: AtomicBool::new(false),
        }))
    }

    /// The index has caught up with the runs: what is shown is what is there.
    pub fn set_ready(&self) {
        self.0.ready.store(true, Ordering::Release);
    }

    fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Acquire)
    }

    /// Where measurements are: beside the runs.
    fn benches(&self) -> PathBuf {
        self.runs.parent().map_or_else(PathBuf::new, benches::dir)
    }

    fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Keeps the index and those who follow up to date, until the daemon stops.
    pub async fn keep_up(self) {
        live::keep_up(self).await;
    }
}

/// Every route, with everything that stands before it.
pub fn router(app: App) -> Router {
    let hooks = post(hooks::receive).layer(DefaultBodyLimit::max(app.options.webhook_bytes));
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/webhooks/{source}", hooks)
        .merge(api::router())
        .merge(pages::router())
        .fallback(problem::nowhere)
        .method_not_allowed_fallback(problem::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(middleware::from_fn_with_state(app.clone(), guard::inner))
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn_with_state(app.clone(), guard::outer))
        .with_state(app)
}
