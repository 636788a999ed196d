//! `fallout build`: stages of a NetBSD release, for ports.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use camino::Utf8Path;
use indicatif::{ProgressBar, ProgressStyle};

use super::args::BuildArgs;
use super::bisect;
use super::context::{Context, load_project};
use super::exit::{Exit, Failure, Outcome};
use super::failure;
use crate::build::BuildError;
use crate::build::netbsd::{self, Ahead, Checked, Deed, Dirs, Made, Request, Work};
use crate::build::source;
use crate::engine::bisect::{Named, Tried};
use crate::engine::breaks;
use crate::host::git;
use crate::host::machine::{Machine, free_cores};
use crate::host::text;
use crate::model::project::BuildKind;
use crate::model::{Side, StageResult};
use crate::plan::resolve::located;

/// Memory that one compiler is given, in MiB.
const COMPILER_MIB: u64 = 512;
/// How often a line is printed where there is no terminal.
const EVERY: Duration = Duration::from_secs(30);

/// `fallout build`
pub fn run(context: &Context, args: &BuildArgs) -> Outcome {
    let mut project = load_project(&args.project)?;
    let base = args.project.parent().unwrap_or(Utf8Path::new(""));
    located(&mut project, base);
    if project.build.kind != BuildKind::Netbsd {
        return Err(Failure::usage(format!(
            "{}: build.kind is not netbsd: expected a project that builds a release",
            args.project
        )));
    }
    let Some(from) = &project.source.git else {
        return Err(Failure::usage(format!(
            "{}: source.git is missing",
            args.project
        )));
    };
    let tree = git::ensure(&context.dirs.cache, &from.url, &from.revision)
        .map_err(|e| failed(&e.into()))?;
    let series = match (Side::from(args.side), &project.patches) {
        (Side::Candidate, Some(path)) => Some(source::series(path).map_err(|e| failed(&e))?),
        _ => None,
    };
    let machine = Machine::probe();
    let by_memory = u32::try_from(machine.mem_mib / COMPILER_MIB).unwrap_or(u32::MAX);
    let request = |target, stage| Request {
        project: &project,
        tree: &tree,
        patches: series.as_ref(),
        target,
        stage,
        cache: &context.dirs.cache,
        jobs: args
            .jobs
            .unwrap_or_else(|| free_cores(machine.cores).min(by_memory))
            .max(1),
        full: args.full,
    };
    let points = || {
        let stages = |target| args.stage.iter().map(move |stage| (target, stage));
        args.port.iter().flat_map(stages)
    };
    if let Some(range) = &args.bisect {
        let ([target], [stage]) = (&args.port[..], &args.stage[..]) else {
            let message = "--bisect looks for what broke one stage of one port: give one of each";
            return Err(Failure::usage(message));
        };
        return search(&request(target, stage), range, args.json);
    }
    if args.dry_run {
        let requests: Vec<_> = points().map(|(t, s)| request(t, s)).collect();
        return foretell(&requests, args.json);
    }
    let many = points().count() > 1;
    let mut all = Vec::new();
    let mut broken: Vec<Broken> = Vec::new();
    let mut misfits: Vec<(String, Dirs)> = Vec::new();
    for (target, stage) in points() {
        let no_tools = |b: &Broken| b.port == target.to_string() && b.error.is_of("tools");
        if broken.iter().any(no_tools) {
            continue;
        }
        let shown = Shown::new(many.then(|| target.to_string()));
        let made = carry_out(&request(target, stage), &shown);
        shown.end();
        match made? {
            Ok(made) => all.push((target.to_string(), made)),
            Err(error) => {
                if error.stage() == StageResult::SetsMismatch {
                    let dirs = netbsd::dirs(&context.dirs.cache, &project.name, target);
                    misfits.push((target.to_string(), dirs));
                }
                broken.push(Broken {
                    port: target.to_string(),
                    stage: stage.to_string(),
                    error,
                });
            }
        }
    }
    print(&all, many, args.json)?;
    let mut message = match &broken[..] {
        [] => return Ok(Exit::Clean),
        [one] if !many => return Err(with_patch(failed(&one.error), &misfits)),
        many => together(many),
    };
    message.truncate(message.trim_end().len());
    let exit = worst(&broken);
    Err(with_patch(Failure { exit, message }, &misfits))
}

