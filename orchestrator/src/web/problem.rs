//! What is answered where there is no answer: problems as JSON (RFC 9457) for programs, pages for
//! people. Neither says anything of the inside: causes go to the log.

use std::any::Any;

use axum::Json;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tracing::error;

use crate::store::StoreError;

use super::desk::Refused;
use super::pages;

/// A problem as the API tells it.
#[derive(Debug)]
pub struct Problem {
    /// The status.
    pub status: StatusCode,
    /// One sentence for people.
    pub detail: String,
}

impl Problem {
    /// With a sentence.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
        }
    }

    /// What was asked for is not there.
    pub fn absent(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("there is no {what}"))
    }

    /// The request is wrong.
    pub fn bad(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({
            "title": self.status.canonical_reason().unwrap_or("problem"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        let mut response = (self.status, Json(body)).into_response();
        let kind = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(cause: StoreError) -> Self {
        error!(%cause, "a request could not be answered");
        let detail = "what is stored could not be read or written; the daemon's log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unknown(why) => Self::new(StatusCode::NOT_FOUND, why),
            Refused::Forged(why) => Self::new(StatusCode::FORBIDDEN, why),
            Refused::Malformed(why) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, why),
            Refused::Trouble(why) => {
                error!(why, "an order or a webhook could not be taken");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "it could not be queued; the daemon's log says why. Send it again later.",
                )
            }
        }
    }
}

macro_rules! rejected {
    ($($kind:ty),*) => {$(
        impl From<$kind> for Problem {
            fn from(why: $kind) -> Self {
                Self::new(why.status(), why.body_text())
            }
        }
    )*};
}

rejected!(QueryRejection, PathRejection, JsonRejection, BytesRejection);

/// A problem in the form that fits the address: JSON below the API and for webhooks, else a page.
pub fn fitting(uri: &Uri, problem: Problem) -> Response {
    let path = uri.path();
    let programs = ["/api/", "/webhooks/", "/healthz", "/readyz", "/metrics"];
    if programs.iter().any(|p| path.starts_with(p)) {
        problem.into_response()
    } else {
        pages::trouble(problem)
    }
}

/// No route has the address.
pub async fn nowhere(uri: Uri) -> Response {
    fitting(
        &uri,
        Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address"),
    )
}

/// A route has the address and not the method.
pub async fn wrong_method(uri: Uri) -> Response {
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this address does not take that method",
    );
    fitting(&uri, problem)
}

/// A handler panicked. The panic hook has written where.
pub fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "an internal error; the daemon's log says more",
    )
    .into_response()
}
