//! Style sheet, script and icon: in the program, so that nothing is fetched from elsewhere.

use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::web::problem::Problem;

use super::Trouble;

/// The report's styles first, then what only these pages have.
const CSS: &str = concat!(
    include_str!("../../report/templates/run.css"),
    include_str!("../templates/web.css")
);
const JS: &str = include_str!("../templates/web.js");
const ICON: &str = include_str!("../templates/icon.svg");

/// `/assets/NAME`. Asked for again each time, and sent again only where it has changed.
pub async fn serve(Path(name): Path<String>, headers: HeaderMap) -> Result<Response, Trouble> {
    let (kind, text) = match name.as_str() {
        "web.css" => ("text/css; charset=utf-8", CSS),
        "web.js" => ("text/javascript; charset=utf-8", JS),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Problem::absent("such file").into()),
    };
    let tag = format!(
        "\"{}\"",
        &crate::model::Key::of("asset", &[text.as_bytes()]).0[..16]
    );
    if headers
        .get(header::IF_NONE_MATCH)
        .is_some_and(|t| t.as_bytes() == tag.as_bytes())
    {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    Ok((
        [(header::CONTENT_TYPE, kind.to_owned()), (header::ETAG, tag)],
        text,
    )
        .into_response())
}
