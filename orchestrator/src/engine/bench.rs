//! Measures two variants in guests, in turns: A B, B A, A B, …
//!
//! Both run in one guest where they are made of the same build, else in two guests of which one
//! waits. What is measured is the guest's own clock; with instructions counted (`-icount`) that
//! clock goes by them alone, a nanosecond each, whatever the host does meanwhile. A program that
//! prints `fallout-bench: N ns` last measures itself; any other command is timed from outside by
//! the guest's bash.

use serde::Serialize;

use crate::guest::Guest;
use crate::host::text;
use crate::model::{CellId, Side};

use super::RunError;
use super::bus::Bus;
use super::facts::Setup;
use super::guests::RaiseError;
use super::session;
use super::trial::{self, Stage};
use crate::suite::PushFile;

/// What a command prints to tell its own measurement.
const MARK: &str = "fallout-bench:";
/// The most that is read of one measurement's output.
const OUTPUT_BYTES: usize = 64 << 10;
/// The directory in the guest for the commands.
const WORK_DIR: &str = "/var/tmp/fallout";

/// One of the two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// Which build.
    pub side: Side,
    /// What is run, by the guest's shell.
    pub command: String,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Time by the guest's clock.
    Time,
    /// Instructions of the guest.
    Instructions,
}

impl Measure {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Instructions => "instructions",
        }
    }

    /// What it does not see.
    pub fn blind_to(self) -> &'static str {
        match self {
            Self::Time => {
                "time under emulation: not that of real hardware; caches, branch prediction and \
                 memory latency are not emulated"
            }
            Self::Instructions => {
                "instructions of the whole guest, kernel included, by -icount: each counts the \
                 same; caches, branch prediction, memory latency and several CPUs are not seen"
            }
        }
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Order {
    /// The cell; its side is not looked at.
    pub id: CellId,
    /// The one that is compared with.
    pub a: Variant,
    /// The one that is looked at.
    pub b: Variant,
    /// Pairs.
    pub pairs: u32,
    /// Guests that the pairs are spread over.
    pub guests: u32,
    /// What is counted; time where instructions cannot be.
    pub measure: Measure,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// What was counted.
    pub measure: Measure,
    /// Pairs, in nanoseconds of the guest's clock.
    pub pairs: Vec<(f64, f64)>,
}

/// Measures. `tell` is handed each pair.
pub async fn measure(
    setup: &Setup,
    order: &Order,
    bus: &Bus,
    tell: &mut (dyn FnMut(u32, (f64, f64)) + Send),
) -> Result<Measured, RunError> {
    let mut a = prepare(setup, order, order.a.side, bus).await?;
    let mut b = match order.a.side == order.b.side {
        true => None,
        false => Some(prepare(setup, order, order.b.side, bus).await?),
    };
    let counted = match order.measure {
        Measure::Instructions => a.port.counted(),
        Measure::Time => None,
    };
    let measure = match &counted {
        Some(port) => {
            a.port = port.clone();
            if let Some(b) = &mut b {
                b.port = port.clone();
            }
            Measure::Instructions
        }
        None => Measure::Time,
    };
    let mut pairs = Vec::new();
    let guests = order.guests.clamp(1, order.pairs.max(1));
    for turn in 0..guests {
        let mut rig = Rig::boot(&a, b.as_ref(), order).await?;
        // The first use of anything is slower: it is not measured.
        rig.one('a').await?;
        rig.one('b').await?;
        while pairs.len() < (order.pairs * (turn + 1) / guests) as usize {
            let pair = match pairs.len() % 2 {
                0 => {
                    let a = rig.one('a').await?;
                    (a, rig.one('b').await?)
                }
                _ => {
                    let b = rig.one('b').await?;
                    (rig.one('a').await?, b)
                }
            };
            pairs.push(pair);
            tell(pairs.len() as u32, pair);
        }
        rig.end().await;
    }
    Ok(Measured { measure, pairs })
}

async fn prepare(setup: &Setup, order: &Order, side: Side, bus: &Bus) -> Result<Stage, RunError> {
    let id = CellId {
        side,
        ..order.id.clone()
    };
    Ok(trial::prepare(setup, &id, bus).await?)
}

/// One guest or two, with the commands in them.
struct Rig {
    a: Guest,
    b: Option<Guest>,
    timer: bool,
    _scratch: tempfile::TempDir,
}

