//! The only access to the wall clock: the expiry of tokens depends on it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Returns the instant `lifetime` from now, in seconds since 1970.
#[expect(clippy::disallowed_methods, reason = "a device has its own clock")]
pub(crate) fn expiry_after(lifetime: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.saturating_add(lifetime).as_secs()
}
