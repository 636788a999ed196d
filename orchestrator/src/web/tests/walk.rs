//! Every page, by every link that leads to it.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::StatusCode;

use super::site::{CELL, DONE, LIVE, REVISION, Site, text};

/// The values of an attribute in a page, with entities turned back.
fn attributes(page: &str, name: &str) -> Vec<String> {
    let begin = format!(" {name}=\"");
    let parts = page.split(begin.as_str()).skip(1);
    let values = parts.filter_map(|p| p.split('"').next());
    values
        .map(|v| v.replace("&#38;", "&").replace("&amp;", "&"))
        .collect()
}

/// What holds for every page of ours.
fn check(path: &str, page: &str) {
    assert_eq!(page.matches("<script").count(), 1, "{path}");
    assert!(
        page.contains("<script src=\"/assets/web.js\" defer></script>"),
        "{path}"
    );
    for word in [
        "<style",
        " style=",
        " onclick=",
        "<img",
        "http://",
        "https://",
        "url(",
    ] {
        assert!(!page.contains(word), "{path} has {word}");
    }
    assert!(
        !page.contains('\u{1b}') && !page.contains('\u{202e}'),
        "{path}"
    );
    assert_eq!(page.matches("<h1").count(), 1, "{path}");
    assert!(page.contains("<html lang=\"en\">") && page.contains("name=\"viewport\""));
    assert!(page.contains("<main id=\"main\""), "{path}");
    let ids: Vec<String> = attributes(page, "id");
    let unique: BTreeSet<&String> = ids.iter().collect();
    assert_eq!(ids.len(), unique.len(), "{path} has an id twice: {ids:?}");
    for label in attributes(page, "for") {
        assert!(ids.contains(&label), "{path}: a label for {label}");
    }
}

#[tokio::test]
async fn every_link_leads_somewhere_and_every_page_is_reached() {
    let site = Site::new().await;
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let mut next = vec![("/".to_owned(), "the beginning".to_owned())];
    let (mut pages, mut by_port) = (0, 0);
    while let Some((path, from)) = next.pop() {
        let address = path.split('#').next().unwrap_or_default().to_owned();
        if address.is_empty() || seen.contains_key(&address) || address.ends_with("/events") {
            continue;
        }
        // The same page for each port of each case: some of them do.
        if address.contains("&port=") {
            by_port += 1;
            if by_port > 20 {
                continue;
            }
        }
        let response = site.get(&address).await;
        let status = response.status();
        let kind = response.headers().get("content-type").cloned();
        seen.insert(address.clone(), from.clone());
        if status.is_redirection() {
            let to = response.headers()["location"].to_str().unwrap().to_owned();
            next.push((to, address));
            continue;
        }
        // A run under way has no report.
        let early = address.contains(LIVE) && address.contains("/report");
        let unrecorded = address.contains(LIVE) && address.contains("/console/");
        if (early || unrecorded) && status == StatusCode::NOT_FOUND {
            continue;
        }
        assert_eq!(status, StatusCode::OK, "{address}, linked from {from}");
        let html = kind.is_some_and(|k| k.to_str().unwrap().starts_with("text/html"));
        if !html || address.ends_with("/report") {
            continue;
        }
        let page = text(response).await;
        check(&address, &page);
        pages += 1;
        for link in attributes(&page, "href")
            .into_iter()
            .chain(attributes(&page, "src"))
        {
            assert!(
                link.starts_with('/') || link.starts_with('#'),
                "{address} has {link}"
            );
            match link.strip_prefix('#') {
                Some(id) => assert!(page.contains(&format!(" id=\"{id}\"")), "{address} #{id}"),
                None => next.push((link, address.clone())),
            }
        }
    }
    assert!(pages > 60, "{pages}");
    for kind in [
        "/runs",
        "/runs/",
        "/cases",
        "/case?",
        "/flakes",
        "/panics/",
        "/ports/",
        "/revisions/",
        "/queue",
        "/signoffs/",
        "/bench/",
        "/diff?",
        "/api/v1/openapi.json",
        "/assets/web.css",
    ] {
        assert!(
            seen.keys().any(|p| p.starts_with(kind)),
            "no link leads to {kind}"
        );
    }
}

