//! What a matrix says of a release, and of what a run costs.

use std::time::Duration;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

use crate::model::problem::Problem;
use crate::model::units::{de_duration, de_size, ser_duration};

/// Where a release is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseAt {
    /// A directory of this machine, as `build.sh release` leaves it, or a port's own in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Utf8PathBuf>,
    /// Or an address on a mirror; a run fetches it into the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What a whole run costs where nothing is in the cache, by whoever measured it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// How long it takes.
    #[serde(deserialize_with = "de_duration", serialize_with = "ser_duration")]
    pub time: Duration,
    /// What it takes of the cache's file system.
    #[serde(deserialize_with = "de_size")]
    pub disk: u64,
    /// On what that was measured, or that it was not.
    pub on: String,
}

impl ReleaseAt {
    /// What is wrong with it.
    pub fn check(&self, found: &mut Vec<Problem>) {
        if self.path.is_some() == self.url.is_some() {
            found.push(Problem::new("release", "expected one of path and url"));
        }
    }
}
