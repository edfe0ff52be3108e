//! Instants in UTC, in ticks of 100 ns, written with seven fractional digits.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Ticks in a second.
const TICKS: i64 = 10_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// The first and the last second of the years with four digits, since 1970.
const FIRST_SECOND: i64 = -62_135_596_800;
const LAST_SECOND: i64 = 253_402_300_799;

/// An instant in UTC with a resolution of 100 ns, between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text is not an instant or a day.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 8601 instant in UTC: {0:?}")]
pub struct TimeError(String);

impl Timestamp {
    /// Makes an instant of ticks of 100 ns since 1970.
    pub const fn from_ticks(ticks: i64) -> Self {
        Timestamp(ticks)
    }

    /// Makes an instant of whole seconds since 1970.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(TICKS))
    }

    /// Returns ticks of 100 ns since 1970.
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// Returns whole seconds since 1970, rounded down.
    pub const fn unix_seconds(self) -> i64 {
        self.0.div_euclid(TICKS)
    }

    /// Returns the UTC day of this instant.
    pub const fn day(self) -> Day {
        Day(self.unix_seconds().div_euclid(SECONDS_PER_DAY) as i32)
    }

    /// Returns the instant this much later.
    pub fn plus(self, time: Duration) -> Self {
        let ticks = i64::try_from(time.as_nanos() / 100).unwrap_or(i64::MAX);
        Timestamp(self.0.saturating_add(ticks))
    }

    /// Returns the time from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        let ticks = u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default();
        Duration::from_nanos(ticks.saturating_mul(100))
    }

    /// Parses an ISO 8601 instant such as `2022-08-31T22:02:50.5163352Z`, of the years 1 to 9999.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let refused = || TimeError(text.to_owned());
        let instant: jiff::Timestamp = text.parse().map_err(|_| refused())?;
        let ticks = instant.as_nanosecond().div_euclid(100);
        let instant = Timestamp(i64::try_from(ticks).map_err(|_| refused())?);
        let has_four_digits = (FIRST_SECOND..=LAST_SECOND).contains(&instant.unix_seconds());
        if has_four_digits { Ok(instant) } else { Err(refused()) }
    }
}

impl Timestamp {
    /// Writes `Thu, 12 Oct 2017 19:23:50 GMT` (RFC 1123), as Azure's resource manager does.
    pub fn to_rfc1123(self) -> String {
        let seconds = self.unix_seconds();
        let days = seconds.div_euclid(SECONDS_PER_DAY);
        let (year, month, day) = civil(days);
        let second = seconds.rem_euclid(SECONDS_PER_DAY);
        let named =
            |names: &[&'static str], at: i64| usize::try_from(at).ok().and_then(|at| names.get(at).copied());
        // 1970-01-01 was a Thursday.
        let weekday = named(&WEEKDAYS, (days + 4).rem_euclid(7)).unwrap_or_default();
        let month = named(&MONTHS, month - 1).unwrap_or_default();
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }

    /// Returns the instant this many seconds later, or earlier if negative.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Timestamp(self.0.saturating_add(seconds.saturating_mul(TICKS)))
    }
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

impl From<certpath::Time> for Timestamp {
    fn from(time: certpath::Time) -> Self {
        Timestamp::from_unix_seconds(time.unix_seconds())
    }
}

/// Rounds down to whole seconds.
impl From<Timestamp> for certpath::Time {
    fn from(time: Timestamp) -> Self {
        certpath::Time::from_unix_seconds(time.unix_seconds())
    }
}

impl fmt::Display for Timestamp {
    /// Writes `2022-08-31T22:02:50.5163352Z`, always with seven fractional digits, as the hosted service does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.unix_seconds();
        let (year, month, day) = civil(seconds.div_euclid(SECONDS_PER_DAY));
        let second = seconds.rem_euclid(SECONDS_PER_DAY);
        let fraction = self.0.rem_euclid(TICKS);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:07}Z")
    }
}

/// A UTC calendar day, counted from 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(i32);

impl Day {
    /// Makes a day of the number of days since 1970-01-01.
    pub const fn from_number(number: i32) -> Self {
        Day(number)
    }

    /// Returns the number of days since 1970-01-01.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// Parses `2026-11-23`, of the years 1 to 9999.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        if text.len() != "YYYY-MM-DD".len() {
            return Err(TimeError(text.to_owned()));
        }
        Timestamp::parse(&format!("{text}T00:00:00Z"))
            .map(Timestamp::day)
            .map_err(|_| TimeError(text.to_owned()))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(i64::from(self.0));
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Returns year, month and day of a day number in the proleptic Gregorian calendar (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prints_seven_digits() {
        let text = "2022-08-31T22:02:50.5163352Z";
        assert_eq!(Timestamp::parse(text).unwrap().to_string(), text);
        assert_eq!(Timestamp::from_unix_seconds(0).to_string(), "1970-01-01T00:00:00.0000000Z");
        assert_eq!(Timestamp::from_unix_seconds(1_900_000_000).day().to_string(), "2030-03-17");
    }

    #[test]
    fn writes_dates_as_http_does() {
        for (text, expected) in [
            ("2017-10-12T19:23:50Z", "Thu, 12 Oct 2017 19:23:50 GMT"),
            ("2026-02-01T00:00:09.9Z", "Sun, 01 Feb 2026 00:00:09 GMT"),
            ("1969-12-31T23:59:59Z", "Wed, 31 Dec 1969 23:59:59 GMT"),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().to_rfc1123(), expected);
        }
        let later = Timestamp::from_unix_seconds(0).plus_seconds(86_400);
        assert_eq!(later.to_string(), "1970-01-02T00:00:00.0000000Z");
    }

    #[test]
    fn years_have_four_digits() {
        for text in ["0001-01-01", "2026-11-23", "9999-12-30"] {
            assert_eq!(Day::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "-0000030725",
            "-003-07-25",
            "+12026-1-1",
            "20261123",
            "2026-1-1",
            "0000-12-31",
            "2026-02-30",
            "",
        ] {
            assert!(Day::parse(text).is_err(), "{text}");
        }
        for text in ["-000003-07-25T00:00:00Z", "0000-12-31T23:59:59Z", "+010000-01-01T00:00:00Z"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
        assert!(Timestamp::parse("9999-12-30T21:59:59.9999999Z").is_ok());
    }

    proptest! {
        #[test]
        fn text_round_trips(ticks in -600_000_000_000_000_000i64..2_500_000_000_000_000_000) {
            let instant = Timestamp::from_ticks(ticks);
            prop_assert_eq!(Timestamp::parse(&instant.to_string()).unwrap(), instant);
        }

        #[test]
        fn days_round_trip(number in -700_000i32..2_900_000) {
            let day = Day::from_number(number);
            prop_assert_eq!(Day::parse(&day.to_string()).unwrap(), day);
        }
    }
}
