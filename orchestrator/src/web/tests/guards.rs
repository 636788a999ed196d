//! What stands before the handlers, health, and webhooks' answers.

use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::site::{Site, options, text};
use crate::web::Options;

#[tokio::test]
async fn every_answer_has_the_headers_that_keep_it_safe() {
    let site = Site::new().await;
    for path in [
        "/",
        "/healthz",
        "/api/v1/runs",
        "/nothing",
        "/assets/web.css",
    ] {
        let response = site.get(path).await;
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let policy = header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none';"),
            "{path}: {policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("referrer-policy"), "same-origin");
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-origin")
        );
    }
}

#[tokio::test]
async fn only_names_of_ours_are_answered() {
    let site = Site::new().await;
    let ask = |host: &'static str| {
        let request = Request::get("/healthz").header("host", host);
        site.send(request.body(Body::empty()).unwrap())
    };
    for host in [
        "localhost:8077",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]:8077",
        "CI.example",
    ] {
        assert_eq!(ask(host).await.status(), StatusCode::OK, "{host}");
    }
    for host in ["evil.example", "localhost.evil.example:80", "10.0.0.1"] {
        assert_eq!(
            ask(host).await.status(),
            StatusCode::MISDIRECTED_REQUEST,
            "{host}"
        );
    }
}

#[tokio::test]
async fn floods_are_refused() {
    let slow = Options {
        requests_per_second: 1,
        ..options()
    };
    let site = Site::with(slow).await;
    // Ten at once, then one a second: even a slow machine asks faster than that.
    let mut passed = 0;
    for _ in 0..300 {
        let response = site.get("/healthz").await;
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(response.headers()["retry-after"], "1");
            break;
        }
        passed += 1;
    }
    assert!((10..300).contains(&passed), "{passed}");
}

#[tokio::test]
async fn signed_webhooks_are_not_limited_and_guesses_are() {
    let slow = Options {
        requests_per_second: 1,
        ..options()
    };
    let site = Site::with(slow).await;
    let send = |source: &str| {
        let request = Request::post(format!("/webhooks/{source}"));
        site.send(request.body(Body::from("x")).unwrap())
    };
    for _ in 0..50 {
        assert_eq!(send("r").await.status(), StatusCode::ACCEPTED);
    }
    let mut refused = false;
    for _ in 0..300 {
        refused |= send("forged").await.status() == StatusCode::TOO_MANY_REQUESTS;
        if refused {
            break;
        }
    }
    assert!(refused);
}

#[tokio::test]
async fn readiness_waits_for_the_index_and_metrics_count() {
    let site = Site::new().await;
    assert_eq!(
        site.get("/readyz").await.status(),
        StatusCode::SERVICE_UNAVAILABLE
    );
    site.app.set_ready();
    assert_eq!(site.get("/readyz").await.status(), StatusCode::OK);
    site.get("/runs/absent").await;
    let metrics = site.page("/metrics").await;
    for line in [
        "fallout_ready 1",
        "fallout_jobs{state=\"queued\"} 2",
        "fallout_jobs{state=\"running\"} 1",
        "fallout_http_requests_total{route=\"/readyz\",method=\"GET\",status=\"503\"} 1",
        "fallout_http_requests_total{route=\"/runs/{run}\",method=\"GET\",status=\"404\"} 1",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
}

#[tokio::test]
async fn a_webhook_is_answered_by_what_became_of_it() {
    let site = Site::new().await;
    let send = |source: &str, bytes: usize| {
        let request = Request::post(format!("/webhooks/{source}"));
        site.send(request.body(Body::from("x".repeat(bytes))).unwrap())
    };
    for (source, status) in [
        ("r", 202),
        ("known", 200),
        ("ping", 200),
        ("forged", 403),
        ("odd", 422),
        ("full", 503),
    ] {
        let response = send(source, 10).await;
        assert_eq!(response.status().as_u16(), status, "{source}");
        // What went wrong inside is for the log.
        assert!(!text(response).await.contains("secret"), "{source}");
    }
    let (largest, too_large) = (1 << 20, (1 << 20) + 1);
    assert_eq!(send("r", largest).await.status(), StatusCode::ACCEPTED);
    assert_eq!(
        send("r", too_large).await.status(),
        StatusCode::PAYLOAD_TOO_LARGE
    );
    let metrics = site.page("/metrics").await;
    assert!(
        metrics.contains("fallout_webhooks_total{result=\"queued\"} 2"),
        "{metrics}"
    );
    assert!(metrics.contains("fallout_webhooks_total{result=\"forged\"} 1"));
}

#[tokio::test]
async fn a_fault_of_ours_is_an_answer_and_not_the_end() {
    let site = Site::new().await;
    let request = Request::post("/webhooks/panic")
        .body(Body::empty())
        .unwrap();
    let response = site.send(request).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!text(response).await.contains("a fault of ours"));
    assert_eq!(site.get("/healthz").await.status(), StatusCode::OK);
}
