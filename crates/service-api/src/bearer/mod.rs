//! Bearer tokens: access tokens of one OpenID provider, which are signed JWTs (RFC 6750, RFC 7519, RFC 9068).
//!
//! [`token`] verifies a token by keys that are given, at a time that is given; [`keys`] reads the provider's keys, and
//! [`key_cache`] fetches them; [`roles`] maps a claim to roles. [`BearerTokens`] joins them, and remembers what it verified.

mod key_cache;
mod keys;
mod roles;
mod token;
mod verified;

use std::sync::{Arc, Mutex, PoisonError};

use model::{Issuer, Timestamp};
use sha2::{Digest, Sha256};

use key_cache::KeyCache;
use verified::VerifiedTokens;

pub use key_cache::KeySource;
pub use roles::{ClaimPointer, ClaimPointerError, RoleRow, RoleTable};
pub(crate) use token::BearerRefusal;
use token::VerifiedToken;

/// What tokens are verified against.
#[derive(Debug, Clone)]
pub struct BearerSettings {
    /// The issuer that tokens must name, to the letter.
    pub issuer: Issuer,
    /// The audiences, one of which a token must name.
    pub audiences: Vec<String>,
    /// The roles by the values of a claim.
    pub roles: RoleTable,
}

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BearerFailure {
    /// It is invalid.
    #[error(transparent)]
    Refused(#[from] BearerRefusal),
    /// It names a key that is not known, and the provider's keys cannot be fetched.
    #[error("the keys of the identity provider cannot be fetched: {0}")]
    NoKeys(String),
}

/// Verifies bearer tokens.
pub struct BearerTokens {
    settings: BearerSettings,
    keys: KeyCache,
    verified: Mutex<VerifiedTokens>,
}

impl BearerTokens {
    /// Creates a verifier, which reads keys from the source when the first token arrives.
    pub fn new(settings: BearerSettings, source: Arc<dyn KeySource>) -> BearerTokens {
        BearerTokens { settings, keys: KeyCache::new(source), verified: Mutex::default() }
    }

    /// Verifies a token.
    pub(crate) async fn verify(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Arc<VerifiedToken>, BearerFailure> {
        self.keys.renew_old();
        let digest = Sha256::digest(token.as_bytes()).into();
        let held = self.keys.current();
        if let Some(found) = self.remembered().find(&digest, held.generation, now) {
            return Ok(found);
        }
        let keys =
            self.keys.with_key(token::key_id(token)?.as_deref()).await.map_err(BearerFailure::NoKeys)?;
        let verified = Arc::new(token::verify(token, &keys.set, &self.settings, now)?);
        self.remembered().add(digest, keys.generation, Arc::clone(&verified), now);
        Ok(verified)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, VerifiedTokens> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
