//! Finds the enrollment that lets a device in, and verifies its evidence.

use std::sync::Arc;

use certpath::CrlMaxAge;
use model::{
    EnrollmentGroup, EnrollmentRef, IdScope, IndividualAttestation, Registration, RegistrationId, Timestamp,
    Trust,
};

use crate::{
    Error, Provisioning, RecordKind,
    attest::{
        self, AttestationTrace, Claimant, Evidence, Proof, Refusal,
        x509::{self, CaRules},
    },
    configuration::Groups,
    ports::{DamagedRecord, DeviceRecords},
};

impl Provisioning {
    /// Returns the proof of who the device is, or a refusal that names the rule for the log.
    pub(super) async fn identify(&self, device: &DeviceRecords, evidence: &Evidence) -> Result<Proof, Error> {
        let trace = self.evaluate(device, evidence).await?;
        trace.outcome.map_err(|refusal| refusal.into_error(evidence))
    }

    /// Returns who the device is or why it is refused, with the enrollments that were considered. Changes nothing.
    pub(super) async fn evaluate(
        &self,
        device: &DeviceRecords,
        evidence: &Evidence,
    ) -> Result<AttestationTrace, Error> {
        let DeviceRecords { registration_id, instance, configuration, .. } = device;
        let previous = device.registration()?;
        if let Some(record) = unreadable_revocation(configuration.unreadable(), evidence) {
            return Err(Error::Damaged(record.clone()));
        }
        let claimant = Claimant {
            scope: &instance.id_scope,
            registration_id,
            evidence,
            tpm: None,
            ca: CaRules {
                known: configuration.trust(),
                require_verified: instance.require_verified_ca,
                crl_max_age: instance.crl_max_age,
            },
            now: self.clock.now(),
        };
        let trace = self.attest(device, &claimant, previous).await?;
        // A damaged group owns nothing here: a device that groups decide about was turned away for that already.
        let owner = previous.and_then(Registration::owning_group);
        let owner = owner.and_then(|group| configuration.group(group).ok().flatten());
        Ok(trace.owned_by(owner.map(Arc::as_ref), instance.registrations))
    }

    /// Verifies evidence. An individual enrollment alone decides about its registration ID, whatever the device presents: the
    /// groups are not even looked at, so that no key or certificate of theirs can take an ID that was enrolled individually.
    async fn attest(
        &self,
        device: &DeviceRecords,
        claimant: &Claimant<'_>,
        previous: Option<&Registration>,
    ) -> Result<AttestationTrace, Error> {
        let DeviceRecords { instance, configuration, individual, .. } = device;
        match individual.clone().map_err(Error::Damaged)? {
            Some(enrollment) if matches!(enrollment.attestation, IndividualAttestation::X509(_)) => {
                let owned = OwnedClaimant::from(claimant);
                let attest = move || attest::individual(enrollment, &owned.claimant());
                Ok(AttestationTrace::by(EnrollmentRef::Individual, self.compute(attest).await?))
            }
            Some(enrollment) => {
                let tpm = self.expected_of_tpm(instance, &enrollment, claimant, previous)?;
                let claimant = Claimant { tpm: tpm.as_ref(), ..*claimant };
                Ok(AttestationTrace::by(EnrollmentRef::Individual, attest::individual(enrollment, &claimant)))
            }
            None => {
                if let Some(record) = unreadable_owner(configuration.unreadable(), previous) {
                    return Err(Error::Damaged(record.clone()));
                }
                let trace = self.attest_by_group(claimant, previous, configuration.groups()).await?;
                match unreadable_group(configuration.unreadable()) {
                    // The device may be one of that group: it is asked to come back, not refused.
                    Some(record) if trace.outcome.is_err() => Err(Error::Damaged(record.clone())),
                    _ => Ok(trace),
                }
            }
        }
    }

