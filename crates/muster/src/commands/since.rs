//! Times on the command line.

use std::{str::FromStr, time::Duration};

use model::Timestamp;

/// A time, or an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// This long ago.
    Ago(Duration),
    /// This time.
    At(Timestamp),
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "expected 90s, 30m, 24h, 7d, a day like 2026-11-23, or an instant".to_owned();
        if let Ok(at) = Timestamp::parse(text).or_else(|_| Timestamp::parse(&format!("{text}T00:00:00Z"))) {
            return Ok(Since::At(at));
        }
        let unit = text.chars().last().ok_or_else(refused)?;
        let factor = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return Err(refused()),
        };
        let count: u32 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| refused())?;
        Ok(Since::Ago(Duration::from_secs(u64::from(count) * factor)))
    }
}

impl Since {
    /// Returns the time, seen from now.
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Since::Ago(ago) => now.plus_seconds(-i64::try_from(ago.as_secs()).unwrap_or(i64::MAX)),
            Since::At(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_ages_days_and_instants() {
        let now = Timestamp::parse("2026-11-29T12:00:00Z").unwrap();
        let before = |text: &str| text.parse::<Since>().map(|since| since.before(now).to_string());
        assert_eq!(before("30m").unwrap(), "2026-11-29T11:30:00.0000000Z");
        assert_eq!(before("2d").unwrap(), "2026-11-27T12:00:00.0000000Z");
        assert_eq!(before("2026-11-23").unwrap(), "2026-11-23T00:00:00.0000000Z");
        assert_eq!(before("2026-11-23T08:00:00Z").unwrap(), "2026-11-23T08:00:00.0000000Z");
        for text in ["", "d", "-1d", "1w", "1dd", "yesterday", "1é", "é"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
