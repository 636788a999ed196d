//! The command line's words. What they do stands in one file per subcommand.

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::model::{CaseId, PortName, Side};

mod daemon;
mod search;
mod signoff;

pub use daemon::{
    DaemonArgs, ExportArgs, ExportFormat, FarArgs, GcArgs, HistoryArgs, HookCommand, ImportArgs,
    ImportFormat, LogFormat, OrderArgs, OutboxArgs, QueueArgs, TokenCommand, TryArgs,
};
pub use search::{
    BenchArgs, BisectArgs, FailureArgs, FlakesArgs, MeasureArg, PolluterArgs, SuspectArgs,
};
pub use signoff::{KeyCommand, SignoffArgs, SignoffCommand};

use super::image::ImageCommand;
use super::release::ReleaseCommand;

/// Finds the fallout of an operating-system change on every architecture.
#[derive(Debug, Parser)]
#[command(
    name = "fallout",
    version,
    propagate_version = true,
    after_help = "Exit status: 0 clean, 1 findings, 2 usage or bad input, 3 host trouble \
                  (some cells say nothing), 4 interrupted, 5 a wrong signature, 70 internal error.\n\n\
                  First steps:\n  fallout port list\n  fallout plan matrices/quickstart.yaml\n  \
                  fallout run matrices/quickstart.yaml"
)]
pub struct Cli {
    /// The directory with the port manifests [default: the nearest `images/` above the matrix
    /// or the current directory; FALLOUT_IMAGES]
    #[arg(long, global = true, value_name = "DIR")]
    pub images: Option<Utf8PathBuf>,
    /// Says more on standard error; twice says everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a matrix and say what was found
    #[command(after_help = "Examples:\n  fallout run matrices/quickstart.yaml\n  \
        fallout run matrices/quickstart.yaml --ports amd64,s390x --suites portable")]
    Run(RunArgs),
    /// Go on with an interrupted run from its last finished case
    #[command(after_help = "Example:\n  fallout resume last")]
    Resume(ResumeArgs),
    /// Print what a run would do and why, and do nothing
    #[command(after_help = "Example:\n  fallout plan matrices/quickstart.yaml --ports i386")]
    Plan(PlanArgs),
    /// Show the verdict of a run, or all that is known of some of its cases
    #[command(after_help = "Examples:\n  fallout show\n  \
        fallout show last wire/t_pack:big_endian")]
    Show(ShowArgs),
    /// Show how a case did in all runs, by port and revision; without a case, what is unsteady
    #[command(after_help = "Examples:\n  fallout history wire/t_pack:big_endian\n  \
        fallout history wire/t_pack:big_endian --port s390x\n  fallout history")]
    History(HistoryArgs),
    /// Compare two runs
    #[command(after_help = "Example:\n  fallout diff 0199 last")]
    Diff(DiffArgs),
    /// Write the report of a run
    #[command(after_help = "Example:\n  fallout report last --format html -o report.html")]
    Report(ReportArgs),
    /// Write a run in a form that other programs take
    #[command(
        after_help = "Examples:\n  fallout export last --format csv -o run.csv\n  \
        fallout export last --format asciicast --cell portable/s390x/stock/candidate -o s390x.cast"
    )]
    Export(ExportArgs),
    /// Take results of a run that was made elsewhere, on real hardware for one
    #[command(
        after_help = "Examples:\n  fallout import --suite tests --host alpha1 --port sparc64 results.db\n  \
        fallout import --suite tests --host lab --revision 10.1 i386=i386.tps amd64=amd64.xml\n\n\
        Exit status: 1 there are findings, 0 none."
    )]
    Import(ImportArgs),
    /// Make, check and remove bootable images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Fetch and show releases of NetBSD
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Show the ports that have a manifest
    #[command(subcommand)]
    Port(PortCommand),
    /// Check matrix files
    #[command(subcommand)]
    Matrix(MatrixCommand),
    /// Build a NetBSD release, or a part of it, for a port
    #[command(
        after_help = "Examples:\n  fallout build netbsd.yaml --port amd64 --stage kernel=GENERIC\n  \
        fallout build netbsd.yaml --port evbarm-earmv7hf --stage release --side baseline"
    )]
    Build(BuildArgs),
    /// Check a tree's set lists against a build, and propose a patch
    #[command(subcommand)]
    Sets(SetsCommand),
    /// Attach to the console of a live guest
    #[command(after_help = "Example:\n  fallout console portable/sparc64/stock/candidate")]
    Console(ConsoleArgs),
    /// Boot the very guest of a failure and open its shell
    #[command(after_help = "Example:\n  fallout repro last wire/t_pack:big_endian@s390x")]
    Repro(ReproArgs),
    /// How often cases come and go over all runs, and what that goes with
    #[command(
        after_help = "Examples:\n  fallout flakes\n  fallout flakes upkeep_test:sweep --runs 20\n\n\
        Exit status: 1 there are flakes, 0 none."
    )]
    Flakes(FlakesArgs),
    /// Repeat a failure under other emulations of the port, to tell whose fault it is
    #[command(
        after_help = "Which CPU models, machines and emulators: 'alternatives' in the port's manifest.\n\n\
        Example:\n  fallout suspect last flush_test:pressure_asks_the_kernel@i386\n\n\
        Exit status: 1 it fails everywhere, or differs by emulator; 0 it does not fail again; 3 not clear."
    )]
    Suspect(SuspectArgs),
    /// Measure two variants in turns, in guests, and say what the difference is worth
    #[command(
        after_help = "A command that prints 'fallout-bench: N ns' last measures itself.\n\n\
        Examples:\n  fallout bench matrices/bench.yaml -A '/usr/tests/spawn-bench/spawn-bench fork 100' \\\n    \
        -B '/usr/tests/spawn-bench/spawn-bench posix_spawn 100'\n  \
        fallout bench matrices/test.yaml --ports amd64 -A '/usr/tests/portable/pt sweep'\n\n\
        Exit status: 1 a difference was shown, 0 none."
    )]
    Bench(BenchArgs),
    /// Find the patch of the series, or the commit, that brought a failure
    #[command(
        after_help = "The failure may show now and then only: what is tried next is what tells most.\n\
        Any case of a port that did not build stands for the build.\n\n\
        Examples:\n  fallout bisect last wire_test:sum16_known_answer@s390x\n  \
        fallout bisect last upkeep_test:sweep@amd64 --range v1.0..HEAD\n\n\
        Exit status: 1 found, 0 not in these revisions, 3 not sure."
    )]
    Bisect(BisectArgs),
    /// Find the earlier cases that make a case fail which passes alone
    #[command(
        after_help = "Example:\n  fallout polluter last upkeep_test:sweep@amd64\n\n\
        Exit status: 1 found, or it fails alone; 0 it does not fail again; 3 not sure."
    )]
    Polluter(PolluterArgs),
    /// Run what pushes and schedules ask for, until it is told to stop
    #[command(after_help = "Example:\n  fallout daemon --config /etc/fallout/daemon.yaml")]
    Daemon(DaemonArgs),
    /// Show the daemon's queue, or cancel a job of it
    #[command(after_help = "Examples:\n  fallout queue\n  fallout queue --cancel 12")]
    Queue(QueueArgs),
    /// What the daemon could not tell people yet, and why
    Outbox(OutboxArgs),
    /// Have a daemon run a commit by one of its rules
    #[command(
        after_help = "Example:\n  fallout order portable push refs/heads/main --token-file ~/.fallout-token"
    )]
    Order(OrderArgs),
    /// Set up git's hook that tells the daemon of pushes
    #[command(subcommand)]
    Hook(HookCommand),
    /// Have the daemon run a patch series before it is in
    #[command(
        after_help = "Example:\n  git format-patch --stdout main.. | fallout try --repository src \\\n    \
        --base main --rule push --token-file ~/.fallout-token"
    )]
    Try(TryArgs),
    /// Take out of old runs what limits of age and number say; findings stay
    #[command(
        after_help = "What a sign-off or an open finding cites stays, and a run under way is never touched.\n\n\
        Examples:\n  fallout gc --dry-run --config /etc/fallout/daemon.yaml\n  \
        fallout gc --passing-consoles-days 21"
    )]
    Gc(GcArgs),
    /// Make, list and revoke tokens of the daemon's API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Say whether a revision may be released by a policy, with evidence, signed
    #[command(
        after_help = "Examples:\n  fallout signoff release-12 --policy release.yaml\n  \
        fallout signoff verify signoff.json --key release.pub\n\n\
        Exit status: 0 go, 1 no-go; of verify 0 genuine, 5 not."
    )]
    Signoff(SignoffArgs),
    /// Make or show the key that signs
    #[command(subcommand)]
    Key(KeyCommand),
    /// Do one job of a run on a node of a cluster; the scheduler starts this
    #[command(hide = true)]
    Job(JobArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  fallout completions bash > /etc/bash_completion.d/fallout")]
    Completions(CompletionsArgs),
}

