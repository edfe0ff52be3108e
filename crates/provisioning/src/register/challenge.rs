//! Registers devices by TPM: issues the challenge, rejects one that was used, and hands over the hub key.

use std::net::IpAddr;

use model::{
    Actor, IndividualAttestation, IndividualEnrollment, Instance, LogOperation, Registration, RegistrationId,
    Status, TpmIdentity,
};

use super::{attempts::Applicant, commit::RegistrationCommit};
use crate::{
    Error, Provisioning,
    attest::{
        Attested, Claimant, Evidence, Proof, Refusal,
        tpm::{ChallengeContext, Challenges, PresentedTpm, RegistrationRef, credential, fresh_keys},
    },
    ports::{Change, Commit, DeviceRecords, Expect, Outcome},
    record,
};

impl Provisioning {
    /// Returns a challenge that only this TPM can decrypt.
    pub(super) fn challenge(&self, device: &DeviceRecords, identity: &TpmIdentity) -> Result<Vec<u8>, Error> {
        let DeviceRecords { instance, registration_id, .. } = device;
        let challenges = self.challenges(instance, registration_id, device.registration()?);
        let key = challenges.key(identity, challenges.next())?;
        let resource = format!("{}/registrations/{registration_id}", instance.id_scope);
        credential(identity, &key, &resource, &*self.entropy)
    }

    /// Returns a challenge to the TPM that a device names, for a transport that needs it before the request.
    pub async fn challenge_tpm(&self, device: &DeviceRecords, tpm: PresentedTpm) -> Result<Vec<u8>, Error> {
        let evidence = Evidence { tpm: Some(tpm), ..Evidence::default() };
        let trace = self.evaluate(device, &evidence).await?;
        match challenge_or_refuse(trace.outcome, &evidence)? {
            Proof::Challenge(identity) => self.challenge(device, &identity),
            // The device named a TPM and presented nothing else, which proves nothing.
            Proof::Attested(_) => Err(Refusal::NoEvidence.into()),
        }
    }

