//! `fallout signoff` and `fallout key`: may a revision be released, signed.

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use jiff::tz::Offset;

use crate::engine::signoff::gather;
use crate::host::keys::{self, Checked, KeyError, Public, Secret};
use crate::host::yaml;
use crate::model::signoff::{FORMAT, SignOff};
use crate::model::{Key, Say};
use crate::report;
use crate::signoff::{Policy, decide};
use crate::store::{runs, signoffs};

use super::args::{KeyCommand, SignoffArgs, SignoffCommand};
use super::context::Context;
use super::drive::print;
use super::exit::{Exit, Failure, Outcome};

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::usage(error)
    }
}

fn own_key(context: &Context) -> Utf8PathBuf {
    context.dirs.state.join("keys/signoff.key")
}

/// `fallout key`
pub fn key(context: &Context, command: &KeyCommand) -> Outcome {
    let (KeyCommand::New { file } | KeyCommand::Show { file }) = command;
    let file = file.clone().unwrap_or_else(|| own_key(context));
    let public = match command {
        KeyCommand::New { .. } => {
            let public = keys::new_key(&file)?;
            eprintln!(
                "note: {file} signs; give {} to those who verify",
                keys::public_path(&file)
            );
            public
        }
        KeyCommand::Show { .. } => Secret::read(&file)?.public(),
    };
    print(&public.digits())?;
    Ok(Exit::Clean)
}

/// `fallout signoff`
pub fn run(context: &Context, args: &SignoffArgs) -> Outcome {
    match (&args.command, &args.revision, &args.policy) {
        (
            Some(SignoffCommand::Verify {
                file,
                signature,
                key,
            }),
            _,
            _,
        ) => verify(context, file, signature.as_deref(), key.as_deref()),
        (None, Some(asked), Some(policy)) => sign_off(context, args, asked, policy),
        // The command line's reader lets nothing else through.
        _ => Err(Failure::usage("expected a revision and --policy FILE")),
    }
}

fn sign_off(context: &Context, args: &SignoffArgs, asked: &str, file: &Utf8Path) -> Outcome {
    // Before the work: a key that cannot be used is told at once.
    let key = match &args.key {
        Some(file) => Some(Secret::read(file)?),
        None => Some(own_key(context))
            .filter(|file| file.exists())
            .map(|file| Secret::read(&file))
            .transpose()?,
    };
    let bytes = std::fs::read(file).map_err(|e| Failure::usage(format!("{file}: {e}")))?;
    let doc = yaml::read::<Policy>(file, Policy::check)?;
    let policy = doc.value.below(file.parent().unwrap_or(Utf8Path::new("")));
    let at = Timestamp::now();
    let today = Offset::UTC.to_datetime(at).date();
    let seen = gather(&context.dirs.runs(), &policy, asked, today)?;
    let (lines, notes) = decide(&policy, &seen.evidence);
    let signoff = SignOff {
        format: FORMAT,
        id: runs::new_id().0,
        policy: policy.name.clone(),
        policy_hash: Key::of("policy 1", &[&bytes]).0,
        asked: asked.to_owned(),
        revision: seen.revision,
        branch_point: seen.branch_point,
        at,
        go: lines.iter().all(|l| l.say.passes()),
        lines,
        notes,
    };
    let dir = keep(context, &signoff, key.as_ref())?;
    if args.json {
        print(&serde_json::to_string_pretty(&signoff).map_err(Failure::internal)?)?;
    } else {
        print(&report::signoff::terminal(&signoff))?;
    }
    eprintln!("{}", dir.join(signoffs::HTML).display());
    match &key {
        Some(key) => eprintln!("signed by {}", key.public().digits()),
        None => eprintln!("note: not signed: there is no key ('fallout key new' makes one)"),
    }
    Ok(if signoff.go {
        Exit::Clean
    } else {
        Exit::Findings
    })
}

fn keep(
    context: &Context,
    signoff: &SignOff,
    key: Option<&Secret>,
) -> Result<std::path::PathBuf, Failure> {
    let json = serde_json::to_vec_pretty(signoff).map_err(Failure::internal)?;
    let html = report::signoff::html(signoff).map_err(Failure::internal)?;
    let mut files = Vec::new();
    for (name, bytes) in [(signoffs::HTML, html.into_bytes()), (signoffs::JSON, json)] {
        if let Some(key) = key {
            let signature = key.sign(&bytes).into_bytes();
            files.push((format!("{name}{}", signoffs::SIGNATURE), signature));
        }
        files.push((name.to_owned(), bytes));
    }
    let all = context.dirs.state.join("signoffs");
    Ok(signoffs::put(all.as_std_path(), &signoff.id, &files)?)
}

fn verify(
    context: &Context,
    file: &Utf8Path,
    signature: Option<&Utf8Path>,
    key: Option<&str>,
) -> Outcome {
    let read =
        |path: &Utf8Path| std::fs::read(path).map_err(|e| Failure::usage(format!("{path}: {e}")));
    let own = keys::public_path(&own_key(context));
    let key = match key {
        Some(key) => Public::read(key)?,
        None if own.exists() => Public::read(own.as_str())?,
        None => {
            let message = "there is no key on this machine: expected --key with the public key of \
                           whom you trust, a file or its digits";
            return Err(Failure::usage(message));
        }
    };
    let beside = Utf8PathBuf::from(format!("{file}{}", signoffs::SIGNATURE));
    let signature = signature.unwrap_or(&beside);
    let (bytes, text) = (read(file)?, read(signature)?);
    match keys::verify(&key, &bytes, &String::from_utf8_lossy(&text)) {
        Checked::Genuine => {}
        Checked::OtherKey => {
            return Err(Failure::signature(format!(
                "{file}: is signed by another key than {}",
                key.digits()
            )));
        }
        Checked::Wrong => {
            return Err(Failure::signature(format!(
                "{file}: the signature does not fit: the file or {signature} was changed"
            )));
        }
    }
    // A page says it itself; of the decision it is said here, so that nobody takes a genuine no-go for a go.
    let said = match signoffs::read(&bytes, file.as_std_path()) {
        Ok(signoff) => format!(
            "{file}: genuine; {} ({:.12}) is {}",
            crate::host::text::line(signoff.asked.as_bytes(), 200),
            signoff.revision,
            if signoff.go {
                Say::Go.word()
            } else {
                Say::NoGo.word()
            },
        ),
        Err(_) => format!("{file}: genuine"),
    };
    print(&said)?;
    Ok(Exit::Clean)
}
