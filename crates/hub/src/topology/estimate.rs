//! Estimates the latency of one hub from a series of probes, smoothed as TCP smooths round trips (RFC 6298 §2), so that one slow
//! answer moves no devices.

use std::time::Duration;

use model::{Latency, LatencyEstimate};

/// How many probes in a row without an answer make a hub's latency unknown. A single one may be lost.
pub(super) const SILENT_AFTER: u32 = 2;

/// A latency and its variation.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Estimate {
    /// In microseconds.
    smoothed: Option<f64>,
    /// In microseconds.
    variation: f64,
    misses: u32,
}

impl Estimate {
    /// Returns the estimate after an answer that took this long. After a silence, earlier answers do not count.
    pub(super) fn after_answer(self, took: Duration) -> Estimate {
        let sample = took.as_secs_f64() * 1e6;
        match self.smoothed.filter(|_| !self.is_silent()) {
            None => Estimate { smoothed: Some(sample), variation: sample / 2.0, misses: 0 },
            Some(smoothed) => Estimate {
                smoothed: Some(smoothed + (sample - smoothed) / 8.0),
                variation: self.variation + ((smoothed - sample).abs() - self.variation) / 4.0,
                misses: 0,
            },
        }
    }

    /// Returns the estimate after a probe without an answer.
    pub(super) fn after_miss(self) -> Estimate {
        Estimate { misses: self.misses.saturating_add(1), ..self }
    }

    /// Returns the latency with its variation; `None` while the hub is silent.
    pub(super) fn latency(&self) -> Option<LatencyEstimate> {
        let smoothed = self.smoothed.filter(|_| !self.is_silent())?;
        Some(LatencyEstimate { latency: in_micros(smoothed), variation: in_micros(self.variation) })
    }

    /// Returns whether the hub has not answered the last probes.
    pub(super) fn is_silent(&self) -> bool {
        self.misses >= SILENT_AFTER
    }

    /// Returns the number of probes since the last answer.
    pub(super) fn misses(&self) -> u32 {
        self.misses
    }
}

/// Converts to whole microseconds. The cast saturates.
fn in_micros(micros: f64) -> Latency {
    Latency::from_micros(micros.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn estimated(latency: u32, variation: u32) -> Option<LatencyEstimate> {
        let [latency, variation] = [latency, variation].map(Latency::from_millis);
        Some(LatencyEstimate { latency, variation })
    }

    #[test]
    fn one_slow_answer_moves_the_estimate_by_an_eighth() {
        let steady = (0..50).fold(Estimate::default(), |it, _| it.after_answer(millis(40)));
        assert_eq!(steady.latency(), estimated(40, 0));
        assert_eq!(steady.after_answer(millis(120)).latency(), estimated(50, 20));
    }

    #[test]
    fn the_estimate_follows_a_new_path_within_twenty_probes() {
        let before = (0..50).fold(Estimate::default(), |it, _| it.after_answer(millis(40)));
        let after = (0..20).fold(before, |it, _| it.after_answer(millis(80)));
        assert!(after.latency().unwrap().latency > Latency::from_millis(75), "{after:?}");
    }

    #[test]
    fn silence_makes_the_latency_unknown_until_the_next_answer() {
        let known = Estimate::default().after_answer(millis(40));
        assert_eq!(known.after_miss().latency(), estimated(40, 20), "one may be lost");
        let silent = known.after_miss().after_miss();
        assert_eq!((silent.latency(), silent.is_silent()), (None, true));
        let back = silent.after_answer(millis(90));
        assert_eq!((back.latency(), back.misses()), (estimated(90, 45), 0));
        assert_eq!(Estimate::default().latency(), None);
    }
}
