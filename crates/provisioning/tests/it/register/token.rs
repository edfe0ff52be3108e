//! Tokens as devices sign them.

use aws_lc_rs::hmac;
use model::{SignedClaim, SymmetricKey, Timestamp};
use provisioning::attest::Evidence;

use crate::attest::case::NOW;

/// The allowance for clock skew that transports add to the expiry of a token.
const SKEW_SECS: i64 = 300;

/// A token, valid for an hour from [`NOW`] on.
pub struct Token {
    resource: String,
    text: String,
    expiry: i64,
    key: SymmetricKey,
    mac: Option<Vec<u8>>,
}

impl Token {
    pub fn new(resource: &str, key: &SymmetricKey) -> Token {
        let expiry = NOW.unix_seconds() + 3600;
        Token { resource: resource.into(), text: resource.into(), expiry, key: key.clone(), mac: None }
    }

    /// Returns the token with another spelling of the resource, which is signed.
    pub fn spelled(self, text: &str) -> Token {
        Token { text: text.into(), ..self }
    }

    /// Returns the token with this signature.
    pub fn signed_by(self, mac: Vec<u8>) -> Token {
        Token { mac: Some(mac), ..self }
    }

    /// Returns the last instant at which it is accepted.
    pub fn ends(&self) -> Timestamp {
        Timestamp::from_unix_seconds(self.expiry + SKEW_SECS)
    }

    /// Returns the evidence that a transport makes of it.
    pub fn evidence(&self) -> Evidence {
        let signed_text = format!("{}\n{}", self.text, self.expiry);
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_bytes());
        let mac = || hmac::sign(&key, signed_text.as_bytes()).as_ref().to_vec();
        let mac = self.mac.clone().unwrap_or_else(mac);
        let claim = SignedClaim {
            resource: self.resource.clone(),
            expires: self.ends(),
            signed_text,
            mac,
            policy: None,
        };
        Evidence { claim: Some(claim), ..Evidence::default() }
    }
}
