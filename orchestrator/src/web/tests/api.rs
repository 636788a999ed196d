//! The API against its own document, page by page, and who may write.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::schema::wrong;
use super::site::{CELL, DONE, LIVE, REVISION, SIGNOFF, Site, search, text};
use crate::web::api::{ROUTES, openapi};

#[test]
fn the_document_and_the_router_have_the_same_addresses() {
    let document = openapi().unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut written = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, what) in item.as_object().unwrap() {
            if method != "parameters" {
                written.insert((path.clone(), method.clone()));
                assert!(what["operationId"].is_string(), "{path} {method}");
            }
        }
    }
    let served: BTreeSet<(String, String)> = ROUTES
        .iter()
        .flat_map(|(path, methods, _)| {
            methods
                .iter()
                .map(|m| ((*path).to_owned(), (*m).to_owned()))
        })
        .collect();
    assert_eq!(written, served);
}

#[tokio::test]
async fn no_other_method_is_served_than_the_document_has() {
    let site = Site::new().await;
    for (path, methods, _) in ROUTES {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let uri = format!("/api/v1{}", filled(path).replace("{signature}", "none"));
            let request = Request::builder().method(method).uri(uri);
            let status = site
                .send(request.body(Body::empty()).unwrap())
                .await
                .status();
            let there = methods.iter().any(|m| m.eq_ignore_ascii_case(method));
            let refused = status == StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(there, !refused, "{method} {path}: {status}");
        }
    }
}

/// An address with its parts filled in.
fn filled(path: &str) -> String {
    path.replace("{run}", DONE)
        .replace("{cell}", CELL)
        .replace("{guest}", "1")
        .replace("{form}", "kcidb")
        .replace("{bench}", "none")
        .replace("{revision}", REVISION)
        .replace("{port}", "i386")
        .replace("{job}", "2")
        .replace("{signoff}", SIGNOFF)
}

/// The schema of an answer, as the document has it.
fn schema<'a>(document: &'a Value, path: &str, method: &str, status: &str) -> &'a Value {
    let answer = &document["paths"][path][method]["responses"][status];
    let schema = &answer["content"]["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path} {status} has no schema");
    schema
}

#[tokio::test]
async fn every_answer_fits_its_schema() {
    let site = Site::new().await;
    let queue = &site.app.queue;
    queue.accept("search", &[search()]).await.unwrap();
    let document = openapi().unwrap();
    let signature = site.json("/api/v1/panics").await["items"][0]["signature"].clone();
    let signature = signature.as_str().unwrap().to_owned();
    let bench = site.json("/api/v1/benches").await["items"][0]["bench"].clone();
    let bench = bench.as_str().unwrap().to_owned();
    let from = format!("?from={DONE}");
    let mut checked = 0;
    for (path, methods, _) in ROUTES {
        let streams = path.ends_with("/events")
            || path.contains("/consoles/")
            || path.ends_with("/signature");
        if !methods.contains(&"get") || streams {
            continue;
        }
        let query = match *path {
            "/runs/{run}/diff" => from.as_str(),
            "/cases/history" | "/cases/rates" | "/cases/findings" => {
                "?case=proc%2Ft_spawn:deep_chain"
            }
            _ => "",
        };
        let uri = format!("/api/v1{}{query}", path.replace("{bench}", &bench));
        let uri = filled(&uri).replace("{signature}", &signature);
        let value = site.json(&uri).await;
        let found = wrong(
            &document,
            schema(&document, path, "get", "200"),
            &value,
            path,
        );
        assert!(found.is_empty(), "{found:#?}");
        // An empty list would fit whatever its rows should be.
        if let Some(items) = value.get("items") {
            assert!(!items.as_array().unwrap().is_empty(), "{uri} is empty");
        }
        checked += 1;
    }
    assert_eq!(checked, 26);
}

