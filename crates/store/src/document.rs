//! Documents: model types as JSON, sealed for the one row they belong to.

use std::sync::Arc;

use durable::Sealer;
use model::IdScope;
use provisioning::ports::{DamagedRecord, StoreError};
use serde::{Serialize, de::DeserializeOwned};

use crate::{broken, damage::DamageLog, engine::FoundRow, table::Table};

/// The row that a document belongs to. It is sealed for this row, so that a copy in another row does not open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowRef<'a> {
    pub(crate) table: Table,
    pub(crate) scope: &'a IdScope,
    /// The lower-case ID; empty for an instance, which has none beside its scope.
    pub(crate) id: &'a str,
}

/// Seals documents and opens them.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    sealer: Sealer,
    damage: Arc<DamageLog>,
}

impl Documents {
    pub(crate) fn new(sealer: Sealer) -> Documents {
        Documents { sealer, damage: Arc::default() }
    }

    /// Returns the same sealer with a damage log of its own.
    pub(crate) fn of_another_handle(&self) -> Documents {
        Documents { sealer: self.sealer.clone(), damage: Arc::default() }
    }

    /// Returns the log of what did not open.
    pub(crate) fn damage(&self) -> &DamageLog {
        &self.damage
    }

    pub(crate) fn seal(&self, place: RowRef<'_>, document: &impl Serialize) -> Result<Vec<u8>, StoreError> {
        let json = serde_json::to_vec(document).map_err(broken)?;
        Ok(self.sealer.seal(&place.context(), &json))
    }

    /// Opens a document, or returns why it cannot be read, which is remembered and logged.
    pub(crate) fn open<T: DeserializeOwned>(
        &self,
        place: RowRef<'_>,
        sealed: &[u8],
    ) -> Result<T, DamagedRecord> {
        let document = self.read(place, sealed).map_err(|reason| self.note(place, reason))?;
        self.forget(place);
        Ok(document)
    }

    /// Opens the documents of a page; returns those that can be read, and the others.
    pub(crate) fn open_page<T: DeserializeOwned>(
        &self,
        table: Table,
        scope: &IdScope,
        rows: Vec<FoundRow>,
    ) -> (Vec<T>, Vec<DamagedRecord>) {
        let (mut items, mut damaged) = (Vec::with_capacity(rows.len()), Vec::new());
        for FoundRow { id, document, .. } in rows {
            let place = RowRef { table, scope, id: &id };
            let document = document.map_err(|reason| self.note(place, reason));
            match document.and_then(|sealed| self.open(place, &sealed)) {
                Ok(record) => items.push(record),
                Err(record) => damaged.push(record),
            }
        }
        (items, damaged)
    }

    /// Whether a document was sealed for this row with this key.
    pub(crate) fn is_sealed_here(&self, place: RowRef<'_>, sealed: &[u8]) -> bool {
        self.sealer.open(&place.context(), sealed).is_ok()
    }

    /// Returns what seals them.
    pub(crate) fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Remembers that a record cannot be read.
    pub(crate) fn note(&self, place: RowRef<'_>, reason: String) -> DamagedRecord {
        let record = place.damaged(reason);
        self.damage.note(&place.scope.key(), &record);
        record
    }

    /// Forgets that a record could not be read: it was read, written or deleted.
    pub(crate) fn forget(&self, place: RowRef<'_>) {
        self.damage.forget(&place.scope.key(), place.table.record_kind(), place.id());
    }

    fn read<T: DeserializeOwned>(&self, place: RowRef<'_>, sealed: &[u8]) -> Result<T, String> {
        let json = self.sealer.open(&place.context(), sealed).map_err(|error| error.to_string())?;
        serde_json::from_slice(&json).map_err(|error| unreadable(&error))
    }
}

/// Describes an error in JSON without the text around it, which may be a key.
fn unreadable(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    format!("its JSON has a {:?} error at line {line}, column {column}", error.classify())
}

impl RowRef<'_> {
    /// `table NUL scope NUL id`. No part can contain a NUL, so no two places share a context.
    fn context(&self) -> Vec<u8> {
        let scope = self.scope.key();
        [self.table.name(), "\0", &scope, "\0", self.id].concat().into_bytes()
    }

    /// Returns the ID that people know: that of an instance is its ID scope.
    fn id(&self) -> &str {
        if self.id.is_empty() { self.scope.as_str() } else { self.id }
    }

    fn damaged(&self, reason: String) -> DamagedRecord {
        DamagedRecord { kind: self.table.record_kind(), id: self.id().to_owned(), reason }
    }
}
