//! Documents: model types as JSON, sealed for the one row they belong to.

use durable::Sealer;
use model::IdScope;
use provisioning::ports::StoreError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Where a document belongs. It is sealed for this place, so that one copied to another row does not open there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) table: &'static str,
    pub(crate) scope: &'a IdScope,
    /// The lower-case ID; empty for an instance, which has none beside its scope.
    pub(crate) id: &'a str,
}

/// Seals documents and opens them.
#[derive(Debug, Clone)]
pub(crate) struct Documents {
    sealer: Sealer,
}

impl Documents {
    pub(crate) fn new(sealer: Sealer) -> Documents {
        Documents { sealer }
    }

    pub(crate) fn seal(&self, place: Place<'_>, document: &impl Serialize) -> Result<Vec<u8>, StoreError> {
        let json = serde_json::to_vec(document).map_err(|error| place.broken(error))?;
        Ok(self.sealer.seal(&place.context(), &json))
    }

    pub(crate) fn open<T: DeserializeOwned>(&self, place: Place<'_>, sealed: &[u8]) -> Result<T, StoreError> {
        let json = self.sealer.open(&place.context(), sealed).map_err(|error| place.broken(error))?;
        serde_json::from_slice(&json).map_err(|error| place.broken(error))
    }
}

impl Place<'_> {
    /// `table NUL scope NUL id`. No part can contain a NUL, so no two places share a context.
    fn context(&self) -> Vec<u8> {
        let scope = self.scope.key();
        [self.table, "\0", &scope, "\0", self.id].concat().into_bytes()
    }

    fn broken(&self, error: impl std::fmt::Display) -> StoreError {
        let Place { table, scope, id } = self;
        StoreError::Broken(format!("document {id:?} of {scope} in {table}: {error}"))
    }
}
