//! Tokens that were verified: clients send the same one with every call.

use std::{collections::HashMap, sync::Arc};

use model::Timestamp;

use super::token::VerifiedToken;

/// The maximum number of tokens that are remembered, of about a kilobyte each. Beyond it all are forgotten, and verified again.
pub(crate) const MAX_VERIFIED_TOKENS: usize = 4096;

/// Verified tokens by the SHA-256 of their text, until they expire or the provider's keys change.
#[derive(Default)]
pub(crate) struct VerifiedTokens {
    /// The generation of the keys that verified them.
    generation: u64,
    tokens: HashMap<[u8; 32], Arc<VerifiedToken>>,
}

impl VerifiedTokens {
    /// Returns a token that was verified by keys of this generation and has not expired.
    pub(crate) fn find(
        &self,
        digest: &[u8; 32],
        generation: u64,
        now: Timestamp,
    ) -> Option<Arc<VerifiedToken>> {
        let found = self.tokens.get(digest).filter(|_| self.generation == generation);
        found.filter(|token| !token.is_expired(now)).cloned()
    }

    /// Remembers a token that keys of this generation verified.
    pub(crate) fn add(
        &mut self,
        digest: [u8; 32],
        generation: u64,
        token: Arc<VerifiedToken>,
        now: Timestamp,
    ) {
        if self.generation != generation {
            self.generation = generation;
            self.tokens.clear();
        }
        if self.tokens.len() >= MAX_VERIFIED_TOKENS {
            self.tokens.retain(|_, token| !token.is_expired(now));
        }
        if self.tokens.len() >= MAX_VERIFIED_TOKENS {
            self.tokens.clear();
        }
        self.tokens.insert(digest, token);
    }
}
