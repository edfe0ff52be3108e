//! When a device is told to ask again, and what its SDK makes of it.

use std::time::Duration;

use provisioning::ports::RunStatus;

use crate::client::Client;

/// The longest: an operator who brings a hub back sees its devices within a minute.
const LONGEST_SECS: u32 = 60;

/// The longest that Java clients honour: when told to wait longer they ask every two seconds.
const LONGEST_FOR_JAVA_SECS: u32 = 5;

/// The reason why a device must ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its run has been in progress for this long.
    UnderWay(Duration),
    /// Its instance has begun as many runs as it may. When it begins more depends on the other devices that wait.
    ItsTurn,
}

impl Wait {
    /// Returns why the device of a run with this status must ask again.
    pub(crate) fn of(status: &RunStatus) -> Wait {
        match status {
            RunStatus::RateLimited => Wait::ItsTurn,
            RunStatus::InProgress(since) => Wait::UnderWay(*since),
            RunStatus::Ended(_) | RunStatus::Deleted => Wait::UnderWay(Duration::ZERO),
        }
    }
}

impl Client {
    /// When to ask again, in seconds. A device whose run is under way waits a quarter longer than it has to at most; one
    /// whose run has yet to begin waits as long as it can be made to, so that its questions add little to the load.
    pub(crate) fn retry_after_secs(self, first_secs: u32, wait: Wait) -> u32 {
        let longest = match self {
            Client::Java => LONGEST_FOR_JAVA_SECS,
            _ => LONGEST_SECS,
        };
        let wanted = match wait {
            Wait::UnderWay(since) => u32::try_from(since.as_secs() / 4).unwrap_or(longest),
            Wait::ItsTurn => longest,
        };
        wanted.clamp(first_secs, longest.max(first_secs))
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
            let pause =
                |client: Client| client.retry_after_secs(3, Wait::UnderWay(Duration::from_secs(under_way)));
            assert_eq!((pause(Client::Unknown), pause(Client::Java)), (other, java), "{under_way} s");
        }
    }

    #[test]
    fn who_has_yet_to_begin_waits_as_long_as_is_honoured() {
        for (client, expected) in [(Client::Unknown, 60), (Client::Java, 5)] {
            assert_eq!(client.retry_after_secs(3, Wait::ItsTurn), expected);
        }
    }
}
