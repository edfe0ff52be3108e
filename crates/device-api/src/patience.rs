//! When a device is told to ask again, and what its SDK makes of it.

use std::time::Duration;

/// The longest: an operator who brings a hub back sees its devices within a minute.
const LONGEST_SECS: u32 = 60;

/// The longest that Java clients honour: when told to wait longer they ask every two seconds.
const LONGEST_FOR_JAVA_SECS: u32 = 5;

/// How the Java SDK names itself, among other things.
const JAVA: &str = "com.microsoft.azure.sdk.iot";

/// Which SDK calls, as far as it makes a difference to when a device is answered and asks again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// Honours short pauses alone, and misses a message that comes before it listens for it.
    Java,
    Other,
}

impl Client {
    /// That which names itself so. Java's does in its user agent, or, by a quirk, sends its api-version as its client version.
    pub(crate) fn of(agent: &str, api_version: &str) -> Client {
        let is_java = agent.contains(JAVA) || (!agent.is_empty() && agent == api_version);
        if is_java { Client::Java } else { Client::Other }
    }

    /// When to ask again, in seconds, for a device whose run has been under way for so long: it waits a quarter longer than
    /// it has to at most.
    pub(crate) fn retry_after_secs(self, first_secs: u32, under_way: Duration) -> u32 {
        let quarter = u32::try_from(under_way.as_secs() / 4).unwrap_or(LONGEST_SECS);
        let longest = match self {
            Client::Java => LONGEST_FOR_JAVA_SECS,
            Client::Other => LONGEST_SECS,
        };
        quarter.clamp(first_secs, longest.max(first_secs))
    }

    /// How long a message to it is held back, when `java_delay` is what Java needs.
    pub(crate) fn delay(self, java_delay: Duration) -> Duration {
        match self {
            Client::Java => java_delay,
            Client::Other => Duration::ZERO,
        }
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
            assert_eq!((pause(Client::Other), pause(Client::Java)), (other, java), "{under_way} s");
        }
    }

    #[test]
    fn clients_by_name() {
        for (agent, api_version, expected) in [
            ("com.microsoft.azure.sdk.iot.dps.dps-device-client/2.1.0", "2019-03-31", Client::Java),
            ("2019-03-31", "2019-03-31", Client::Java),
            ("azure-iot-provisioning-device/1.9.1", "2019-03-31", Client::Other),
            ("", "", Client::Other),
        ] {
            assert_eq!(Client::of(agent, api_version), expected, "{agent:?}");
        }
    }
}
