//! The clock of the machine.

use std::time::{SystemTime, UNIX_EPOCH};

use model::Timestamp;
use provisioning::ports::Clock;

/// The clock of the machine: it measures the leases in a file, as the clock of a database does in one.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ticks(i64::try_from(since_1970.as_nanos() / 100).unwrap_or(i64::MAX))
    }
}