/// A path that another process of the run finds too.
fn absolute(path: &str) -> Result<Utf8PathBuf, String> {
    let path = std::path::absolute(path).map_err(|e| e.to_string())?;
    Utf8PathBuf::from_path_buf(path).map_err(|p| format!("{}: not UTF-8", p.display()))
}

/// Which part of a matrix.
#[derive(Debug, Clone, Default, Args)]
pub struct Selection {
    /// Only these ports
    #[arg(long, value_name = "PORT,…", value_delimiter = ',')]
    pub ports: Vec<String>,
    /// Only these suites
    #[arg(long, value_name = "SUITE,…", value_delimiter = ',')]
    pub suites: Vec<String>,
    /// The release that images are made of, in the place of the matrix's: a directory as build.sh
    /// release leaves it
    #[arg(long, value_name = "DIR", value_parser = absolute)]
    pub release: Option<Utf8PathBuf>,
}

/// `fallout run`
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The matrix file
    pub matrix: Utf8PathBuf,
    /// Which part of it
    #[command(flatten)]
    pub only: Selection,
    /// Compare with this, whatever the matrix says: none, unpatched (or stock), parent,
    /// branch-point:REF, last-good, last, or the beginning of a run's id. Another run's results are
    /// taken and not run again; a commit that no run has tested is run beside
    #[arg(long, value_name = "WHAT")]
    pub baseline: Option<String>,
    /// Run every cell again, whatever the cache knows
    #[arg(long)]
    pub fresh: bool,
    /// Have jobs done on the cluster that this file describes
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<Utf8PathBuf>,
    /// Print the events as JSON, one a line, and the verdict last
    #[arg(long)]
    pub json: bool,
    /// Cores to use [default: the matrix's limit, or all]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub jobs: Option<u32>,
}

