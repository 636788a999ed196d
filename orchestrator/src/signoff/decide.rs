//! From a policy and what was seen to lines. Pure.

use std::collections::BTreeMap;

use jiff::civil::Date;

use crate::model::signoff::{Line, Say};
use crate::model::{
    Answer, CellId, Finding, FindingKind, News, PortName, Side, StageResult, Traits,
};

use super::evidence::{CellSeen, Changed, Evidence, RunSeen};
use super::freeze;
use super::policy::{Freeze, Open, Policy, Variant};

/// Lines of evidence that are kept of one line.
const TOLD: usize = 40;

/// A line before waivers.
struct Draft {
    say: Say,
    why: String,
    evidence: Vec<String>,
    runs: Vec<String>,
}

impl Draft {
    fn new(say: Say, why: impl Into<String>) -> Self {
        Self {
            say,
            why: why.into(),
            evidence: Vec::new(),
            runs: Vec::new(),
        }
    }

    fn told(mut self, mut evidence: Vec<String>) -> Self {
        let left = evidence.len().saturating_sub(TOLD);
        evidence.truncate(TOLD);
        evidence.extend((left > 0).then(|| format!("and {left} more")));
        self.evidence = evidence;
        self
    }

    fn on(mut self, runs: impl IntoIterator<Item = String>) -> Self {
        self.runs.extend(runs);
        self.runs.sort();
        self.runs.dedup();
        self
    }
}

/// Decides every line of a policy, and says what is to be said of its waivers.
pub fn decide(policy: &Policy, seen: &Evidence) -> (Vec<Line>, Vec<String>) {
    let mut lines: Vec<Line> = Vec::new();
    let mut put = |name: String, asks: String, draft: Draft| {
        lines.push(Line {
            name,
            asks,
            say: draft.say,
            why: draft.why,
            evidence: draft.evidence,
            runs: draft.runs,
            waiver: None,
        });
    };
    for port in &policy.ports {
        for variant in &policy.variants {
            for suite in &policy.suites {
                let name = format!("suites.{suite}.{port}.{}", variant.name);
                let asks = format!("{suite} ran whole on {port} with {}", variant.name);
                put(name, asks, whole(seen, suite, port, &variant.name));
            }
            let with = match variant.options.as_slice() {
                [] => String::new(),
                some => format!(", with {}", some.join(" and ")),
            };
            let name = format!("variants.{port}.{}", variant.name);
            let asks = format!("the kernel {} ran on {port}{with}", variant.name);
            put(name, asks, ran(seen, port, variant));
        }
    }
    for open in &policy.no_open {
        let asks = match open {
            Open::ArchOnly => "no open finding about one architecture alone",
            Open::NotYetKnown => "no finding of which it is not yet known what it is",
            Open::New => "no finding that the baseline does not know",
        };
        let name = format!("findings.{}", open.word());
        put(name, asks.to_owned(), findings(seen, *open));
    }
    if let Some(nightlies) = &policy.nightlies {
        let asks = format!(
            "the newest {} of {} were clean",
            nightlies.count, nightlies.matrix
        );
        put("nightlies".to_owned(), asks, clean(seen, nightlies.count));
    }
    if let Some(wanted) = &policy.set_lists {
        for port in wanted.destdirs.keys() {
            let asks = format!("the set lists fit what was installed for {port}");
            put(format!("set_lists.{port}"), asks, sets(seen, port));
        }
    }
    for one in &policy.compat32 {
        let asks = format!(
            "the 32-bit programs of {} are clean on {}",
            one.suite, one.port
        );
        let name = format!("compat32.{}.{}", one.port, one.suite);
        put(name, asks, compat(seen, &one.port, &one.suite));
    }
    for port in &policy.kernel_only {
        let asks = format!("the kernels of {port} build");
        put(format!("kernels.{port}"), asks, kernels(seen, port));
    }
    if let Some(wanted) = &policy.freeze {
        for (name, asks, draft) in frozen(seen, wanted) {
            put(name, asks, draft);
        }
    }
    let notes = waive(policy, seen.today, &mut lines);
    (lines, notes)
}

