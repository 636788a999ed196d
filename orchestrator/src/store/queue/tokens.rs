//! Tokens of the API. What is stored is a hash: the token itself is shown once, when it is made.

use std::str::FromStr;

use serde::Serialize;
use sqlx::Row as _;

use super::{Queue, now_ms};
use crate::store::StoreError;

/// What a token may do beside reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Queue runs.
    Submit,
    /// Cancel runs.
    Cancel,
    /// Have patch series tried.
    Try,
}

impl Scope {
    /// The word used on the command line and in the database.
    pub fn word(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Cancel => "cancel",
            Self::Try => "try",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "submit" => Ok(Self::Submit),
            "cancel" => Ok(Self::Cancel),
            "try" => Ok(Self::Try),
            other => Err(format!(
                "'{other}' is not a scope: expected submit, cancel or try"
            )),
        }
    }
}

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TokenRow {
    /// Whose it is.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The repositories that it may do it to; all where empty.
    pub repositories: Vec<String>,
}

impl TokenRow {
    /// Whether it may do something to a repository.
    pub fn may(&self, scope: Scope, repository: &str) -> bool {
        let here = |r: &String| r == repository;
        self.scopes.contains(&scope)
            && (self.repositories.is_empty() || self.repositories.iter().any(here))
    }
}

/// The secret has 256 bits from the system, so a plain hash is enough: there is nothing to guess.
fn hash(token: &str) -> String {
    crate::model::Key::of("api token", &[token.as_bytes()]).0
}

fn row_of(row: &sqlx::sqlite::SqliteRow) -> TokenRow {
    TokenRow {
        name: row.get("name"),
        scopes: row
            .get::<String, _>("scopes")
            .split(',')
            .filter_map(|s| s.parse().ok())
            .collect(),
        repositories: row
            .get::<String, _>("repositories")
            .split(',')
            .filter(|r| !r.is_empty())
            .map(str::to_owned)
            .collect(),
    }
}

impl Queue {
    /// Keeps a new token's hash. Returns false, and changes nothing, where the name is taken.
    pub async fn put_token(&self, row: &TokenRow, token: &str) -> Result<bool, StoreError> {
        let scopes: Vec<&str> = row.scopes.iter().map(|s| s.word()).collect();
        let mut db = self.db.lock().await;
        sqlx::query(
            "INSERT OR IGNORE INTO token (name, hash, scopes, made_ms, repositories)
             VALUES (?, ?, ?, ?, ?)",
        )
        .bind(&row.name)
        .bind(hash(token))
        .bind(scopes.join(","))
        .bind(now_ms())
        .bind(row.repositories.join(","))
        .execute(&mut *db)
        .await
        .map_err(self.failed("write"))
        .map(|done| done.rows_affected() == 1)
    }

    /// Removes a token. Returns whether it was there.
    pub async fn remove_token(&self, name: &str) -> Result<bool, StoreError> {
        let mut db = self.db.lock().await;
        sqlx::query("DELETE FROM token WHERE name = ?")
            .bind(name)
            .execute(&mut *db)
            .await
            .map_err(self.failed("write"))
            .map(|done| done.rows_affected() == 1)
    }

    /// All tokens.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>, StoreError> {
        let mut db = self.db.lock().await;
        let rows = sqlx::query("SELECT name, scopes, repositories FROM token ORDER BY name")
            .fetch_all(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        Ok(rows.iter().map(row_of).collect())
    }

    /// Whose token it is, and what it may do; none for a wrong one. The look-up is by hash, so its
    /// time says nothing about how much of a guess was right.
    pub async fn token(&self, token: &str) -> Result<Option<TokenRow>, StoreError> {
        let mut db = self.db.lock().await;
        let row = sqlx::query("SELECT name, scopes, repositories FROM token WHERE hash = ?")
            .bind(hash(token))
            .fetch_optional(&mut *db)
            .await
            .map_err(self.failed("read"))?;
        Ok(row.as_ref().map(row_of))
    }
}
