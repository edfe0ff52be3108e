//! Retry back-off: how long to wait before a run or a cleanup is tried again.

use std::time::Duration;

use model::{FailedTry, Timestamp, Tries};

use crate::ports::Delay;

/// The first back-off, which doubles with each try.
const FIRST: Duration = Duration::from_secs(1);

/// The longest back-off of a run, for which a device waits.
pub(super) const MAX_ASSIGNMENT_BACKOFF: Duration = Duration::from_secs(60);

/// The longest back-off of a cleanup, for which no device waits.
pub(super) const MAX_CLEANUP_BACKOFF: Duration = Duration::from_secs(600);

/// The longest back-off that a hub may ask for, so that one wrong answer does not stop its runs.
const MAX_HUB_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Returns the tries with another failed one, and the back-off after it: what the hub asked for, or else up to `longest`.
pub(super) fn after(tries: &Tries, now: Timestamp, longest: Duration, delay: Delay) -> (Tries, Duration) {
    let doubled = (FIRST * 2_u32.saturating_pow(tries.count().min(20))).min(longest);
    let pause = delay.retry_after.map_or(doubled, |wanted| wanted.clamp(FIRST, MAX_HUB_RETRY_AFTER));
    paused(tries, now, pause, delay.reason)
}

/// Returns the tries with another failed one that is followed by this back-off.
pub(super) fn paused(tries: &Tries, now: Timestamp, pause: Duration, reason: String) -> (Tries, Duration) {
    (tries.and_failed(FailedTry { reason, next: now.plus(pause), pause: Some(pause) }), pause)
}

/// Returns how long it is until the next try is due. Never longer than the back-off was, for the clock may have been set back
/// since, or that of another process was ahead.
pub(super) fn left(tries: &Tries, now: Timestamp) -> Duration {
    let bounded = |last: &FailedTry| last.next.since(now).min(last.pause.unwrap_or(MAX_HUB_RETRY_AFTER));
    tries.last().map_or(Duration::ZERO, bounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn back_off_grows_and_is_bounded() {
        let now = Timestamp::from_unix_seconds(1000);
        let (mut tries, mut pauses) = (Tries::default(), Vec::new());
        assert_eq!(left(&tries, now), Duration::ZERO);
        for _ in 0..9 {
            let (next, pause) = after(&tries, now, MAX_ASSIGNMENT_BACKOFF, "down".to_owned().into());
            assert_eq!(left(&next, now), pause);
            tries = next;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!((tries.count(), left(&tries, Timestamp::from_unix_seconds(1059)).as_secs()), (9, 1));
        assert_eq!(left(&tries, Timestamp::from_unix_seconds(2000)), Duration::ZERO);
        let wanted =
            |seconds| Delay { retry_after: Some(Duration::from_secs(seconds)), reason: String::new() };
        for (seconds, pause) in [(0, 1), (20, 20), (9000, 300)] {
            assert_eq!(after(&tries, now, MAX_ASSIGNMENT_BACKOFF, wanted(seconds)).1.as_secs(), pause);
        }
        let behind = Timestamp::from_unix_seconds(400);
        assert_eq!(left(&tries, behind).as_secs(), 60, "no longer than it was to be");
        let last = tries.last().cloned().unwrap();
        let of_before = Tries::default().and_failed(FailedTry { pause: None, ..last });
        assert_eq!(left(&of_before, behind), MAX_HUB_RETRY_AFTER, "the clock was set back");
        let many = (0..100).fold(tries, |tries, _| paused(&tries, now, Duration::ZERO, String::new()).0);
        assert_eq!(after(&many, now, MAX_CLEANUP_BACKOFF, String::new().into()).1, MAX_CLEANUP_BACKOFF);
    }
}
