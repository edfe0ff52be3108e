//! Blocks: certificates that an operator shuts out, whatever enrollment they would lead to.

use serde::{Deserialize, Serialize};

use certpath::{KeyHash, Sha256Thumbprint, TbsHash};

use crate::{BlockReason, Record};

/// A certificate that no device may use: its own, or one that issued it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The certificate, in the form in which the operator named it. The block is kept under it.
    pub thumbprint: Sha256Thumbprint,
    /// Why, in the operator's words.
    pub reason: BlockReason,
    /// The certificate's subject, when the operator gave the certificate and not just its thumbprint.
    pub subject: Option<String>,
    /// What the certificate's issuer signed, when the certificate itself was at hand. Blocks without it match every form
    /// of the certificate that can be made without its issuer's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tbs: Option<TbsHash>,
    /// The certificate's key, when the block is meant for every certificate with that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyHash>,
    /// Version, and since when.
    pub record: Record,
}
