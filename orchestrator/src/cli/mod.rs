//! The command line: one file per subcommand.
//!
//! Errors become text and an exit code here and nowhere else. Standard output is for results,
//! standard error for everything else; a reader that goes away is not an error.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

pub mod args;
pub mod attach;
pub mod build;
pub mod context;
pub mod drive;
pub mod exit;
mod far;
pub mod progress;
pub mod term;

pub mod bench;
pub mod bisect;
pub mod completions;
pub mod console;
pub mod daemon;
pub mod diff;
pub mod export;
pub mod failure;
pub mod flakes;
pub mod gc;
pub mod history;
pub mod hook;
pub mod image;
pub mod import;
pub mod install;
pub mod job;
pub mod matrix;
pub mod outbox;
pub mod plan;
pub mod polluter;
pub mod port;

pub mod queue;
pub mod release;
pub mod report;
mod repro;
pub mod resume;
pub mod run;
pub mod sets;
pub mod show;
pub mod signoff;
pub mod suspect;
pub mod tries;

use args::{Cli, Command};
use context::Context;
use exit::{Exit, Failure, Outcome};

/// The whole program.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        // Not eprintln: a closed standard error must not panic within a panic.
        let _ = writeln!(
            std::io::stderr(),
            "fallout: internal error, please report it: {panic}"
        );
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Clean
            };
            return exit.into();
        }
    };
    let outcome =
        std::panic::catch_unwind(|| dispatch(cli)).unwrap_or_else(|_| Err(Failure::internal("")));
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            complain(&failure.message);
            failure.exit.into()
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let context = Context::new(cli.images, cli.verbose)?;
    match cli.command {
        Command::Run(args) => run::run(&context, &args),
        Command::Resume(args) => resume::run(&context, &args),
        Command::Plan(args) => plan::run(&context, &args),
        Command::Show(args) => show::run(&context, &args),
        Command::History(args) => history::run(&context, &args),
        Command::Diff(args) => diff::run(&context, &args),
        Command::Report(args) => report::run(&context, &args),
        Command::Export(args) => export::run(&context, &args),
        Command::Import(args) => import::run(&context, &args),
        Command::Image(command) => image::run(&context, &command),
        Command::Release(command) => release::run(&context, &command),
        Command::Port(command) => port::run(&context, &command),
        Command::Matrix(command) => matrix::run(&context, &command),
        Command::Build(args) => build::run(&context, &args),
        Command::Sets(command) => sets::run(&context, &command),
        Command::Console(args) => console::run(&context, &args),
        Command::Repro(args) => repro::run(&context, &args),
        Command::Flakes(args) => flakes::run(&context, &args),
        Command::Suspect(args) => suspect::run(&context, &args),
        Command::Bench(args) => bench::run(&context, &args),
        Command::Bisect(args) => bisect::run(&context, &args),
        Command::Polluter(args) => polluter::run(&context, &args),
        Command::Daemon(args) => daemon::run(&context, &args),
        Command::Outbox(args) => outbox::run(&context, &args),
        Command::Order(args) => tries::order(&context, &args),
        Command::Queue(args) => queue::run(&context, &args),
        Command::Gc(args) => gc::run(&context, &args),
        Command::Hook(command) => hook::run(&context, &command),
        Command::Try(args) => tries::run(&context, &args),
        Command::Token(command) => daemon::token::run(&context, &command),
        Command::Signoff(args) => signoff::run(&context, &args),
        Command::Key(command) => signoff::key(&context, &command),
        Command::Job(args) => job::run(&context, &args),
        Command::Completions(args) => completions::run(&args),
    }
}

/// Prints a message on standard error, each line with `error:` in front.
fn complain(message: &str) {
    let stderr = std::io::stderr();
    let word = term::paint("error:", "1;31", term::colours(&stderr));
    let mut stderr = stderr.lock();
    for line in message.lines() {
        let _ = writeln!(stderr, "{word} {line}");
    }
}