/// Adds the command that proposes the set lists which all ports of the run need.
fn with_patch(mut failure: Failure, misfits: &[(String, Dirs)]) -> Failure {
    if let [(_, dirs), ..] = misfits {
        let source = &dirs.source;
        failure.message +=
            &format!("\n  a patch for the lists: fallout sets propose --tree {source}");
    }
    for (port, dirs) in misfits {
        failure.message += &format!(" --port {port} --destdir {}", dirs.part("dest"));
    }
    failure
}

/// A stage of a port that failed, among others.
struct Broken {
    port: String,
    stage: String,
    error: BuildError,
}

fn worst(broken: &[Broken]) -> Exit {
    let exits = broken.iter().map(|b| failed(&b.error).exit);
    exits.max().unwrap_or(Exit::Findings)
}

/// The same fault on several ports is told once: the first line of a failure is the same then.
fn together(broken: &[Broken]) -> String {
    let first = |b: &Broken| {
        let said = b.error.to_string();
        said.lines().next().unwrap_or("").to_owned()
    };
    let mut groups: Vec<(String, Vec<&Broken>)> = Vec::new();
    for one in broken {
        let line = first(one);
        match groups.iter_mut().find(|(known, _)| *known == line) {
            Some((_, group)) => group.push(one),
            None => groups.push((line, vec![one])),
        }
    }
    let told = groups.iter().map(|(_, group)| {
        let on: Vec<String> = group
            .iter()
            .map(|b| format!("{} {}", b.port, b.stage))
            .collect();
        let message = failed(&group[0].error).message;
        format!("on {}: {message}", on.join(", "))
    });
    told.collect::<Vec<_>>().join("\n")
}

/// Finds what broke the stage.
fn search(request: &Request<'_>, range: &str, json: bool) -> Outcome {
    let revisions = match range {
        "series" => breaks::series(request.project, request.cache)?,
        range => breaks::commits(request.project, request.cache, range, request.patches)?,
    };
    let shown = Shown::new(None);
    let tell = |doing: &str, far: Option<(u64, u64)>| shown.tell(doing, far);
    let mut news = |news: breaks::News<'_>| {
        let word = match news.tried {
            Tried::Bad => "broken".to_owned(),
            Tried::Good => "not broken".to_owned(),
            Tried::Other { why } => {
                format!("broken otherwise: {}", text::line(why.as_bytes(), 160))
            }
        };
        let (name, subject) = (news.revision.name(), news.revision.subject());
        shown.line(&format!("{name} {subject}: {word}"));
    };
    let work = breaks::search(&revisions, request, &tell, &mut news);
    let found = failure::until_interrupted(failure::runtime()?, work);
    shown.end();
    let Some(found) = found else {
        let message = "interrupted: the same command begins with what is built";
        return Err(Failure::interrupted(message));
    };
    let Some((wanted, ended)) = found? else {
        let last = revisions.last().map_or("?", Named::name);
        return Err(Failure::usage(format!(
            "{} is not broken at {last}: there is nothing to search for",
            request.stage
        )));
    };
    let what = text::line(wanted.words().as_bytes(), 300);
    let out = match json {
        true => serde_json::to_string_pretty(&bisect::json(&ended, &revisions, &what))
            .map_err(Failure::internal)?,
        false => bisect::render(&ended, &revisions, &what),
    };
    super::drive::print(&out)?;
    Ok(bisect::exit(&ended))
}

