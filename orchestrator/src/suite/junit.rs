//! JUnit XML as other programs write it, read leniently: `testcase` elements wherever they stand.
//!
//! No entity of a document's own is expanded, nothing is nested in memory, and nothing outside the
//! text is read.

use std::time::Duration;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::text::OUTPUT_MAX_BYTES;
use crate::model::Outcome;

/// Elements within elements at most.
const DEPTH: usize = 64;

/// One `testcase`, with texts as they stand there.
#[derive(Debug)]
pub struct Case {
    /// `classname`.
    pub class: String,
    /// `name`.
    pub name: String,
    /// `time`, where it is a number of seconds.
    pub time: Option<Duration>,
    /// What the elements in it say; without one that says anything, it passed.
    pub outcome: Outcome,
    /// `message` of the element that decided.
    pub reason: Option<String>,
    /// What stands in it as text: the decisive element's, `system-out`, `system-err`. The beginning,
    /// where that is long.
    pub output: String,
}

/// Every `testcase` of a document, one more than `most` where there are more.
pub fn read(text: &str, most: usize) -> Result<Vec<Case>, String> {
    let mut reader = Reader::from_str(text);
    let mut cases = Vec::new();
    let mut open: Option<Case> = None;
    let (mut depth, mut root) = (0, false);
    loop {
        let at = reader.buffer_position();
        let failed = |why: String| format!("at byte {at}: {why}");
        let event = reader.read_event().map_err(|e| failed(e.to_string()))?;
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let whole = matches!(event, Event::Empty(_));
                if !root {
                    let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
                    if !["testsuites", "testsuite"].contains(&name.as_str()) {
                        return Err(failed(format!(
                            "it begins with <{name:.40}>: expected <testsuites> or <testsuite>"
                        )));
                    }
                    root = true;
                }
                if !whole {
                    depth += 1;
                }
                if depth > DEPTH {
                    return Err(failed(format!("elements more than {DEPTH} deep")));
                }
                match (tag.name().as_ref(), &mut open) {
                    (b"testcase", None) => {
                        let case = begin(tag).map_err(failed)?;
                        match whole {
                            true => cases.push(case),
                            false => open = Some(case),
                        }
                    }
                    (name, Some(case)) => says(case, name, tag).map_err(failed)?,
                    _ => {}
                }
            }
            Event::End(tag) => {
                depth = depth.saturating_sub(1);
                if tag.name().as_ref() == b"testcase" {
                    cases.extend(open.take());
                }
            }
            Event::Text(part) => {
                if let Some(case) = &mut open {
                    put(case, &part.decode().map_err(|e| failed(e.to_string()))?);
                }
            }
            Event::CData(part) => {
                if let Some(case) = &mut open {
                    put(case, &part.decode().map_err(|e| failed(e.to_string()))?);
                }
            }
            Event::GeneralRef(name) => {
                let resolved = name.resolve_char_ref().ok().flatten();
                let word = name.decode().map_err(|e| failed(e.to_string()))?;
                let known = quick_xml::escape::resolve_predefined_entity(&word);
                if let Some(case) = &mut open {
                    match resolved {
                        Some(c) => put(case, c.encode_utf8(&mut [0; 4])),
                        None => put(case, known.unwrap_or("?")),
                    }
                }
            }
            Event::Eof => break,
            _ => {}
        }
        if cases.len() > most {
            return Ok(cases);
        }
    }
    match (root, depth) {
        (false, _) => Err("it has no element".to_owned()),
        (true, 0) => Ok(cases),
        (true, _) => Err("it ends within an element".to_owned()),
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = tag.try_get_attribute(name).map_err(|e| e.to_string())?;
    let text = found.map(|a| {
        a.normalized_value(XmlVersion::Implicit1_0)
            .map(|v| v.into_owned())
    });
    text.transpose().map_err(|e| e.to_string())
}

fn begin(tag: &BytesStart<'_>) -> Result<Case, String> {
    let time = attribute(tag, "time")?.and_then(|t| t.trim().parse::<f64>().ok());
    Ok(Case {
        class: attribute(tag, "classname")?.unwrap_or_default(),
        name: attribute(tag, "name")?.unwrap_or_default(),
        time: time.and_then(|t| Duration::try_from_secs_f64(t).ok()),
        outcome: Outcome::Passed,
        reason: None,
        output: String::new(),
    })
}

/// An element within a case: the first that says how it ended decides.
fn says(case: &mut Case, name: &[u8], tag: &BytesStart<'_>) -> Result<(), String> {
    let plain = match name {
        b"failure" => Outcome::Failed,
        b"error" => Outcome::Broken,
        b"skipped" => Outcome::Skipped,
        // What is told of an ending that was announced stands beside a case that passed.
        _ => return Ok(()),
    };
    if case.outcome != Outcome::Passed {
        return Ok(());
    }
    // Our own words say more than the element.
    let word = attribute(tag, "type")?;
    let own = Outcome::ALL
        .into_iter()
        .filter(|o| o.sense() == plain.sense())
        .find(|o| word.as_deref() == Some(o.word()));
    case.outcome = own.unwrap_or(plain);
    case.reason = attribute(tag, "message")?;
    Ok(())
}

fn put(case: &mut Case, text: &str) {
    if case.output.is_empty() && text.trim().is_empty() {
        return;
    }
    let room = OUTPUT_MAX_BYTES.saturating_sub(case.output.len());
    let end = text
        .char_indices()
        .map(|(i, c)| i + c.len_utf8())
        .take_while(|end| *end <= room)
        .last()
        .unwrap_or(0);
    case.output.push_str(&text[..end]);
}
