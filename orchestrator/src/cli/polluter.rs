//! `fallout polluter`: which earlier cases make a case fail that passes alone.

use std::collections::HashSet;

use crate::engine::bisect::Wanted;
use crate::engine::bus::Bus;
use crate::engine::polluter::{self, Asked, Ended, Order};
use crate::model::outcome::Sense;
use crate::model::{CaseId, Purpose, Side};
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
    let (subject, bad) = failure::find_bad(context, &args.about, side, "it has no polluter")?;
    let (ran_before, seen) = company(&subject);
    let order = Order {
        id: subject.cell.id.clone(),
        wanted: Wanted::Case {
            case: subject.case.clone(),
            outcome: bad.outcome,
            title: None,
            after_all: true,
        },
        ran_before,
        seen,
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
            "in_order": ended.in_order(),
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

/// What ran before the victim where it failed first, and what was seen of it after that. In the first
/// pass that is the same in every guest, where the order is; in later passes all cases have run
/// before, and only that one attempt says anything of this company.
fn company(subject: &Subject) -> (Vec<CaseId>, Count) {
    let attempts = &subject.cell.attempts;
    let victims = || {
        let all = attempts.iter().enumerate();
        all.filter(|(_, a)| a.case == subject.case && a.purpose == Purpose::Pass && a.counts())
    };
    let bad = victims().filter(|(_, a)| a.outcome.sense() == Sense::Bad);
    let Some((at, bad)) = bad.min_by_key(|(_, a)| a.pass) else {
        return (Vec::new(), Count::default());
    };
    // Of a case that ran twice the last time is the nearer one.
    let mut told: HashSet<&CaseId> = HashSet::from([&subject.case]);
    let there = attempts[..at].iter().rev();
    let there = there.filter(|a| a.guest == bad.guest && told.insert(&a.case));
    let mut ran: Vec<CaseId> = there.map(|a| a.case.clone()).collect();
    ran.reverse();
    let alike = victims().filter(|(i, a)| *i == at || (bad.pass == 1 && a.pass == 1));
    let seen = alike.fold(Count::default(), |sum, (_, a)| {
        sum.plus(Count {
            bad: u32::from(a.outcome.sense() == Sense::Bad),
            total: u32::from(a.outcome.sense() != Sense::Silent),
        })
    });
    (ran, seen)
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
        Answer::Polluters { .. } => {
            let order = ended.in_order().into_iter();
            let order: String = order.map(|(a, b)| format!(", {a} before {b}")).collect();
            format!(
                "{victim} fails after {} of the {all} cases before it{order}, and not alone{sure}",
                names(ended.polluters().into_iter())
            )
        }
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
        let in_order = Vec::new();
        insta::assert_snapshot!(say(Answer::Polluters { cases: vec![0, 2], in_order, probability }), @"c_test:victim fails after a_test:one, b_test:three of the 3 cases before it, and not alone (probability 98.7%)");
        let in_order = vec![(0, 2)];
        insta::assert_snapshot!(say(Answer::Polluters { cases: vec![0, 2], in_order, probability }), @r#"c_test:victim fails after a_test:one, b_test:three of the 3 cases before it, a_test:one before b_test:three, and not alone (probability 98.7%)"#);
        insta::assert_snapshot!(say(Answer::Alone { probability }), @"c_test:victim fails alone: nothing before it is to blame (probability 98.7%)");
        insta::assert_snapshot!(say(Answer::NotReproduced { probability }), @"c_test:victim does not fail after the 3 cases before it (probability 98.7%)");
        insta::assert_snapshot!(say(Answer::Unclear { needed: vec![1] }), @"what makes c_test:victim fail is not clear; b_test:two belongs to it");
    }
}
