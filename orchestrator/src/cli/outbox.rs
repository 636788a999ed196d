//! `fallout outbox`: what the daemon has to tell people and could not yet.

use jiff::Timestamp;

use crate::host::text;
use crate::model::telling::Letter;
use crate::store::outbox::{Entry, Outbox, Sent};

use super::args::OutboxArgs;
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};
use super::failure;

/// Letters that are shown at most.
const MOST: u32 = 1_000;

/// `fallout outbox`
pub fn run(context: &Context, args: &OutboxArgs) -> Outcome {
    let path = context.dirs.state.join("outbox.sqlite");
    if !path.is_file() {
        let why = format!("{path}: no daemon has told anybody anything from here");
        return Err(Failure::usage(why));
    }
    let runtime = failure::one_thread()?;
    let said: Result<String, Failure> = runtime.block_on(async {
        // Where the daemon begins to read is its own affair: the outbox is there, so it stands.
        let outbox = Outbox::open(path.as_std_path(), 0).await?;
        let now = Timestamp::now();
        for (id, done) in [(args.retry, "is tried next"), (args.forget, "is not sent")] {
            let Some(id) = id else { continue };
            let there = match args.retry {
                Some(_) => outbox.retry(id, now).await?,
                None => outbox.forget(id, now).await?,
            };
            let absent = || Failure::usage(format!("no letter {id} waits: see 'fallout outbox'"));
            return there
                .then(|| format!("letter {id} {done}"))
                .ok_or_else(absent);
        }
        let entries = outbox.list(args.all, MOST).await?;
        if args.json {
            return serde_json::to_string_pretty(&entries).map_err(Failure::internal);
        }
        Ok(entries.iter().map(|e| line(e, now)).collect())
    });
    print(&said?)?;
    Ok(Exit::Clean)
}

fn line(entry: &Entry, now: Timestamp) -> String {
    let state = match (entry.state, entry.due) {
        (Sent::Waits, Some(due)) if due > now => {
            format!("waits {} s", due.duration_since(now).as_secs())
        }
        (Sent::Waits, _) => "is due".to_owned(),
        (Sent::Delivered, _) => "delivered".to_owned(),
        (Sent::GivenUp, _) => "given up".to_owned(),
        (Sent::Dropped, _) => "dropped".to_owned(),
    };
    let what = match &entry.letter {
        Letter::Status {
            repository,
            commit,
            context,
            ..
        } => format!("status of {repository} {commit:.12} {context}"),
        Letter::Hook {
            repository, name, ..
        } => format!("webhook {name} of {repository}"),
        Letter::Mail { to, subject, .. } => format!("mail to {}: {subject}", to.join(", ")),
    };
    let note = match entry.note.as_str() {
        "" => String::new(),
        note => format!("\n         {}", text::line(note.as_bytes(), 300)),
    };
    format!(
        "{:>6}  {state:<12} {} tr{}  {}{note}\n",
        entry.id,
        entry.tries,
        if entry.tries == 1 { "y  " } else { "ies" },
        text::line(what.as_bytes(), 200),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_a_line_with_the_reason_below() {
        let made = Timestamp::UNIX_EPOCH;
        let entry = Entry {
            id: 7,
            state: Sent::Waits,
            tries: 2,
            made,
            due: Some(
                made.checked_add(std::time::Duration::from_secs(90))
                    .unwrap(),
            ),
            note: "no route\u{1b}[31m to host".to_owned(),
            letter: Letter::Mail {
                to: vec!["list@example.org".to_owned()],
                subject: "[r main] t:x".to_owned(),
                body: String::new(),
                id: "<1@x>".to_owned(),
                references: Vec::new(),
            },
        };
        assert_eq!(
            line(&entry, made),
            "     7  waits 90 s   2 tries  mail to list@example.org: [r main] t:x\n         no route to host\n"
        );
        let over = Entry {
            state: Sent::GivenUp,
            due: None,
            note: String::new(),
            ..entry
        };
        assert!(line(&over, made).starts_with("     7  given up     2 tries  mail to"));
    }
}
