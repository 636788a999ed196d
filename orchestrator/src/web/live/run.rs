//! One run's log as a stream: every line that is in it, and every one that comes.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use crate::store::events::Tail;
use crate::web::App;
use crate::web::api::take::{PathOf, QueryOf};
use crate::web::problem::Problem;

use super::{Place, Sink, last_seen, open};

/// How often the log is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// Bytes of the log that are read at once.
const PIECE: usize = 256 << 10;

/// Where to begin.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// After this event; `Last-Event-ID` goes before.
    after: Option<u64>,
}

/// Of an event, what decides whether more can come.
#[derive(Deserialize)]
struct Kind {
    what: What,
}

#[derive(Deserialize)]
struct What {
    event: String,
}

/// `/api/v1/runs/RUN/events`. 204 where the run is over and the reader has it all: that tells a
/// browser's `EventSource` not to come back.
pub async fn stream(
    State(app): State<App>,
    PathOf(run): PathOf<String>,
    QueryOf(from): QueryOf<Start>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = app.index.run(&run).await?;
    let row = row.ok_or_else(|| Problem::absent(format!("run {run}")))?;
    let seen = last_seen(&headers)?.or(from.after);
    let next = seen.map_or(0, |n| n.saturating_add(1));
    let path = app.runs.join(&row.run).join("events.jsonl");
    let (tail, lines) = read(Tail::new(path), next).await?;
    if lines.is_empty() && row.ended.is_some() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let place = Place::take(&app)?;
    let (sink, response) = open();
    tokio::spawn(async move {
        follow(&app, tail, lines, next, &sink).await;
        drop(place);
    });
    Ok(response)
}

type Lines = Vec<(u64, String)>;

async fn read(mut tail: Tail, from: u64) -> Result<(Tail, Lines), Problem> {
    let done = tokio::task::spawn_blocking(move || {
        let lines = tail.read(from, PIECE);
        (tail, lines)
    });
    let broken = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "an internal error");
    let (tail, lines) = done.await.map_err(broken)?;
    Ok((tail, lines?))
}

async fn follow(app: &App, mut tail: Tail, mut lines: Lines, from: u64, sink: &Sink) {
    let mut over = false;
    loop {
        for (seq, line) in lines.drain(..) {
            let kind = serde_json::from_str::<Kind>(&line).map(|k| k.what.event);
            over = matches!(kind.as_deref(), Ok("run_finished"));
            let event = Event::default().id(seq.to_string()).data(line);
            if sink.send(Ok(event)).await.is_err() {
                return;
            }
        }
        match read(tail, from).await {
            Ok((back, more)) => (tail, lines) = (back, more),
            Err(_) => return,
        }
        if !lines.is_empty() {
            continue;
        }
        if over {
            let _ = sink
                .send(Ok(Event::default().event("end").data("{}")))
                .await;
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = sink.closed() => return,
            () = app.stop.cancelled() => return,
        }
    }
}