#[tokio::test]
async fn pages_say_what_they_are_for() {
    let site = Site::new().await;
    let now = site.page("/").await;
    assert!(now.contains("data-live=\"/api/v1/events\"") && now.contains(LIVE));
    assert!(now.contains("&#60;b&#62;"), "a reference is escaped");
    let run = site.page(&format!("/runs/{DONE}")).await;
    // Findings stand before everything else, and lead to case, group and evidence.
    let at = |what: &str| run.find(what).unwrap_or_else(|| panic!("no {what}"));
    assert!(at("id=\"findings\"") < at("id=\"cells\""));
    assert!(at("id=\"cells\"") < at("id=\"suite-0\""));
    assert!(run.contains(&format!("/runs/{DONE}/report#f1")) && run.contains("/panics/"));
    assert!(run.contains("&#60;script&#62;alert(1)"));
    let live = site.page(&format!("/runs/{LIVE}")).await;
    assert!(live.contains("0 of 2 cells done") && live.contains("no verdict yet"));
    let case = site.page("/case?case=mem%2Ft_arena:zero").await;
    assert!(case.contains("both ways") && case.contains("class=\"g s-flaky\""));
    let one = site.page("/case?case=mem%2Ft_arena:zero&port=i386").await;
    assert!(one.contains("on i386") && one.len() < case.len());
    let revision = site.page(&format!("/revisions/{REVISION}")).await;
    assert!(revision.contains("Jobs") && revision.contains(DONE) && revision.contains(LIVE));
    // The beginning of a revision is enough, and so is a whole case in the search.
    let short = site.get("/revisions/12345678").await;
    assert!(short.status().is_redirection());
    let found = site.get("/cases?prefix=mem/t_arena:zero").await;
    assert_eq!(
        found.headers()["location"],
        "/case?case=mem%2Ft_arena%3Azero"
    );
}

#[tokio::test]
async fn a_console_has_numbered_lines_and_a_search() {
    let site = Site::new().await;
    let path = format!("/runs/{DONE}/cells/{CELL}/console/1");
    let first = site.page(&path).await;
    assert!(first.contains("id=\"L1\"") && first.contains("id=\"L2000\""));
    assert!(!first.contains("id=\"L2001\"") && first.contains("4500 lines"));
    assert!(first.contains(&format!("{path}?from=2001")));
    let second = site.page(&format!("{path}?from=2001")).await;
    assert!(second.contains("id=\"L2001\"") && second.contains("Earlier lines"));
    let found = site.page(&format!("{path}?find=LOGIN")).await;
    assert!(found.contains("1500 of 4500 lines have"), "{found}");
    // A hit leads to its line on its own page.
    assert!(found.contains(&format!("{path}#L3\"")));
    assert!(found.contains("the first 500 are here"));
    let none = site.page(&format!("{path}?find=%3Cscript%3Enone")).await;
    assert!(none.contains("0 of 4500 lines"));
}

#[tokio::test]
async fn the_report_has_a_policy_that_lets_its_own_script_run() {
    let site = Site::new().await;
    let response = site.get(&format!("/runs/{DONE}/report")).await;
    let policy = response.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    let page = text(response).await;
    let nonce = page
        .split("nonce=\"")
        .nth(1)
        .and_then(|p| p.split('"').next())
        .unwrap();
    assert!(
        policy.contains(&format!("script-src 'nonce-{nonce}'")),
        "{policy}"
    );
}

#[tokio::test]
async fn files_are_sent_again_only_where_they_changed() {
    let site = Site::new().await;
    let response = site.get("/assets/web.css").await;
    let tag = response.headers()["etag"].clone();
    let request = axum::http::Request::get("/assets/web.css").header("if-none-match", tag);
    let again = site
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_run_does_not_differ_from_itself_and_says_so() {
    let site = Site::new().await;
    let page = site.page(&format!("/diff?from={DONE}&to={DONE}")).await;
    check("/diff", &page);
    assert!(page.contains("0 findings came, 0 went") && page.contains("No case changed."));
    let early = site.get(&format!("/diff?from={DONE}&to={LIVE}")).await;
    assert_eq!(early.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_live_console_shows_its_end_and_is_fetched_again() {
    let site = Site::new().await;
    let run = site.dir.path().join("runs").join(LIVE);
    let cell: crate::model::CellId = {
        let cells = site.json(&format!("/api/v1/runs/{LIVE}/cells")).await;
        cells["items"][0]["cell"].as_str().unwrap().parse().unwrap()
    };
    let dir = run
        .join("cells")
        .join(crate::store::runs::cell_dir_name(&cell));
    std::fs::create_dir_all(&dir).unwrap();
    let text: String = (1..=900).map(|i| format!("line {i}\n")).collect();
    std::fs::write(dir.join("guest-1.console"), &text).unwrap();
    std::fs::write(dir.join("guest-1.times"), format!("1500 {}\n", text.len())).unwrap();
    let name = crate::store::runs::cell_dir_name(&cell).replace('+', "%2B");
    let at = format!("/runs/{LIVE}/cells/{name}/console/1");
    let page = site.page(&at).await;
    check(&at, &page);
    assert!(page.contains("data-live=") && page.contains("line 900<"));
    assert!(!page.contains(">line 1<") && page.contains("<small>0:01.5</small>"));
    let whole = site.page(&format!("{at}?from=1")).await;
    assert!(whole.contains(">line 1<") && !whole.contains("data-live="));
}
