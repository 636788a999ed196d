//! Reads a tree into a type and goes on after a misfit, so that all of them are known.
//!
//! After a misfit the place is mended: an unknown field is taken away, anything else gets the
//! first placeholder that fits. Misfits inside a placeholder are of our own making and are kept
//! quiet.

use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};
use serde_yaml::Value;

use super::advice;
use super::locate::{Step, split};
use crate::model::problem::Problem;

/// Beyond this the file is something else altogether.
const MAX_PROBLEMS: usize = 25;

/// The value, where the tree could be read or mended, and all misfits.
pub(super) fn read_all<T: DeserializeOwned>(mut tree: Value) -> (Option<T>, Vec<Problem>) {
    let mut problems: Vec<Problem> = Vec::new();
    while problems.len() < MAX_PROBLEMS {
        let misfit = match try_read::<T>(&tree) {
            Ok(value) => return (Some(value), problems),
            Err(misfit) => misfit,
        };
        let mended = mend::<T>(&mut tree, &misfit);
        problems.push(misfit.problem);
        if !mended {
            break;
        }
    }
    (None, problems)
}

struct Misfit {
    problem: Problem,
    kind: Kind,
}

#[derive(PartialEq)]
enum Kind {
    UnknownField,
    Other,
}

/// How the message about a field that nobody knows begins.
pub(super) const UNKNOWN_FIELD: &str = "unknown field";

fn try_read<T: DeserializeOwned>(tree: &Value) -> Result<T, Misfit> {
    serde_path_to_error::deserialize(tree.clone()).map_err(|e| {
        let path = render(e.path());
        understand(path, &e.into_inner().to_string())
    })
}

fn render(path: &Path) -> String {
    let mut out = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => out.push_str(&format!("[{index}]")),
            Segment::Map { key } => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(key);
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    out
}

/// Serde's message in the project's words, with the nearest valid word.
fn understand(mut path: String, message: &str) -> Misfit {
    // The values' own reader puts its path in front of some messages; ours is the better one.
    let message = message
        .strip_prefix(&path)
        .and_then(|m| m.strip_prefix(": "))
        .unwrap_or(message);
    let join = |path: &str, field: &str| match path {
        "" => field.to_owned(),
        parent => format!("{parent}.{field}"),
    };
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (problem, kind) = if message.starts_with("unknown field ") {
        let (word, expected) = quoted.split_first().map_or(("", &[][..]), |(w, e)| (*w, e));
        if split(&path).last() != Some(&Step::Key(word.to_owned())) {
            path = join(&path, word);
        }
        let problem = Problem::new(
            path,
            format!("{UNKNOWN_FIELD}, expected {}", one_of(expected)),
        )
        .help(advice(word, expected));
        (problem, Kind::UnknownField)
    } else if message.starts_with("unknown variant ") {
        let (word, expected) = quoted.split_first().map_or(("", &[][..]), |(w, e)| (*w, e));
        let problem = Problem::new(
            path,
            format!("'{word}' is unknown, expected {}", one_of(expected)),
        )
        .help(advice(word, expected));
        (problem, Kind::Other)
    } else if message.starts_with("missing field ") {
        let field = quoted.first().copied().unwrap_or_default();
        (Problem::new(join(&path, field), "is missing"), Kind::Other)
    } else if let Some((got, expected)) = message
        .strip_prefix("invalid type: ")
        .and_then(|m| m.split_once(", expected "))
    {
        let number =
            got.starts_with("integer") || got.starts_with("floating") || got.starts_with("boolean");
        let help = (number && expected.contains("string"))
            .then(|| "put it in quotes to make it a text".to_owned());
        let message = format!("is {}, expected {}", words(got), words(expected));
        (Problem::new(path, message).help(help), Kind::Other)
    } else if let Some((got, expected)) = message
        .strip_prefix("invalid value: ")
        .and_then(|m| m.split_once(", expected "))
    {
        let message = format!("is {}, expected {}", words(got), words(expected));
        (Problem::new(path, message), Kind::Other)
    } else {
        (Problem::new(path, message), Kind::Other)
    };
    Misfit { problem, kind }
}

