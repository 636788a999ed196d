//! What happens, as it happens: server-sent events that go on where a reader left off.
//!
//! ```text
//! queue's feed --steps, numbered--.
//!                                 +--> keep_up --broadcast--> /api/v1/events
//! runs' logs --index, progress----'
//! a run's log --lines, numbered--------------------------> /api/v1/runs/RUN/events
//! ```
//!
//! Numbers are those of the stored things, so a reader that comes back with `Last-Event-ID` loses
//! nothing and sees nothing twice, over restarts of the daemon too. Progress has no number: it is the
//! state of now, and the next one replaces it.

mod all;
mod run;

pub use all::{keep_up, stream as all};
pub use run::stream as run;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use axum::http::StatusCode;

use super::App;
use super::problem::Problem;

/// Streams at once.
const WATCHERS: usize = 500;

/// Events that a slow reader may be behind before its stream waits for it.
const BEHIND: usize = 64;

/// A line of silence this often, so that proxies keep the stream.
const ALIVE: Duration = Duration::from_secs(15);

/// What is told to everybody who follows everything.
#[derive(Debug, Clone)]
pub enum News {
    /// A job's state changed.
    Step(Arc<crate::store::queue::Step>),
    /// What is stored up to now may not have been told: each reads it for itself.
    CatchUp,
    /// How far the runs under way are, as JSON.
    Progress(Arc<str>),
}

/// The hub.
pub struct Live {
    news: broadcast::Sender<News>,
    places: Arc<Semaphore>,
}

impl Live {
    /// Nobody follows yet.
    pub fn new() -> Self {
        Self {
            news: broadcast::channel(256).0,
            places: Arc::new(Semaphore::new(WATCHERS)),
        }
    }
}

/// Proof that a stream has a place; it counts as open for as long as this lives.
struct Place {
    _permit: OwnedSemaphorePermit,
    count: Gauge,
}

impl Place {
    fn take(app: &App) -> Result<Self, Problem> {
        let places = app.0.live.places.clone();
        let permit = places.try_acquire_owned().map_err(|_| {
            let detail = format!("{WATCHERS} event streams are open already; try again later");
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        })?;
        let count = app.metrics().watchers().clone();
        count.inc();
        Ok(Self {
            _permit: permit,
            count,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.dec();
    }
}

type Sink = mpsc::Sender<Result<Event, std::convert::Infallible>>;

/// A stream that the returned sink feeds.
fn open() -> (Sink, Response) {
    let (tx, rx) = mpsc::channel(BEHIND);
    let keep = KeepAlive::new().interval(ALIVE);
    let response = Sse::new(ReceiverStream::new(rx)).keep_alive(keep);
    (tx, response.into_response())
}

/// The number of the last event that a reader has.
fn last_seen(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|v| v.trim().parse().ok());
    let wrong = || Problem::bad("Last-Event-ID: expected the number of an event of this stream");
    number.map(Some).ok_or_else(wrong)
}
