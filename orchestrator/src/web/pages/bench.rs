//! `/bench`, `/bench/ID`: what `fallout bench` measured, with intervals.

use askama::Template;
use axum::extract::State;
use serde::Deserialize;

use crate::store::StoreError;
use crate::store::benches::{self, Bench, OnPort};
use crate::web::App;
use crate::web::api::take::{PathOf, QueryOf};
use crate::web::problem::Problem;

use super::plot::{self, Interval};
use super::views::{self, When};
use super::{Answer, show};

const LISTED: usize = 20;

/// Pairs that a plot has as dots.
const DOTS: usize = 300;

/// Where the list goes on.
#[derive(Debug, Default, Deserialize)]
pub struct Before {
    before: Option<String>,
}

struct Line {
    id: String,
    at: When,
    suite: String,
    a: String,
    b: String,
    ports: Vec<PortLine>,
    plot: String,
}

struct PortLine {
    port: String,
    class: &'static str,
    measured: String,
    sentence: String,
    middle: String,
    blind_to: String,
}

fn port_line(on: &OnPort) -> PortLine {
    PortLine {
        port: views::name(&on.port),
        class: match on.comparison.answer.as_str() {
            "faster" => "passed",
            "slower" => "failed",
            _ => "missed",
        },
        measured: views::name(&on.measured),
        sentence: views::clean(&on.sentence, 400),
        middle: middle(on),
        blind_to: views::clean(&on.blind_to, 400),
    }
}

/// The medians of both.
fn middle(on: &OnPort) -> String {
    let median = |which: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = on.pairs_ns.iter().map(which).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let (a, b) = (median(|p| p.0) / 1e6, median(|p| p.1) / 1e6);
    match on.measured.as_str() {
        "instructions" => format!("A {a:.2}, B {b:.2} million instructions"),
        _ => format!("A {a:.2} ms, B {b:.2} ms"),
    }
}

fn interval(on: &OnPort, with_dots: bool) -> Interval {
    let ratio = |(a, b): &(f64, f64)| 100.0 * (b / a - 1.0);
    let dots = on.pairs_ns.iter().take(DOTS).map(ratio);
    let numbers = &on.comparison;
    Interval {
        at: numbers.percent,
        low: numbers.low,
        high: numbers.high,
        dots: dots.filter(|_| with_dots).collect(),
        answer: numbers.answer.clone(),
    }
}

fn line(bench: &Bench, with_dots: bool) -> Line {
    let title = |m: &benches::Measured| views::clean(&format!("{} ({})", m.command, m.side), 300);
    let rows: Vec<Interval> = bench.ports.iter().map(|p| interval(p, with_dots)).collect();
    let names: Vec<String> = bench.ports.iter().map(|p| views::name(&p.port)).collect();
    let label = format!("B against A in percent, by port: {}", names.join(", "));
    Line {
        id: views::name(&bench.id),
        at: views::when(bench.at),
        suite: views::name(&bench.suite),
        a: title(&bench.a),
        b: title(&bench.b),
        ports: bench.ports.iter().map(port_line).collect(),
        plot: plot::intervals(&rows, &label),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Problem::absent("measurement")),
    }
}

#[derive(Template)]
#[template(path = "pages/benches.html")]
struct List {
    benches: Vec<Line>,
    next: String,
}

/// `/bench`
pub async fn list(State(app): State<App>, QueryOf(from): QueryOf<Before>) -> Answer {
    let dir = app.benches();
    let found = blocking(move || {
        let names = benches::list(&dir, from.before.as_deref(), LISTED + 1)?;
        // One that another version wrote is left out.
        let read = |id: &String| benches::get(&dir, id).ok().flatten();
        Ok((
            names
                .iter()
                .take(LISTED)
                .filter_map(read)
                .collect::<Vec<_>>(),
            names,
        ))
    });
    let (benches, names) = found.await?;
    let next = names.get(LISTED - 1).filter(|_| names.len() > LISTED);
    Ok(show(&List {
        benches: benches.iter().map(|b| line(b, false)).collect(),
        next: next.map_or(String::new(), |n| {
            format!("/bench?before={}", views::encoded(n))
        }),
    }))
}

#[derive(Template)]
#[template(path = "pages/bench.html")]
struct Page {
    bench: Line,
}

/// `/bench/ID`
pub async fn page(State(app): State<App>, PathOf(id): PathOf<String>) -> Answer {
    let (dir, name) = (app.benches(), id.clone());
    let bench = blocking(move || benches::get(&dir, &name)).await?;
    let bench = bench.ok_or_else(|| Problem::absent(format!("measurement {id}")))?;
    Ok(show(&Page {
        bench: line(&bench, true),
    }))
}
