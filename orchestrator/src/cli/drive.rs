//! Carries a run out for `run` and `resume`: progress on standard error, the verdict on standard
//! output, Ctrl-C in between.

use std::io::Write as _;

use tokio_util::sync::CancellationToken;

use crate::engine::{self, Finished, Memory, RunError, Setup};
use crate::model::Event;
use crate::plan::forecast;
use crate::report::{self, RunReport};
use crate::store::runs::{RunDir, RunRecord};

use super::context::Context;
use super::exit::{Exit, Failure, Outcome};
use super::failure;
use super::{progress, term};

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Input(message) => Self::usage(message),
            RunError::Host(message) => Self::host(message),
            RunError::Store(error) => error.into(),
        }
    }
}

/// Runs to the verdict and prints it.
pub fn drive(
    context: &Context,
    setup: Setup,
    record: RunRecord,
    run: &RunDir,
    json: bool,
) -> Outcome {
    context.dirs.make_runtime()?;
    let _owner = run.lock()?;
    let memory = Memory::load(&setup.dirs);
    let plan = setup.plan(&memory)?;
    let cells = plan.cells().count();
    let known = plan.jobs.iter().any(|j| j.est.is_some());
    let estimate = known.then(|| forecast(&plan, setup.capacity()));
    let bus = engine::run::open_bus(run)?;
    let events = bus.watch();
    let runtime = failure::runtime()?;
    let finished = runtime.block_on(async {
        let cancel = CancellationToken::new();
        let signals = tokio::spawn(listen(cancel.clone(), bus.clone()));
        let watching = tokio::spawn(progress::show(events, cells, estimate, json));
        let finished = engine::execute(setup, record, run.clone(), bus.clone(), cancel).await;
        signals.abort();
        bus.close();
        let _ = watching.await;
        finished
    });
    // A job that hangs in a system call must not keep the user from the verdict.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    let Finished {
        report,
        host_trouble,
    } = finished?;
    let page = write_page(run, &report)?;
    if json {
        let text = report::json::write(&report).map_err(Failure::internal)?;
        print(&text)?;
    } else {
        print(&report::terminal::render(&report, &style(), Some(&page)))?;
    }
    Ok(exit_of(&report, host_trouble))
}

/// The first signal ends the run in order, the second at once.
async fn listen(cancel: CancellationToken, bus: engine::bus::Bus) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if cancel.is_cancelled() {
            // Emulators die with this process; the log has everything.
            std::process::exit(i32::from(Exit::Interrupted as u8));
        }
        bus.emit(Event::Notice {
            port: None,
            text: "interrupted: ending guests, keeping all results (again to end at once)"
                .to_owned(),
        });
        cancel.cancel();
    }
}

/// The exit code of a run that is over.
fn exit_of(report: &RunReport, host_trouble: bool) -> Exit {
    if report.interrupted {
        Exit::Interrupted
    } else if host_trouble {
        Exit::Host
    } else if report.verdict.is_clean() {
        Exit::Clean
    } else {
        Exit::Findings
    }
}

fn write_page(run: &RunDir, report: &RunReport) -> Result<String, Failure> {
    let html = report::html::render(report).map_err(Failure::internal)?;
    let path = run.path.join("report.html");
    std::fs::write(&path, html).map_err(|e| Failure::host(format!("{}: {e}", path.display())))?;
    Ok(path.display().to_string())
}

/// How standard output takes a report.
pub fn style() -> report::terminal::Style {
    let out = std::io::stdout();
    let columns = rustix::termios::tcgetwinsize(&out)
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns >= 40)
        .unwrap_or(80);
    report::terminal::Style {
        colour: term::colours(&out),
        unicode: speaks_utf8(),
        width: columns,
    }
}

/// Whether the locale says UTF-8. Nothing set means the C locale, but files and pipes of today take
/// UTF-8 all the same; only an explicit other choice is honoured.
fn speaks_utf8() -> bool {
    let chosen = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
    chosen.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

/// Prints on standard output; a reader that went away is not an error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let wrote = out
        .write_all(text.as_bytes())
        .and_then(|()| {
            if text.ends_with('\n') {
                Ok(())
            } else {
                out.write_all(b"\n")
            }
        })
        .and_then(|()| out.flush());
    match wrote {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::host(format!("standard output: {e}")))
        }
        _ => Ok(()),
    }
}
