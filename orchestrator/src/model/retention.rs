//! How long what is kept: limits by age, count and tier.

use serde::{Deserialize, Serialize};

/// The limits. Where one is absent, that tier stays for ever; findings do in any case.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Consoles of cells in which nothing went wrong.
    #[serde(default)]
    pub passing_consoles_days: Option<u32>,
    /// All other consoles.
    #[serde(default)]
    pub consoles_days: Option<u32>,
    /// Whole runs: what is older keeps its findings, its cells' stages and its crashes.
    #[serde(default)]
    pub runs_days: Option<u32>,
    /// Whole runs at most, of each matrix the newest.
    #[serde(default)]
    pub runs_at_most: Option<u32>,
    /// Exported trees of commits.
    #[serde(default)]
    pub trees_days: Option<u32>,
    /// Series that were tried; what their runs found stays with the runs.
    #[serde(default)]
    pub tries_days: Option<u32>,
    /// When the daemon sees to it: minute, hour, day, month, weekday.
    #[serde(default = "at_night")]
    pub cron: String,
    /// The time zone that the hours are of.
    #[serde(default = "utc")]
    pub zone: String,
}

impl Retention {
    /// Whether it limits anything.
    pub fn is_empty(&self) -> bool {
        let days = [
            self.passing_consoles_days,
            self.consoles_days,
            self.runs_days,
            self.runs_at_most,
            self.trees_days,
            self.tries_days,
        ];
        days.iter().all(Option::is_none)
    }
}

fn at_night() -> String {
    "30 4 * * *".to_owned()
}

fn utc() -> String {
    "UTC".to_owned()
}
