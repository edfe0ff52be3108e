//! Percentiles by the nearest-rank method, so that each is a measured value.

use std::time::Duration;

use serde::Serialize;

/// Percentiles of a set of durations, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// The median.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The maximum.
    pub max_ms: f64,
}

impl Percentiles {
    /// Computes the percentiles of a set of durations; `None` if it is empty.
    pub fn of(mut durations: Vec<Duration>) -> Option<Percentiles> {
        durations.sort_unstable();
        let max_ms = millis(*durations.last()?);
        let rank = |percent: usize| millis(nearest_rank(&durations, percent));
        Some(Percentiles { p50_ms: rank(50), p95_ms: rank(95), p99_ms: rank(99), max_ms })
    }
}

/// Returns the smallest value that at least `percent` % of the sorted values do not exceed.
fn nearest_rank(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Converts a duration to milliseconds, rounded down to microseconds.
fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(millis: impl IntoIterator<Item = u64>, expected: Option<[f64; 4]>) {
        let found = Percentiles::of(millis.into_iter().map(Duration::from_millis).collect());
        assert_eq!(found.map(|p| [p.p50_ms, p.p95_ms, p.p99_ms, p.max_ms]), expected);
    }

    #[test]
    fn percentiles_are_those_of_the_nearest_rank() {
        check([], None);
        check([7], Some([7.0, 7.0, 7.0, 7.0]));
        check([2, 1], Some([1.0, 2.0, 2.0, 2.0]));
        check([3, 1, 2], Some([2.0, 3.0, 3.0, 3.0]));
        check((1..=100).rev(), Some([50.0, 95.0, 99.0, 100.0]));
        check(1..=1000, Some([500.0, 950.0, 990.0, 1000.0]));
        check(1..=101, Some([51.0, 96.0, 100.0, 101.0]));
    }

    #[test]
    fn percentiles_have_microseconds() {
        let found = Percentiles::of(vec![Duration::from_nanos(1_234_567)]).unwrap();
        assert_eq!(found.p50_ms, 1.234);
    }
}