/// Says what would be built.
fn foretell(requests: &[Request<'_>], json: bool) -> Outcome {
    let runtime = failure::runtime()?;
    let mut all = Vec::new();
    for request in requests {
        let ahead = runtime
            .block_on(netbsd::ahead(request))
            .map_err(|e| failed(&e))?;
        all.extend(ahead.into_iter().map(|one| (request.target, one)));
    }
    let mut out = std::io::stdout().lock();
    if json {
        let all: Vec<_> = all
            .iter()
            .map(|(port, one)| as_json(&port.to_string(), one))
            .collect();
        serde_json::to_writer_pretty(&mut out, &all).map_err(std::io::Error::from)?;
        writeln!(out)?;
    } else {
        let many = requests.iter().any(|r| r.target != requests[0].target);
        for (port, one) in &all {
            let took = one.last_ms.map_or(String::new(), |ms| {
                format!(
                    ", up to {:.0} s by earlier ones",
                    Duration::from_millis(ms).as_secs_f64()
                )
            });
            let deed = match &one.deed {
                Deed::Found(_) => "nothing: it is there".to_owned(),
                Deed::Renamed(_) => "nothing: what changed is no part of it".to_owned(),
                Deed::Parts(parts, _) => format!("only {}", Work::Parts(parts.clone())),
                Deed::Built => format!("built{took}"),
            };
            let port = if many {
                format!("{port} ")
            } else {
                String::new()
            };
            writeln!(out, "{port}{} {}: {deed}", one.stage, one.key.short())?;
            for reason in &one.reasons {
                let reason = text::line(reason.to_string().as_bytes(), 300);
                writeln!(out, "  {reason}")?;
            }
        }
    }
    out.flush()?;
    Ok(Exit::Clean)
}

fn as_json(port: &str, one: &Ahead) -> serde_json::Value {
    let (deed, parts) = match &one.deed {
        Deed::Found(_) => ("found", None),
        Deed::Renamed(_) => ("unchanged", None),
        Deed::Parts(parts, _) => ("parts", Some(parts)),
        Deed::Built => ("built", None),
    };
    let reasons = one.reasons.iter();
    let reasons: Vec<_> = reasons
        .map(|r| serde_json::json!({"first": r.first, "count": r.count, "why": r.why}))
        .collect();
    serde_json::json!({
        "port": port, "stage": one.stage.to_string(), "key": one.key, "deed": deed, "parts": parts,
        "reasons": reasons, "last_ms": one.last_ms,
    })
}

/// Builds until it is done or the user ends it.
fn carry_out(
    request: &Request<'_>,
    shown: &Shown,
) -> Result<Result<Vec<Made>, BuildError>, Failure> {
    let tell = |doing: &str, far: Option<(u64, u64)>| shown.tell(doing, far);
    let made = failure::until_interrupted(failure::runtime()?, netbsd::build(request, &tell));
    made.ok_or_else(|| Failure::interrupted("interrupted: the same command goes on from here"))
}

fn failed(error: &BuildError) -> Failure {
    let exit = match error.stage() {
        StageResult::HostFailed => Exit::Host,
        _ => Exit::Findings,
    };
    let message = match error {
        BuildError::Source { .. } => return Failure::usage(error),
        error => error.to_string(),
    };
    Failure { exit, message }
}

fn print(all: &[(String, Vec<Made>)], many: bool, json: bool) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let each = || {
        all.iter()
            .flat_map(|(port, made)| made.iter().map(move |m| (port, m)))
    };
    if json {
        let records: Vec<_> = each()
            .map(|(port, m)| {
                serde_json::json!({
                    "port": port, "cached": m.cached, "parts": m.parts, "record": m.record,
                    "differ": m.checked.as_ref().map(|c| c.differ),
                })
            })
            .collect();
        serde_json::to_writer_pretty(&mut out, &records).map_err(std::io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    for (port, one) in each() {
        let Made {
            record,
            cached,
            parts,
            checked,
        } = one;
        let took = Duration::from_millis(record.took_ms).as_secs_f64();
        let how = match cached {
            true => "nothing has changed, build.sh was not called".to_owned(),
            false => format!("built in {took:.1} s; {}", record.confined),
        };
        let how = match parts {
            Some(parts) => format!("only {}, {how}", Work::Parts(parts.clone())),
            None => how,
        };
        let port = if many {
            format!("{port} ")
        } else {
            String::new()
        };
        writeln!(out, "{port}{} {}: {how}", record.stage, record.key.short())?;
        for artifact in &record.artifacts {
            let size = artifact
                .size_bytes
                .map_or(String::new(), |b| format!(" ({b} bytes)"));
            writeln!(out, "  {} {}{size}", artifact.kind, artifact.path)?;
        }
        if let Some(checked) = checked {
            writeln!(out, "  {}", compared(checked))?;
        }
        writeln!(out, "  log {}", record.log)?;
    }
    Ok(out.flush()?)
}

/// What the comparison with a whole build gave.
fn compared(checked: &Checked) -> String {
    if checked.differ == 0 {
        return format!(
            "all of it was made too, and is the same: {} files",
            checked.files
        );
    }
    let missed: Vec<String> = checked
        .missed
        .iter()
        .map(|path| text::line(path.as_bytes(), 200))
        .collect();
    format!(
        "all of it was made too, and differs in {} of {} files, which parts alone would have missed: {}",
        checked.differ,
        checked.files,
        missed.join(", ")
    )
}

/// What a person sees meanwhile: a bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    /// The port, where there are several.
    of: Option<String>,
    last: Mutex<(String, Option<Instant>)>,
}

impl Shown {
    fn new(of: Option<String>) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{elapsed_precise} {bar:20} {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self {
            bar,
            of,
            last: Mutex::default(),
        }
    }

    fn tell(&self, doing: &str, far: Option<(u64, u64)>) {
        let doing = text::line(doing.as_bytes(), 120);
        let doing = match &self.of {
            Some(port) => format!("{port} {doing}"),
            None => doing,
        };
        if let Some(bar) = &self.bar {
            if let Some((done, total)) = far {
                bar.set_length(total);
                bar.set_position(done);
            }
            bar.set_message(doing);
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let stage = doing.split(':').next().unwrap_or("").to_owned();
        let due = last.1.is_none_or(|at| at.elapsed() >= EVERY);
        if stage == last.0 && !due {
            return;
        }
        *last = (stage, Some(Instant::now()));
        let far = far.map_or(String::new(), |(done, total)| {
            format!(" ({}% of the last one's time)", done * 100 / total.max(1))
        });
        // A closed standard error is no reason to stop.
        let _ = writeln!(std::io::stderr(), "{doing}{far}");
    }

    /// A line that stays.
    fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            // A closed standard error is no reason to stop.
            None => _ = writeln!(std::io::stderr(), "{line}"),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{CompilerMessage, FailedStep};

    fn broken(port: &str, stage: &str, step: &'static str, text: &str) -> Broken {
        let message = CompilerMessage {
            file: Some("sys/kern/kern_exec.c".to_owned()),
            line: Some(7),
            text: text.to_owned(),
        };
        Broken {
            port: port.to_owned(),
            stage: stage.to_owned(),
            error: BuildError::Failed {
                step: Box::new(FailedStep {
                    name: step,
                    dir: ".".into(),
                    command: format!("sh build.sh -m {port}"),
                    tail: String::new(),
                    log: None,
                }),
                status: "exit status 1".to_owned(),
                message: Some(message),
            },
        }
    }

    #[test]
    fn the_same_fault_is_told_once() {
        let kernel = "kernel=GENERIC";
        let all = [
            broken("vax", kernel, "kernel", "'l' undeclared"),
            broken("alpha", kernel, "kernel", "'l' undeclared"),
            broken("hppa", kernel, "tools", "no 'm4'"),
        ];
        insta::assert_snapshot!(together(&all), @r"
        on vax kernel=GENERIC, alpha kernel=GENERIC: kernel failed: sys/kern/kern_exec.c:7: 'l' undeclared
          in .: sh build.sh -m vax (exit status 1)
        on hppa kernel=GENERIC: tools failed: sys/kern/kern_exec.c:7: no 'm4'
          in .: sh build.sh -m hppa (exit status 1)
        ");
        assert_eq!(worst(&all), Exit::Findings);
        assert!(all[2].error.is_of("tools") && !all[0].error.is_of("tools"));
    }
}
