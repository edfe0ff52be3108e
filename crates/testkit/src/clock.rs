//! A clock that changes only when a test moves it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use model::Timestamp;
use provisioning::ports::Clock;

/// A clock that a test moves.
#[derive(Debug)]
pub struct SteppedClock {
    ticks: AtomicI64,
}

impl SteppedClock {
    /// Creates a clock at this time.
    pub fn at(time: Timestamp) -> SteppedClock {
        SteppedClock { ticks: AtomicI64::new(time.ticks()) }
    }

    /// Moves the clock forwards, in units of 100 ns.
    pub fn advance(&self, by: Duration) {
        let ticks = i64::try_from(by.as_nanos() / 100).unwrap_or(i64::MAX);
        self.ticks.fetch_add(ticks, Ordering::SeqCst);
    }

    /// Sets the clock, also backwards.
    pub fn set(&self, time: Timestamp) {
        self.ticks.store(time.ticks(), Ordering::SeqCst);
    }
}

impl Default for SteppedClock {
    /// Creates a clock at 2026-11-23T00:00:00Z.
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
    fn the_time_changes_only_when_it_is_moved() {
        let clock = SteppedClock::default();
        assert_eq!(clock.now().to_string(), "2026-11-23T00:00:00.0000000Z");
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clock.now().to_string(), "2026-11-23T00:00:01.5000000Z");
        clock.set(Timestamp::from_unix_seconds(0));
        assert_eq!(clock.now().unix_seconds(), 0);
    }
}
