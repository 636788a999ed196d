//! What handlers take out of a request, with mistakes told as problems: addresses, queries, bodies.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::{Json, RequestPartsExt as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::web::problem::Problem;

/// Rows of a page where nobody says how many.
const ROWS: u32 = 50;

/// Rows of a page at most.
pub const MOST: u32 = 500;

/// Parts of the address.
pub struct PathOf<T>(pub T);

impl<T, S> FromRequestParts<S> for PathOf<T>
where
    T: DeserializeOwned + Send + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let taken: Result<Path<T>, PathRejection> = parts.extract().await;
        Ok(Self(taken?.0))
    }
}

/// The query, without fields that nobody knows.
pub struct QueryOf<T>(pub T);

impl<T, S> FromRequestParts<S> for QueryOf<T>
where
    T: DeserializeOwned + Send + 'static,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let taken: Result<Query<T>, QueryRejection> = parts.extract().await;
        Ok(Self(taken?.0))
    }
}

/// A body of JSON.
pub struct BodyOf<T>(pub T);

impl<T, S> FromRequest<S> for BodyOf<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let taken: Result<Json<T>, JsonRejection> = Json::from_request(request, state).await;
        Ok(Self(taken?.0))
    }
}

/// Which page of a list: how many rows, and from where on.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Rows at most.
    pub limit: Option<u32>,
    /// Where the page before ended.
    pub cursor: Option<String>,
}

impl Wanted {
    /// Rows at most; refuses what is out of bounds.
    pub fn limit(&self) -> Result<u32, Problem> {
        limit(self.limit)
    }

    /// A cursor that is a number.
    pub fn number(&self) -> Result<Option<i64>, Problem> {
        number(self.cursor.as_deref())
    }
}

/// Rows at most; refuses what is out of bounds.
pub fn limit(wanted: Option<u32>) -> Result<u32, Problem> {
    match wanted.unwrap_or(ROWS) {
        n @ 1..=MOST => Ok(n),
        n => Err(Problem::bad(format!("limit: {n}: expected 1 to {MOST}"))),
    }
}

/// A cursor that is a number.
pub fn number(cursor: Option<&str>) -> Result<Option<i64>, Problem> {
    let parse = |c: &str| {
        c.parse()
            .map_err(|_| Problem::bad("cursor: expected the 'next' of an earlier page"))
    };
    cursor.map(parse).transpose()
}

/// One page of a list.
#[derive(Debug, Serialize)]
pub struct Page<T> {
    items: Vec<T>,
    next: Option<String>,
}

impl<T> Page<T> {
    /// Of `items`, which were asked for with one more than `limit`: the first `limit`, and where the
    /// next page begins, if there is one.
    pub fn of(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }

    /// Each item turned into something else.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(turn).collect(),
            next: self.next,
        }
    }

    /// All there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}

impl<T: Serialize> IntoResponse for Page<T> {
    fn into_response(self) -> Response {
        Json(self).into_response()
    }
}
