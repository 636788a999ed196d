//! One parser for the engine, whichever runner the guest has.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::SuiteError;
use super::event::SuiteEvent;
use super::kyua::KyuaParser;
use super::tps::TpsParser;
use crate::model::CaseId;

/// What runs the suite inside the guest; a port's manifest says which (`runner:`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// Kyua: console lines while it runs, a results database at its end.
    Kyua,
    /// `run-suite`, a POSIX shell script of ours that prints TPS 3.
    Sh,
}

impl Runner {
    /// The word in manifests.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kyua => "kyua",
            Self::Sh => "sh",
        }
    }

    /// A parser for what this runner prints.
    pub fn parser(self) -> SuiteParser {
        match self {
            Self::Kyua => SuiteParser::Kyua(KyuaParser::default()),
            Self::Sh => SuiteParser::Tps(TpsParser::default()),
        }
    }
}

impl FromStr for Runner {
    type Err = SuiteError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "kyua" => Ok(Self::Kyua),
            "sh" => Ok(Self::Sh),
            other => Err(SuiteError::UnknownRunner {
                found: other.to_owned(),
            }),
        }
    }
}

/// Turns a runner's bytes into events. Total, incremental, of bounded memory.
#[derive(Debug)]
pub enum SuiteParser {
    /// For TPS 3: `run-suite`, and `atf-run` itself.
    Tps(TpsParser),
    /// For the console lines of `kyua test`.
    Kyua(KyuaParser),
}

impl SuiteParser {
    /// Takes the next bytes, split anywhere.
    pub fn feed(&mut self, chunk: &[u8]) -> Vec<SuiteEvent> {
        let mut events = Vec::new();
        self.feed_into(chunk, &mut events);
        events
    }

    /// As [`Self::feed`], into a list that the caller uses again.
    pub fn feed_into(&mut self, chunk: &[u8], events: &mut Vec<SuiteEvent>) {
        match self {
            Self::Tps(p) => p.feed_into(chunk, events),
            Self::Kyua(p) => p.feed_into(chunk, events),
        }
    }

    /// The stream is over: takes what is left of a line without an end. An open case stays open.
    pub fn finish(&mut self) -> Vec<SuiteEvent> {
        match self {
            Self::Tps(p) => p.finish(),
            Self::Kyua(p) => p.finish(),
        }
    }

    /// The case that has begun and not ended: the suspect, should the guest die now.
    pub fn open_case(&self) -> Option<&CaseId> {
        match self {
            Self::Tps(p) => p.open_case(),
            Self::Kyua(p) => p.open_case(),
        }
    }

    /// Takes the open case with what it has printed so far, for a stream that will not go on.
    pub fn take_open(&mut self) -> Option<(CaseId, Option<String>)> {
        match self {
            Self::Tps(p) => p.take_open(),
            Self::Kyua(p) => p.take_open().map(|case| (case, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_is_known_by_its_word() {
        for runner in [Runner::Kyua, Runner::Sh] {
            assert_eq!(runner.word().parse::<Runner>().unwrap(), runner);
        }
        insta::assert_snapshot!("atf".parse::<Runner>().unwrap_err(),
            @"'atf' is not a runner: expected kyua or sh");
    }
}
