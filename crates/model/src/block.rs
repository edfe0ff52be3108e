//! Blocks: certificates that an operator shuts out, whatever enrollment they would lead to.

use serde::{Deserialize, Serialize};

use crate::{BlockReason, Record, Sha256Thumbprint};

/// A certificate that no device may use: its own, or one that issued it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The certificate.
    pub thumbprint: Sha256Thumbprint,
    /// Why, in the operator's words.
    pub reason: BlockReason,
    /// The certificate's subject, when the operator gave the certificate and not just its thumbprint.
    pub subject: Option<String>,
    /// Version, and since when.
    pub record: Record,
}
