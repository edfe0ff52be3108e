//! The trust of an instance, as operators manage it: CA certificates, proofs of possession, revocation lists, blocks, and expiring
//! certificates.
//!
//! None of it counts as an operation: these calls are free at the hosted service, too.

mod block;
mod ca_certificates;
mod expiring;
mod fetching;
mod possession;
mod report;
mod revocation;

use std::sync::Arc;

pub use block::{BlockDraft, MAX_BLOCKS};
pub use ca_certificates::MAX_CA_CERTIFICATES;
pub use expiring::{ExpiringCertificate, ExpiringCertificates, Holder, MAX_EXPIRING};
pub use fetching::Fetch;
pub(crate) use fetching::Fetches;
use model::{Attribution, CaCertificate, CaReference, Instance, Trust};
pub use possession::PossessionRefusal;
pub use report::TrustReport;
pub use revocation::{Fetching, ListRefusal, MAX_LISTS, MAX_REVOCATION_BYTES, RevocationChange};

use crate::{
    Error, Provisioning, RecordKind,
    ports::{Change, Commit, DamagedRecord, Expect, Outcome},
};

/// The most attempts at a change of any version, if the record is changed at the same time.
const MAX_ATTEMPTS: usize = 8;

impl Provisioning {
    /// Returns the trust of an instance.
    pub async fn trust(&self, instance: &Instance) -> Result<Arc<Trust>, Error> {
        Ok(Arc::clone(self.store.configuration(&instance.id_scope).await?.trust()))
    }

    /// Returns one CA certificate.
    pub async fn ca_certificate(
        &self,
        instance: &Instance,
        name: &CaReference,
    ) -> Result<Arc<CaCertificate>, Error> {
        let trust = self.readable_trust(instance, RecordKind::CaCertificate, name.as_str()).await?;
        trust.certificate(name).cloned().ok_or(Error::NotFound(RecordKind::CaCertificate))
    }

    /// Returns the unreadable records of these kinds, among those that apply to every device.
    pub async fn unreadable(
        &self,
        instance: &Instance,
        kinds: &[RecordKind],
    ) -> Result<Vec<DamagedRecord>, Error> {
        let configuration = self.store.configuration(&instance.id_scope).await?;
        let unreadable = configuration.unreadable().iter();
        Ok(unreadable.filter(|record| kinds.contains(&record.kind)).cloned().collect())
    }

    /// Returns the trust of an instance, unless this record of it is stored and cannot be read.
    async fn readable_trust(
        &self,
        instance: &Instance,
        kind: RecordKind,
        id: &str,
    ) -> Result<Arc<Trust>, Error> {
        let configuration = self.store.configuration(&instance.id_scope).await?;
        match configuration.unreadable().iter().find(|record| record.is(kind, id)) {
            Some(record) => Err(Error::Damaged(record.clone())),
            None => Ok(Arc::clone(configuration.trust())),
        }
    }

    /// Commits changes that do not count as an operation; returns the outcome of the first.
    async fn commit_unmetered(
        &self,
        instance: &Instance,
        by: Attribution,
        changes: Vec<(Expect, Change)>,
    ) -> Result<Outcome, Error> {
        let outcomes = self.store.commit(&instance.id_scope, Commit { changes, ..Commit::by(by) }).await?;
        outcomes.first().copied().ok_or_else(|| Error::Broken("the store gave no outcome".into()))
    }
}
