//! `POST /attestation/explain`: whether a device would be admitted, and why. Not part of the hosted service's API.

use provisioning::{
    attest::{Evidence, tpm::PresentedTpm},
    register::DeviceDescription,
};
use wire::service::{DescribedDevice, explanation_json, parse_described_device};

use crate::{reply, request::Call, route::Answer};

/// Explains the outcome that a registration of the described device would have, without registering it.
pub(crate) async fn explain(call: &Call) -> Answer {
    let device = description(parse_described_device(call.body())?);
    let (instance, verbs) = (call.instance(), call.verbs());
    let explanation = verbs.explain(instance, &device).await?;
    let warnings = verbs.warnings_of_considered(instance, &device.registration_id, &explanation).await?;
    let mut json = explanation_json(&explanation);
    json["warnings"] = warnings.into();
    Ok(reply::ok(&json))
}

fn description(device: DescribedDevice) -> DeviceDescription {
    let certificates = device.certificates.iter().map(|certificate| certificate.der().to_vec().into());
    let tpm = device
        .tpm
        .map(|(endorsement_key, storage_root_key)| PresentedTpm { endorsement_key, storage_root_key });
    DeviceDescription {
        scope: device.id_scope,
        registration_id: device.registration_id,
        evidence: Evidence { claim: device.sas_token, certificates: certificates.collect(), tpm },
    }
}