/// Puts waivers to the lines that they are for.
fn waive(policy: &Policy, today: Date, lines: &mut [Line]) -> Vec<String> {
    let mut notes = Vec::new();
    for waiver in &policy.waivers {
        let Some(line) = lines.iter_mut().find(|l| l.name == waiver.line) else {
            notes.push(format!(
                "a waiver of {}: there is no such line",
                waiver.line
            ));
            continue;
        };
        if waiver.until < today {
            let by = &waiver.by;
            notes.push(format!(
                "the waiver of {} by {by} ended on {}: extend it or take it out",
                waiver.line, waiver.until
            ));
        } else if line.say.passes() {
            notes.push(format!("the waiver of {} is not needed", waiver.line));
        } else {
            line.say = Say::Waived;
            line.waiver = Some(waiver.clone());
        }
    }
    notes
}

/// The newest cell of a place that was not stopped by the host or by hand; else the newest at all.
fn newest(seen: &Evidence, wanted: impl Fn(&CellId) -> bool) -> Option<(&RunSeen, &CellSeen)> {
    let all = || {
        seen.runs.iter().flat_map(|run| {
            let cells = run.cells.iter().filter(|c| c.id.side == Side::Candidate);
            cells.map(move |cell| (run, cell))
        })
    };
    let fits = |(_, cell): &(&RunSeen, &CellSeen)| wanted(&cell.id);
    let speaks =
        |cell: &CellSeen| !cell.stage.is_host_fault() && cell.stage != StageResult::Interrupted;
    let spoke = all().find(|pair| fits(pair) && speaks(pair.1));
    spoke.or_else(|| all().find(fits))
}

/// Where there is no cell: no go where the revision was run, else nobody knows.
fn absent(seen: &Evidence, what: &str) -> Draft {
    if seen.runs.is_empty() {
        return Draft::new(Say::Unknown, "no finished run of this revision");
    }
    let runs: Vec<String> = seen.runs.iter().map(|r| r.run.clone()).collect();
    let why = format!(
        "{} of this revision, none with {what}",
        number(runs.len(), "run")
    );
    Draft::new(Say::NoGo, why).on(runs)
}