/// `fallout job`
#[derive(Debug, Args)]
pub struct JobArgs {
    /// The job's directory in the shared store
    pub dir: Option<Utf8PathBuf>,
    /// A batch's file; which of its jobs, SLURM_ARRAY_TASK_ID says
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    pub batch: Option<Utf8PathBuf>,
}

/// `fallout resume`
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The run: `last`, or the beginning of its id
    #[arg(default_value = "last")]
    pub run: String,
    /// Print the events as JSON, one a line, and the verdict last
    #[arg(long)]
    pub json: bool,
    /// Cores to use [default: the matrix's limit, or all]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub jobs: Option<u32>,
}

/// `fallout plan`
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// The matrix file
    pub matrix: Utf8PathBuf,
    /// Which part of it
    #[command(flatten)]
    pub only: Selection,
    /// Plan as if the cache knew no cell
    #[arg(long)]
    pub fresh: bool,
    /// Print the plan as JSON
    #[arg(long)]
    pub json: bool,
}

/// `fallout show`
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The run: `last`, or the beginning of its id
    #[arg(default_value = "last")]
    pub run: String,
    /// Cases: `PROGRAM:CASE`
    #[arg(value_name = "CASE")]
    pub cases: Vec<CaseId>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The daemon
    #[command(flatten)]
    pub far: FarArgs,
}

/// `fallout diff`
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The run to compare with: `last`, or the beginning of its id
    #[arg(value_name = "RUN")]
    pub old: String,
    /// The run that is looked at
    #[arg(value_name = "RUN")]
    pub new: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The daemon
    #[command(flatten)]
    pub far: FarArgs,
}

/// `fallout report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run: `last`, or the beginning of its id
    #[arg(default_value = "last")]
    pub run: String,
    /// The form of the report
    #[arg(short, long, value_enum)]
    pub format: ReportFormat,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<Utf8PathBuf>,
    /// The daemon
    #[command(flatten)]
    pub far: FarArgs,
}

/// The forms of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// One page with everything in it
    Html,
    /// For scripts
    Json,
    /// JUnit XML
    Junit,
    /// Test Anything Protocol
    Tap,
}

/// `fallout port …`
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// One line a port: status, emulator, image
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// All that the manifest says of a port
    #[command(after_help = "Example:\n  fallout port show s390x")]
    Show {
        /// The port's name
        port: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// `fallout matrix …`
#[derive(Debug, Subcommand)]
pub enum MatrixCommand {
    /// Say everything that is wrong in matrix files
    #[command(after_help = "Example:\n  fallout matrix check matrices/*.yaml")]
    Check {
        /// Matrix files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<Utf8PathBuf>,
    },
}

/// `fallout build`
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project file, of kind netbsd
    pub project: Utf8PathBuf,
    /// Ports: MACHINE or MACHINE-ARCH, several with commas; a failure of one does not end the others
    #[arg(long, value_name = "PORT", required = true, value_delimiter = ',')]
    pub port: Vec<crate::build::netbsd::Target>,
    /// Stages: tools, kernel=CONF (or a name of build.kernels), distribution, sets, release, live-image, install-image,
    /// iso-image; those before it are built where they are stale
    #[arg(long, value_name = "STAGE", required = true, value_delimiter = ',')]
    pub stage: Vec<crate::build::netbsd::Stage>,
    /// With the project's patches, or without
    #[arg(long, value_enum, default_value = "candidate")]
    pub side: SideArg,
    /// Say what would be built and because of which files; build nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Build all of the stage, whatever has changed
    #[arg(long)]
    pub full: bool,
    /// Find the commit that broke the stage, a compiler's error or a set list: GOOD..BAD, or `series` for
    /// the patch. Exit status: 1 found, 0 not in these, 3 not sure
    #[arg(long, value_name = "GOOD..BAD", conflicts_with_all = ["dry_run", "full"])]
    pub bisect: Option<String>,
    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
    /// Compilers at the same time [default: what cores and memory allow]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub jobs: Option<u32>,
}

