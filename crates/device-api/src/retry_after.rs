//! Computes Retry-After, with the quirks of each SDK.

use std::time::Duration;

use provisioning::ports::RunStatus;

use crate::client::Client;

/// The longest Retry-After: once a hub is back, its devices return within a minute.
const LONGEST_SECS: u32 = 60;

/// The longest Retry-After that Java clients honor; with a longer one they ask every two seconds.
const LONGEST_FOR_JAVA_SECS: u32 = 5;

/// The reason why a device must ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its run has been in progress for this long.
    InProgress(Duration),
    /// Its instance has reached its rate of runs. When its run begins depends on the other devices that wait.
    RateLimited,
}

impl Wait {
    /// Returns the reason why the device of a run with this status must ask again.
    pub(crate) fn of(status: &RunStatus) -> Wait {
        match status {
            RunStatus::RateLimited => Wait::RateLimited,
            RunStatus::InProgress(since) => Wait::InProgress(*since),
            RunStatus::Ended(_) | RunStatus::Deleted => Wait::InProgress(Duration::ZERO),
        }
    }
}

impl Client {
    /// Returns Retry-After in seconds. While a run is in progress it is a quarter of the time so far, so that the device waits at most
    /// a quarter longer than necessary. Before the run it is the longest that the SDK honors, because polls add to the load.
    pub(crate) fn retry_after_secs(self, first_secs: u32, wait: Wait) -> u32 {
        let longest = match self {
            Client::Java => LONGEST_FOR_JAVA_SECS,
            _ => LONGEST_SECS,
        };
        let wanted = match wait {
            Wait::InProgress(since) => u32::try_from(since.as_secs() / 4).unwrap_or(longest),
            Wait::RateLimited => longest,
        };
        wanted.clamp(first_secs, longest.max(first_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_grows_with_the_wait_as_far_as_the_sdk_honors_it() {
        for (under_way, other, java) in
            [(0, 3, 3), (15, 3, 3), (19, 4, 4), (20, 5, 5), (60, 15, 5), (240, 60, 5), (100_000, 60, 5)]
        {
            let pause =
                |client: Client| client.retry_after_secs(3, Wait::InProgress(Duration::from_secs(under_way)));
            assert_eq!((pause(Client::Unknown), pause(Client::Java)), (other, java), "{under_way} s");
        }
    }

    #[test]
    fn a_rate_limited_device_waits_as_long_as_its_sdk_honors() {
        for (client, expected) in [(Client::Unknown, 60), (Client::Java, 5)] {
            assert_eq!(client.retry_after_secs(3, Wait::RateLimited), expected);
        }
    }
}
