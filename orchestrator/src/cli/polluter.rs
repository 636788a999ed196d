//! `fallout polluter`: which earlier cases make a case fail that passes alone.

use crate::engine::bisect::Wanted;
use crate::engine::bus::Bus;
use crate::engine::polluter::{self, Asked, Ended, Order};
use crate::model::outcome::Sense;
use crate::model::{CaseId, Side};
use crate::verdict::chance::Count;
use crate::verdict::polluter::Answer;

use super::args::PolluterArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure::{self, Subject};

/// `fallout polluter`
pub fn run(context: &Context, args: &PolluterArgs) -> Outcome {
    let side = Side::from(args.side);
    let subject = failure::find(
        context,
        &args.run,
        &args.failure,
        args.suite.as_deref(),
        side,
    )?;
    let bad = subject.bad().ok_or_else(|| {
        Failure::usage(format!(
            "{} did not fail on {} in run {}: it has no polluter",
            args.failure.case, args.failure.port, args.run
        ))
    })?;
    let order = Order {
        id: subject.cell.id.clone(),
        wanted: Wanted::Case {
            case: subject.case.clone(),
            outcome: bad.outcome,
            title: None,
            after_all: true,
        },
        seen: first_pass(&subject),
        confidence: f64::from(args.confidence) / 100.0,
        most_guests: args.guests,
    };
    let victim = subject.case.clone();
    eprintln!(
        "looking for what makes {victim} fail on {}",
        subject.cell.id.port
    );
    let runtime = failure::runtime()?;
    let mut tell = |asked: Asked<'_>| eprintln!("{}", line(&asked));
    let bus = Bus::unlogged();
    let work = polluter::search(&subject.setup, &victim, &order, &bus, &mut tell);
    let Some(ended) = failure::until_interrupted(runtime, work) else {
        return Err(Failure::interrupted("interrupted"));
    };
    let ended = ended?;
    let sentence = sentence(&ended, &victim);
    if args.json {
        let json = serde_json::json!({
            "format": 1,
            "victim": victim,
            "port": subject.cell.id.port,
            "sentence": sentence,
            "polluters": ended.polluters(),
            "answer": word(&ended.answer),
            "probability": probability(&ended.answer),
            "earlier": ended.earlier.len(),
            "guests": ended.guests,
        });
        print(&serde_json::to_string_pretty(&json).map_err(Failure::internal)?)?;
    } else {
        print(&format!("{sentence}\n{} guests were asked\n", ended.guests))?;
    }
    Ok(match ended.answer {
        Answer::Polluters { .. } | Answer::Alone { .. } => Exit::Findings,
        Answer::NotReproduced { .. } => Exit::Clean,
        Answer::Unclear { .. } => Exit::Host,
    })
}

/// What the first pass of each guest shows: in later ones all cases have run before.
fn first_pass(subject: &Subject) -> Count {
    let attempts = subject.cell.attempts.iter();
    let first = attempts.filter(|a| a.case == subject.case && a.pass == 1 && a.counts());
    first.fold(Count::default(), |sum, a| {
        sum.plus(Count {
            bad: u32::from(a.outcome.sense() == Sense::Bad),
            total: u32::from(a.outcome.sense() != Sense::Silent),
        })
    })
}

fn line(asked: &Asked<'_>) -> String {
    let word = if asked.failed { "fails" } else { "passes" };
    let after = match asked.cases {
        [] => "alone".to_owned(),
        [one] => format!("after {one}"),
        [first, .., last] => format!("after {} cases, {first} to {last}", asked.cases.len()),
    };
    let needed = match asked.needed.as_slice() {
        [] => String::new(),
        list => format!("; needed: {}", names(list.iter())),
    };
    format!("{after}: {word}{needed}")
}

fn names<'a>(cases: impl Iterator<Item = &'a CaseId>) -> String {
    cases
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}

fn word(answer: &Answer) -> &'static str {
    match answer {
        Answer::Alone { .. } => "alone",
        Answer::NotReproduced { .. } => "not_reproduced",
        Answer::Polluters { .. } => "polluters",
        Answer::Unclear { .. } => "unclear",
    }
}

fn probability(answer: &Answer) -> Option<f64> {
    match answer {
        Answer::Alone { probability }
        | Answer::NotReproduced { probability }
        | Answer::Polluters { probability, .. } => Some(*probability),
        Answer::Unclear { .. } => None,
    }
}

/// The answer as a sentence.
pub fn sentence(ended: &Ended, victim: &CaseId) -> String {
    let sure = probability(&ended.answer).map_or(String::new(), |p| {
        format!(" (probability {:.1}%)", 100.0 * p)
    });
    let all = ended.earlier.len();
    match &ended.answer {
        Answer::Alone { .. } => {
            format!("{victim} fails alone: nothing before it is to blame{sure}")
        }
        Answer::NotReproduced { .. } => {
            format!("{victim} does not fail after the {all} cases before it{sure}")
        }
        Answer::Polluters { .. } => format!(
            "{victim} fails after {} of the {all} cases before it, and not alone{sure}",
            names(ended.polluters().into_iter())
        ),
        Answer::Unclear { needed } if needed.is_empty() => {
            format!("what makes {victim} fail is not clear")
        }
        Answer::Unclear { .. } => format!(
            "what makes {victim} fail is not clear; {} belongs to it",
            names(ended.polluters().into_iter())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let earlier = ["a_test:one", "b_test:two", "b_test:three"].map(|c| c.parse().unwrap());
        let say = |answer| {
            let ended = Ended {
                answer,
                earlier: earlier.to_vec(),
                guests: 9,
            };
            sentence(&ended, &CaseId::new("c_test", "victim"))
        };
        let probability = 0.987;
        insta::assert_snapshot!(say(Answer::Polluters { cases: vec![0, 2], probability }), @"c_test:victim fails after a_test:one, b_test:three of the 3 cases before it, and not alone (probability 98.7%)");
        insta::assert_snapshot!(say(Answer::Alone { probability }), @"c_test:victim fails alone: nothing before it is to blame (probability 98.7%)");
        insta::assert_snapshot!(say(Answer::NotReproduced { probability }), @"c_test:victim does not fail after the 3 cases before it (probability 98.7%)");
        insta::assert_snapshot!(say(Answer::Unclear { needed: vec![1] }), @"what makes c_test:victim fail is not clear; b_test:two belongs to it");
    }
}
