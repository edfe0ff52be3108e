//! What a registration would come to, for the operator who wonders.

use model::{ChainTooLong, Explanation, IdScope, Instance, RegistrationId};

use crate::{
    Error, Provisioning,
    attest::{self, AttestationTrace, Evidence, Refusal, x509::CertificateRefusal},
};

/// A device as an operator describes it.
#[derive(Debug, Clone)]
pub struct DeviceDescription {
    /// The ID scope that it addresses, if that is said; else the instance's.
    pub scope: Option<IdScope>,
    /// The name that it registers under.
    pub registration_id: RegistrationId,
    /// What it presents. That it holds the key of its leaf is taken for granted.
    pub evidence: Evidence,
}

impl Provisioning {
    /// Explains whether this device would be let in and why. Nothing is written, counted, or told to a hub, and no
    /// challenge is issued or used up.
    pub async fn explain(
        &self,
        instance: &Instance,
        device: &DeviceDescription,
    ) -> Result<Explanation, Error> {
        let trace = match refused_before(instance, device) {
            Err(refusal) => AttestationTrace::without_candidates(refusal),
            Ok(()) => {
                let id = &device.registration_id;
                let previous = self.store.registration(&instance.id_scope, id).await?;
                self.evaluate(instance, id, &device.evidence, previous.as_ref()).await?
            }
        };
        Ok(attest::explanation(&trace, &device.evidence))
    }
}

/// Refuses what no device gets through with, whichever enrollment it has: a chain that the TLS handshake refuses, also
/// beside a token, and the ID scope of another instance.
fn refused_before(instance: &Instance, device: &DeviceDescription) -> Result<(), Refusal> {
    let lengths = device.evidence.certificates.iter().map(|certificate| certificate.len());
    if let Some(too_long) = ChainTooLong::of(lengths) {
        return Err(CertificateRefusal::from(too_long).into());
    }
    match &device.scope {
        Some(scope) if *scope != instance.id_scope => Err(Refusal::OtherScope(scope.clone())),
        _ => Ok(()),
    }
}
