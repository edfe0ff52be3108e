//! Records that are stored and cannot be read.

use model::{CaReference, ListId};

use crate::RecordKind;

/// A record that is stored and cannot be read: its document was altered, truncated, sealed with another key, or is no JSON
/// that this program knows.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedRecord {
    /// What it is a record of.
    pub kind: RecordKind,
    /// What it is stored under: an ID in lower case; the ID scope of an instance.
    pub id: String,
    /// Why it cannot be read. Never holds anything of its content.
    pub reason: String,
}

impl DamagedRecord {
    /// Whether it is the record of this kind and ID, in any case.
    pub fn is(&self, kind: RecordKind, id: &str) -> bool {
        self.kind == kind && self.id.eq_ignore_ascii_case(id)
    }

    /// The ID of the list, if this is a revocation list of this CA. It is stored under the CA's name, or under that, a line
    /// feed and its own ID.
    pub fn list_of(&self, ca: &CaReference) -> Option<ListId> {
        let (name, list) = self.id.split_once('\n').unwrap_or((&self.id, ListId::FIRST));
        let is_it = self.kind == RecordKind::RevocationList && name.eq_ignore_ascii_case(ca.as_str());
        is_it.then(|| ListId::named(list))
    }

    /// Whether it may hold what refuses a certificate: a CA certificate with its policy, a revocation list or a block.
    pub fn may_refuse_certificates(&self) -> bool {
        matches!(self.kind, RecordKind::CaCertificate | RecordKind::RevocationList | RecordKind::Block)
    }
}

impl std::fmt::Display for DamagedRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DamagedRecord { kind, id, reason } = self;
        // Where the row itself is damaged, so may be its ID.
        write!(f, "the {kind} \"{}\" is damaged and cannot be read: {reason}", id.escape_default())
    }
}

/// What [`Damage::known_damage`](crate::ports::Damage::known_damage) returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownDamage {
    /// The ID scopes, as they are stored, and the records; bounded.
    pub records: Vec<(String, DamagedRecord)>,
    /// How many more there were than are remembered.
    pub more: u64,
}
