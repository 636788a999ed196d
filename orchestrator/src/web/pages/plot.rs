//! Plots as SVG: numbers in, a string of shapes out, styled by classes of the style sheet. Pure.
//!
//! A plot is decoration of a table or a sentence that says the same: it has a label for those who do
//! not see it, and no text of a guest.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const LEFT: f64 = 12.0;

/// A scale from values to the width of a plot.
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    /// Over all values, zero among them, with a margin.
    fn over(values: impl Iterator<Item = f64>) -> Self {
        let (mut from, mut to) = (0.0_f64, 0.0_f64);
        for value in values.filter(|v| v.is_finite()) {
            from = from.min(value);
            to = to.max(value);
        }
        let margin = ((to - from) * 0.06).max(0.1);
        Self {
            from: from - margin,
            to: to + margin,
        }
    }

    fn x(&self, value: f64) -> f64 {
        let part = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        LEFT + part * (WIDTH - 2.0 * LEFT)
    }

    /// Three to seven round values within.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.to - self.from) / 8.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|f| f * power)
            .find(|s| *s >= rough)
            .unwrap_or(power);
        let first = (self.from / step).ceil() as i64;
        let last = (self.to / step).floor() as i64;
        (first..=last).take(12).map(|i| i as f64 * step).collect()
    }
}

/// A number with as many digits as a plot's axis needs.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    match text {
        "-0" => "0".to_owned(),
        text => text.to_owned(),
    }
}

/// One interval: its middle, its ends, and the values it was made from.
pub struct Interval {
    /// The middle.
    pub at: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// The values.
    pub dots: Vec<f64>,
    /// `faster`, `slower` or anything else.
    pub answer: String,
}

/// Intervals below each other on one axis of percent.
pub fn intervals(rows: &[Interval], label: &str) -> String {
    const ROW: f64 = 34.0;
    let values = rows
        .iter()
        .flat_map(|r| r.dots.iter().copied().chain([r.at, r.low, r.high]));
    let scale = Scale::over(values);
    let height = ROW * rows.len() as f64 + 26.0;
    let mut out = begin(height, label);
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let class = if tick == 0.0 { "zero" } else { "tick" };
        let _ = write!(
            out,
            "<line class=\"{class}\" x1=\"{x:.1}\" y1=\"4\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} %</text>",
            height - 20.0,
            height - 6.0,
            number(tick)
        );
    }
    for (i, row) in rows.iter().enumerate() {
        let y = 4.0 + ROW * (i as f64 + 0.5);
        for (n, dot) in row.dots.iter().enumerate() {
            // Side by side in three lanes, so that equal values are seen.
            let lane = y + (n % 3) as f64 * 4.0 - 4.0;
            let _ = write!(
                out,
                "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{lane:.1}\" r=\"2.2\"/>",
                scale.x(*dot)
            );
        }
        let class = match row.answer.as_str() {
            "faster" => "good",
            "slower" => "bad",
            _ => "even",
        };
        let (low, high) = (scale.x(row.low), scale.x(row.high));
        let _ = write!(
            out,
            "<line class=\"span {class}\" x1=\"{low:.1}\" y1=\"{y:.1}\" x2=\"{high:.1}\" y2=\"{y:.1}\"/>\
             <circle class=\"middle {class}\" cx=\"{:.1}\" cy=\"{y:.1}\" r=\"5\"/>",
            scale.x(row.at)
        );
    }
    out.push_str("</svg>");
    out
}

/// Values from old to new as bars from zero.
pub fn bars(values: &[f64], label: &str) -> String {
    const HEIGHT: f64 = 64.0;
    let top = values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .fold(0.0, f64::max);
    let mut out = begin(HEIGHT, label);
    let wide = ((WIDTH - 2.0 * LEFT) / values.len().max(1) as f64).min(24.0);
    for (i, value) in values.iter().enumerate() {
        let high = if top > 0.0 {
            value.max(0.0) / top * (HEIGHT - 6.0)
        } else {
            0.0
        };
        let _ = write!(
            out,
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
            LEFT + i as f64 * wide,
            HEIGHT - high,
            (wide - 1.5).max(0.5),
            high
        );
    }
    out.push_str("</svg>");
    out
}

fn begin(height: f64, label: &str) -> String {
    let mut safe = String::new();
    for c in label.chars() {
        match c {
            '<' => safe.push_str("&lt;"),
            '&' => safe.push_str("&amp;"),
            '"' => safe.push_str("&quot;"),
            c => safe.push(c),
        }
    }
    format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{safe}\">"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let scale = Scale::over([-3.2, 8.9].into_iter());
        assert_eq!(scale.ticks(), [-2.0, 0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(number(-0.0), "0");
        assert_eq!(number(0.25), "0.25");
    }

    #[test]
    fn any_numbers_make_a_plot() {
        for odd in [f64::NAN, f64::INFINITY, -f64::INFINITY, 0.0, 1e300] {
            let row = Interval {
                at: odd,
                low: odd,
                high: odd,
                dots: vec![odd; 4],
                answer: "slower".into(),
            };
            let plot = intervals(&[row], "a \"b\" <c>");
            assert!(plot.ends_with("</svg>") && !plot.contains("<c>"));
            assert!(bars(&[odd, 1.0], "x").ends_with("</svg>"));
        }
        assert!(intervals(&[], "none").ends_with("</svg>"));
    }
}
