//! What stands before every handler: names, rates, times, headers, and the count of it all.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::info;

use super::App;
use super::problem::{Problem, fitting};

/// How long a handler may take, the reading of the body included. Streams answer at once.
const ANSWER_IN: Duration = Duration::from_secs(20);

/// A request that took longer is told in the log.
const SLOW: Duration = Duration::from_secs(1);

/// Where a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// The policy of pages: nothing but this server's own files, nothing inline, no frames.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
    img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (header::CACHE_CONTROL, "no-cache"),
];

/// Whether a name in `Host` is one under which this server is meant to be asked. Without this, a
/// page elsewhere could read a loopback server by having its own name point here.
fn is_ours(headers: &HeaderMap, app: &App) -> bool {
    if app.options.public {
        return true;
    }
    let Some(host) = headers.get(header::HOST).and_then(|h| h.to_str().ok()) else {
        // HTTP/1.0 and tests; no browser leaves it out.
        return true;
    };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let loopback = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let known = |h: &String| h.eq_ignore_ascii_case(name);
    loopback || name.eq_ignore_ascii_case("localhost") || app.options.hosts.iter().any(known)
}

/// Outside everything else: refuses what must not come in, adds the headers, also to refusals.
pub async fn outer(State(app): State<App>, request: Request, next: Next) -> Response {
    let uri = request.uri().clone();
    let peer = request.extensions().get::<Peer>();
    let who = peer.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |p| p.0.ip());
    // A forge that signs may report as fast as people push: nothing of that is lost for its rate.
    // What it costs is known afterwards.
    let is_hook = uri.path().starts_with("/webhooks/");
    let cost = if is_hook { 0.0 } else { 1.0 };
    let mut response = if !is_ours(request.headers(), &app) {
        let detail = "this server is not asked for by that name; see 'hosts' in its settings";
        fitting(&uri, Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
    } else if !app.0.rates.take(who, Instant::now(), cost) {
        let detail = "too many requests from this address; try again in a second";
        let mut response = fitting(&uri, Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        app.metrics().refused();
        response
    } else {
        match tokio::time::timeout(ANSWER_IN, next.run(request)).await {
            Ok(response) => response,
            Err(_) => {
                let detail = "the request took too long";
                fitting(&uri, Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
            }
        }
    };
    if is_hook && response.status().is_client_error() {
        app.0.rates.take(who, Instant::now(), 1.0);
    }
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// Around the handlers: counts and times by route.
pub async fn inner(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("other", |m| m.as_str()).to_owned();
    let method = request.method().clone();
    let began = Instant::now();
    let response = next.run(request).await;
    let took = began.elapsed();
    let status = response.status();
    app.metrics().request(&route, &method, status, took);
    if took >= SLOW || status.is_server_error() {
        info!(route, %method, status = status.as_u16(), ms = took.as_millis() as u64, "answered");
    }
    response
}
