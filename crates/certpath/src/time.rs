//! Instants as certificates and revocation lists state them.

use std::fmt;

use x509_parser::time::ASN1Time;

/// An instant in whole seconds since 1970 (RFC 5280 §4.1.2.5 and §5.1.2.4 know no fractions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(i64);

impl Time {
    /// Creates an instant from seconds since 1970, negative before.
    pub const fn from_unix_seconds(seconds: i64) -> Self {
        Time(seconds)
    }

    /// Returns the seconds since 1970, negative before.
    pub const fn unix_seconds(self) -> i64 {
        self.0
    }

    /// Returns the instant this many seconds later.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Time(self.0.saturating_add(seconds))
    }
}

impl From<ASN1Time> for Time {
    fn from(time: ASN1Time) -> Self {
        Time(time.timestamp())
    }
}

impl fmt::Display for Time {
    /// Writes it as RFC 3339 does: `2026-11-23T00:00:00Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(time) = ASN1Time::from_timestamp(self.0) else {
            return write!(f, "{} seconds after 1970", self.0);
        };
        let time = time.to_datetime();
        let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
        let (hour, minute, second) = (time.hour(), time.minute(), time.second());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_as_in_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_795_392_000, "2026-11-23T00:00:00Z"),
            // 99991231235959Z, the end of certificates that do not expire (RFC 5280 §4.1.2.5).
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (-2_208_988_800, "1900-01-01T00:00:00Z"),
            (i64::MAX, "9223372036854775807 seconds after 1970"),
        ] {
            assert_eq!(Time::from_unix_seconds(seconds).to_string(), text);
        }
    }
}
