//! The one place where the simulator looks at the wall clock: tokens need an expiry.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970, `lifetime` from now.
#[expect(clippy::disallowed_methods, reason = "a device has a clock of its own")]
pub(crate) fn expiry_after(lifetime: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now + lifetime).as_secs()
}