    /// Returns what a proof by the TPM of this enrollment is compared with; `None` if there is no such enrollment or proof.
    pub(super) fn expected_of_tpm<'a>(
        &self,
        instance: &'a Instance,
        enrollment: &IndividualEnrollment,
        claimant: &Claimant<'a>,
        previous: Option<&'a Registration>,
    ) -> Result<Option<ChallengeContext<'a>>, Error> {
        let is_by_tpm = matches!(enrollment.attestation, IndividualAttestation::Tpm(_));
        if !is_by_tpm || claimant.evidence.claim.is_none() {
            return Ok(None);
        }
        let registration_id = claimant.registration_id;
        let named = self.named_keys.of(RegistrationRef { scope: claimant.scope, registration_id });
        let challenges = self.challenges(instance, registration_id, previous);
        Ok(Some(ChallengeContext { challenges, named, fresh_keys: fresh_keys(&*self.entropy)? }))
    }

    fn challenges<'a>(
        &self,
        instance: &'a Instance,
        registration_id: &'a RegistrationId,
        previous: Option<&'a Registration>,
    ) -> Challenges<'a> {
        let last = previous.and_then(|registration| registration.attestation.handover());
        Challenges::of(instance, registration_id, last, self.clock.now())
    }

    /// Remembers the storage root key of a challenged device, which need not name it again with its proof.
    pub(super) fn remember_named_key(&self, registration: RegistrationRef<'_>, identity: &TpmIdentity) {
        self.named_keys.remember(registration, &identity.storage_root_key, self.clock.now());
    }

    /// Verifies that the device is the one that it names, and returns the proof. A refusal is buffered for operators.
    pub async fn verify_identity(
        &self,
        device: &DeviceRecords,
        evidence: &Evidence,
        address: Option<IpAddr>,
    ) -> Result<Attested, Error> {
        match self.identify_or_buffer(device, Applicant { evidence, address }).await? {
            Proof::Attested(attested) => Ok(*attested),
            Proof::Challenge(_) => Err(Refusal::NoToken.into()),
        }
    }

    /// Stores the storage root key that the attestation learned, if any. Returns false if the enrollment changed meanwhile.
    pub(super) async fn store_learned_key(
        &self,
        instance: &Instance,
        attested: &Attested,
        by: &Actor,
    ) -> Result<bool, Error> {
        let Some(mut learned) = attested.learned() else { return Ok(true) };
        let expect = Expect::Version(learned.record.etag.clone());
        learned.record = record::fresh(&*self.entropy, Some(&learned.record), self.clock.now())?;
        let registration_id = learned.registration_id.clone();
        let changes = vec![(expect, Change::PutIndividual(Box::new(learned)))];
        let by = self.by(by, LogOperation::EnrollmentLearn);
        let outcomes = self.store.commit(&instance.id_scope, Commit { changes, ..Commit::by(by) }).await?;
        self.named_keys
            .forget(RegistrationRef { scope: &instance.id_scope, registration_id: &registration_id });
        Ok(outcomes == [Outcome::Applied])
    }

    /// Returns the registration to confirm, after recording the challenge that the device answered: a confirmation writes
    /// nothing else, and the proof must not be good for a second one. Returns `None` if the registration changed meanwhile.
    pub(super) async fn record_used_challenge(
        &self,
        instance: &Instance,
        attested: &Attested,
        previous: Option<&Registration>,
        by: &Actor,
    ) -> Result<Option<Registration>, Error> {
        let Some(previous) = previous else { return Ok(None) };
        let attestation = attested.to_record();
        if attestation.handover() == previous.attestation.handover() {
            return Ok(Some(previous.clone()));
        }
        let record = record::fresh(&*self.entropy, Some(&previous.record), self.clock.now())?;
        let used = Registration { attestation, record, ..previous.clone() };
        let expect = Expect::Version(previous.record.etag.clone());
        let change = Change::PutRegistration(Box::new(used.clone()));
        let by = self.by(by, LogOperation::RegistrationProve);
        let commit = RegistrationCommit::new(&used.registration_id, expect, change, by);
        Ok(self.commit_registration(&instance.id_scope, commit).await?.then_some(used))
    }

    /// Returns the hub key of an assigned device with a TPM, encrypted for that TPM; `None` for every other device.
    pub fn handover(&self, registration: &Registration) -> Result<Option<Vec<u8>>, Error> {
        let (Status::Assigned(assignment), Some(handover)) =
            (&registration.status, registration.attestation.handover())
        else {
            return Ok(None);
        };
        let resource = format!("{}/devices/{}", assignment.hub, assignment.device_id);
        let blob = credential(&handover.identity, &handover.hub_keys.primary, &resource, &*self.entropy)?;
        Ok(Some(blob))
    }
}

/// Returns the proof, or a challenge in place of any refusal of a device that names a TPM and has signed nothing, as the hosted
/// service challenges unknown devices, too. Whether an ID is enrolled, and for which TPM, shows only once a signature by the
/// challenge's key is checked; all other devices get the same refusal.
pub(super) fn challenge_or_refuse(
    outcome: Result<Proof, Refusal>,
    evidence: &Evidence,
) -> Result<Proof, Error> {
    match (outcome, evidence.unproven_tpm()) {
        (Err(_), Some(named)) => Ok(Proof::Challenge(named)),
        (outcome, _) => outcome.map_err(|refusal| refusal.into_error(evidence)),
    }
}

/// Rejects the proof of a device that answered a used challenge, unless the run that it was used for is under way: then the
/// device repeats that request.
pub(super) fn reject_replay(
    attested: Box<Attested>,
    previous: Option<&Registration>,
) -> Result<Box<Attested>, Refusal> {
    let is_used = attested.opened().is_some_and(|opened| opened.is_used);
    match previous.filter(|_| is_used) {
        Some(previous) if !matches!(previous.status, Status::Assigning { .. }) => {
            Err(Refusal::UsedChallenge(previous.operation_id.clone()))
        }
        Some(_) | None => Ok(attested),
    }
}
