//! `fallout suspect`: is it the system or the emulator?

use crate::engine::bisect::Wanted;
use crate::engine::bus::Bus;
use crate::engine::suspect::{self, Row};
use crate::model::Side;
use crate::verdict::chance::Count;
use crate::verdict::suspect::{Suspicion, weigh};

use super::args::SuspectArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// `fallout suspect`
pub fn run(context: &Context, args: &SuspectArgs) -> Outcome {
    let side = Side::from(args.side);
    let nothing = "no emulator is to blame";
    let (subject, bad) = failure::find_bad(context, &args.about, side, nothing)?;
    let wanted = Wanted::Case {
        case: subject.case.clone(),
        outcome: bad.outcome,
        title: bad
            .reason
            .clone()
            .filter(|_| crate::engine::bisect::died(&bad)),
        after_all: !subject.count().all_bad(),
    };
    let id = subject.cell.id.clone();
    eprintln!(
        "{} on {}: {} guests for each emulation",
        subject.case, id.port, args.times
    );
    let mut tell = |row: &Row| eprintln!("{}", line(row));
    let bus = Bus::unlogged();
    let runtime = failure::runtime()?;
    let work = suspect::ask(&subject.setup, &id, &wanted, args.times, &bus, &mut tell);
    let Some(rows) = failure::until_interrupted(runtime, work) else {
        return Err(Failure::interrupted("interrupted"));
    };
    let rows = rows?;
    let counts: Vec<Count> = rows.iter().map(Row::count).collect();
    let (usual, others) = counts
        .split_first()
        .ok_or_else(|| Failure::internal("no emulation"))?;
    let suspicion = weigh(*usual, others);
    let what = format!("{} on {}", subject.case, id.port);
    if args.json {
        let json = serde_json::json!({
            "format": 1,
            "failure": what,
            "answer": suspicion,
            "sentence": sentence(suspicion, &what, &rows),
            "emulations": rows,
        });
        print(&serde_json::to_string_pretty(&json).map_err(Failure::internal)?)?;
    } else {
        print(&render(suspicion, &what, &rows))?;
    }
    Ok(match suspicion {
        Suspicion::DiffersByEmulator | Suspicion::FailsEverywhere => Exit::Findings,
        Suspicion::FailsNowhere => Exit::Clean,
        Suspicion::NotClear => Exit::Host,
    })
}

fn sentence(suspicion: Suspicion, what: &str, rows: &[Row]) -> String {
    let names = |bad: bool| {
        let some = rows.iter().filter(|r| r.total > 0 && (r.bad > 0) == bad);
        some.map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match suspicion {
        Suspicion::DiffersByEmulator => format!(
            "{what} differs by emulator. It fails: {}. It passes: {}",
            names(true),
            names(false)
        ),
        Suspicion::FailsEverywhere => {
            format!("{what} fails under every emulation: the emulator is hardly to blame")
        }
        Suspicion::FailsNowhere => format!("{what} does not fail again, under any emulation"),
        Suspicion::NotClear => {
            format!("{what}: too few attempts to tell the emulations apart; ask for more --times")
        }
    }
}

fn render(suspicion: Suspicion, what: &str, rows: &[Row]) -> String {
    let mut out = format!("{}\n\n", sentence(suspicion, what, rows));
    for row in rows {
        out.push_str(&format!("  {}\n", line(row)));
    }
    out
}

fn line(row: &Row) -> String {
    let trouble = row
        .trouble
        .as_ref()
        .map_or(String::new(), |t| format!("; {t}"));
    let seen = match row.total {
        0 => "says nothing".to_owned(),
        total => format!("failed in {} of {total}", row.bad),
    };
    format!("{}: {seen}{trouble}", row.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_reads() {
        let row = |name: &str, bad, total, trouble: Option<&str>| Row {
            name: name.to_owned(),
            bad,
            total,
            trouble: trouble.map(str::to_owned),
        };
        let rows = [
            row("as usual", 5, 5, None),
            row("cpu other", 0, 5, None),
            row("machine odd", 0, 0, Some("no boot")),
        ];
        let text = render(Suspicion::DiffersByEmulator, "t:c on p", &rows);
        insta::assert_snapshot!(text, @r"
        t:c on p differs by emulator. It fails: as usual. It passes: cpu other

          as usual: failed in 5 of 5
          cpu other: failed in 0 of 5
          machine odd: says nothing; no boot
        ");
    }
}
