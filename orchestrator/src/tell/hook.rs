//! Webhooks out: a job's step as JSON. Chat and everything else hangs on these.

use serde_json::{Value, json};

use crate::model::telling::{HookOut, Letter, Outgoing};

use super::{Happened, line, word};

/// Findings that one body tells.
const FINDINGS: usize = 100;

/// A letter for each webhook of the repository.
pub fn hooks(what: &Happened, hooks: &[HookOut]) -> Vec<Outgoing> {
    let body = body(what).to_string();
    let change = &what.change;
    let letter = |hook: &HookOut| Outgoing {
        key: format!("hook {} {}", what.seq, hook.name),
        lane: format!("hook {} {}", change.repository, hook.name),
        letter: Letter::Hook {
            repository: change.repository.clone(),
            name: hook.name.clone(),
            body: body.clone(),
        },
    };
    hooks.iter().map(letter).collect()
}

fn body(what: &Happened) -> Value {
    let findings = what.verdict.iter().flat_map(|v| &v.findings);
    let findings: Vec<Value> = findings
        .take(FINDINGS)
        .map(|f| {
            let failing: Vec<&str> = f.failing.iter().map(|t| t.port.as_str()).collect();
            json!({
                "kind": word(&f.kind),
                "news": word(&f.news),
                "suite": f.suite,
                "case": f.case.as_ref().map(ToString::to_string),
                "sentence": line(&f.sentence, 500),
                "failing": failing,
            })
        })
        .collect();
    json!({
        "format": 1,
        "event": "job",
        "number": what.seq,
        "job": what.job,
        "repository": what.change.repository,
        "reference": what.change.reference,
        "old": what.change.old,
        "new": what.change.new,
        "rule": what.rule,
        "state": what.state.word(),
        "note": line(&what.note, 500),
        "run": what.run,
        "link": what.link(),
        "clean": what.verdict.as_ref().map(crate::model::Verdict::is_clean),
        "host_faults": what.host_faults,
        "findings": findings,
        "search": what.search,
        "found": what.found,
    })
}
