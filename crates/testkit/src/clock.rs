//! A clock that stands until it is moved.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::Timestamp;
use provisioning::ports::Clock;

/// Shows the time it was set to.
#[derive(Debug)]
pub struct SteppedClock {
    ticks: AtomicI64,
}

impl SteppedClock {
    /// A clock that shows this time.
    pub fn at(time: Timestamp) -> SteppedClock {
        SteppedClock { ticks: AtomicI64::new(time.ticks()) }
    }

    /// Moves it, in steps of 100 ns.
    pub fn advance(&self, by: Duration) {
        let ticks = i64::try_from(by.as_nanos() / 100).unwrap_or(i64::MAX);
        self.ticks.fetch_add(ticks, Ordering::SeqCst);
    }

    /// Sets it, backwards too.
    pub fn set(&self, time: Timestamp) {
        self.ticks.store(time.ticks(), Ordering::SeqCst);
    }
}

impl Default for SteppedClock {
    /// Shows 2026-11-23T00:00:00Z.
    fn default() -> SteppedClock {
        SteppedClock::at(Timestamp::from_unix_seconds(1_795_392_000))
    }
}

impl Clock for SteppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_ticks(self.ticks.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stands_until_it_is_moved() {
        let clock = SteppedClock::default();
        assert_eq!(clock.now().to_string(), "2026-11-23T00:00:00.0000000Z");
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().to_string(), "2026-11-23T00:00:01.5000000Z");
        clock.set(Timestamp::from_unix_seconds(0));
        assert_eq!(clock.now().unix_seconds(), 0);
    }
}
