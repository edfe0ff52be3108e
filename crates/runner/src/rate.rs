//! Limits the rate at which the runs of an instance start, where it has a limit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::{IdScope, RateLimit, RateLimiter};
use tokio::time::Instant;

/// The rates of all instances that have a limit, each counted by itself.
pub(crate) struct Rates(Mutex<RateLimiter<IdScope>>);

impl Default for Rates {
    fn default() -> Self {
        // One key for each instance, of which there are few.
        Rates(Mutex::new(RateLimiter::new(usize::MAX)))
    }
}

impl Rates {
    /// Returns whether a run of the instance may start now, and counts it then. Without a limit it always may.
    pub(crate) fn admits(&self, scope: &IdScope, rate: Option<RateLimit>) -> bool {
        rate.is_none_or(|rate| self.lock().admit(scope, rate, Instant::now().into_std()).is_ok())
    }

    /// Returns how many of the runs that the limit permits at once are used up.
    pub(crate) fn used(&self, scope: &IdScope, rate: RateLimit) -> u32 {
        self.lock().used(scope, rate, Instant::now().into_std())
    }

    fn lock(&self) -> MutexGuard<'_, RateLimiter<IdScope>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroU32, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn instances_are_counted_apart_and_without_a_limit_not_at_all() {
        let [one, two] = ["0neA", "0neB"].map(|scope| IdScope::parse(scope).unwrap());
        let rates = Rates::default();
        let limit = RateLimit { count: NonZeroU32::new(3).unwrap(), window: Duration::from_secs(60) };
        let admitted = |scope: &IdScope| (0..10).filter(|_| rates.admits(scope, Some(limit))).count();
        assert_eq!((admitted(&one), admitted(&two), admitted(&one)), (3, 3, 0));
        assert!((0..10_000).all(|_| rates.admits(&one, None)));
        assert_eq!((rates.used(&one, limit), rates.used(&two, limit)), (3, 3));
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!((rates.used(&one, limit), admitted(&one)), (2, 1));
    }
}
