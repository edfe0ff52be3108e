//! CA certificates: upload, replacement, deletion, and proof of possession of their keys.
//!
//! | If-Match | put, it is there | put, not there | delete, code, verify |
//! |---|---|---|---|
//! | none | exists | create | refused: it must be said |
//! | `*` | replace | create | any version |
//! | an etag | if equal, else precondition failed | create | if equal, else precondition failed |

use model::{
    Actor, Attribution, CaCertificate, CaCertificateDraft, CaReference, Certificate, IfMatch, Instance,
    LogOperation, Quota, Record, VerificationCode,
};

use super::{MAX_ATTEMPTS, possession::Possession};
use crate::{
    Error, Provisioning, RecordKind,
    configuration::Configuration,
    ports::{Change, Commit, Entropy, Expect, Guard, Outcome},
    record,
};

/// The most CA certificates of an instance. The hosted service accepts 25, too few for the intermediates that complete the chains of
/// devices; all of them are kept in memory, about 4 KB each.
pub const MAX_CA_CERTIFICATES: usize = 100;

impl Provisioning {
    /// Uploads a CA certificate, or replaces one. After a replacement by another certificate the CA is unverified again, and its
    /// revocation lists, which another key signed, are deleted.
    pub async fn put_ca_certificate(
        &self,
        instance: &Instance,
        by: &Actor,
        (name, draft): (&CaReference, &CaCertificateDraft),
        if_match: Option<&IfMatch>,
    ) -> Result<CaCertificate, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let trust = self.readable_trust(instance, RecordKind::CaCertificate, name.as_str()).await?;
            let stored = trust.certificate(name);
            let expect = match (stored, if_match) {
                (None, _) if trust.certificates().len() >= MAX_CA_CERTIFICATES => {
                    return Err(Error::Invalid(format!(
                        "the service instance has {MAX_CA_CERTIFICATES} CA certificates, which is the maximum"
                    )));
                }
                (None, _) => {
                    self.reject_beyond_quota(instance, Quota::CaCertificates, 0).await?;
                    Expect::Absent
                }
                (Some(_), None) => return Err(Error::Exists(RecordKind::CaCertificate)),
                (Some(stored), Some(if_match)) => version(&stored.record, if_match)?,
            };
            let record = self.next(stored.map(|stored| &stored.record))?;
            let next = uploaded(name, draft, stored.map(AsRef::as_ref), record);
            let mut changes = vec![(expect, Change::PutCertificate(Box::new(next.clone())))];
            if stored.is_some_and(|stored| stored.certificate != next.certificate) {
                let lists = trust.lists_under(name);
                changes.extend(lists.map(|list| {
                    (Expect::Following, Change::DeleteRevocationList(name.clone(), list.id.clone()))
                }));
            }
            let by = self.by(by, LogOperation::CertificatePut);
            match (self.commit_unmetered(instance, by, changes).await?, if_match) {
                (Outcome::Applied, _) => return Ok(next),
                (_, Some(IfMatch::Any)) => {}
                (_, Some(IfMatch::Version(_))) => {
                    return Err(Error::PreconditionFailed(RecordKind::CaCertificate));
                }
                (_, None) => return Err(Error::Exists(RecordKind::CaCertificate)),
            }
        }
        Err(Error::Busy)
    }

    /// Deletes a CA certificate and its revocation lists. Enrollments that name it stay, and refuse their devices.
    pub async fn delete_ca_certificate(
        &self,
        instance: &Instance,
        by: &Actor,
        name: &CaReference,
        if_match: &IfMatch,
    ) -> Result<(), Error> {
        let expect = match if_match {
            IfMatch::Any => Expect::Present,
            IfMatch::Version(etag) => Expect::Version(etag.clone()),
        };
        let by = self.by(by, LogOperation::CertificateDelete);
        for _ in 0..MAX_ATTEMPTS {
            let snapshot = self.store.snapshot().await?;
            let guards = vec![Guard::RevocationLists { since: snapshot.version() }];
            let changes = deletion(&snapshot.configuration(&instance.id_scope)?, name, expect.clone());
            let commit = Commit { guards, changes, ..Commit::by(by.clone()) };
            match self.store.commit(&instance.id_scope, commit).await?[..] {
                [Outcome::Applied, Outcome::Applied, ..] => return Ok(()),
                [Outcome::Applied, Outcome::Missing, ..] => {
                    return Err(Error::NotFound(RecordKind::CaCertificate));
                }
                [Outcome::Applied, ..] => return Err(Error::PreconditionFailed(RecordKind::CaCertificate)),
                _ => {}
            }
        }
        Err(Error::Busy)
    }

    /// Generates a verification code for a proof of possession; it replaces an earlier one.
    pub async fn generate_verification_code(
        &self,
        instance: &Instance,
        by: &Actor,
        name: &CaReference,
        if_match: &IfMatch,
    ) -> Result<CaCertificate, Error> {
        let code = fresh_code(self.entropy.as_ref())?;
        let with_code =
            |stored: CaCertificate| Ok(CaCertificate { verification_code: Some(code.clone()), ..stored });
        let by = self.by(by, LogOperation::CertificateCode);
        self.change_ca_certificate(instance, by, (name, if_match), with_code).await
    }

    /// Marks a CA certificate as verified, if `proof` is a certificate that its key issued for the current verification code. The
    /// code is used up.
    pub async fn verify_ca_certificate(
        &self,
        instance: &Instance,
        by: &Actor,
        (name, if_match): (&CaReference, &IfMatch),
        proof: &Certificate,
    ) -> Result<CaCertificate, Error> {
        let now = self.clock.now();
        let verified = |stored: CaCertificate| {
            let proven = Possession::prove(&stored, proof, now);
            Ok(proven.map_err(|refusal| Error::Invalid(refusal.to_string()))?.verify(stored))
        };
        let by = self.by(by, LogOperation::CertificateVerify);
        self.change_ca_certificate(instance, by, (name, if_match), verified).await
    }

    /// Changes a CA certificate's record by compare-and-set.
    pub(super) async fn change_ca_certificate(
        &self,
        instance: &Instance,
        by: Attribution,
        (name, if_match): (&CaReference, &IfMatch),
        change: impl Fn(CaCertificate) -> Result<CaCertificate, Error>,
    ) -> Result<CaCertificate, Error> {
        for _ in 0..MAX_ATTEMPTS {
            let stored = self.ca_certificate(instance, name).await?;
            let expect = version(&stored.record, if_match)?;
            let record = self.next(Some(&stored.record))?;
            let next = CaCertificate { record, ..change(CaCertificate::clone(&stored))? };
            let put = vec![(expect, Change::PutCertificate(Box::new(next.clone())))];
            match (self.commit_unmetered(instance, by.clone(), put).await?, if_match) {
                (Outcome::Applied, _) => return Ok(next),
                (_, IfMatch::Any) => {}
                (_, IfMatch::Version(_)) => return Err(Error::PreconditionFailed(RecordKind::CaCertificate)),
            }
        }
        Err(Error::Busy)
    }

    /// Returns the version and dates of a record that replaces `stored` now.
    pub(super) fn next(&self, stored: Option<&Record>) -> Result<Record, Error> {
        record::fresh(self.entropy.as_ref(), stored, self.clock.now())
    }
}

