//! Who asks, and whether they may: `Authorization: Bearer TOKEN`.
//!
//! Reading asks for nothing here; writing takes a [`Caller`] and asks it for a scope. A wrong token
//! is refused where a missing one would be, too: nobody is left to think that theirs works.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};

use crate::store::queue::{Scope, TokenRow};

use super::App;
use super::problem::Problem;

/// The longest token that is looked at, in bytes.
const TOKEN_BYTES: usize = 200;

/// Somebody with a token.
#[derive(Debug, Clone)]
pub struct Caller(TokenRow);

impl Caller {
    /// The token's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Refuses where the token does not have the scope for the repository.
    pub fn must(&self, scope: Scope, repository: &str) -> Result<(), Problem> {
        if self.0.may(scope, repository) {
            return Ok(());
        }
        let detail = format!("this token may not {} here", scope.word());
        Err(Problem::new(StatusCode::FORBIDDEN, detail))
    }
}

impl FromRequestParts<App> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let header = parts.headers.get(header::AUTHORIZATION);
        let token = header
            .and_then(|h| h.to_str().ok())
            .and_then(|h| h.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|t| !t.is_empty() && t.len() <= TOKEN_BYTES);
        let missing = || {
            let detail =
                "expected 'Authorization: Bearer TOKEN' with a token from 'fallout token add'";
            Problem::new(StatusCode::UNAUTHORIZED, detail)
        };
        let row = app.queue.token(token.ok_or_else(missing)?).await?;
        row.map(Self)
            .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "this token is not known"))
    }
}
