//! `fallout bench`: two variants, measured in turns, and what their difference is worth.

use crate::engine::bench::{self, Measure, Measured, Order, Variant};
use crate::engine::bus::Bus;
use crate::model::{CellId, PortName, Side};
use crate::store::benches::{self, Bench};
use crate::verdict::bench::{Answer, Comparison, compare};

use super::args::{BenchArgs, MeasureArg};
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// One port's part of the answer.
struct Row {
    port: PortName,
    measured: Measured,
    comparison: Comparison,
}

/// `fallout bench`
pub fn run(context: &Context, args: &BenchArgs) -> Outcome {
    let setup = super::run::setup(context, &args.matrix, &args.only, false, None)?;
    let suites: Vec<&str> = setup
        .resolved
        .suites
        .iter()
        .map(|s| s.name.as_str())
        .collect();
    let &[name] = suites.as_slice() else {
        return Err(Failure::usage(format!(
            "{} has several suites: choose one with --suites, of {}",
            args.matrix,
            suites.join(", ")
        )));
    };
    let (a, b) = variants(args)?;
    let suite = setup
        .resolved
        .suite(name)
        .ok_or_else(|| Failure::internal("no suite"))?;
    for side in [a.side, b.side] {
        if !suite.sides().contains(&side) {
            return Err(Failure::usage(format!(
                "suite {name} has no {side}: give -B, or a baseline in the matrix"
            )));
        }
    }
    context.dirs.make_runtime()?;
    let mut rows = Vec::new();
    let runtime = failure::runtime()?;
    let points = suite.points.clone();
    let work = async {
        for point in points {
            let order = Order {
                id: CellId {
                    suite: name.to_owned(),
                    port: point.port.clone(),
                    variant: point.variant,
                    side: a.side,
                },
                a: a.clone(),
                b: b.clone(),
                pairs: args.pairs,
                guests: args.guests,
                measure: match args.count {
                    MeasureArg::Time => Measure::Time,
                    MeasureArg::Instructions => Measure::Instructions,
                },
            };
            let port = point.port;
            eprintln!("{port}: {} pairs", args.pairs);
            let mut tell = |n: u32, (a, b): (f64, f64)| {
                eprintln!("{port}: pair {n}: A {:.0} ns, B {:.0} ns", a, b);
            };
            let measured = bench::measure(&setup, &order, &Bus::unlogged(), &mut tell).await?;
            if measured.measure != order.measure {
                eprintln!(
                    "{port}: instructions cannot be counted there (its manifest says so): time is"
                );
            }
            let comparison = compare(&measured.pairs, args.seed);
            rows.push(Row {
                port,
                measured,
                comparison,
            });
        }
        Ok::<_, crate::engine::RunError>(())
    };
    let Some(ended) = failure::until_interrupted(runtime, work) else {
        return Err(Failure::interrupted("interrupted"));
    };
    ended?;
    let document = json(&rows, &a, &b);
    let mut bench: Bench = serde_json::from_value(document.clone()).map_err(Failure::internal)?;
    bench.matrix = args.matrix.to_string();
    bench.suite = name.to_owned();
    let kept = benches::put(&benches::dir(context.dirs.state.as_std_path()), bench)?;
    eprintln!("kept as {}", kept.id);
    if args.json {
        print(&serde_json::to_string_pretty(&document).map_err(Failure::internal)?)?;
    } else {
        print(&render(&rows, &a, &b))?;
    }
    let different = |row: &Row| matches!(row.comparison.answer, Answer::Faster | Answer::Slower);
    Ok(match rows.iter().any(different) {
        true => Exit::Findings,
        false => Exit::Clean,
    })
}

