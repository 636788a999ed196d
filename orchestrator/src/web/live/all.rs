//! The queue's steps and the runs' progress, for everybody at once: one task reads, the rest listen.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tracing::{info, warn};

use crate::store::index::RunRow;
use crate::store::queue::Step;
use crate::store::runs::{self, RunDir};
use crate::web::App;
use crate::web::api::take::QueryOf;
use crate::web::problem::Problem;

use super::{News, Place, Sink, last_seen, open};

/// How often the feed and the runs are looked at where nobody says that something changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs that are looked at for something new: the newest. Older ones do not change any more, but
/// for one that is resumed after long: [`ALL_EVERY`] finds that.
const NEWEST: usize = 40;

/// How many looks at the newest runs come between two at all.
const ALL_EVERY: u32 = 600;

/// Steps that are read at once.
const STEPS: u32 = 500;

/// A run under way, as progress tells it.
#[derive(Serialize)]
struct Progress<'a> {
    runs: &'a [RunRow],
}

/// Fills the index, then keeps it and those who follow up to date.
pub async fn keep_up(app: App) {
    match app.index.catch_up(&app.runs).await {
        Ok((caught, trouble)) => {
            info!(
                runs = caught.runs,
                attempts = caught.attempts,
                "the index is up to date"
            );
            for line in trouble {
                warn!(line, "a run is left out of the index");
            }
        }
        Err(why) => warn!(%why, "the index could not be filled; it is tried again"),
    }
    app.set_ready();
    let mut seen = app.queue.newest_step().await.unwrap_or(0);
    // Who came before this moment has read the feed up to another step: what lies between the two is
    // told by nobody else.
    let _ = app.0.live.news.send(News::CatchUp);
    let mut told = String::new();
    let mut looks: u32 = 0;
    let mut sizes = HashMap::new();
    loop {
        let announced = tokio::select! {
            () = app.changed.notified() => true,
            () = tokio::time::sleep(LOOK_EVERY) => false,
            () = app.stop.cancelled() => return,
        };
        match app.queue.steps(seen, STEPS).await {
            Ok(steps) => {
                for step in steps {
                    seen = seen.max(step.seq);
                    let _ = app.0.live.news.send(News::Step(Arc::new(step)));
                }
            }
            Err(why) => warn!(%why, "the queue's feed could not be read"),
        }
        if announced {
            continue;
        }
        looks = looks.wrapping_add(1);
        let all = looks.is_multiple_of(ALL_EVERY);
        look_at_runs(&app, all, &mut sizes).await;
        let Ok(under_way) = app.index.unfinished(50).await else {
            continue;
        };
        let runs = under_way.as_slice();
        let text = serde_json::to_string(&Progress { runs }).unwrap_or_default();
        if text != told {
            told.clone_from(&text);
            let _ = app.0.live.news.send(News::Progress(text.into()));
        }
    }
}

/// What a run's directory was like when the index took it in: the log's length, and whether there was
/// a report.
type Sizes = HashMap<String, (u64, bool)>;

async fn look_at_runs(app: &App, all: bool, sizes: &mut Sizes) {
    let dir = app.runs.clone();
    let most = if all { usize::MAX } else { NEWEST };
    let looked = tokio::task::spawn_blocking(move || {
        let names = runs::list(&dir).unwrap_or_default();
        let now = |name: String| {
            let log = std::fs::metadata(dir.join(&name).join("events.jsonl"));
            let size = (
                log.map_or(0, |m| m.len()),
                dir.join(&name).join("report.json").exists(),
            );
            (name, size)
        };
        names
            .into_iter()
            .rev()
            .take(most)
            .map(now)
            .collect::<Vec<_>>()
    });
    let now: Vec<_> = looked.await.unwrap_or_default();
    for (name, size) in &now {
        if app.stop.is_cancelled() {
            return;
        }
        if sizes.get(name) != Some(size) {
            let path = app.runs.join(name);
            // One that cannot be read was told when the index was filled, or will be by its own end.
            let _ = app.index.ingest(&RunDir { path }).await;
        }
    }
    *sizes = now.into_iter().take(NEWEST).collect();
}

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// After this step; `Last-Event-ID` goes before. Now where neither is given.
    after: Option<u64>,
}

/// `/api/v1/events`
pub async fn stream(
    State(app): State<App>,
    QueryOf(from): QueryOf<Start>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = last_seen(&headers)?.or(from.after);
    let after = match after {
        Some(n) => i64::try_from(n).unwrap_or(i64::MAX),
        None => app.queue.newest_step().await?,
    };
    let place = Place::take(&app)?;
    let (sink, response) = open();
    tokio::spawn(async move {
        follow(&app, after, &sink).await;
        drop(place);
    });
    Ok(response)
}

async fn follow(app: &App, mut after: i64, sink: &Sink) {
    // First the ears, then what was: nothing falls in between.
    let mut news = app.0.live.news.subscribe();
    if !backlog(app, &mut after, sink).await {
        return;
    }
    loop {
        let heard = tokio::select! {
            heard = news.recv() => heard,
            () = sink.closed() => return,
            () = app.stop.cancelled() => return,
        };
        let going = match heard {
            Ok(News::Step(step)) => tell(&step, &mut after, sink).await,
            Ok(News::Progress(text)) => {
                let event = Event::default().event("progress").data(&*text);
                sink.send(Ok(event)).await.is_ok()
            }
            Ok(News::CatchUp) | Err(RecvError::Lagged(_)) => backlog(app, &mut after, sink).await,
            Err(RecvError::Closed) => return,
        };
        if !going {
            return;
        }
    }
}

/// Tells what is stored after a step. False where nobody listens any more.
async fn backlog(app: &App, after: &mut i64, sink: &Sink) -> bool {
    loop {
        let Ok(steps) = app.queue.steps(*after, STEPS).await else {
            return false;
        };
        if steps.is_empty() {
            return true;
        }
        for step in steps {
            if !tell(&step, after, sink).await {
                return false;
            }
        }
    }
}

async fn tell(step: &Step, after: &mut i64, sink: &Sink) -> bool {
    if step.seq <= *after {
        return true;
    }
    *after = step.seq;
    let text = serde_json::to_string(step).unwrap_or_default();
    let event = Event::default().id(step.seq.to_string()).data(text);
    sink.send(Ok(event)).await.is_ok()
}
