//! Limits the rate at which the runs of an instance start, where it has a limit.

use std::{
    collections::HashMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use model::IdScope;
use tokio::time::Instant;

const MINUTE: Duration = Duration::from_secs(60);

/// The rates of all instances that have a limit, each counted by itself.
#[derive(Default)]
pub(crate) struct Rates {
    /// When the runs that were started are worked off at the instance's rate: a token bucket of one minute, as one number.
    worked_off: Mutex<HashMap<IdScope, Instant>>,
}

impl Rates {
    /// Returns whether a run of the instance may start now, and counts it then: a minute's worth at once, and then at its rate.
    /// Without a limit it always may.
    pub(crate) fn admits(&self, scope: &IdScope, per_minute: Option<NonZeroU32>) -> bool {
        let Some(per_minute) = per_minute else { return true };
        let now = Instant::now();
        let mut all = self.worked_off.lock().unwrap_or_else(PoisonError::into_inner);
        let worked_off = all.entry(scope.clone()).or_insert(now);
        let with_this = now.max(*worked_off) + MINUTE / per_minute.get();
        if with_this > now + MINUTE {
            return false;
        }
        *worked_off = with_this;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(rates: &Rates, scope: &IdScope, per_minute: u32, asked: u32) -> u32 {
        let limit = NonZeroU32::new(per_minute);
        (0..asked).map(|_| u32::from(rates.admits(scope, limit))).sum()
    }

    #[tokio::test(start_paused = true)]
    async fn a_minutes_worth_starts_at_once_and_then_the_rate_is_kept() {
        let scope = IdScope::parse("0neA").unwrap();
        for per_minute in [1, 2, 7, 60, 999, 6000] {
            let rates = Rates::default();
            assert_eq!(admitted(&rates, &scope, per_minute, per_minute * 2), per_minute);
            let mut later = 0;
            for _ in 0..600 {
                tokio::time::advance(Duration::from_secs(1)).await;
                later += admitted(&rates, &scope, per_minute, per_minute / 60 + 2);
            }
            let rate = later.abs_diff(per_minute * 10);
            assert!(rate <= 1, "{per_minute} a minute: {later} in ten minutes");
            tokio::time::advance(MINUTE * 100).await;
            assert_eq!(
                admitted(&rates, &scope, per_minute, per_minute * 2),
                per_minute,
                "an idle time is not saved up"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn instances_are_counted_apart_and_without_a_limit_not_at_all() {
        let [one, two] = ["0neA", "0neB"].map(|scope| IdScope::parse(scope).unwrap());
        let rates = Rates::default();
        assert_eq!(admitted(&rates, &one, 3, 10), 3);
        assert_eq!(admitted(&rates, &two, 3, 10), 3);
        assert!((0..10_000).all(|_| rates.admits(&one, None)));
        assert_eq!(admitted(&rates, &one, u32::MAX, 1), 0, "runs that were started still count");
    }
}
