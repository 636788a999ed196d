//! Schedules: cron in a time zone, spread by a dice, with a rule for times that were missed.
//!
//! Cron is evaluated on the wall clock of the zone. An hour that a clock change skips fires right
//! after it, one that it repeats fires at its first passing (jiff's `compatible`), so a nightly run
//! is neither lost nor doubled.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use croner::Cron;
use croner::parser::CronParser;
use jiff::civil;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::model::Key;
use crate::model::retention::Retention;

use super::settings::{CatchUp, Schedule};

/// A time that was missed by less than this fires all the same: the daemon was restarted.
const LATE: Duration = Duration::from_secs(300);

/// Missed times that are looked through at most to find the newest.
const LOOKED_AT: usize = 100_000;

/// A schedule's clock.
#[derive(Debug, Clone)]
pub struct Clock {
    cron: Cron,
    zone: TimeZone,
    jitter: Duration,
    catch_up: CatchUp,
    name: String,
}

/// What is to be done about a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing before this time.
    At(Timestamp),
    /// It fires now, for this time.
    Fire(Timestamp),
    /// This time was missed and is left out.
    Skip(Timestamp),
    /// There is no further time.
    Never,
}

impl Clock {
    /// The clock of a schedule, or the field that is wrong and why.
    pub fn of(schedule: &Schedule) -> Result<Self, (&'static str, String)> {
        Ok(Self {
            jitter: schedule.jitter,
            catch_up: schedule.catch_up,
            ..Self::new(&schedule.name, &schedule.cron, &schedule.zone)?
        })
    }

    /// The clock of the nightly cleaning, or the field that is wrong and why.
    pub fn of_retention(limits: &Retention) -> Result<Self, (&'static str, String)> {
        Self::new("retention", &limits.cron, &limits.zone)
    }

    fn new(name: &str, cron: &str, zone: &str) -> Result<Self, (&'static str, String)> {
        let parsed = CronParser::new().parse(cron).map_err(|e| {
            let why = format!("'{cron}' is not a time: {e}; expected for example 0 3 * * *");
            ("cron", why)
        })?;
        let zone = TimeZone::get(zone).map_err(|_| {
            let why = format!("no time zone '{zone}': expected for example Europe/Berlin");
            ("zone", why)
        })?;
        Ok(Self {
            cron: parsed,
            zone,
            jitter: Duration::ZERO,
            catch_up: CatchUp::Once,
            name: name.to_owned(),
        })
    }

    /// The next time after `after`, jitter apart.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = wall(self.zone.to_datetime(after))?;
        // A wall clock that was set back shows times again that lie before `after`.
        for _ in 0..4 {
            let found = self.cron.find_next_occurrence(&from, false).ok()?;
            let at = self.zone.to_timestamp(civil_of(found)?).ok()?;
            if at > after {
                return Some(at);
            }
            from = found;
        }
        None
    }

    /// By how much one time is moved: the same at every look.
    fn dice(&self, at: Timestamp) -> SignedDuration {
        let spread = self.jitter.as_millis() as u64;
        if spread == 0 {
            return SignedDuration::ZERO;
        }
        let seed = at.as_second().to_le_bytes();
        let hash = Key::of("jitter", &[self.name.as_bytes(), &seed]).0;
        let number = u64::from_str_radix(hash.get(..15).unwrap_or("0"), 16).unwrap_or(0);
        SignedDuration::from_millis((number % spread) as i64)
    }

    /// What is due at `now`, where `last` is the newest time that was seen to.
    pub fn due(&self, last: Timestamp, now: Timestamp) -> Due {
        let Some(mut at) = self.next(last) else {
            return Due::Never;
        };
        let fires = |at: Timestamp| at.checked_add(self.dice(at)).unwrap_or(at);
        if fires(at) > now {
            return Due::At(fires(at));
        }
        // Of several missed times the newest stands for all.
        for _ in 0..LOOKED_AT {
            match self.next(at) {
                Some(later) if fires(later) <= now => at = later,
                _ => break,
            }
        }
        let late = now.duration_since(fires(at));
        if self.catch_up == CatchUp::Skip
            && late > SignedDuration::try_from(LATE).unwrap_or_default()
        {
            return Due::Skip(at);
        }
        Due::Fire(at)
    }
}

