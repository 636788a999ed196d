//! `fallout bisect`: which patch of the series, or which commit, brought a failure.

use crate::engine::bisect::{self, Ended, Known, Named, News, Order, Tried, Wanted};
use crate::engine::bus::Bus;
use crate::engine::revisions::{self, Revision};
use crate::host::text;
use crate::model::{CellId, Side};
use crate::verdict::bisect::Place;
use crate::verdict::chance::Count;

use super::args::BisectArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure::{self, Subject};

/// `fallout bisect`
pub fn run(context: &Context, args: &BisectArgs) -> Outcome {
    let subject = failure::find(context, &args.about, Side::Candidate)?;
    let setup = &subject.setup;
    let suite = &subject.cell.id.suite;
    let revisions = match &args.range {
        Some(range) => revisions::commits(setup, suite, range, None)?,
        None => revisions::series(setup, suite)?,
    };
    let wanted = wanted(&subject, args)?;
    let cores = args.jobs.unwrap_or(setup.capacity().cores);
    let order = Order {
        id: subject.cell.id.clone(),
        wanted,
        confidence: f64::from(args.confidence) / 100.0,
        at_once: usize::try_from(cores).unwrap_or(1),
        most_tries: args.tries,
    };
    let known = match args.range {
        Some(_) => bisect::known(&revisions, &order)?,
        None => Known {
            counts: known(&subject, revisions.len())?,
            alike: Vec::new(),
        },
    };
    let what = format!("{} on {}", args.about.failure.case, args.about.failure.port);
    for (at, count) in &known.counts {
        let (revision, Count { bad, total }) = (&revisions[*at], count);
        eprintln!(
            "a run has shown of {}: failed in {bad} of {total}",
            revision.name
        );
    }
    eprintln!(
        "looking for {what} in {} revisions, {} at once",
        revisions.len(),
        order.at_once
    );
    let runtime = failure::runtime()?;
    let mut tell = |news: News<'_>| eprintln!("{}", line(&news, &revisions));
    let bus = Bus::unlogged();
    let work = bisect::search(&revisions, &order, &known, &bus, &mut tell);
    let ended = failure::until_interrupted(runtime, work);
    let Some(ended) = ended else {
        let message = "interrupted; the tries that ended are kept: the same command goes on";
        return Err(Failure::interrupted(message));
    };
    let ended = ended?;
    if args.json {
        print(
            &serde_json::to_string_pretty(&json(&ended, &revisions, &what))
                .map_err(Failure::internal)?,
        )?;
    } else {
        print(&render(&ended, &revisions, &what))?;
    }
    Ok(exit(&ended))
}

/// 1 found, 0 not in these revisions, 3 not sure.
pub(super) fn exit(ended: &Ended) -> Exit {
    match (ended.sure, ended.answer.place) {
        (true, Place::Within { .. }) => Exit::Findings,
        (true, _) => Exit::Clean,
        (false, _) => Exit::Host,
    }
}

/// What is looked for, from what the run has seen.
fn wanted(subject: &Subject, args: &BisectArgs) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::of(&subject.cell, Some(&subject.case)).ok_or_else(|| {
        Failure::usage(format!(
            "{} did not fail on {} in run {}: there is nothing to bisect",
            args.about.failure.case, args.about.failure.port, args.about.run
        ))
    })?;
    if let Wanted::Case { after_all, .. } = &mut wanted {
        *after_all = !args.alone && (args.after_all || *after_all);
    }
    Ok(wanted)
}

/// The run's own attempts: the candidate is the whole series, the baseline the tree without it.
/// Only where nothing has changed since.
fn known(subject: &Subject, revisions: usize) -> Result<Vec<(usize, Count)>, Failure> {
    if !subject.unchanged {
        return Ok(Vec::new());
    }
    let mut known = vec![(revisions - 1, subject.count())];
    let baseline = CellId {
        side: Side::Baseline,
        ..subject.cell.id.clone()
    };
    if let Some(cell) = subject.run.cell(&baseline)? {
        known.push((0, bisect::count(&cell, &subject.case)));
    }
    Ok(known)
}

/// A line for people while it goes on.
fn line(news: &News<'_>, revisions: &[Revision]) -> String {
    let News::Tried {
        revision,
        tried,
        kept,
        answer,
    } = news;
    let word = match tried {
        Tried::Bad => "fails".to_owned(),
        Tried::Good => "does not fail".to_owned(),
        Tried::Other { why } => format!("left out: {}", text::line(why.as_bytes(), 120)),
    };
    let kept = if *kept { " (kept)" } else { "" };
    let place = match answer.place {
        Place::Within { last, .. } => revisions.get(last).map_or("?", |r| r.subject.as_str()),
        Place::Before => "before them",
        Place::After => "after them",
    };
    format!(
        "{} {}: {word}{kept}; likeliest now: {place}, {:.0}%",
        revision.name,
        revision.subject,
        100.0 * answer.probability
    )
}

pub(super) fn render(ended: &Ended, revisions: &[impl Named], what: &str) -> String {
    let mut out = format!("{}\n\n", ended.sentence(what, revisions));
    let rows = revisions.iter().zip(&ended.counts).zip(&ended.left_out);
    for (at, ((revision, count), out_because)) in rows.enumerate() {
        let mark = match ended.answer.place {
            Place::Within { first, last } if (first..=last).contains(&at) => "→",
            _ => " ",
        };
        let seen = match (out_because, count.total) {
            (Some(why), _) => format!("left out: {}", text::line(why.as_bytes(), 80)),
            (None, 0) => "not tried".to_owned(),
            (None, total) => format!("failed in {} of {total}", count.bad),
        };
        out.push_str(&format!(
            "{mark} {:<14} {seen:<22} {}\n",
            revision.name(),
            revision.subject()
        ));
    }
    out.push_str(&format!("\n{} tries made for this answer\n", ended.tries));
    out
}

pub(super) fn json(ended: &Ended, revisions: &[impl Named], what: &str) -> serde_json::Value {
    let rows = revisions.iter().zip(&ended.counts).zip(&ended.left_out);
    let rows: Vec<_> = rows
        .map(|((revision, count), left_out)| {
            serde_json::json!({
                "name": revision.name(),
                "subject": revision.subject(),
                "bad": count.bad,
                "total": count.total,
                "left_out": left_out,
            })
        })
        .collect();
    let (place, first, last) = match ended.answer.place {
        Place::Within { first, last } => ("within", Some(first), Some(last)),
        Place::Before => ("before", None, None),
        Place::After => ("after", None, None),
    };
    serde_json::json!({
        "format": 1,
        "failure": what,
        "sentence": ended.sentence(what, revisions),
        "sure": ended.sure,
        "place": place,
        "first": first,
        "last": last,
        "probability": ended.answer.probability,
        "tries": ended.tries,
        "revisions": rows,
    })
}