/// A and B: two commands on one build, or one command on the two sides.
fn variants(args: &BenchArgs) -> Result<(Variant, Variant), Failure> {
    let sides = match (&args.b, args.sides.as_slice()) {
        (_, [a, b]) => (Side::from(*a), Side::from(*b)),
        (Some(_), []) => (Side::Candidate, Side::Candidate),
        (None, []) => (Side::Baseline, Side::Candidate),
        (_, _) => return Err(Failure::usage("--sides: expected two, A's and B's")),
    };
    let variant = |side, command: &str| Variant {
        side,
        command: command.to_owned(),
    };
    Ok((
        variant(sides.0, &args.a),
        variant(sides.1, args.b.as_ref().unwrap_or(&args.a)),
    ))
}

fn title(variant: &Variant) -> String {
    format!("{} ({})", variant.command, variant.side)
}

fn render(rows: &[Row], a: &Variant, b: &Variant) -> String {
    let mut out = format!("A: {}\nB: {}\n\n", title(a), title(b));
    for row in rows {
        let word = row.measured.measure.word();
        let sentence = row.comparison.sentence("A", "B", word);
        out.push_str(&format!("{}: {sentence}\n", row.port));
        if let Some((a, b)) = middle(&row.measured) {
            let of = |value: f64| match row.measured.measure {
                Measure::Instructions => format!("{:.2} million instructions", value / 1e6),
                Measure::Time => format!("{:.2} ms", value / 1e6),
            };
            out.push_str(&format!("    in the middle A {}, B {}\n", of(a), of(b)));
        }
    }
    let mut told = Vec::new();
    for row in rows {
        let measure = row.measured.measure;
        if !told.contains(&measure) {
            told.push(measure);
            out.push_str(&format!("\nMeasured: {}.\n", measure.blind_to()));
        }
    }
    out
}

/// The medians of both variants.
fn middle(measured: &Measured) -> Option<(f64, f64)> {
    let median = |which: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = measured.pairs.iter().map(which).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    median(|p| p.0).zip(median(|p| p.1))
}

fn json(rows: &[Row], a: &Variant, b: &Variant) -> serde_json::Value {
    let ports: Vec<_> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "port": row.port,
                "measured": row.measured.measure,
                "sentence": row.comparison.sentence("A", "B", row.measured.measure.word()),
                "comparison": row.comparison,
                "pairs_ns": row.measured.pairs,
                "blind_to": row.measured.measure.blind_to(),
            })
        })
        .collect();
    serde_json::json!({
        "format": 1,
        "a": {"command": a.command, "side": a.side},
        "b": {"command": b.command, "side": b.side},
        "ports": ports,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_reads() {
        let row = |port: &str, measure, ratio: f64| {
            let pairs = vec![(2e8, 2e8 * ratio); 10];
            Row {
                port: port.into(),
                comparison: compare(&pairs, 1),
                measured: Measured { measure, pairs },
            }
        };
        let rows = [
            row("amd64", Measure::Instructions, 0.5),
            row("sparc64", Measure::Time, 1.0),
        ];
        let variant = |command: &str| Variant {
            side: Side::Candidate,
            command: command.to_owned(),
        };
        let text = render(&rows, &variant("x fork"), &variant("x spawn"));
        let (answers, told) = text.split_once("\nMeasured: ").unwrap();
        insta::assert_snapshot!(answers, @r"
        A: x fork (candidate)
        B: x spawn (candidate)

        amd64: B takes fewer instructions than A: by 50.0% ± 0% (99.5%, 10 pairs)
            in the middle A 200.00 million instructions, B 100.00 million instructions
        sparc64: no difference between A and B larger than 0% could hide (99.5%, 10 pairs)
            in the middle A 200.00 ms, B 200.00 ms
        ");
        let kept: Bench =
            serde_json::from_value(json(&rows, &variant("x"), &variant("y"))).unwrap();
        assert_eq!(kept.ports[0].comparison.answer, "faster");
        assert_eq!(kept.ports[1].pairs_ns.len(), 10);
        assert!(
            told.contains("caches") && told.contains("time under emulation"),
            "{told}"
        );
    }
}
