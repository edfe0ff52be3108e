//! Explains to operators whether a device would be let in.

use model::{ChainTooLong, Explanation, IdScope, Instance, RegistrationId};

use crate::{
    Error, Provisioning,
    attest::{self, AttestationTrace, Evidence, Refusal, x509::CertificateRefusal},
};

/// A device as an operator describes it.
#[derive(Debug, Clone)]
pub struct DeviceDescription {
    /// The ID scope that it addresses; `None` for the instance's.
    pub scope: Option<IdScope>,
    /// The name that it registers under.
    pub registration_id: RegistrationId,
    /// What it presents. It is assumed to have the private key of its leaf certificate.
    pub evidence: Evidence,
}

impl Provisioning {
    /// Explains whether this device would be let in, and why. Writes and counts nothing, calls no hub, and issues or uses no
    /// challenge.
    pub async fn explain(
        &self,
        instance: &Instance,
        device: &DeviceDescription,
    ) -> Result<Explanation, Error> {
        let trace = match early_refusal(instance, device) {
            Some(refusal) => AttestationTrace::without_candidates(refusal),
            None => {
                let id = &device.registration_id;
                let records = self.device_of(&instance.id_scope, id).await?;
                self.evaluate(&records, &device.evidence).await?
            }
        };
        Ok(attest::explanation(&trace, &device.evidence))
    }
}

/// Returns the refusal that does not depend on any enrollment: a chain that the TLS handshake rejects, also beside a token, or
/// the ID scope of another instance.
fn early_refusal(instance: &Instance, device: &DeviceDescription) -> Option<Refusal> {
    let lengths = device.evidence.certificates.iter().map(|certificate| certificate.len());
    let other_scope =
        || device.scope.clone().filter(|scope| *scope != instance.id_scope).map(Refusal::OtherScope);
    let too_long = ChainTooLong::of(lengths);
    too_long.map(|error| CertificateRefusal::from(error).into()).or_else(other_scope)
}
