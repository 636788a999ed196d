//! The words of the searches: flakes, suspicion, benches, bisection, polluters.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

use super::{CaseAtPort, Selection, SideArg};
use crate::model::CaseId;

/// A failure of a run, as the searches take it.
#[derive(Debug, Args)]
pub struct FailureArgs {
    /// The run: `last`, or the beginning of its id
    pub run: String,
    /// The failure: PROGRAM:CASE@PORT
    #[arg(value_name = "CASE@PORT")]
    pub failure: CaseAtPort,
    /// The suite, where several have the case
    #[arg(long)]
    pub suite: Option<String>,
}

/// `fallout flakes`
#[derive(Debug, Args)]
pub struct FlakesArgs {
    /// Only these cases: `PROGRAM:CASE`
    #[arg(value_name = "CASE")]
    pub cases: Vec<CaseId>,
    /// Only so many of the newest runs
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub runs: usize,
    /// The registry of known flakes [default: that of the newest run's matrix]
    #[arg(long, value_name = "FILE")]
    pub known: Option<Utf8PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout suspect`
#[derive(Debug, Args)]
pub struct SuspectArgs {
    /// Which failure
    #[command(flatten)]
    pub about: FailureArgs,
    /// Which side's build
    #[arg(long, value_enum, default_value = "candidate")]
    pub side: SideArg,
    /// Guests for each emulation
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub times: u32,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout bench`
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// The matrix file; what is measured is a suite's build, on its ports
    pub matrix: Utf8PathBuf,
    /// Which part of it
    #[command(flatten)]
    pub only: Selection,
    /// The command of A, run by the guest's shell
    #[arg(short = 'A', value_name = "COMMAND")]
    pub a: String,
    /// The command of B [default: A's, on the candidate, A being on the baseline]
    #[arg(short = 'B', value_name = "COMMAND")]
    pub b: Option<String>,
    /// Whose build each runs
    #[arg(long, value_enum, value_name = "A,B", value_delimiter = ',')]
    pub sides: Vec<SideArg>,
    /// Pairs of measurements
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub pairs: u32,
    /// Fresh guests that the pairs are spread over
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub guests: u32,
    /// What is counted
    #[arg(long, value_enum, default_value = "instructions")]
    pub count: MeasureArg,
    /// The seed of the bootstrap
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `fallout bench` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MeasureArg {
    /// Time by the guest's clock
    Time,
    /// Instructions, where the emulator can count them
    Instructions,
}

/// `fallout bisect`
#[derive(Debug, Args)]
pub struct BisectArgs {
    /// Which failure
    #[command(flatten)]
    pub about: FailureArgs,
    /// Commits of the source's repository, GOOD..BAD, in place of the patches of the series
    #[arg(long, value_name = "GOOD..BAD")]
    pub range: Option<String>,
    /// Run the case alone [default: alone if it always failed, else after the cases before it]
    #[arg(long, conflicts_with = "after_all")]
    pub alone: bool,
    /// Run all the suite's cases before it, although it always failed
    #[arg(long)]
    pub after_all: bool,
    /// The probability at which an answer is given, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 95, value_parser = clap::value_parser!(u8).range(51..=99))]
    pub confidence: u8,
    /// The most tries; each is a guest
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub tries: u64,
    /// Revisions that are tried at the same time [default: the matrix's cores, or all]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub jobs: Option<u32>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout polluter`
#[derive(Debug, Args)]
pub struct PolluterArgs {
    /// Which failure
    #[command(flatten)]
    pub about: FailureArgs,
    /// Which side's build
    #[arg(long, value_enum, default_value = "candidate")]
    pub side: SideArg,
    /// The probability at which an answer is given, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 98, value_parser = clap::value_parser!(u8).range(51..=99))]
    pub confidence: u8,
    /// The most guests
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub guests: u64,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
