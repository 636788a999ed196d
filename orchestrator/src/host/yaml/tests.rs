use std::time::Duration;

use insta::assert_snapshot;
use serde::Deserialize;

use super::*;
use crate::model::units::{de_duration, de_size};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Top {
    format: u32,
    name: String,
    #[serde(default)]
    ports: Vec<String>,
    suites: Vec<Inner>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Inner {
    name: String,
    #[serde(default)]
    repeat: u32,
    #[serde(default)]
    mode: Option<Mode>,
    #[serde(deserialize_with = "de_duration")]
    timeout: Duration,
    #[serde(default, deserialize_with = "de_size")]
    size: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Quick,
    Thorough,
}

fn complaint(text: &str) -> String {
    complaint_with(text, |_| Vec::new())
}

fn complaint_with(text: &str, check: impl FnOnce(&Top) -> Vec<Problem>) -> String {
    parse::<Top>("m.yaml".into(), text.to_owned(), check)
        .unwrap_err()
        .to_string()
}

#[test]
fn a_good_file_gives_its_value() {
    let text =
        "format: 1\nname: x\nsuites:\n  - {name: a, timeout: 90s, mode: quick, size: 4KiB}\n";
    let doc = parse::<Top>("m.yaml".into(), text.to_owned(), |_| Vec::new()).unwrap();
    assert_eq!(doc.value.suites[0].timeout, Duration::from_secs(90));
    assert_eq!(doc.value.suites[0].size, 4096);
}

#[test]
fn an_unknown_field_gets_place_and_nearest_word() {
    let text = "format: 1\nname: x\nsuites:\n  - name: a\n    timeout: 1s\n  - name: b\n    repaet: 3\n    timeout: 1s\n";
    assert_snapshot!(complaint(text), @"m.yaml:7:5: suites[1].repaet: unknown field, expected one of name, repeat, mode, timeout, size; did you mean 'repeat'?");
}

#[test]
fn all_misfits_of_a_file_at_once() {
    let text = "\
format: one
nam: x
suites:
  - name: [a]
    timeout: soon
    mode: quik
    size: 4MB
  - repeat: -1
    timeout: -4s
  - 7
ports: amd64
";
    assert_snapshot!(complaint(text), @r#"
m.yaml: name: is missing
m.yaml:1:1: format: is the text "one", expected a whole number of zero or more
m.yaml:2:1: nam: unknown field, expected one of format, name, ports, suites; did you mean 'name'?
m.yaml:4:5: suites[0].name: is a list, expected a text
m.yaml:5:5: suites[0].timeout: 'soon' is not a duration: expected for example 90s, 45m or 1h30m
m.yaml:6:5: suites[0].mode: 'quik' is unknown, expected one of quick, thorough; did you mean 'quick'?
m.yaml:7:5: suites[0].size: '4MB' is not a size: expected for example 512MiB or 2GiB
m.yaml:8:5: suites[1].repeat: is the number '-1', expected a whole number of zero or more
m.yaml:8:5: suites[1].name: is missing
m.yaml:9:5: suites[1].timeout: '-4s' is negative: expected a duration of zero or more
m.yaml:10:5: suites[2]: is the number '7', expected a mapping with named fields
m.yaml:11:1: ports: is the text "amd64", expected a list
"#);
}

#[test]
fn checks_of_the_value_are_placed_and_echoes_are_not_repeated() {
    let text =
        "format: 1\nname: x\nsuites:\n  - name: 7\n    timeout: 1s\n  - name: b\n    timeout: 0s\n";
    let check = |top: &Top| {
        let mut found = vec![Problem::new("suites[0].name", "must not be seen")];
        if top.suites[1].timeout.is_zero() {
            found.push(Problem::new("suites[1].timeout", "is zero"));
        }
        found
    };
    assert_snapshot!(complaint_with(text, check), @r#"
m.yaml:4:5: suites[0].name: is the number '7', expected a text; put it in quotes to make it a text
m.yaml:7:5: suites[1].timeout: is zero
"#);
}

#[test]
fn what_is_no_yaml() {
    assert_snapshot!(complaint("format: 1\nname: [a\nsuites: x\n"), @"m.yaml:3:7: not YAML: did not find expected ',' or ']', while parsing a flow sequence at line 2 column 7");
    assert_snapshot!(complaint("a: 1\n\tb: 2\n"), @"m.yaml:2:1: not YAML: found a tab character that violates indentation, while scanning a plain scalar at line 1 column 4");
    assert_snapshot!(complaint("name: x\nname: y\n"), @r#"m.yaml:1:1: not YAML: duplicate entry with key "name""#);
    assert_snapshot!(complaint(""), @"m.yaml: is empty");
    assert_snapshot!(complaint("- a\n"), @"m.yaml: is a list, expected a mapping with named fields");
    assert_snapshot!(complaint("a: *nowhere\n"), @"m.yaml:1:4: not YAML: unknown anchor");
}

#[test]
fn a_number_where_a_text_is_wanted_says_how() {
    assert_snapshot!(complaint("format: 1\nname: 970\nsuites: []\n"), @"m.yaml:2:1: name: is the number '970', expected a text; put it in quotes to make it a text");
}

#[test]
fn control_characters_do_not_reach_the_screen() {
    let said = complaint("format: 1\nname: x\nsuites: []\n\"a\\e[31m\": 1\n");
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn nested_aliases_are_refused_before_they_grow() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let refs = vec![format!("*a{}", i - 1); 10].join(", ");
        text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
    }
    assert_snapshot!(complaint(&text), @"m.yaml: has 110 aliases (*name): expected at most 16");
    let long = format!("name: {}\n", "x".repeat(MAX_BYTES as usize));
    assert_snapshot!(complaint(&long), @"m.yaml: is larger than 256 KiB");
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    assert_snapshot!(complaint(&"[".repeat(100_000)), @"m.yaml: is nested too deep");
    let text = "[".repeat(MAX_DEPTH);
    assert!(complaint(&text).contains("not YAML"));
    let text = "a: &a [ [".repeat(2) + &"- ".repeat(100_000);
    assert!(complaint(&text).contains("not YAML"));
}

#[test]
fn a_flood_of_problems_is_cut() {
    let text = format!(
        "format: 1\nname: x\nsuites: []\nports: [{}]\n",
        "x, ".repeat(2000)
    );
    let all = |top: &Top| {
        (0..top.ports.len())
            .map(|i| Problem::new(format!("ports[{i}]"), "is wrong"))
            .collect()
    };
    let told = complaint_with(&text, all);
    assert_eq!(told.lines().count(), MAX_TOLD + 1);
    assert!(
        told.ends_with("m.yaml: and 1950 problems more"),
        "{}",
        &told[told.len() - 80..]
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = read::<Top>("no/such.yaml".into(), |_| Vec::new()).unwrap_err();
    assert_snapshot!(error.to_string(), @"no/such.yaml: cannot be read: No such file or directory (os error 2)");
}

proptest::proptest! {
    #[test]
    fn never_panics(text in "[a-z0-9:\\-\\[\\]{} \n*&'\"!#|>]{0,200}") {
        let _ = parse::<Top>("m.yaml".into(), text, |_| Vec::new());
    }

    #[test]
    fn paths_split_and_never_panic(path in "\\PC{0,40}") {
        let _ = locate::locate("a: [1, {b: 2}]\n", &path);
    }
}
