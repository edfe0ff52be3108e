//! When a device is told to ask again, and what its SDK makes of it.

use std::time::Duration;

use crate::client::Client;

/// The longest: an operator who brings a hub back sees its devices within a minute.
const LONGEST_SECS: u32 = 60;

/// The longest that Java clients honour: when told to wait longer they ask every two seconds.
const LONGEST_FOR_JAVA_SECS: u32 = 5;

impl Client {
    /// When to ask again, in seconds, for a device whose run has been under way for so long: it waits a quarter longer than
    /// it has to at most.
    pub(crate) fn retry_after_secs(self, first_secs: u32, under_way: Duration) -> u32 {
        let quarter = u32::try_from(under_way.as_secs() / 4).unwrap_or(LONGEST_SECS);
        let longest = match self {
            Client::Java => LONGEST_FOR_JAVA_SECS,
            _ => LONGEST_SECS,
        };
        quarter.clamp(first_secs, longest.max(first_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_the_wait_as_far_as_they_are_honoured() {
        for (under_way, other, java) in
            [(0, 3, 3), (15, 3, 3), (19, 4, 4), (20, 5, 5), (60, 15, 5), (240, 60, 5), (100_000, 60, 5)]
        {
            let pause = |client: Client| client.retry_after_secs(3, Duration::from_secs(under_way));
            assert_eq!((pause(Client::Unknown), pause(Client::Java)), (other, java), "{under_way} s");
        }
    }
}
