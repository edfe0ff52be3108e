//! Revocation lists as an instance stores them.

use std::fmt;

use aws_lc_rs::digest;
use certpath::{Crl, Sha256Thumbprint};
use serde::{Deserialize, Serialize};

use crate::{CaReference, Record};

/// A revocation list of a CA. A CA may have several, each with its own scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevocationList {
    /// The CA certificate that it belongs to.
    pub authority: CaReference,
    /// Its ID among the lists of the CA. Lists stored by the first version have none.
    #[serde(default = "ListId::first", skip_serializing_if = "ListId::is_first")]
    pub id: ListId,
    /// The certificate whose key signed it. It identifies lists that arrived while the CA's certificate was replaced.
    pub signed_by: Sha256Thumbprint,
    /// The list.
    pub crl: Crl,
    /// Version, and when it was stored.
    pub record: Record,
}

/// The ID of a revocation list among those of its CA.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ListId(Box<str>);

impl ListId {
    /// The text of the ID that the only list of a CA has if the first version stored it.
    pub const FIRST: &str = "0";

    /// Returns the ID for a list with whose scope none is stored yet.
    pub fn of(crl: &Crl) -> Self {
        let digest = digest::digest(&digest::SHA256, crl.scope_extension());
        ListId(digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the ID [`ListId::FIRST`].
    pub fn first() -> Self {
        ListId(Self::FIRST.into())
    }

    /// Returns the ID with this text, under which a list is stored, readable or not.
    pub fn named(text: &str) -> Self {
        ListId(text.into())
    }

    /// Splits the key that a list is stored under into the name of its CA and its ID: the name, or the name, a line feed and the ID.
    pub fn split(key: &str) -> (&str, ListId) {
        let (ca, list) = key.split_once('\n').unwrap_or((key, Self::FIRST));
        (ca, Self::named(list))
    }

    /// Returns whether it is [`ListId::FIRST`].
    pub fn is_first(&self) -> bool {
        *self == Self::first()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