#[tokio::test]
async fn a_run_goes_out_in_every_form() {
    let site = Site::new().await;
    for (form, kind, part) in [
        ("junit", "application/xml", "<testsuites"),
        ("tap", "text/plain; charset=utf-8", "TAP version 14"),
        ("jsonl", "application/jsonl", "\"counted\":true}"),
        ("csv", "text/csv; charset=utf-8", "run,suite,port"),
        ("kcidb", "application/json", "\"checkouts\""),
    ] {
        let response = site
            .get(&format!("/api/v1/runs/{DONE}/export/{form}"))
            .await;
        assert_eq!(response.headers()["content-type"], kind);
        let text = text(response).await;
        assert!(text.contains(part), "{form}: {text:.300}");
    }
    let word = site.get(&format!("/api/v1/runs/{DONE}/export/pdf")).await;
    assert_eq!(word.status(), StatusCode::BAD_REQUEST);
    let early = site.get(&format!("/api/v1/runs/{LIVE}/export/csv")).await;
    assert_eq!(early.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_attempt_of_a_run_is_on_some_page() {
    let site = Site::new().await;
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = site
            .json(&format!("/api/v1/runs/{DONE}/results?limit=97{cursor}"))
            .await;
        seen += page["items"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else {
            break;
        };
        cursor = format!("&cursor={next}");
    }
    let all = site
        .page(&format!("/api/v1/runs/{DONE}/export/jsonl"))
        .await;
    assert!(seen > 97);
    assert_eq!(seen, all.lines().count());
}

#[tokio::test]
async fn a_console_can_be_played() {
    let site = Site::new().await;
    let at = format!("/api/v1/runs/{DONE}/cells/{CELL}/consoles/1/cast");
    let cast = site.page(&at).await;
    let mut lines = cast
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap());
    assert_eq!(lines.next().unwrap()["version"], 2);
    assert!(lines.all(|l| l[1] == "o" && !l[2].as_str().unwrap().contains('\u{1b}')));
}

#[tokio::test]
async fn lists_go_on_from_their_cursors_until_the_end() {
    let site = Site::new().await;
    for (path, limit) in [
        ("/runs?", 1),
        (&format!("/runs/{DONE}/cells?"), 5),
        (&format!("/runs/{DONE}/findings?"), 2),
        // Pages end within cells and between them.
        (
            &format!("/runs/{DONE}/results?cell=portable%2Fi386%2Fstock%2Fcandidate&"),
            31,
        ),
        (&format!("/revisions/{REVISION}/runs?"), 1),
        ("/cases?", 7),
        ("/cases?prefix=codec&", 2),
        // Three attempts in a cell: pages end within cells.
        ("/cases/history?case=mem%2Ft_arena:zero&", 4),
        ("/ports/i386/cells?", 1),
        ("/queue?", 2),
    ] {
        let whole = site.json(&format!("/api/v1{path}limit=500")).await;
        assert_eq!(whole["next"], Value::Null);
        let whole = whole["items"].as_array().unwrap();
        assert!(whole.len() > limit, "{path}: {}", whole.len());
        let mut walked: Vec<Value> = Vec::new();
        let mut cursor = String::new();
        loop {
            let page = site
                .json(&format!("/api/v1{path}limit={limit}{cursor}"))
                .await;
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            walked.extend(items.iter().cloned());
            let Some(next) = page["next"].as_str() else {
                break;
            };
            let mut uri = String::new();
            next.bytes()
                .for_each(|b| uri.push_str(&format!("%{b:02X}")));
            cursor = format!("&cursor={uri}");
        }
        assert_eq!(walked, *whole, "{path}");
    }
}

#[tokio::test]
async fn a_run_is_told_as_it_is() {
    let site = Site::new().await;
    let run = site.json(&format!("/api/v1/runs/{DONE}")).await;
    assert_eq!(
        (&run["phase"], &run["cells"]),
        (&json!("finished"), &json!(12))
    );
    let live = site.json(&format!("/api/v1/runs/{LIVE}")).await;
    assert_eq!(
        (&live["phase"], &live["cells_done"]),
        (&json!("running"), &json!(0))
    );
    let cells = site.json(&format!("/api/v1/runs/{LIVE}/cells")).await;
    let counts = ["good", "bad", "silent"].map(|k| cells["items"][0][k].as_u64().unwrap());
    assert_eq!(counts.iter().sum::<u64>(), 1, "{cells}");
    let cells = site
        .json(&format!("/api/v1/runs/{DONE}/cells?limit=500"))
        .await;
    let i386 = cells["items"].as_array().unwrap().iter();
    let i386 = i386
        .clone()
        .find(|c| c["cell"] == "portable/i386/stock/candidate")
        .unwrap();
    assert_eq!(i386["crashes"], json!(3));
    let total = ["good", "bad", "silent"].map(|k| i386[k].as_u64().unwrap());
    assert_eq!(total.iter().sum::<u64>(), 84);
    for (format, begins) in [("junit", "<?xml"), ("tap", "TAP version"), ("json", "{")] {
        let text = site
            .page(&format!("/api/v1/runs/{DONE}/report?format={format}"))
            .await;
        assert!(text.starts_with(begins), "{format}");
    }
    let console = site
        .page(&format!("/api/v1/runs/{DONE}/cells/{CELL}/consoles/1"))
        .await;
    assert!(console.starts_with("boot\n<script>") && !console.contains('\u{1b}'));
}

#[tokio::test]
async fn mistakes_are_told_as_problems() {
    let site = Site::new().await;
    let document = openapi().unwrap();
    let problem = &document["components"]["schemas"]["Problem"];
    for (path, status) in [
        ("/api/v1/nothing", 404),
        ("/api/v1/runs/absent", 404),
        ("/api/v1/runs/..%2F..%2Fetc", 404),
        (&format!("/api/v1/runs/{LIVE}/report"), 404),
        (&format!("/api/v1/runs/{DONE}/report?format=odd"), 400),
        (&format!("/api/v1/runs/{DONE}/cells/x/consoles/1"), 404),
        (
            &format!("/api/v1/runs/{DONE}/cells/{CELL}/consoles/99"),
            404,
        ),
        (
            &format!("/api/v1/runs/{DONE}/cells/{CELL}/consoles/-1"),
            400,
        ),
        ("/api/v1/runs?limit=0", 400),
        ("/api/v1/runs?limit=501", 400),
        ("/api/v1/runs?lmit=5", 400),
        ("/api/v1/queue?cursor=x", 400),
        ("/api/v1/queue/99999999999999999999", 400),
        ("/api/v1/queue/77", 404),
        ("/api/v1/cases/history?case=none", 400),
        ("/api/v1/cases/history?case=no:such", 404),
        (
            "/api/v1/cases/history?case=mem%2Ft_arena:zero&cursor=1",
            400,
        ),
        ("/api/v1/panics/none", 404),
    ] {
        let response = site.get(path).await;
        assert_eq!(response.status().as_u16(), status, "{path}");
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let value: Value = serde_json::from_str(&text(response).await).unwrap();
        let found = wrong(&document, problem, &value, path);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(value["status"], status);
    }
}

const ORDER: &str = r#"{"repository":"r","reference":"refs/heads/main","rule":"all"}"#;

#[tokio::test]
async fn nothing_is_written_without_a_token_that_may() {
    let site = Site::new().await;
    let of = |name: &str| format!("token-of-{name}");
    for (path, token, status) in [
        ("/api/v1/queue", None, 401),
        ("/api/v1/queue", Some("guess".to_owned()), 401),
        ("/api/v1/queue", Some(of("only-q")), 403),
        ("/api/v1/queue/2/cancel", None, 401),
        ("/api/v1/queue/2/cancel", Some(of("submit")), 403),
        ("/api/v1/queue/2/cancel", Some(of("only-q")), 403),
    ] {
        let (got, body) = site.write(path, token.as_deref(), ORDER).await;
        assert_eq!(got.as_u16(), status, "{path} {token:?}: {body}");
        let told = body.to_string();
        assert!(
            !told.contains("guess") && !told.contains("token-of"),
            "{told}"
        );
    }
    assert!(site.desk.0.lock().unwrap().is_empty());
    assert_eq!(site.json("/api/v1/queue/2").await["state"], "queued");

    let (status, body) = site
        .write("/api/v1/queue", Some(&of("submit")), ORDER)
        .await;
    assert_eq!(
        (status, body),
        (StatusCode::ACCEPTED, json!({"jobs": [8], "known": false}))
    );
    let noted = site.desk.0.lock().unwrap().join("\n");
    assert!(noted.starts_with("r all order submit "), "{noted}");

    let (status, job) = site
        .write("/api/v1/queue/2/cancel", Some(&of("all")), "")
        .await;
    assert_eq!(
        (status, &job["state"]),
        (StatusCode::OK, &json!("cancelled"))
    );
    assert_eq!(job["note"], "cancelled by all");
    let (_, job) = site
        .write("/api/v1/queue/1/cancel", Some(&of("all")), "")
        .await;
    assert_eq!(job["state"], "cancelling");
    let (status, _) = site
        .write("/api/v1/queue/3/cancel", Some(&of("only-q")), "")
        .await;
    assert_eq!(status, StatusCode::OK);
    // Revoked: refused from the next request on.
    assert!(site.app.queue.remove_token("submit").await.unwrap());
    let (status, _) = site
        .write("/api/v1/queue", Some(&of("submit")), ORDER)
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_series_needs_its_own_scope_and_may_be_large() {
    let site = Site::new().await;
    let series = "x".repeat(1 << 20);
    let body = |r: &str| {
        json!({"repository": r, "base": "main", "rule": "all", "series": series}).to_string()
    };
    for (token, repository, status) in [
        (None, "q", 401),
        (Some("token-of-all"), "q", 403),
        (Some("token-of-try-q"), "r", 403),
        (Some("token-of-try-q"), "q", 202),
    ] {
        let (got, answer) = site.write("/api/v1/try", token, &body(repository)).await;
        assert_eq!(got.as_u16(), status, "{token:?} {repository}: {answer}");
    }
    let noted = site.desk.0.lock().unwrap().join("\n");
    assert_eq!(noted, format!("q {} try-q", 1 << 20));
    let whole = format!("{}{}", body("q"), " ".repeat(4 << 20));
    let (got, _) = site
        .write("/api/v1/try", Some("token-of-try-q"), &whole)
        .await;
    assert_eq!(got, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn orders_that_are_no_orders_are_refused() {
    let site = Site::new().await;
    let token = Some("token-of-all");
    for (body, status) in [
        ("", 400),
        ("{", 400),
        ("[]", 422),
        (r#"{"repository":"r"}"#, 422),
        (
            r#"{"repository":"r","reference":"x","rule":"y","matrix":"/etc/passwd"}"#,
            422,
        ),
    ] {
        let (got, _) = site.write("/api/v1/queue", token, body).await;
        assert_eq!(got.as_u16(), status, "{body}");
    }
    let large = format!(r#"{{"repository":"{}"}}"#, "r".repeat(70_000));
    let (got, _) = site.write("/api/v1/queue", token, &large).await;
    assert_eq!(got, StatusCode::PAYLOAD_TOO_LARGE);
    let request = Request::post("/api/v1/queue")
        .header("authorization", "Bearer token-of-all")
        .header("idempotency-key", "k")
        .header("content-type", "application/json");
    let keyed = request.body(Body::from(ORDER)).unwrap();
    assert_eq!(site.send(keyed).await.status(), StatusCode::ACCEPTED);
    assert_eq!(
        site.desk.0.lock().unwrap().last().unwrap(),
        "r all order all k"
    );
}

/// Whatever is asked for, it is not an error of the server's.
#[test]
fn no_request_is_an_internal_error() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let site = runtime.block_on(Site::new());
    let paths: Vec<&str> = ROUTES.iter().map(|(path, ..)| *path).collect();
    let strategy = (
        prop::sample::select(paths),
        prop::collection::vec("[ -~é\u{0}]{0,12}", 4),
        "(limit|cursor|case|port|prefix|after|format|x)=[ -~]{0,10}",
        prop::sample::select(vec!["GET", "POST", "PUT", "HEAD", "BREW"]),
    );
    let encode = |text: &str| -> String { text.bytes().map(|b| format!("%{b:02x}")).collect() };
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    runner
        .run(&strategy, |(path, parts, query, method)| {
            let mut parts = parts.iter();
            let filled: Vec<String> = path
                .split('/')
                .map(|part| match part.starts_with('{') {
                    true => encode(parts.next().map_or("", String::as_str)),
                    false => part.to_owned(),
                })
                .collect();
            let (name, value) = query.split_once('=').unwrap_or((&query, ""));
            let uri = format!("/api/v1{}?{name}={}", filled.join("/"), encode(value));
            let request = Request::builder()
                .method(method)
                .uri(&uri)
                .header("authorization", "Bearer token-of-all")
                .body(Body::from(value.to_owned()))
                .unwrap();
            let status = runtime.block_on(site.send(request)).status();
            prop_assert!(!status.is_server_error(), "{} {}: {}", method, uri, status);
            Ok(())
        })
        .unwrap();
}
