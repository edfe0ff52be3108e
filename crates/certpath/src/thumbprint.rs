//! SHA-256 thumbprints of certificates.

use std::fmt::{self, Write};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

/// The SHA-256 of a certificate's DER, 64 upper-case hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha256Thumbprint(Box<str>);

/// A thumbprint is not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("SHA-256 thumbprint must be 64 hex digits")]
pub struct ThumbprintError;

impl Sha256Thumbprint {
    /// Computes the thumbprint of a certificate's DER.
    pub fn of(der: &[u8]) -> Self {
        let hash = digest::digest(&digest::SHA256, der);
        let digits = hash.as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02X}");
            text
        });
        Sha256Thumbprint(digits.into())
    }

    /// Parses 64 hex digits of either case.
    pub fn parse(text: &str) -> Result<Self, ThumbprintError> {
        let is_hash = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash { Ok(Sha256Thumbprint(text.to_ascii_uppercase().into())) } else { Err(ThumbprintError) }
    }

    /// Returns the digits, in upper case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Sha256Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Sha256Thumbprint {
    type Error = ThumbprintError;
    fn try_from(text: String) -> Result<Self, ThumbprintError> {
        Self::parse(&text)
    }
}

impl From<Sha256Thumbprint> for String {
    fn from(thumbprint: Sha256Thumbprint) -> String {
        thumbprint.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thumbprints_are_64_digits_of_either_case() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Sha256Thumbprint::of(b"abc"), Sha256Thumbprint::parse(abc).unwrap());
        assert_eq!(Sha256Thumbprint::of(b"abc").as_str(), abc.to_ascii_uppercase());
        for text in ["", &abc[1..], &format!("{abc}0"), &abc.replace('b', "g")] {
            assert_eq!(Sha256Thumbprint::parse(text), Err(ThumbprintError), "{text}");
        }
    }
}
