//! What adaptive repeats spent and bought, in sentences that the terminal and the page share.

use std::collections::BTreeMap;

use super::duration_words;
use crate::model::{Bought, FindingKind, News, Spent, Stand};

/// Cases that are named; the rest is counted.
const NAMED: usize = 30;

/// One line on what it cost and why it ended.
pub fn headline(spent: &Spent) -> String {
    let attempts = match spent.attempts {
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    };
    let mut most: Vec<String> = Vec::new();
    most.extend(spent.most_attempts.map(|n| n.to_string()));
    most.extend(spent.most_time.map(duration_words));
    let most = match most.is_empty() {
        true => String::new(),
        false => format!(" (at most {})", most.join(" and ")),
    };
    let decided = spent.cases.iter().filter(|c| c.is_decided()).count();
    let open = spent.cases.iter().filter(|c| c.is_open()).count();
    let bought = match (decided, open) {
        (0, 0) => "nothing was open".to_owned(),
        (n, 0) => format!("{n} decided, none left open"),
        (n, open) => format!("{n} decided, {open} still open"),
    };
    let took = duration_words(spent.took);
    format!(
        "Repeats where they tell most: {attempts} in {took}{most}: {bought}; {}.",
        spent.end.words()
    )
}

/// A line for each case, those that were decided first.
pub fn lines(spent: &Spent) -> Vec<String> {
    let mut groups: BTreeMap<u8, Vec<&Bought>> = BTreeMap::new();
    for case in &spent.cases {
        let group = match (case.is_decided(), case.is_open()) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        groups.entry(group).or_default().push(case);
    }
    let all: Vec<&Bought> = groups.into_values().flatten().collect();
    let mut lines: Vec<String> = all.iter().take(NAMED).map(|c| line(c)).collect();
    if all.len() > NAMED {
        lines.push(format!("{} more cases", all.len() - NAMED));
    }
    lines
}

fn line(case: &Bought) -> String {
    let name = format!("{} {}", case.suite, case.case);
    let tries = format!("{} of {} failed", case.bad, case.attempts);
    let change = match (case.before, case.after) {
        (before, after) if before == after => format!("{} as before", words(after)),
        (before, after) => format!("{}, was {}", words(after), words(before)),
    };
    format!("{name}: {change} ({tries})")
}

fn words(stand: Option<Stand>) -> String {
    let Some(stand) = stand else {
        return "no finding".to_owned();
    };
    let kind = match stand.kind {
        FindingKind::Panic => "a panic",
        FindingKind::Hang => "a hang",
        FindingKind::Gone => "a guest that is gone",
        FindingKind::ArchOnly => "on one port only",
        FindingKind::TraitBound => "bound to a trait",
        FindingKind::Regression => "a failure",
        FindingKind::Undecided => "not yet known",
        FindingKind::Flake => "a flake",
        FindingKind::Stage => "a broken stage",
        FindingKind::Missed => "never run",
        FindingKind::Fixed => "fixed",
    };
    let news = match stand.news {
        News::New => ", new",
        News::Known => ", in the baseline too",
        News::Unclear => ", perhaps new",
        News::NoBaseline => "",
    };
    format!("{kind}{news}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{CaseId, SpentEnd};
    use std::time::Duration;

    #[test]
    fn what_the_user_reads() {
        let stand = |kind, news| Some(Stand { kind, news });
        let case = |name, attempts, bad, before, after| Bought {
            suite: "portable".to_owned(),
            case: CaseId::new("t", name),
            attempts,
            bad,
            before,
            after,
        };
        let open = stand(FindingKind::Undecided, News::Unclear);
        let spent = Spent {
            most_attempts: Some(60),
            most_time: Some(Duration::from_secs(300)),
            attempts: 21,
            took: Duration::from_secs(25),
            end: SpentEnd::NothingLeft,
            cases: vec![
                case(
                    "flaky",
                    9,
                    4,
                    open,
                    stand(FindingKind::Flake, News::Unclear),
                ),
                case("wide", 6, 6, open, stand(FindingKind::ArchOnly, News::New)),
                case("luck", 6, 0, open, None),
            ],
        };
        let text = [vec![headline(&spent)], lines(&spent)].concat().join("\n");
        insta::assert_snapshot!(text, @r#"
        Repeats where they tell most: 21 attempts in 25s (at most 60 and 5m 00s): 3 decided, none left open; nothing was left to ask.
        portable t:flaky: a flake, perhaps new, was not yet known, perhaps new (4 of 9 failed)
        portable t:wide: on one port only, new, was not yet known, perhaps new (6 of 6 failed)
        portable t:luck: no finding, was not yet known, perhaps new (0 of 6 failed)
        "#);
        let none = Spent {
            most_time: None,
            attempts: 0,
            cases: Vec::new(),
            ..spent
        };
        insta::assert_snapshot!(headline(&none), @r#"Repeats where they tell most: 0 attempts in 25s (at most 60): nothing was open; nothing was left to ask."#);
    }
}
