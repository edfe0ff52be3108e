//! The clock and the random numbers of the operating system.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use model::SymmetricKey;
use provisioning::ports::Entropy;
pub use store::SystemClock;

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