/// Serde's names of types in words that belong to YAML.
fn words(text: &str) -> String {
    let plain = match text {
        "a string" => "a text",
        "sequence" => "a list",
        "a sequence" => "a list",
        "map" => "a mapping",
        "a map" => "a mapping",
        "unit value" | "null" => "empty",
        "u16" | "u32" | "u64" | "usize" => "a whole number of zero or more",
        "i32" | "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        other if other.starts_with("struct ") => "a mapping with named fields",
        other => {
            return other
                .replace("string \"", "the text \"")
                .replace("integer `", "the number `")
                .replace("floating point `", "the number `")
                .replace("boolean `", "`")
                .replace('`', "'");
        }
    };
    plain.to_owned()
}

fn one_of(words: &[&str]) -> String {
    match words {
        [] => "no fields at all".to_owned(),
        [one] => (*one).to_owned(),
        many => format!("one of {}", many.join(", ")),
    }
}

/// Makes the place of a misfit fit; false where that cannot be done.
fn mend<T: DeserializeOwned>(tree: &mut Value, misfit: &Misfit) -> bool {
    let path = &misfit.problem.path;
    let steps = split(path);
    let Some((last, parents)) = steps.split_last() else {
        return false;
    };
    let Some(parent) = parents.iter().try_fold(&mut *tree, descend) else {
        return false;
    };
    if misfit.kind == Kind::UnknownField {
        let Step::Key(key) = last else { return false };
        return parent
            .as_mapping_mut()
            .is_some_and(|m| m.remove(key.as_str()).is_some());
    }
    fit::<T>(tree, parents, last, path, 0)
}

/// Tries the placeholders; one that brings misfits inside of itself is mended in turn.
fn fit<T: DeserializeOwned>(
    tree: &mut Value,
    parents: &[Step],
    last: &Step,
    path: &str,
    depth: usize,
) -> bool {
    let words = ["x", "1s", "1MiB", "a:b", "a/b/c/baseline"];
    let known = match try_read::<T>(tree) {
        Err(now) => first_expected(&now.problem.message),
        Ok(_) => return true,
    };
    let candidates = known
        .into_iter()
        .map(Value::from)
        .chain(words.iter().map(|w| Value::from(*w)))
        .chain([
            Value::from(1),
            Value::from(true),
            Value::Sequence(Vec::new()),
            Value::Mapping(serde_yaml::Mapping::new()),
        ]);
    for candidate in candidates {
        if !put(tree, parents, last, candidate) {
            return false;
        }
        let Err(next) = try_read::<T>(tree) else {
            return true;
        };
        let at = next.problem.path.as_str();
        let inside = at
            .strip_prefix(path)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        if !inside {
            return true;
        }
        // An empty mapping that lacks a field is the right shape: fill the field.
        if at.len() > path.len() && depth < 6 {
            let deeper = split(at);
            if let Some((l, p)) = deeper.split_last()
                && fill::<T>(tree, p, l, at, path, depth)
            {
                return true;
            }
        }
    }
    false
}

/// Fills missing fields of a placeholder until no misfit is left inside of it.
fn fill<T: DeserializeOwned>(
    tree: &mut Value,
    parents: &[Step],
    last: &Step,
    at: &str,
    whole: &str,
    depth: usize,
) -> bool {
    if !fit::<T>(tree, parents, last, at, depth + 1) {
        return false;
    }
    for _ in 0..16 {
        let Err(next) = try_read::<T>(tree) else {
            return true;
        };
        let inner = next.problem.path;
        if !inner.starts_with(whole) {
            return true;
        }
        let steps = split(&inner);
        let Some((l, p)) = steps.split_last() else {
            return false;
        };
        if inner.len() <= whole.len() || !fit::<T>(tree, p, l, &inner, depth + 1) {
            return false;
        }
    }
    false
}

fn first_expected(message: &str) -> Option<String> {
    let list = message.split_once("is unknown, expected ")?.1;
    let list = list.strip_prefix("one of ").unwrap_or(list);
    list.split(", ").next().map(str::to_owned)
}

fn put(tree: &mut Value, parents: &[Step], last: &Step, value: Value) -> bool {
    let Some(parent) = parents.iter().try_fold(tree, descend) else {
        return false;
    };
    match (parent, last) {
        (Value::Mapping(map), Step::Key(key)) => {
            map.insert(Value::from(key.as_str()), value);
            true
        }
        (Value::Sequence(list), Step::Index(index)) => match list.get_mut(*index) {
            Some(element) => {
                *element = value;
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn descend<'a>(value: &'a mut Value, step: &Step) -> Option<&'a mut Value> {
    match step {
        Step::Key(key) => value.as_mapping_mut()?.get_mut(key.as_str()),
        Step::Index(index) => value.as_sequence_mut()?.get_mut(*index),
    }
}