/// `fallout sets …`
#[derive(Debug, Subcommand)]
pub enum SetsCommand {
    /// Compare lists and DESTDIR as checkflist does, without the tree's tools
    #[command(after_help = "Example:\n  fallout sets check --tree src --port amd64 --destdir dest")]
    Check(SetsArgs),
    /// Print a patch for distrib/sets/lists with which the check passes
    #[command(after_help = "Example:\n  fallout sets propose --tree src \\\n    \
        --port amd64 --destdir dest.amd64 --port sparc64 --destdir dest.sparc64 > lists.diff")]
    Propose {
        /// Which tree and builds
        #[command(flatten)]
        on: SetsArgs,
        /// A build's log with the check's blocks, where there are no SETS.* files in DESTDIR
        #[arg(long, value_name = "FILE")]
        log: Option<Utf8PathBuf>,
        /// The file to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<Utf8PathBuf>,
    },
}

/// A tree and builds of it.
#[derive(Debug, Args)]
pub struct SetsArgs {
    /// The source tree
    #[arg(long, value_name = "DIR")]
    pub tree: Utf8PathBuf,
    /// A port: MACHINE or MACHINE-ARCH; once for each build
    #[arg(long = "port", required = true, value_name = "PORT")]
    pub ports: Vec<String>,
    /// The DESTDIR of the port's build, in the order of the ports
    #[arg(long = "destdir", required = true, value_name = "DIR")]
    pub destdirs: Vec<Utf8PathBuf>,
}

/// `fallout console`
#[derive(Debug, Args)]
pub struct ConsoleArgs {
    /// The cell, SUITE/PORT/VARIANT/SIDE, with its run in front where it is not the last one
    #[arg(required = true, num_args = 1..=2, value_names = ["[RUN] CELL"])]
    pub words: Vec<String>,
    /// The daemon
    #[command(flatten)]
    pub far: FarArgs,
}

impl ConsoleArgs {
    /// The run's name and the cell's.
    pub fn target(&self) -> (&str, &str) {
        match self.words.as_slice() {
            [run, cell, ..] => (run, cell),
            [cell] => ("last", cell),
            [] => ("last", ""),
        }
    }
}

/// `fallout repro`
#[derive(Debug, Args)]
pub struct ReproArgs {
    /// The run: `last`, or the beginning of its id
    pub run: String,
    /// The failure: PROGRAM:CASE@PORT
    #[arg(value_name = "CASE@PORT")]
    pub failure: CaseAtPort,
    /// The suite, where several have the case
    #[arg(long)]
    pub suite: Option<String>,
    /// Which side's build
    #[arg(long, value_enum, default_value = "candidate")]
    pub side: SideArg,
}

/// A side as a word of the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SideArg {
    /// Without the patches
    Baseline,
    /// The revision under test
    Candidate,
}

impl From<SideArg> for Side {
    fn from(side: SideArg) -> Self {
        match side {
            SideArg::Baseline => Self::Baseline,
            SideArg::Candidate => Self::Candidate,
        }
    }
}

/// A case on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseAtPort {
    /// The case.
    pub case: CaseId,
    /// The port.
    pub port: PortName,
}

impl std::str::FromStr for CaseAtPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("'{text}' is not a failure: expected PROGRAM:CASE@PORT");
        let (case, port) = text.rsplit_once('@').ok_or_else(bad)?;
        if port.is_empty() {
            return Err(bad());
        }
        Ok(Self {
            case: case.parse().map_err(|_| bad())?,
            port: port.into(),
        })
    }
}

/// `fallout completions`
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_failure_is_split_at_the_last_at() {
        let got: CaseAtPort = "a/t_b:c@d@e".parse().unwrap();
        assert_eq!(got.case, CaseId::new("a/t_b", "c@d"));
        assert_eq!(got.port.as_str(), "e");
        for bad in ["a:b", "a@b", "a:b@", "@", ""] {
            assert!(bad.parse::<CaseAtPort>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_console_takes_the_last_run_by_default() {
        let parse = |words: &[&str]| match Cli::try_parse_from(words).unwrap().command {
            Command::Console(args) => args,
            _ => unreachable!(),
        };
        assert_eq!(
            parse(&["fallout", "console", "a/b/c/d"]).target(),
            ("last", "a/b/c/d")
        );
        assert_eq!(
            parse(&["fallout", "console", "01", "x"]).target(),
            ("01", "x")
        );
    }
}
