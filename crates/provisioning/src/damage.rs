//! Damaged records: stored, but unreadable.

use model::{CaReference, ListId};

use crate::RecordKind;

/// A stored record that cannot be read: its document was altered, truncated, or sealed with another key, or is not JSON of a known
/// form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DamagedRecord {
    /// Its kind.
    pub kind: RecordKind,
    /// The ID that it is stored under, in lower case; for an instance, its ID scope.
    pub id: String,
    /// Why it cannot be read. Contains nothing of its content.
    pub reason: String,
}

impl DamagedRecord {
    /// Whether it is the record of this kind and ID, without regard to case.
    pub fn is(&self, kind: RecordKind, id: &str) -> bool {
        self.kind == kind && self.id.eq_ignore_ascii_case(id)
    }

    /// Returns the ID of the list, if this is a revocation list of this CA.
    pub fn list_of(&self, ca: &CaReference) -> Option<ListId> {
        let (name, list) = ListId::split(&self.id);
        let is_it = self.kind == RecordKind::RevocationList && name.eq_ignore_ascii_case(ca.as_str());
        is_it.then_some(list)
    }

    /// Whether it may refuse a certificate: a CA certificate with its policy, a revocation list, or a block.
    pub fn may_refuse_certificates(&self) -> bool {
        matches!(self.kind, RecordKind::CaCertificate | RecordKind::RevocationList | RecordKind::Block)
    }
}

impl std::fmt::Display for DamagedRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let DamagedRecord { kind, id, reason } = self;
        // If the row itself is damaged, its ID may be, too.
        write!(f, "the {kind} \"{}\" is damaged and cannot be read: {reason}", id.escape_default())
    }
}

/// What [`Damage::known_damage`](crate::ports::Damage::known_damage) returns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownDamage {
    /// The ID scopes, as they are stored, and the records; bounded.
    pub records: Vec<(String, DamagedRecord)>,
    /// How many more there were.
    pub more: u64,
}
