//! What is random, drawn from the seed.

use std::{ops::RangeInclusive, time::Duration};

use provisioning::ports::Entropy;
use testkit::entropy::SeededEntropy;

/// Dice that fall the same way in every run of a seed.
pub struct Dice(SeededEntropy);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(SeededEntropy::new(seed))
    }

    /// A number below `sides`.
    pub fn roll(&self, sides: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_be_bytes(bytes) % sides
    }

    /// Whether something happens that happens so often in a thousand times.
    pub fn in_thousand(&self, times: u64) -> bool {
        self.roll(1000) < times
    }

    /// A time in this range of milliseconds.
    pub fn millis(&self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(range.start() + self.roll(range.end() - range.start() + 1))
    }

    pub fn pick<'a, T>(&self, among: &'a [T]) -> &'a T {
        &among[usize::try_from(self.roll(among.len() as u64)).unwrap()]
    }
}