/// Deletes a CA certificate and its revocation lists, whether or not they can be read.
fn deletion(configuration: &Configuration, name: &CaReference, expect: Expect) -> Vec<(Expect, Change)> {
    let damaged = configuration.unreadable().iter().filter_map(|record| record.list_of(name));
    let lists = configuration.trust().lists_under(name).map(|list| list.id.clone()).chain(damaged);
    let lists = lists.map(|id| (Expect::Following, Change::DeleteRevocationList(name.clone(), id)));
    std::iter::once((expect, Change::DeleteCertificate(name.clone()))).chain(lists).collect()
}

/// Returns the CA certificate that results from an upload and the stored one.
fn uploaded(
    name: &CaReference,
    draft: &CaCertificateDraft,
    stored: Option<&CaCertificate>,
    record: Record,
) -> CaCertificate {
    let same = stored.filter(|stored| stored.certificate == draft.certificate);
    let is_verified = draft.is_verified.unwrap_or(same.is_some_and(|same| same.is_verified));
    CaCertificate {
        name: name.clone(),
        certificate: draft.certificate.clone(),
        is_verified,
        verification_code: same.and_then(|same| same.verification_code.clone()).filter(|_| !is_verified),
        revocation: stored.map(|stored| stored.revocation.clone()).unwrap_or_default(),
        record,
    }
}

/// Returns the version that a change must find.
fn version(stored: &Record, if_match: &IfMatch) -> Result<Expect, Error> {
    match if_match {
        IfMatch::Version(etag) if *etag != stored.etag => {
            Err(Error::PreconditionFailed(RecordKind::CaCertificate))
        }
        IfMatch::Any | IfMatch::Version(_) => Ok(Expect::Version(stored.etag.clone())),
    }
}

/// Generates 192 random bits in hex: short enough for a common name.
fn fresh_code(entropy: &dyn Entropy) -> Result<VerificationCode, Error> {
    let mut bytes = [0; 24];
    entropy.fill(&mut bytes);
    let text: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    VerificationCode::parse(text).map_err(|error| Error::Broken(error.to_string()))
}
