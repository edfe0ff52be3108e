//! Blocks: an operator's refusal of one certificate, or of every certificate with one key.

use serde::{Deserialize, Serialize};

use certpath::{KeyHash, Sha256Thumbprint, TbsHash};

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
    /// The hash of the part that the issuer signed, if the operator gave the certificate. It matches every encoding of the
    /// certificate that can be made without the issuer's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tbs: Option<TbsHash>,
    /// The hash of the key, if every certificate with that key is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
    /// Version and dates.
    pub record: Record,
}
