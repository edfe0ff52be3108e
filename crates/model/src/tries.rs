//! Tries of something that is repeated until it succeeds.

use std::{num::NonZeroU32, time::Duration};

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// The tries so far, all of which failed. None by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredTries", into = "StoredTries")]
pub struct Tries(Option<FailedTries>);

/// One failed try or more.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FailedTries {
    count: NonZeroU32,
    last: FailedTry,
}

/// A failed try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedTry {
    /// Why it failed, for operators.
    pub reason: String,
    /// When the next one is due, by the clock of the process that failed.
    pub next: Timestamp,
    /// How long that was to wait; absent in records of earlier versions. A process whose clock differs waits no longer.
    pub pause: Option<Duration>,
}

impl Tries {
    /// Returns the tries with another one, which failed.
    pub fn and_failed(&self, last: FailedTry) -> Tries {
        let count = self.0.as_ref().map_or(NonZeroU32::MIN, |it| it.count.saturating_add(1));
        Tries(Some(FailedTries { count, last }))
    }

    /// Returns how many there were.
    pub fn count(&self) -> u32 {
        self.0.as_ref().map_or(0, |it| it.count.get())
    }

    /// Returns the last one.
    pub fn last(&self) -> Option<&FailedTry> {
        self.0.as_ref().map(|it| &it.last)
    }

    /// Whether there were none.
    pub fn are_none(&self) -> bool {
        self.0.is_none()
    }
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct StoredTries {
    count: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// In milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pause: Option<u64>,
}

impl From<StoredTries> for Tries {
    /// Reads any combination: a reason or a date is that of a try, and a try without a date is repeated at once.
    fn from(StoredTries { count, next, reason, pause }: StoredTries) -> Tries {
        let count = match NonZeroU32::new(count) {
            None if next.is_none() && reason.is_none() => return Tries::default(),
            count => count.unwrap_or(NonZeroU32::MIN),
        };
        let next = next.unwrap_or(Timestamp::from_unix_seconds(0));
        let (reason, pause) = (reason.unwrap_or_default(), pause.map(Duration::from_millis));
        Tries(Some(FailedTries { count, last: FailedTry { reason, next, pause } }))
    }
}

impl From<Tries> for StoredTries {
    fn from(tries: Tries) -> StoredTries {
        let count = tries.count();
        let last = tries.0.map(|it| it.last);
        let pause = last.as_ref().and_then(|last| last.pause);
        let pause = pause.map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let (reason, next) = last.map(|last| (last.reason, last.next)).unzip();
        StoredTries { count, next, reason, pause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(reason: &str, next: i64) -> FailedTry {
        FailedTry { reason: reason.to_owned(), next: Timestamp::from_unix_seconds(next), pause: None }
    }

    fn read(text: &str) -> Tries {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn tries_are_read_as_they_were_written() {
        let once = Tries::default().and_failed(failed("down", 1));
        let twice = once.and_failed(failed("full", 2));
        assert_eq!((twice.count(), twice.last()), (2, Some(&failed("full", 2))));
        let pause = Some(Duration::from_millis(1500));
        let paused = Tries::default().and_failed(FailedTry { pause, ..failed("down", 1) });
        for (tries, stored) in [
            (Tries::default(), r#"{"count":0}"#),
            (paused, r#"{"count":1,"next":10000000,"reason":"down","pause":1500}"#),
            (once, r#"{"count":1,"next":10000000,"reason":"down"}"#),
            (twice, r#"{"count":2,"next":20000000,"reason":"full"}"#),
        ] {
            assert_eq!(serde_json::to_string(&tries).unwrap(), stored);
            assert_eq!(read(stored), tries);
        }
        assert_eq!(read(r#"{"count":4294967295}"#).and_failed(failed("", 0)).count(), u32::MAX);
    }

    /// No version wrote these.
    #[test]
    fn combinations_that_cannot_be_are_read_as_tries() {
        for (stored, count, last) in [
            (r#"{"count":3}"#, 3, failed("", 0)),
            (r#"{"count":3,"reason":"down"}"#, 3, failed("down", 0)),
            (r#"{"count":3,"next":70000000}"#, 3, failed("", 7)),
            (r#"{"count":0,"reason":"down"}"#, 1, failed("down", 0)),
            (r#"{"count":0,"next":70000000}"#, 1, failed("", 7)),
        ] {
            let tries = read(stored);
            assert_eq!((tries.count(), tries.last()), (count, Some(&last)), "{stored}");
        }
    }
}
