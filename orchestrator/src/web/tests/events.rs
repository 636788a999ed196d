//! Streams: whole, resumed, live, and at their end.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use tokio_stream::StreamExt as _;

use super::site::{DONE, LIVE, Site, job, text};
use crate::model::{Event, JobState, RunId};
use crate::store::events::EventLog;

async fn open(site: &Site, path: &str, last: Option<u64>) -> Response<Body> {
    let mut request = Request::get(path);
    if let Some(last) = last {
        request = request.header("last-event-id", last.to_string());
    }
    site.send(request.body(Body::empty()).unwrap()).await
}

/// The ids of a stream's events.
fn ids(text: &str) -> Vec<u64> {
    let ids = text.lines().filter_map(|l| l.strip_prefix("id: "));
    ids.map(|id| id.parse().unwrap()).collect()
}

/// Reads a stream that has no end until a text is there.
async fn until(response: Response<Body>, wanted: &[&str]) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    let read = async {
        while let Some(piece) = body.next().await {
            text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
            if wanted.iter().all(|w| text.contains(w)) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(20), read).await;
    for word in wanted {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    text
}

#[tokio::test]
async fn a_runs_stream_goes_on_where_the_reader_left_off() {
    let site = Site::new().await;
    let path = format!("/api/v1/runs/{DONE}/events");
    let response = open(&site, &path, None).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let whole = text(response).await;
    let all = ids(&whole);
    let last = *all.last().unwrap();
    assert_eq!(all, (0..=last).collect::<Vec<_>>());
    assert!(all.len() > 500 && whole.trim_end().ends_with("data: {}"));
    assert!(whole.contains("event: end") && !whole.contains('\u{1b}'));
    let rest = text(open(&site, &path, Some(last - 3)).await).await;
    assert_eq!(ids(&rest), [last - 2, last - 1, last]);
    let after = text(open(&site, &format!("{path}?after={}", last - 1), None).await).await;
    assert_eq!(ids(&after), [last]);
    let nothing = open(&site, &path, Some(last)).await;
    assert_eq!(nothing.status(), StatusCode::NO_CONTENT);
    let odd = Request::get(&path).header("last-event-id", "x");
    let odd = site.send(odd.body(Body::empty()).unwrap()).await;
    assert_eq!(odd.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_run_under_way_is_followed_to_its_end() {
    let site = Site::new().await;
    let response = open(&site, &format!("/api/v1/runs/{LIVE}/events"), Some(0)).await;
    let path = site.dir.path().join("runs").join(LIVE).join("events.jsonl");
    let writer = tokio::task::spawn_blocking(move || {
        let mut log = EventLog::open(&path).unwrap();
        for text in ["one", "two"] {
            std::thread::sleep(Duration::from_millis(50));
            let text = text.to_owned();
            log.append(Event::Notice { port: None, text }).unwrap();
        }
        log.append(Event::RunFinished {
            findings: 0,
            interrupted: false,
        })
        .unwrap();
    });
    let told = text(response).await;
    writer.await.unwrap();
    assert_eq!(ids(&told), [1, 2, 3, 4]);
    assert!(told.contains("event: end"));
}

#[tokio::test]
async fn everybody_hears_of_every_step_once() {
    let site = Site::new().await;
    tokio::spawn(site.app.clone().keep_up());
    // From the beginning: what was before and what comes now.
    let early = open(&site, "/api/v1/events", Some(0)).await;
    let late = open(&site, "/api/v1/events", None).await;
    let queue = site.app.queue.clone();
    queue
        .accept("second", &[job("q", "refs/heads/x")])
        .await
        .unwrap();
    queue.cancel(4, "me").await.unwrap();
    site.app.changed.notify_one();
    let cancelled = "\"job\":4,\"state\":\"cancelled\"";
    let told = until(early, &[cancelled, "event: progress", LIVE]).await;
    let seen = ids(&told);
    assert!(seen.windows(2).all(|w| w[0] < w[1]), "{seen:?}");
    assert_eq!(seen.len(), 6, "{told}");
    let told = until(late, &[cancelled]).await;
    assert_eq!(ids(&told).len(), 2, "{told}");
    let again = open(&site, "/api/v1/events", Some(seen[4])).await;
    let told = until(again, &[cancelled]).await;
    assert_eq!(ids(&told), [seen[5]]);
}

#[tokio::test]
async fn who_listens_before_the_daemon_is_up_to_date_misses_nothing() {
    let site = Site::new().await;
    let early = open(&site, "/api/v1/events", None).await;
    // The stream has read what is stored and waits.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let queue = &site.app.queue;
    queue
        .accept("second", &[job("q", "refs/heads/x")])
        .await
        .unwrap();
    tokio::spawn(site.app.clone().keep_up());
    let told = until(early, &["\"job\":4,"]).await;
    assert_eq!(ids(&told).len(), 1, "{told}");
}

#[tokio::test]
async fn streams_end_with_the_daemon_and_are_counted() {
    let site = Site::new().await;
    tokio::spawn(site.app.clone().keep_up());
    let stream = open(&site, "/api/v1/events", None).await;
    let metrics = site.page("/metrics").await;
    assert!(metrics.contains("fallout_watchers 1\n"), "{metrics}");
    site.app.stop.cancel();
    let rest = tokio::time::timeout(Duration::from_secs(10), text(stream)).await;
    assert!(rest.is_ok(), "the stream goes on");
}

#[tokio::test]
async fn the_index_keeps_up_with_a_run_under_way() {
    let site = Site::new().await;
    tokio::spawn(site.app.clone().keep_up());
    let job = site.app.queue.get(1).await.unwrap().unwrap();
    assert_eq!(
        (job.state, job.run),
        (JobState::Running, Some(LIVE.to_owned()))
    );
    let path = site.dir.path().join("runs").join(LIVE).join("events.jsonl");
    let mut log = EventLog::open(&path).unwrap();
    log.append(Event::RunFinished {
        findings: 0,
        interrupted: false,
    })
    .unwrap();
    let run = RunId(LIVE.into());
    for _ in 0..200 {
        let row = site.app.index.run(&run.0).await.unwrap().unwrap();
        if row.ended.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the index did not see the end of the run");
}
