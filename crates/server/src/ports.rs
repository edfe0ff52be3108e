//! The clock and the random numbers of the operating system.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use model::{SymmetricKey, Timestamp};
use provisioning::ports::{Clock, Entropy};

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the clock")]
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_ticks(i64::try_from(since_1970.as_nanos() / 100).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Debug, Default)]
pub(crate) struct SystemEntropy {
    random: SystemRandom,
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        // Without randomness no key is secret and no challenge fresh: the process must not go on.
        if self.random.fill(buffer).is_err() {
            tracing::error!("the operating system has no randomness");
            std::process::abort();
        }
    }
}

impl SystemEntropy {
    /// Generates a key of full length.
    pub(crate) fn symmetric_key(&self) -> Result<SymmetricKey, model::KeyError> {
        let mut bytes = [0; SymmetricKey::MAX_BYTES];
        self.fill(&mut bytes);
        SymmetricKey::from_bytes(&bytes)
    }
}
