//! As much of JSON Schema as the API's document uses. What it does not know it refuses, so that
//! nothing in the document goes unchecked.

use serde_json::Value;

/// What is wrong with `value` under `schema`, a part of `document`; empty where nothing is.
pub fn wrong(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut all = Vec::new();
    let Some(schema) = schema.as_object() else {
        return vec![format!("{at}: the schema is no object")];
    };
    let said = |what: String| format!("{at}: {what}");
    for (word, rule) in schema {
        match word.as_str() {
            "$ref" => {
                let target = rule.as_str().and_then(|r| r.strip_prefix('#'));
                match target.and_then(|t| document.pointer(t)) {
                    Some(target) => all.extend(wrong(document, target, value, at)),
                    None => all.push(said(format!("{rule} leads nowhere"))),
                }
            }
            "type" => {
                let names = rule
                    .as_array()
                    .cloned()
                    .unwrap_or_else(|| vec![rule.clone()]);
                if !names.iter().any(|n| is(n.as_str().unwrap_or(""), value)) {
                    all.push(said(format!("{value} is not of type {rule}")));
                }
            }
            "enum" => {
                if !rule.as_array().is_some_and(|all| all.contains(value)) {
                    all.push(said(format!("{value} is none of {rule}")));
                }
            }
            "anyOf" => {
                let fits = |s: &Value| wrong(document, s, value, at).is_empty();
                if !rule.as_array().is_some_and(|all| all.iter().any(fits)) {
                    all.push(said(format!("{value} fits none of {rule}")));
                }
            }
            "required" => {
                for name in rule.as_array().into_iter().flatten() {
                    if value.get(name.as_str().unwrap_or("")).is_none() {
                        all.push(said(format!("{name} is missing")));
                    }
                }
            }
            "properties" => {
                for (name, inner) in rule.as_object().into_iter().flatten() {
                    if let Some(part) = value.get(name) {
                        all.extend(wrong(document, inner, part, &format!("{at}.{name}")));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for name in value.as_object().into_iter().flatten().map(|(n, _)| n) {
                    if *rule == false && !known.is_some_and(|k| k.contains_key(name)) {
                        all.push(format!("{at}: {name} is not in the document"));
                    }
                }
            }
            "items" => {
                for (i, part) in value.as_array().into_iter().flatten().enumerate() {
                    all.extend(wrong(document, rule, part, &format!("{at}[{i}]")));
                }
            }
            "prefixItems" => {
                let rules = rule.as_array().into_iter().flatten();
                for (i, (rule, part)) in rules
                    .zip(value.as_array().into_iter().flatten())
                    .enumerate()
                {
                    all.extend(wrong(document, rule, part, &format!("{at}[{i}]")));
                }
            }
            "minItems" | "maxItems" => {
                let n = value.as_array().map_or(0, Vec::len) as u64;
                let bound = rule.as_u64().unwrap_or(0);
                if (word == "minItems" && n < bound) || (word == "maxItems" && n > bound) {
                    all.push(said(format!("has {n} items")));
                }
            }
            "minimum" => {
                if value
                    .as_f64()
                    .is_some_and(|v| v < rule.as_f64().unwrap_or(0.0))
                {
                    all.push(said(format!("{value} is below {rule}")));
                }
            }
            "format" if rule == "date-time" => {
                let time = value.as_str().map(str::parse::<jiff::Timestamp>);
                if !matches!(time, Some(Ok(_)) | None) {
                    all.push(said(format!("{value} is no time")));
                }
            }
            "description" => {}
            other => all.push(said(format!(
                "the schema says '{other}', which this test does not know"
            ))),
        }
    }
    all
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let document = serde_json::json!({"a": {"type": "integer", "minimum": 0}});
    let schema = serde_json::json!({"type": "object", "additionalProperties": false,
        "required": ["n", "m"], "properties": {"n": {"$ref": "#/a"}, "t": {"format": "date-time"}}});
    let value = serde_json::json!({"n": -1, "x": 1, "t": "noon"});
    let found = wrong(&document, &schema, &value, "v");
    assert_eq!(found.len(), 4, "{found:#?}");
    let value = serde_json::json!({"n": 1, "m": 2, "t": "2026-01-02T03:04:05Z"});
    let found = wrong(&document, &schema, &value, "v");
    assert_eq!(found, ["v: m is not in the document"]);
    let odd = wrong(&document, &serde_json::json!({"pattern": "x"}), &value, "v");
    assert!(odd[0].contains("does not know"));
}
