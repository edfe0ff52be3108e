//! Blocks: an operator's refusal of one certificate, or of every certificate with one key.

use certpath::{KeyHash, Sha256Thumbprint, TbsHash};
use serde::{Deserialize, Serialize};

use crate::{BlockReason, Record};

/// The refusal of a certificate in the path of any device, whichever enrollment it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The thumbprint of the certificate as the operator named it; also the ID of the block.
    pub thumbprint: Sha256Thumbprint,
    /// The reason, in the operator's words.
    pub reason: BlockReason,
    /// The subject, if the operator gave the certificate and not only its thumbprint.
    pub subject: Option<String>,
    /// The certificates that it refuses.
    #[serde(flatten)]
    pub scope: BlockScope,
    /// Version and dates.
    pub record: Record,
}

/// The certificates that a block refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredScope", into = "StoredScope")]
pub enum BlockScope {
    /// The certificate with the thumbprint: the operator gave no more, or an earlier version kept no more.
    Thumbprint,
    /// The certificate, in every encoding that can be made without the issuer's key: the hash of the part that the issuer signed.
    Certificate(TbsHash),
    /// Every certificate with a key.
    Key {
        /// The hash of the key.
        key: KeyHash,
        /// The certificate of the block, which it refuses alone once the key is released.
        certificate: Option<TbsHash>,
    },
}

impl BlockScope {
    /// Returns the scope of a certificate, as far as it is known, or of its key if that is to be blocked.
    pub fn new(certificate: Option<TbsHash>, key: Option<KeyHash>) -> BlockScope {
        match (certificate, key) {
            (certificate, Some(key)) => BlockScope::Key { key, certificate },
            (Some(certificate), None) => BlockScope::Certificate(certificate),
            (None, None) => BlockScope::Thumbprint,
        }
    }

    /// Returns the hash of the part of the certificate that its issuer signed, if that is known.
    pub fn certificate(&self) -> Option<&TbsHash> {
        match self {
            BlockScope::Thumbprint => None,
            BlockScope::Certificate(certificate) => Some(certificate),
            BlockScope::Key { certificate, .. } => certificate.as_ref(),
        }
    }

    /// Returns the hash of the key, if every certificate with it is refused.
    pub fn key(&self) -> Option<&KeyHash> {
        match self {
            BlockScope::Thumbprint | BlockScope::Certificate(_) => None,
            BlockScope::Key { key, .. } => Some(key),
        }
    }
}

/// The stored form.
#[derive(Serialize, Deserialize)]
struct StoredScope {
    #[serde(skip_serializing_if = "Option::is_none")]
    tbs: Option<TbsHash>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyHash>,
}

impl From<StoredScope> for BlockScope {
    fn from(StoredScope { tbs, key }: StoredScope) -> BlockScope {
        BlockScope::new(tbs, key)
    }
}

impl From<BlockScope> for StoredScope {
    fn from(scope: BlockScope) -> StoredScope {
        StoredScope { tbs: scope.certificate().cloned(), key: scope.key().cloned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_combination_of_hashes_is_read_and_kept() {
        let hash = |byte: char| byte.to_string().repeat(64);
        let [tbs, key] = ['A', 'B'].map(|byte| format!("{:?}", hash(byte)));
        for (stored, has_certificate, has_key) in [
            ("{}".to_owned(), false, false),
            (format!(r#"{{"tbs":{tbs}}}"#), true, false),
            (format!(r#"{{"tbs":{tbs},"key":{key}}}"#), true, true),
            // No version wrote this.
            (format!(r#"{{"key":{key}}}"#), false, true),
        ] {
            let scope: BlockScope = serde_json::from_str(&stored).unwrap();
            assert_eq!(scope.certificate().is_some(), has_certificate, "{stored}");
            assert_eq!(scope.key().is_some(), has_key, "{stored}");
            assert_eq!(serde_json::to_string(&scope).unwrap(), stored);
        }
    }
}