impl Rig {
    async fn boot(a: &Stage, b: Option<&Stage>, order: &Order) -> Result<Self, RunError> {
        let scratch = tempfile::tempdir().map_err(|e| RunError::Host(e.to_string()))?;
        let host = |e: crate::guest::GuestError| RunError::Host(e.to_string());
        let unraised = |e: RaiseError| RunError::Host(e.to_string());
        let console = |name: &str| scratch.path().join(name);
        let files = [("a.sh", &order.a), ("b.sh", &order.b)].map(|(name, variant)| PushFile {
            name: name.to_owned(),
            contents: format!("{}\n", variant.command).into_bytes(),
        });
        let tar = session::pack(&files).map_err(|e| RunError::Host(e.to_string()))?;
        let (mut first, _) = a.raise("bench", &console("a")).await.map_err(unraised)?;
        first.put_tar(WORK_DIR, &tar).await.map_err(host)?;
        let mut second = match b {
            Some(stage) => Some(
                stage
                    .raise("bench", &console("b"))
                    .await
                    .map_err(unraised)?
                    .0,
            ),
            None => None,
        };
        if let Some(guest) = &mut second {
            guest.put_tar(WORK_DIR, &tar).await.map_err(host)?;
        }
        let bash = trial::output(&mut first, "command -v bash", OUTPUT_BYTES).await;
        let (_, status) = bash.map_err(host)?;
        Ok(Self {
            a: first,
            b: second,
            timer: status == 0,
            _scratch: scratch,
        })
    }

    /// One measurement, in nanoseconds.
    async fn one(&mut self, which: char) -> Result<f64, RunError> {
        let script = format!("{WORK_DIR}/{which}.sh");
        let run = format!("sh {script} </dev/null 2>&1");
        let command = match self.timer {
            // Microseconds; the locale decides about the comma.
            true => format!(
                "LC_ALL=C exec bash -c 'a=$EPOCHREALTIME; {run}; s=$?; b=$EPOCHREALTIME; \
                 echo; echo fallout-timed: $a $b; exit $s'"
            ),
            false => run,
        };
        let guest = match (&mut self.b, which) {
            (Some(b), 'b') => b,
            _ => &mut self.a,
        };
        let (out, status) = trial::output(guest, &command, OUTPUT_BYTES)
            .await
            .map_err(|e| RunError::Host(e.to_string()))?;
        let end = || text::tail(&out, 4, 200).join("; ");
        if status != 0 {
            let message = format!(
                "the command of {which} ended with status {status}: {}",
                end()
            );
            return Err(RunError::Input(message));
        }
        value(&out).ok_or_else(|| {
            let why = match self.timer {
                true => "was too short to be measured",
                false => {
                    "must print 'fallout-bench: N ns' itself: the guest has no bash to time it"
                }
            };
            RunError::Input(format!("the command of {which} {why}: {}", end()))
        })
    }

    async fn end(self) {
        self.a.end(false).await;
        if let Some(b) = self.b {
            b.end(false).await;
        }
    }
}

/// The measurement in a command's output: its own, else that of the guest's bash.
fn value(out: &[u8]) -> Option<f64> {
    let out = String::from_utf8_lossy(out);
    let own = out.lines().rev().find_map(|line| {
        let words = line.trim().strip_prefix(MARK)?.trim().strip_suffix("ns")?;
        words.trim().parse::<f64>().ok()
    });
    let timed = || {
        out.lines().rev().find_map(|line| {
            let (from, to) = line
                .trim()
                .strip_prefix("fallout-timed:")?
                .trim()
                .split_once(' ')?;
            // As whole microseconds: the seconds alone use up half of a float's digits.
            let micros = |word: &str| word.replace('.', "").parse::<u64>().ok();
            Some(micros(to)?.checked_sub(micros(from)?)? as f64 * 1000.0)
        })
    };
    own.or_else(timed).filter(|v| v.is_finite() && *v > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_own_word_goes_before_the_clock() {
        let both =
            b"fallout-bench: 1500 ns\n\nfallout-timed: 1763990000.000100 1763990001.000200\n";
        assert_eq!(value(both), Some(1500.0));
        let timed = b"hello\nfallout-timed: 1763990000.000100 1763990001.000200\n";
        assert_eq!(value(timed), Some(1_000_100_000.0));
    }

    #[test]
    fn what_is_no_measurement_is_none() {
        for out in [
            "",
            "fallout-bench: ns",
            "fallout-bench: -4 ns",
            "fallout-bench: NaN ns",
            "fallout-timed: 5.000000 4.000000",
            "fallout-timed: x y",
        ] {
            assert_eq!(value(out.as_bytes()), None, "{out}");
        }
    }
}
