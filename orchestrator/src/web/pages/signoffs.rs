//! `/signoffs`: may a revision be released, and why.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse};
use serde::Deserialize;

use crate::report::signoff::{LineView, lines, nonce};
use crate::store::signoffs::HTML;
use crate::web::App;
use crate::web::api::signoffs::{Head, file, heads, one_of};
use crate::web::api::take::{PathOf, QueryOf};

use super::views::{self, When};
use super::{Answer, show};

const SHOWN: u32 = 50;

/// Where the list goes on.
#[derive(Debug, Default, Deserialize)]
pub struct Before {
    before: Option<String>,
}

struct Row {
    id: String,
    asked: String,
    short: String,
    policy: String,
    at: When,
    go: bool,
    headline: String,
}

fn row(head: &Head) -> Row {
    Row {
        id: views::name(&head.id),
        asked: views::name(&head.asked),
        short: views::short(&head.revision),
        policy: views::name(&head.policy),
        at: views::when(head.at),
        go: head.go,
        headline: head.headline.clone(),
    }
}

#[derive(Template)]
#[template(path = "pages/signoffs.html")]
struct List {
    rows: Vec<Row>,
    next: String,
}

/// `/signoffs`
pub async fn list(State(app): State<App>, QueryOf(from): QueryOf<Before>) -> Answer {
    let found = heads(&app, from.before, SHOWN + 1).await?;
    let more = found.len() > SHOWN as usize;
    let shown = &found[..found.len().min(SHOWN as usize)];
    Ok(show(&List {
        next: shown.last().filter(|_| more).map_or(String::new(), |h| {
            format!("/signoffs?before={}", views::encoded(&h.id))
        }),
        rows: shown.iter().map(row).collect(),
    }))
}

#[derive(Template)]
#[template(path = "pages/signoff.html")]
struct Page {
    head: Row,
    lines: Vec<LineView>,
    notes: Vec<String>,
}

/// `/signoffs/ID`
pub async fn page(State(app): State<App>, PathOf(id): PathOf<String>) -> Answer {
    let one = one_of(&app, &id).await?;
    let lines = lines(&one);
    let notes = one.notes.iter().map(|n| views::clean(n, 400)).collect();
    Ok(show(&Page {
        head: row(&Head::from(one)),
        lines,
        notes,
    }))
}

/// `/signoffs/ID/report`: the page as it was signed.
pub async fn report(State(app): State<App>, PathOf(id): PathOf<String>) -> Answer {
    let text = file(&app, &id, HTML.to_owned()).await?;
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'",
        nonce(&id)
    );
    let mut response = Html(text).into_response();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(response)
}