fn number(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// What keeps a cell from saying anything of its cases.
fn stage(cell: &CellSeen) -> Option<Draft> {
    let word = cell.stage.word();
    if cell.stage == StageResult::Complete {
        return None;
    }
    let say = match cell.stage.is_host_fault() || cell.stage == StageResult::Interrupted {
        true => Say::Unknown,
        false => Say::NoGo,
    };
    Some(Draft::new(say, format!("{} is {word}", cell.id)))
}

fn whole(seen: &Evidence, suite: &str, port: &str, variant: &str) -> Draft {
    let place = |id: &CellId| id.suite == suite && id.port.0 == port && id.variant == variant;
    let Some((run, cell)) = newest(seen, place) else {
        return absent(seen, &format!("{suite} on {port} with {variant}"));
    };
    let draft = stage(cell).unwrap_or_else(|| match (cell.cases, cell.missed) {
        (0, _) => Draft::new(Say::NoGo, format!("{} has no case", cell.id)),
        (_, 0) => Draft::new(
            Say::Go,
            format!("{} ended, each with an outcome", number(cell.cases, "case")),
        ),
        (all, missed) => {
            let why = format!("{} never ran, of {all}", number(missed, "case"));
            Draft::new(Say::NoGo, why)
        }
    });
    let told = format!("{}: {} bad of {}", cell.id, cell.bad, cell.cases);
    draft.told(vec![told]).on([run.run.clone()])
}

/// An option's name without the prefix that configuration files of Linux have.
fn plain(option: &str) -> &str {
    option.strip_prefix("CONFIG_").unwrap_or(option)
}

fn ran(seen: &Evidence, port: &str, variant: &Variant) -> Draft {
    let place = |id: &CellId| id.port.0 == port && id.variant == variant.name;
    let Some((run, cell)) = newest(seen, place) else {
        return absent(seen, &format!("the variant {} on {port}", variant.name));
    };
    if cell.kernels.is_empty() {
        let draft = stage(cell).unwrap_or_else(|| {
            Draft::new(
                Say::Unknown,
                format!("{}: no guest said which kernel it runs", cell.id),
            )
        });
        return draft.on([run.run.clone()]);
    }
    let traits = run.variants.get(&variant.name);
    let has = |wanted: &String| {
        let of = |t: &Traits| {
            let found = t.iter().find(|(name, _)| plain(name) == plain(wanted));
            found.is_some_and(|(_, value)| !matches!(value.as_str(), "n" | "no" | "off"))
        };
        traits.is_some_and(of)
    };
    let lacks: Vec<&str> = (variant.options.iter().filter(|o| !has(o)))
        .map(String::as_str)
        .collect();
    let draft = match lacks.as_slice() {
        [_, ..] if traits.is_none() => {
            let why = "its run did not record how its kernel was ordered";
            Draft::new(Say::Unknown, why)
        }
        [] => Draft::new(Say::Go, "the kernel that was ordered is the one that ran"),
        some => {
            let why = format!("its kernel was ordered without {}", some.join(" and "));
            Draft::new(Say::NoGo, why)
        }
    };
    let mut told = vec![cell.id.to_string()];
    told.extend(cell.kernels.iter().cloned());
    if let Some(traits) = traits {
        told.extend(traits.iter().map(|(name, value)| format!("{name}={value}")));
    }
    draft.told(told).on([run.run.clone()])
}

fn is_open(finding: &Finding, open: Open) -> bool {
    if finding.kind == FindingKind::Fixed {
        return false;
    }
    match open {
        Open::ArchOnly => finding.kind == FindingKind::ArchOnly,
        Open::NotYetKnown => {
            let answer = finding.certainty.as_ref().map(|c| c.arch_only);
            finding.kind == FindingKind::Undecided
                || answer == Some(Answer::NotYetKnown)
                || finding.news == News::Unclear
        }
        Open::New => finding.news != News::Known,
    }
}

/// Whether the attempts leave open that a finding is one of these.
fn could_be(finding: &Finding, open: Open) -> bool {
    let certainty = finding.certainty.as_ref();
    open == Open::ArchOnly
        && finding.kind != FindingKind::Fixed
        && certainty.is_some_and(|c| c.arch_only == Answer::NotYetKnown)
}

/// Of each suite the findings of the newest run that ended: what an older one found of the same
/// revision was looked at again.
fn findings(seen: &Evidence, open: Open) -> Draft {
    let mut told = Vec::new();
    let mut found_in = Vec::new();
    let mut looked: BTreeMap<&str, Vec<(&PortName, &str)>> = BTreeMap::new();
    let mut runs = Vec::new();
    let mut faults = 0;
    let mut perhaps = Vec::new();
    for run in seen.runs.iter().filter(|r| !r.interrupted) {
        // A suite of which a newer run had every cell that this one has.
        let fresh: Vec<&str> = run
            .cells
            .iter()
            .filter(|c| {
                let known = looked.get(c.id.suite.as_str());
                !known.is_some_and(|k| k.contains(&(&c.id.port, c.id.variant.as_str())))
            })
            .map(|c| c.id.suite.as_str())
            .collect();
        if fresh.is_empty() {
            continue;
        }
        runs.push(run.run.clone());
        faults += run.host_faults;
        for finding in &run.findings {
            if fresh.contains(&finding.suite.as_str()) && is_open(finding, open) {
                told.push(finding.sentence.clone());
                found_in.push(run.run.clone());
            } else if fresh.contains(&finding.suite.as_str()) && could_be(finding, open) {
                perhaps.push(finding.sentence.clone());
            }
        }
        for cell in &run.cells {
            let spoken = looked.entry(&cell.id.suite).or_default();
            spoken.push((&cell.id.port, &cell.id.variant));
        }
    }
    if runs.is_empty() {
        return Draft::new(Say::Unknown, "no finished run of this revision");
    }
    if told.is_empty() && !perhaps.is_empty() {
        let what = number(perhaps.len(), "finding");
        let why = format!("{what} may be one: not yet known");
        return Draft::new(Say::Unknown, why).told(perhaps).on(runs);
    }
    match (told.len(), faults) {
        (0, 0) => {
            let why = format!("none in {}", number(runs.len(), "run"));
            Draft::new(Say::Go, why).on(runs)
        }
        (0, faults) => {
            let what = number(faults, "cell");
            let why = format!("none, but {what} said nothing through a fault of the host");
            Draft::new(Say::Unknown, why).on(runs)
        }
        (n, _) => {
            let why = number(n, "finding");
            Draft::new(Say::NoGo, why).told(told).on(found_in)
        }
    }
}

fn clean(seen: &Evidence, count: u32) -> Draft {
    let nightlies = match &seen.nightlies {
        Ok(nightlies) => nightlies,
        Err(why) => return Draft::new(Say::Unknown, why.clone()),
    };
    let (mut good, mut told, mut runs) = (0, Vec::new(), Vec::new());
    for run in nightlies {
        if good == count {
            break;
        }
        let day = run.started.strftime("%F");
        runs.push(run.run.clone());
        let open = run.findings.iter().find(|f| is_open(f, Open::New));
        if let Some(open) = open {
            told.push(format!("{day}: {}", open.sentence));
            let why = format!("the nightly run of {day} is not clean, after {good} that are");
            return Draft::new(Say::NoGo, why).told(told).on(runs);
        }
        if run.interrupted || run.host_faults > 0 {
            // It counts neither for nor against.
            told.push(format!(
                "{day}: {} said nothing; passed by",
                number(run.host_faults, "cell")
            ));
            continue;
        }
        good += 1;
        told.push(format!("{day}: clean"));
    }
    let draft = match good == count {
        true => Draft::new(Say::Go, format!("the newest {good} are clean")),
        false => Draft::new(Say::Unknown, format!("{good} of {count} are there")),
    };
    draft.told(told).on(runs)
}

fn sets(seen: &Evidence, port: &str) -> Draft {
    let broken = newest(seen, |id| id.port.0 == port)
        .filter(|(_, cell)| cell.stage == StageResult::SetsMismatch);
    if let Some((run, cell)) = broken {
        return Draft::new(Say::NoGo, format!("{} is sets_mismatch", cell.id))
            .on([run.run.clone()]);
    }
    let found = match seen.set_lists.get(port) {
        Some(Ok(found)) => found,
        Some(Err(why)) => return Draft::new(Say::Unknown, why.clone()),
        None => return Draft::new(Say::Unknown, "nothing was compared"),
    };
    let (extra, missing) = (found.extra.len(), found.missing.len());
    if extra + missing == 0 && found.paths > 1 {
        let why = format!("{} as the lists say", number(found.paths, "path"));
        return Draft::new(Say::Go, why);
    }
    if found.paths <= 1 {
        return Draft::new(Say::Unknown, "its DESTDIR is empty");
    }
    let mut told: Vec<String> = found
        .extra
        .iter()
        .map(|p| format!("in no list: {p}"))
        .collect();
    told.extend(found.missing.iter().map(|p| format!("not installed: {p}")));
    let why = format!("{extra} in no list, {missing} not installed");
    Draft::new(Say::NoGo, why).told(told)
}

fn compat(seen: &Evidence, port: &str, suite: &str) -> Draft {
    let place = |id: &CellId| id.suite == suite && id.port.0 == port;
    let Some((run, cell)) = newest(seen, place) else {
        return absent(seen, &format!("{suite} on {port}"));
    };
    let draft = stage(cell).unwrap_or_else(|| match (cell.cases, cell.bad + cell.missed) {
        (0, _) => Draft::new(Say::NoGo, format!("{} has no case", cell.id)),
        (n, 0) => Draft::new(Say::Go, format!("{} clean", number(n, "case"))),
        (n, bad) => Draft::new(Say::NoGo, format!("{bad} of {n} failed or never ran")),
    });
    draft.told(vec![cell.id.to_string()]).on([run.run.clone()])
}

fn kernels(seen: &Evidence, port: &str) -> Draft {
    let Some((run, cell)) = newest(seen, |id| id.port.0 == port) else {
        return absent(seen, &format!("a kernel for {port}"));
    };
    let draft = stage(cell).unwrap_or_else(|| Draft::new(Say::Go, "built"));
    draft.told(vec![cell.id.to_string()]).on([run.run.clone()])
}

fn frozen(seen: &Evidence, wanted: &Freeze) -> Vec<(String, String, Draft)> {
    let mut drafts = Vec::new();
    for (field, list) in wanted.paths() {
        if list.is_empty() {
            continue;
        }
        let asks = match field {
            "syscalls" => "no system call came, went or changed",
            "library_versions" => "no library has another version",
            _ => "no set list has another entry",
        };
        let asks = format!("{asks} since {}", wanted.since);
        let draft = match &seen.freeze {
            Err(why) => Draft::new(Say::Unknown, why.clone()),
            Ok(seen) => match seen.files.get(field) {
                None => Draft::new(Say::Unknown, "nothing was compared"),
                Some(Err(why)) => Draft::new(Say::Unknown, why.clone()),
                Some(Ok((files, changed))) => compared(field, list, *files, changed),
            },
        };
        drafts.push((format!("freeze.{field}"), asks, draft));
    }
    if wanted.abi.is_some() {
        let asks = format!("no library offers other symbols since {}", wanted.since);
        let abi = seen.freeze.as_ref().map(|f| &f.abi);
        let draft = match abi {
            Err(why) => Draft::new(Say::Unknown, why.clone()),
            Ok(None) => Draft::new(Say::Unknown, "nothing was compared"),
            Ok(Some(Err(why))) => Draft::new(Say::Unknown, why.clone()),
            Ok(Some(Ok((0, _)))) => Draft::new(Say::Unknown, "neither build has a library"),
            Ok(Some(Ok((n, differ)))) if differ.is_empty() => {
                let what = match n {
                    1 => "1 library offers".to_owned(),
                    n => format!("{n} libraries offer"),
                };
                Draft::new(Say::Go, format!("{what} the same symbols"))
            }
            Ok(Some(Ok((_, differ)))) => {
                let why = number(differ.len(), "difference");
                Draft::new(Say::NoGo, why).told(differ.clone())
            }
        };
        drafts.push(("freeze.abi".to_owned(), asks, draft));
    }
    drafts
}

/// What the files of one list come to.
fn compared(field: &str, list: &[String], files: usize, changed: &[Changed]) -> Draft {
    if files == 0 {
        let why = format!("no file is at {}", list.join(" or "));
        return Draft::new(Say::Unknown, why);
    }
    let mut told = Vec::new();
    for file in changed {
        let (old, new) = (
            file.old.as_deref().unwrap_or_default(),
            file.new.as_deref().unwrap_or_default(),
        );
        let found = match field {
            // A table that is not understood must not look like one that says the same.
            "syscalls" if freeze::calls(new).is_empty() && file.new.is_some() => {
                vec!["changed, and no table of system calls that is known here".to_owned()]
            }
            "syscalls" => {
                let (old, new) = (freeze::calls(old), freeze::calls(new));
                freeze::differences(&old, &new, |(number, name)| format!("{number} {name}"))
            }
            "library_versions" => {
                freeze::differences(&freeze::versions(old), &freeze::versions(new), Clone::clone)
            }
            _ => freeze::differences(&freeze::entries(old), &freeze::entries(new), Clone::clone),
        };
        told.extend(found.into_iter().map(|d| format!("{}: {d}", file.path)));
    }
    match told.len() {
        0 => Draft::new(
            Say::Go,
            format!("{} as at the branch point", number(files, "file")),
        ),
        n => Draft::new(Say::NoGo, number(n, "difference")).told(told),
    }
}
