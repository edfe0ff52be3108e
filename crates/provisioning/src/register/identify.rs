//! Finding the enrollment that lets a device in, and proving that it does.

use model::{Instance, ProvisioningStatus, Registration, RegistrationId};

use crate::{
    Error, Provisioning,
    attest::{self, Attested, Claimant, Evidence, Refusal, x509::PresentedChain},
};

impl Provisioning {
    /// The individual enrollment of this registration ID beats any group. One that is disabled blocks the device
    /// whatever it presents; one of another kind than what the device presents leaves it to the groups.
    pub(super) async fn identify(
        &self,
        instance: &Instance,
        registration_id: &RegistrationId,
        evidence: &Evidence,
        previous: Option<&Registration>,
    ) -> Result<Attested, Error> {
        let claimant =
            Claimant { scope: &instance.id_scope, registration_id, evidence, now: self.clock.now() };
        let individual = self.store.individual(&instance.id_scope, registration_id).await?;
        if let Some(enrollment) = individual {
            let blocks = enrollment.settings.provisioning_status == ProvisioningStatus::Disabled;
            if blocks || attest::takes(&enrollment.attestation, evidence) {
                return Ok(attest::individual(enrollment, &claimant)?);
            }
        }
        self.identify_by_group(&claimant, previous).await
    }

    async fn identify_by_group(
        &self,
        claimant: &Claimant<'_>,
        previous: Option<&Registration>,
    ) -> Result<Attested, Error> {
        let evidence = claimant.evidence;
        if evidence.claim.is_some() {
            let groups = self.store.symmetric_key_groups(claimant.scope).await?;
            let likely = previous.map(|registration| &registration.enrollment);
            return Ok(attest::symmetric_key_group(&groups, likely, claimant)?);
        }
        if evidence.certificates.is_empty() {
            return Err(Refusal::NoEvidence.into());
        }
        let chain = PresentedChain::parse(&evidence.certificates).map_err(Refusal::from)?;
        let groups = self.store.groups_signing_as(claimant.scope, &chain.issuers()).await?;
        Ok(attest::x509_group(&groups, &chain, claimant)?)
    }
}