/// A wall clock's time as croner takes it: as if it were UTC.
fn wall(t: civil::DateTime) -> Option<DateTime<Utc>> {
    let part = |n: i8| u32::try_from(n).ok();
    NaiveDate::from_ymd_opt(i32::from(t.year()), part(t.month())?, part(t.day())?)?
        .and_hms_opt(part(t.hour())?, part(t.minute())?, part(t.second())?)
        .map(|naive| naive.and_utc())
}

fn civil_of(t: DateTime<Utc>) -> Option<civil::DateTime> {
    let as_if = Timestamp::from_second(t.timestamp()).ok()?;
    Some(TimeZone::UTC.to_datetime(as_if))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(cron: &str, zone: &str, more: &str) -> Clock {
        let text = format!(
            "{{name: n, cron: '{cron}', zone: {zone}, repository: r, reference: refs/heads/m,
              run: {{matrix: m.yaml}}{more}}}"
        );
        Clock::of(&serde_yaml::from_str(&text).unwrap()).unwrap()
    }

    fn t(s: &str) -> Timestamp {
        s.parse().unwrap()
    }

    #[test]
    fn a_zone_is_honoured_across_clock_changes() {
        let clock = clock("30 2 * * *", "Europe/Berlin", "");
        // Winter, summer, the night without 02:30, the night with two.
        for (after, want) in [
            ("2026-01-10T00:00:00Z", "2026-01-10T01:30:00Z"),
            ("2026-07-10T00:00:00Z", "2026-07-10T00:30:00Z"),
            ("2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
            ("2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ] {
            assert_eq!(clock.next(t(after)), Some(t(want)), "after {after}");
        }
    }

    #[test]
    fn missed_times_are_one_run_or_none() {
        let (last, now) = (t("2026-01-01T03:00:00Z"), t("2026-01-05T12:00:00Z"));
        let once = clock("0 3 * * *", "UTC", "");
        assert_eq!(once.due(last, now), Due::Fire(t("2026-01-05T03:00:00Z")));
        let skip = clock("0 3 * * *", "UTC", ", catch_up: skip");
        assert_eq!(skip.due(last, now), Due::Skip(t("2026-01-05T03:00:00Z")));
        let just = t("2026-01-02T03:02:00Z");
        assert_eq!(skip.due(last, just), Due::Fire(t("2026-01-02T03:00:00Z")));
        let before = t("2026-01-02T02:00:00Z");
        assert_eq!(skip.due(last, before), Due::At(t("2026-01-02T03:00:00Z")));
    }

    #[test]
    fn jitter_moves_a_time_by_a_fixed_amount() {
        let clock = clock("0 3 * * *", "UTC", ", jitter: 10m");
        let (last, early) = (t("2026-01-01T03:00:00Z"), t("2026-01-02T02:59:00Z"));
        let Due::At(at) = clock.due(last, early) else {
            panic!("fired early");
        };
        let moved = at.duration_since(t("2026-01-02T03:00:00Z"));
        assert!(
            moved > SignedDuration::ZERO && moved < SignedDuration::from_mins(10),
            "{moved}"
        );
        assert_eq!(clock.due(last, early), Due::At(at));
        assert_eq!(clock.due(last, at), Due::Fire(t("2026-01-02T03:00:00Z")));
    }

    #[test]
    fn what_is_no_time_is_told() {
        let text = "{name: n, cron: 'soon', repository: r, reference: x, run: {matrix: m}}";
        let error = Clock::of(&serde_yaml::from_str(text).unwrap()).unwrap_err();
        assert_eq!(error.0, "cron");
        let text = "{name: n, cron: '* * * * *', zone: Mars, repository: r, reference: x, run: {matrix: m}}";
        assert_eq!(
            Clock::of(&serde_yaml::from_str(text).unwrap())
                .unwrap_err()
                .0,
            "zone"
        );
    }
}
