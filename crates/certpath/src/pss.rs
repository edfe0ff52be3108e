//! RSA with PSS (RFC 4055 §3.1, RFC 8017 §A.2.3): any salt, over SHA-256 or better.
//!
//! `RSASSA-PSS-params ::= SEQUENCE { hashAlgorithm [0] DEFAULT sha1, maskGenAlgorithm [1] DEFAULT mgf1SHA1, saltLength [2]
//! DEFAULT 20, trailerField [3] DEFAULT 1 }`. The default hash is SHA-1, which is not accepted, so both must be present. They must
//! be the same hash, as RFC 4055 recommends and all software does. OpenSSL's default is the longest salt.

use aws_lc_rs::signature::{
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
    RsaPssSaltLength, VerificationAlgorithm,
};

use crate::der::{INTEGER, OBJECT_IDENTIFIER, SEQUENCE, element};

/// `rsaEncryption` with its NULL, and `id-RSASSA-PSS`, `id-mgf1`, `id-sha256`, `id-sha384`, `id-sha512`, as contents.
const RSA_KEY: &[u8] = &[0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00];
const RSASSA_PSS: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x0A];
const MGF1: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x08];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
const SHA384: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02];
const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];
const NULL: &[u8] = &[0x05, 0x00];

/// The longest salt: more does not fit into a signature by a key of 8192 bits.
const MAX_SALT: u16 = 1024;

/// The parameters of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pss {
    hash: Hash,
    salt: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// Returns whether a key with this algorithm identifier is for PSS alone.
pub(crate) fn is_key(algorithm: &[u8]) -> bool {
    parameters(algorithm).is_some_and(|parameters| parameters.is_empty() || Pss::read(parameters).is_some())
}

impl Pss {
    /// Reads the algorithm identifier of a signature by a key with the other one; both are contents. `None` unless the
    /// signature is PSS, its parameters are accepted, and the key may be used so: a key for PSS may require a hash and a minimum
    /// length of the salt (RFC 4055 §3.3).
    pub(crate) fn of(signature: &[u8], key: &[u8]) -> Option<Self> {
        let pss = Pss::read(parameters(signature)?)?;
        if key == RSA_KEY {
            return Some(pss);
        }
        match parameters(key)? {
            [] => Some(pss),
            wanted => Pss::read(wanted)
                .filter(|wanted| wanted.hash == pss.hash && wanted.salt <= pss.salt)
                .map(|_| pss),
        }
    }

    /// Returns whether the key, an `RSAPublicKey`, made the signature.
    pub(crate) fn verify(self, key: &[u8], signed: &[u8], signature: &[u8]) -> bool {
        let algorithm: RsaParameters = match self.hash {
            Hash::Sha256 => RSA_PSS_2048_8192_SHA256,
            Hash::Sha384 => RSA_PSS_2048_8192_SHA384,
            Hash::Sha512 => RSA_PSS_2048_8192_SHA512,
        };
        let algorithm = algorithm.with_pss_salt_length(RsaPssSaltLength::Custom(self.salt));
        algorithm.verify_sig(key, signed, signature).is_ok()
    }

    fn read(parameters: &[u8]) -> Option<Self> {
        let (fields, []) = element(SEQUENCE, parameters)? else { return None };
        let (hash, fields) = element(0xA0, fields)?;
        let (mask, fields) = element(0xA1, fields)?;
        let hash = Hash::read(hash)?;
        let (generator, []) = element(SEQUENCE, mask)? else { return None };
        let (MGF1, of) = element(OBJECT_IDENTIFIER, generator)? else { return None };
        let (salt, fields) = match element(0xA2, fields) {
            Some((salt, fields)) => (integer(salt)?, fields),
            None => (20, fields),
        };
        let is_trailer = fields.is_empty()
            || matches!(element(0xA3, fields), Some((trailer, [])) if integer(trailer) == Some(1));
        (is_trailer && Hash::read(of)? == hash && salt <= MAX_SALT).then_some(Pss { hash, salt })
    }
}

impl Hash {
    /// Reads an algorithm identifier; its parameters are NULL or absent (RFC 4055 §2.1).
    fn read(identifier: &[u8]) -> Option<Self> {
        let (content, []) = element(SEQUENCE, identifier)? else { return None };
        let (name, parameters) = element(OBJECT_IDENTIFIER, content)?;
        if !parameters.is_empty() && parameters != NULL {
            return None;
        }
        match name {
            SHA256 => Some(Hash::Sha256),
            SHA384 => Some(Hash::Sha384),
            SHA512 => Some(Hash::Sha512),
            _ => None,
        }
    }
}

/// Returns what follows `id-RSASSA-PSS` in an algorithm identifier.
fn parameters(algorithm: &[u8]) -> Option<&[u8]> {
    let (RSASSA_PSS, parameters) = element(OBJECT_IDENTIFIER, algorithm)? else { return None };
    Some(parameters)
}

/// Reads an INTEGER from 0 to 65535.
fn integer(der: &[u8]) -> Option<u16> {
    let (content, []) = element(INTEGER, der)? else { return None };
    match *content {
        [low @ 0..=0x7F] => Some(u16::from(low)),
        [0, low @ 0x80..=0xFF] => Some(u16::from(low)),
        [high @ 1..=0x7F, low] => Some(u16::from_be_bytes([high, low])),
        _ => None,
    }
}
