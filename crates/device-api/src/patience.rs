//! When a device is told to ask again.

use std::time::Duration;

/// The longest: an operator who brings a hub back sees its devices within a minute.
const LONGEST_SECS: u32 = 60;

/// The longest that Java clients honour: when told to wait longer they ask every two seconds.
const LONGEST_FOR_JAVA_SECS: u32 = 5;

/// How the Java SDK names itself, among other things.
pub(crate) const JAVA: &str = "com.microsoft.azure.sdk.iot";

/// In seconds, for a device whose run has been under way for so long: it waits a quarter longer than it has to at most.
pub(crate) fn retry_after_secs(first_secs: u32, under_way: Duration) -> u32 {
    let quarter = u32::try_from(under_way.as_secs() / 4).unwrap_or(LONGEST_SECS);
    quarter.clamp(first_secs, LONGEST_SECS.max(first_secs))
}

/// As much of it as a client honours that names itself so.
pub(crate) fn honoured_by(user_agent: &str, retry_after_secs: Option<u32>) -> Option<u32> {
    let most = if is_java(user_agent) { LONGEST_FOR_JAVA_SECS } else { LONGEST_SECS };
    retry_after_secs.map(|seconds| seconds.min(most))
}

/// Whether a client names itself as the Java SDK does.
fn is_java(user_agent: &str) -> bool {
    user_agent.contains(JAVA)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_with_the_wait() {
        for (under_way, expected) in [(0, 3), (15, 3), (20, 5), (60, 15), (240, 60), (100_000, 60)] {
            assert_eq!(retry_after_secs(3, Duration::from_secs(under_way)), expected, "{under_way} s");
        }
    }

    #[test]
    fn java_is_told_what_it_honours() {
        let java = "com.microsoft.azure.sdk.iot.dps.dps-device-client/2.1.0";
        assert_eq!(honoured_by(java, Some(60)), Some(5));
        assert_eq!(honoured_by("azure-iot-provisioning-device/1.9.1", Some(60)), Some(60));
        assert_eq!(honoured_by(java, None), None);
    }
}
