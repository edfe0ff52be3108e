//! What an operator does with the CAs of an instance: keep their certificates, prove that their keys are held, keep
//! their revocation lists, block certificates, and see what expires.
//!
//! None of it counts as an operation: these calls are free at the hosted service, too.

mod block;
mod expiring;
mod fetching;
mod keep;
mod possession;
mod revocation;

use std::sync::Arc;

pub use block::{BlockDraft, MAX_BLOCKS};
pub use expiring::{Expiring, ExpiringCertificate, Holder, MAX_EXPIRING};
pub use fetching::Fetch;
pub(crate) use fetching::Fetches;
pub use keep::MAX_CA_CERTIFICATES;
use model::{Attribution, CaCertificate, CaReference, Instance, Trust};
pub use possession::PossessionRefusal;
pub use revocation::{Fetching, ListRefusal, MAX_LISTS, MAX_REVOCATION_BYTES, RevocationChange};

use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Commit, DamagedRecord, Expect, Outcome},
};

/// How often a change of any version is tried again when the record changes at the same moment.
const MAX_ATTEMPTS: usize = 8;

impl Provisioning {
    /// Everything that an instance knows of CAs.
    pub async fn trust(&self, instance: &Instance) -> Result<Arc<Trust>, Error> {
        Ok(Arc::clone(self.store.configuration(&instance.id_scope).await?.trust()))
    }

    /// One CA certificate.
    pub async fn ca_certificate(
        &self,
        instance: &Instance,
        name: &CaReference,
    ) -> Result<Arc<CaCertificate>, Error> {
        let trust = self.trust(instance).await?;
        if let Some(found) = trust.certificate(name) {
            return Ok(Arc::clone(found));
        }
        self.reject_unreadable(instance, RecordKind::CaCertificate, name.as_str()).await?;
        Err(Error::NotFound(RecordKind::CaCertificate))
    }

    /// The records of these kinds that cannot be read, of those that every device is judged by.
    pub async fn unreadable(
        &self,
        instance: &Instance,
        kinds: &[RecordKind],
    ) -> Result<Vec<DamagedRecord>, Error> {
        let configuration = self.store.configuration(&instance.id_scope).await?;
        let unreadable = configuration.unreadable().iter();
        Ok(unreadable.filter(|record| kinds.contains(&record.kind)).cloned().collect())
    }

    /// Refuses to go on without a record that is there and cannot be read.
    pub(crate) async fn reject_unreadable(
        &self,
        instance: &Instance,
        kind: RecordKind,
        id: &str,
    ) -> Result<(), Error> {
        let configuration = self.store.configuration(&instance.id_scope).await?;
        let found = configuration.unreadable().iter().find(|record| record.is(kind, id));
        found.map_or(Ok(()), |record| Err(Error::Damaged(record.clone())))
    }

    /// Makes changes that count as no operation; the outcome is that of the first.
    async fn commit_free(
        &self,
        instance: &Instance,
        by: Attribution,
        changes: Vec<(Expect, Change)>,
    ) -> Result<Outcome, Error> {
        let outcomes = self.store.commit(&instance.id_scope, Commit { changes, ..Commit::by(by) }).await?;
        outcomes.first().copied().ok_or_else(|| Error::Broken("the store gave no outcome".into()))
    }
}
