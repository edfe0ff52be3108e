//! Rate limits.

use std::{
    collections::HashMap,
    hash::Hash,
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// The time between two searches for keys that need not be tracked any more. Each goes through all keys.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A number of events in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How many may follow each other at once.
    pub count: NonZeroU32,
    /// The time after which as many may follow again.
    pub window: Duration,
}

impl RateLimit {
    /// Returns the time between two events at the rate.
    fn interval(self) -> Duration {
        self.window / self.count.get()
    }
}

/// Limits the rates of events by key: of each key as many as its limit at once, and then at the rate of it (a token bucket, kept as the
/// time at which the events so far would be used up at that rate).
#[derive(Debug)]
pub struct RateLimiter<K> {
    used_until: HashMap<K, Instant>,
    max_keys: usize,
    /// When there may be keys again that need not be tracked; `None` at once.
    next_sweep: Option<Instant>,
}

impl<K: Clone + Eq + Hash> RateLimiter<K> {
    /// Creates a limiter that tracks up to this number of keys. While there are more, those beyond are not limited.
    pub fn new(max_keys: usize) -> Self {
        RateLimiter { used_until: HashMap::new(), max_keys, next_sweep: None }
    }

    /// Counts an event that is within the limit. Otherwise counts nothing, and returns after which time one will be.
    pub fn admit(&mut self, key: &K, limit: RateLimit, now: Instant) -> Result<(), Duration> {
        let next = self.ahead(key, now) + limit.interval();
        match next.checked_sub(limit.window).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                self.note(key, now, next);
                Ok(())
            }
        }
    }

    /// Counts an event in any case, and returns for how long it must be delayed to keep to the limit, at most for `longest`.
    pub fn delay(&mut self, key: &K, limit: RateLimit, now: Instant, longest: Duration) -> Duration {
        let next = (self.ahead(key, now) + limit.interval()).min(limit.window + longest);
        match self.note(key, now, next) {
            true => next.saturating_sub(limit.window),
            false => Duration::ZERO,
        }
    }

    /// Returns how many of the events that the limit permits at once are used up.
    pub fn used(&self, key: &K, limit: RateLimit, now: Instant) -> u32 {
        let used = self.ahead(key, now).as_nanos().div_ceil(limit.interval().as_nanos().max(1));
        u32::try_from(used).unwrap_or(u32::MAX).min(limit.count.get())
    }

    /// Returns how long it takes until the events so far are used up.
    fn ahead(&self, key: &K, now: Instant) -> Duration {
        self.used_until.get(key).map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Notes that the events so far are used up after this time; false if the key cannot be tracked.
    fn note(&mut self, key: &K, now: Instant, ahead: Duration) -> bool {
        if let Some(until) = self.used_until.get_mut(key) {
            *until = now + ahead;
            return true;
        }
        if self.used_until.len() >= self.max_keys && self.next_sweep.is_none_or(|next| now >= next) {
            self.next_sweep = Some(now + SWEEP_INTERVAL);
            self.used_until.retain(|_, until| *until > now);
        }
        let is_tracked = self.used_until.len() < self.max_keys;
        if is_tracked {
            self.used_until.insert(key.clone(), now + ahead);
        }
        is_tracked
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(count: u32, window: Duration) -> RateLimit {
        RateLimit { count: NonZeroU32::new(count).unwrap(), window }
    }

    proptest! {
        /// In no time are more events admitted than the limit at once and those of the rate; and an event is refused only if it
        /// would be too many, and is admitted after the time that was named.
        #[test]
        fn events_keep_to_the_limit(
            count in 1..40u32,
            window in 1..120_000u64,
            pauses in prop::collection::vec(0..20_000u64, 1..200),
        ) {
            let limit = limit(count, Duration::from_millis(window));
            let (start, mut limiter) = (Instant::now(), RateLimiter::new(1));
            let (mut now, mut admitted) = (start, Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                match limiter.admit(&(), limit, now) {
                    Ok(()) => admitted.push(now),
                    Err(wait) => {
                        prop_assert!(wait <= limit.window);
                        prop_assert!(limiter.admit(&(), limit, now).is_err(), "a refusal counts nothing");
                        now += wait;
                        prop_assert!(limiter.admit(&(), limit, now).is_ok(), "after {wait:?}");
                        admitted.push(now);
                    }
                }
                let used = limiter.used(&(), limit, now);
                prop_assert!((1..=count).contains(&used), "{used} of {count}");
            }
            for (number, first) in admitted.iter().enumerate() {
                for (later, last) in admitted.iter().enumerate().skip(number) {
                    let events = u32::try_from(later - number + 1).unwrap();
                    let beyond = events.saturating_sub(count);
                    // Intervals are whole nanoseconds.
                    let slack = Duration::from_nanos(u64::from(events));
                    prop_assert!(limit.interval() * beyond <= *last - *first + slack, "{events} events");
                }
            }
        }

        #[test]
        fn delayed_events_keep_to_the_rate(count in 1..40u32, events in 1..100u32) {
            let limit = limit(count, Duration::from_secs(60));
            let (now, mut limiter, longest) = (Instant::now(), RateLimiter::new(1), Duration::from_secs(30));
            for number in 1..=events {
                let delay = limiter.delay(&(), limit, now, longest);
                let expected = (limit.interval() * number).saturating_sub(limit.window).min(longest);
                prop_assert_eq!(delay, expected);
            }
        }
    }

    #[test]
    fn an_idle_time_is_not_saved_up() {
        let (limit, mut limiter, start) =
            (limit(3, Duration::from_secs(10)), RateLimiter::new(9), Instant::now());
        let admitted = |limiter: &mut RateLimiter<u8>, key: u8, now| {
            (0..9).filter(|_| limiter.admit(&key, limit, now).is_ok()).count()
        };
        assert_eq!(admitted(&mut limiter, 1, start), 3);
        assert_eq!(admitted(&mut limiter, 2, start), 3, "keys are counted apart");
        assert_eq!(admitted(&mut limiter, 1, start + Duration::from_secs(1000)), 3);
    }

    #[test]
    fn keys_beyond_the_most_are_not_limited_until_others_are_used_up() {
        let (limit, mut limiter, start) =
            (limit(1, Duration::from_secs(10)), RateLimiter::new(2), Instant::now());
        for key in [1, 2] {
            assert!(limiter.admit(&key, limit, start).is_ok() && limiter.admit(&key, limit, start).is_err());
        }
        assert!((0..5).all(|_| limiter.admit(&3, limit, start).is_ok()));
        assert_eq!(limiter.delay(&3, limit, start, Duration::from_secs(9)), Duration::ZERO);
        let later = start + Duration::from_secs(10);
        assert!(limiter.admit(&3, limit, later).is_ok() && limiter.admit(&3, limit, later).is_err());
    }
}
