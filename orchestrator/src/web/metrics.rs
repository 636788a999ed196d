//! Counters and gauges, as Prometheus reads them.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::JobState;

/// Upper ends of the buckets of answering times, in seconds.
const SECONDS: [f64; 9] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    route: String,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Hook {
    result: &'static str,
}

/// All of them.
pub struct Metrics {
    registry: Registry,
    requests: Family<Asked, Counter>,
    seconds: Family<Route, Histogram>,
    refused: Counter,
    hooks: Family<Hook, Counter>,
    jobs: Family<State, Gauge>,
    watchers: Gauge,
    ready: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("fallout");
        let requests = Family::<Asked, Counter>::default();
        let seconds = Family::<Route, Histogram>::new_with_constructor(|| Histogram::new(SECONDS));
        let (refused, hooks) = (Counter::default(), Family::<Hook, Counter>::default());
        let jobs = Family::<State, Gauge>::default();
        let (watchers, ready) = (Gauge::<i64>::default(), Gauge::<i64>::default());
        let r = &mut registry;
        r.register("http_requests", "Requests answered", requests.clone());
        r.register("http_request_seconds", "Time to answer", seconds.clone());
        r.register(
            "http_rate_limited",
            "Requests refused for their rate",
            refused.clone(),
        );
        r.register(
            "webhooks",
            "Webhooks, by what became of them",
            hooks.clone(),
        );
        r.register("jobs", "Jobs in the queue, by state", jobs.clone());
        r.register("watchers", "Event streams that are open", watchers.clone());
        r.register("ready", "Whether the index has caught up", ready.clone());
        Self {
            registry,
            requests,
            seconds,
            refused,
            hooks,
            jobs,
            watchers,
            ready,
        }
    }

    pub(super) fn request(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        // A method may be any word that somebody sends; the label must not grow with it.
        let method = match *method {
            Method::GET | Method::HEAD | Method::POST => method.as_str(),
            _ => "other",
        };
        self.requests
            .get_or_create(&Asked {
                route: route.to_owned(),
                method: method.to_owned(),
                status: status.as_u16(),
            })
            .inc();
        let route = route.to_owned();
        self.seconds
            .get_or_create(&Route { route })
            .observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self) {
        self.refused.inc();
    }

    pub(super) fn hook(&self, result: &'static str) {
        self.hooks.get_or_create(&Hook { result }).inc();
    }

    pub(super) fn watchers(&self) -> &Gauge {
        &self.watchers
    }

    /// The text, with the gauges as they are now.
    pub(super) fn text(&self, jobs: &[(JobState, u64)], ready: bool) -> String {
        for (state, n) in jobs {
            let state = state.word();
            self.jobs.get_or_create(&State { state }).set(*n as i64);
        }
        self.ready.set(i64::from(ready));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
