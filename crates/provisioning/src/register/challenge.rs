//! What a registration by TPM needs beside the others: the challenge before it, and the key that it hands over.

use model::{Instance, OperationId, Registration, RegistrationId, Status, TpmIdentity};

use crate::{
    Error, Provisioning,
    attest::{
        Attested, Evidence, Proof, Refusal,
        tpm::{Issued, Place, PresentedTpm, credential},
    },
    ports::{Change, Commit, Expect, Outcome},
    record,
};

impl Provisioning {
    /// A challenge that only this TPM can open. A device that comes back keeps the key that its hub knows, as long as it
    /// is the same TPM of the same owner.
    pub(super) fn challenge(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        identity: TpmIdentity,
        previous: Option<&Registration>,
    ) -> Result<Vec<u8>, Error> {
        let place = Place { scope: &instance.id_scope, registration_id };
        let handed = previous.and_then(|registration| registration.tpm.as_ref());
        let hub_keys =
            handed.filter(|handed| handed.identity == identity).map(|handed| handed.hub_keys.clone());
        let with = (&*self.entropy, self.clock.now());
        let key = self.challenges.issue(place, identity.clone(), hub_keys, with)?;
        let resource = format!("{}/registrations/{registration_id}", instance.id_scope);
        credential(&identity, &key, &resource, &*self.entropy)
    }

    /// A challenge to the TPM that a device names, for a transport that has it before there is a request.
    pub async fn challenge_to(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        tpm: PresentedTpm,
    ) -> Result<Vec<u8>, Error> {
        let previous = self.store.registration(&instance.id_scope, registration_id).await?;
        let evidence = Evidence { tpm: Some(tpm), ..Evidence::default() };
        match self.identify(instance, registration_id, &evidence, previous.as_ref()).await? {
            Proof::Challenge(identity) => {
                self.challenge(instance, registration_id, identity, previous.as_ref())
            }
            // Nothing but a TPM was shown, and naming one proves nothing.
            Proof::Attested(_) => Err(Refusal::NoEvidence.into()),
        }
    }

    /// Whether the evidence proves that the device is who it says; an error says why not.
    pub async fn is_proved(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        evidence: &Evidence,
    ) -> Result<(), Error> {
        let previous = self.store.registration(&instance.id_scope, registration_id).await?;
        match self.identify(instance, registration_id, evidence, previous.as_ref()).await? {
            Proof::Attested(_) => Ok(()),
            Proof::Challenge(_) => Err(Refusal::NoToken.into()),
        }
    }

    /// Writes down the storage root key that was learned, if one was; false when the enrollment changed meanwhile.
    pub(super) async fn learn(&self, instance: &Instance, attested: &Attested) -> Result<bool, Error> {
        let Some(mut learned) = attested.learned() else { return Ok(true) };
        let expect = Expect::Version(learned.record.etag.clone());
        learned.record = record::fresh(&*self.entropy, Some(&learned.record), self.clock.now())?;
        let changes = vec![(expect, Change::PutIndividual(Box::new(learned)))];
        let outcomes = self.store.commit(&instance.id_scope, Commit { changes, operation: None }).await?;
        Ok(outcomes == [Outcome::Applied])
    }

    /// Notes that the device proved itself by a challenge, and for which operation that used it up.
    pub(super) fn note_proof(&self, place: Place<'_>, attested: &Attested, used_for: Option<&OperationId>) {
        if let Some(Issued { key, .. }) = attested.challenge() {
            self.challenges.proved(place, key, used_for, self.clock.now());
        }
    }

    /// The blob by which an assigned device with a TPM gets the key that its hub knows; `None` for every other device.
    pub fn handover(&self, registration: &Registration) -> Result<Option<Vec<u8>>, Error> {
        let (Status::Assigned(assignment), Some(handed)) = (&registration.status, &registration.tpm) else {
            return Ok(None);
        };
        let resource = format!("{}/devices/{}", assignment.hub, assignment.device_id);
        let blob = credential(&handed.identity, &handed.hub_keys.primary, &resource, &*self.entropy)?;
        Ok(Some(blob))
    }
}

/// Refuses a proof that was used, unless the operation that it was used for goes on: then the device asks for the same
/// again.
pub(super) fn is_fresh(attested: &Attested, previous: Option<&Registration>) -> Result<(), Refusal> {
    let used_for = attested.challenge().and_then(|challenge| challenge.used_for.as_ref());
    let goes_on = |operation_id: &OperationId| {
        previous.is_some_and(|registration| {
            registration.operation_id == *operation_id
                && matches!(registration.status, Status::Assigning { .. })
        })
    };
    match used_for {
        Some(operation_id) if !goes_on(operation_id) => Err(Refusal::UsedChallenge(operation_id.clone())),
        _ => Ok(()),
    }
}
