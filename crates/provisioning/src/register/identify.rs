//! Finding the enrollment that lets a device in, and proving that it does.

use std::sync::Arc;

use certpath::CrlMaxAge;
use model::{
    EnrollmentGroup, EnrollmentRef, IdScope, IndividualAttestation, Instance, Registration, RegistrationId,
    Timestamp, Trust,
};

use crate::{
    Error, Provisioning, RecordKind,
    attest::{
        self, AttestationTrace, Claimant, Evidence, Proof, Refusal,
        x509::{self, CaRules},
    },
    configuration::{Configuration, Groups},
    ports::DamagedRecord,
};

impl Provisioning {
    /// Who the device is. A refusal names the rule for the log.
    pub(super) async fn identify(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        evidence: &Evidence,
        previous: Option<&Registration>,
    ) -> Result<Proof, Error> {
        let trace = self.evaluate(instance, registration_id, evidence, previous).await?;
        trace.outcome.map_err(|refusal| refusal.into_error(evidence))
    }

    /// Who the device is or why it is refused, and all that was looked at for it. Changes nothing.
    pub(super) async fn evaluate(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        evidence: &Evidence,
        previous: Option<&Registration>,
    ) -> Result<AttestationTrace, Error> {
        let configuration = self.store.configuration(&instance.id_scope).await?;
        reject_unknown_revocations(configuration.unreadable(), evidence)?;
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
        let trace = self.judge(instance, &claimant, previous, &configuration).await?;
        // A damaged group owns nothing here: a device that is judged by groups was turned away for that.
        let owner = previous.and_then(Registration::owning_group);
        let owner = owner.and_then(|group| configuration.group(group).ok().flatten());
        Ok(trace.owned_by(owner.map(Arc::as_ref), instance.registrations))
    }

    /// A registration ID with an individual enrollment is decided by that enrollment alone, whatever the device presents:
    /// the groups are not even loaded, so no key or certificate of theirs can take an ID that was enrolled individually.
    async fn judge(
        &self,
        instance: &Instance,
        claimant: &Claimant<'_>,
        previous: Option<&Registration>,
        configuration: &Configuration,
    ) -> Result<AttestationTrace, Error> {
        match self.store.individual(claimant.scope, claimant.registration_id).await? {
            Some(enrollment) if matches!(enrollment.attestation, IndividualAttestation::X509(_)) => {
                let asking = Asking::by(claimant);
                let judged = move || attest::individual(enrollment, &asking.claimant());
                Ok(AttestationTrace::by(EnrollmentRef::Individual, self.compute(judged).await?))
            }
            Some(enrollment) => {
                let tpm = self.expected_of_tpm(instance, &enrollment, claimant, previous)?;
                let claimant = Claimant { tpm: tpm.as_ref(), ..*claimant };
                Ok(AttestationTrace::by(EnrollmentRef::Individual, attest::individual(enrollment, &claimant)))
            }
            None => {
                reject_unreadable_group(configuration.unreadable(), previous)?;
                let trace = self.judge_by_group(claimant, previous, configuration.groups()).await?;
                reject_for_want_of_a_group(configuration.unreadable(), &trace)?;
                Ok(trace)
            }
        }
    }

    async fn judge_by_group(
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
        let (asking, likely) = (Asking::by(claimant), likely.cloned());
        let trace = self.compute(move || asking.judge_by(&candidates, likely.as_ref())).await?;
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

/// A device that presents certificates, and what is known for judging it, owned: signatures are checked on a thread that may
/// be held up.
struct Asking {
    scope: IdScope,
    registration_id: RegistrationId,
    evidence: Evidence,
    known: Arc<Trust>,
    require_verified: bool,
    crl_max_age: CrlMaxAge,
    now: Timestamp,
}

impl Asking {
    fn by(claimant: &Claimant<'_>) -> Self {
        let CaRules { known, require_verified, crl_max_age } = claimant.ca;
        Asking {
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
        let Asking { known, require_verified, crl_max_age, .. } = self;
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

    fn judge_by(&self, groups: &[Arc<EnrollmentGroup>], likely: Option<&EnrollmentRef>) -> AttestationTrace {
        match x509::parse_chain(&self.evidence.certificates) {
            Ok(chain) => {
                attest::x509_group(groups, &chain.completed(self.known.as_ref()), likely, &self.claimant())
            }
            Err(refusal) => AttestationTrace::without_candidates(refusal.into()),
        }
    }
}

/// A certificate may have been revoked or blocked by a record that cannot be read: while there is one, no device is let in by
/// certificate, so that damage never turns a refusal into an admission. Devices with keys and TPMs are not concerned.
fn reject_unknown_revocations(unreadable: &[DamagedRecord], evidence: &Evidence) -> Result<(), Error> {
    let by_certificate = evidence.claim.is_none() && !evidence.certificates.is_empty();
    let record = unreadable.iter().find(|record| by_certificate && record.may_refuse_certificates());
    record.map_or(Ok(()), |record| Err(Error::Damaged(record.clone())))
}

/// A device stays with its group: while that cannot be read, no other takes it.
fn reject_unreadable_group(
    unreadable: &[DamagedRecord],
    previous: Option<&Registration>,
) -> Result<(), Error> {
    let Some(group) = previous.and_then(Registration::owning_group) else { return Ok(()) };
    let is_its_group = |record: &&DamagedRecord| record.is(RecordKind::EnrollmentGroup, group.as_str());
    unreadable.iter().find(is_its_group).map_or(Ok(()), |record| Err(Error::Damaged(record.clone())))
}

/// A device that no group admits may be one of a group that cannot be read: it is asked to come back, not turned away.
fn reject_for_want_of_a_group(unreadable: &[DamagedRecord], trace: &AttestationTrace) -> Result<(), Error> {
    let group = unreadable.iter().find(|record| record.kind == RecordKind::EnrollmentGroup);
    match group {
        Some(record) if trace.outcome.is_err() => Err(Error::Damaged(record.clone())),
        _ => Ok(()),
    }
}