    async fn attest_by_group(
        &self,
        claimant: &Claimant<'_>,
        previous: Option<&Registration>,
        groups: &Groups,
    ) -> Result<AttestationTrace, Error> {
        let evidence = claimant.evidence;
        let likely = previous.map(|registration| &registration.enrollment);
        if evidence.claim.is_some() {
            return Ok(attest::symmetric_key_group(groups.with_symmetric_keys(), likely, claimant));
        }
        if evidence.certificates.is_empty() {
            let names_a_tpm = evidence.tpm.is_some();
            let refusal = if names_a_tpm { Refusal::NoEnrollment } else { Refusal::NoEvidence };
            return Ok(AttestationTrace::without_candidates(refusal));
        }
        let chain = match x509::parse_chain(&evidence.certificates) {
            Ok(chain) => chain.completed(claimant.ca.known.as_ref()),
            Err(refusal) => return Ok(AttestationTrace::without_candidates(refusal.into())),
        };
        let issuers = chain.issuers();
        let mut candidates = groups.signing_as(&issuers);
        let known = claimant.ca.known;
        let cas = issuers.iter().flat_map(|issuer| known.of_subject(issuer)).map(|ca| ca.name.clone());
        let cas: Vec<_> = cas.collect();
        candidates.extend(groups.naming(&cas));
        let (owned, likely) = (OwnedClaimant::from(claimant), likely.cloned());
        let trace = self.compute(move || owned.attest_by(&candidates, likely.as_ref())).await?;
        if !trace.misses_issuer() {
            return Ok(trace);
        }
        // A CA certificate that a group names and that is gone may be the missing issuer.
        let gone = groups.named_cas().find(|name| known.certificate(name).is_none());
        Ok(match gone {
            Some(name) => trace.with_gone_ca(name),
            None => trace,
        })
    }
}

/// An owned copy of a claimant with certificates, because signatures are verified on a thread that may block.
struct OwnedClaimant {
    scope: IdScope,
    registration_id: RegistrationId,
    evidence: Evidence,
    known: Arc<Trust>,
    require_verified: bool,
    crl_max_age: CrlMaxAge,
    now: Timestamp,
}

impl OwnedClaimant {
    fn from(claimant: &Claimant<'_>) -> Self {
        let CaRules { known, require_verified, crl_max_age } = claimant.ca;
        OwnedClaimant {
            scope: claimant.scope.clone(),
            registration_id: claimant.registration_id.clone(),
            evidence: claimant.evidence.clone(),
            known: Arc::clone(known),
            require_verified,
            crl_max_age,
            now: claimant.now,
        }
    }

    fn claimant(&self) -> Claimant<'_> {
        let OwnedClaimant { known, require_verified, crl_max_age, .. } = self;
        let (require_verified, crl_max_age) = (*require_verified, *crl_max_age);
        Claimant {
            scope: &self.scope,
            registration_id: &self.registration_id,
            evidence: &self.evidence,
            tpm: None,
            ca: CaRules { known, require_verified, crl_max_age },
            now: self.now,
        }
    }

    fn attest_by(&self, groups: &[Arc<EnrollmentGroup>], likely: Option<&EnrollmentRef>) -> AttestationTrace {
        match x509::parse_chain(&self.evidence.certificates) {
            Ok(chain) => {
                attest::x509_group(groups, &chain.completed(self.known.as_ref()), likely, &self.claimant())
            }
            Err(refusal) => AttestationTrace::without_candidates(refusal.into()),
        }
    }
}

/// Returns an unreadable record that may revoke or block the presented certificates. While there is one, no device is let in by
/// certificate, so that damage never turns a refusal into an admission.
fn unreadable_revocation<'a>(
    unreadable: &'a [DamagedRecord],
    evidence: &Evidence,
) -> Option<&'a DamagedRecord> {
    let by_certificate = evidence.claim.is_none() && !evidence.certificates.is_empty();
    unreadable.iter().find(|record| by_certificate && record.may_refuse_certificates())
}

/// Returns the group that the device belongs to, if it cannot be read. Until it can, no other group takes the device over.
fn unreadable_owner<'a>(
    unreadable: &'a [DamagedRecord],
    previous: Option<&Registration>,
) -> Option<&'a DamagedRecord> {
    let group = previous.and_then(Registration::owning_group)?;
    unreadable.iter().find(|record| record.is(RecordKind::EnrollmentGroup, group.as_str()))
}

/// Returns a group that cannot be read.
fn unreadable_group(unreadable: &[DamagedRecord]) -> Option<&DamagedRecord> {
    unreadable.iter().find(|record| record.kind == RecordKind::EnrollmentGroup)
}
