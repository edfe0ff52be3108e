//! `POST /attestation/explain`: whether a device would be let in, and why. Not part of the hosted service's API.

use axum::response::Response;
use provisioning::{
    attest::{Evidence, tpm::PresentedTpm},
    register::DeviceDescription,
};
use wire::service::{DescribedDevice, explanation_json, parse_described_device};

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call};

/// Explains what a registration of the described device would come to, without making one.
pub(crate) async fn explain(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let device = described(parse_described_device(call.body())?);
    let (instance, verbs) = (granted.instance(), &api.provisioning);
    let explanation = verbs.explain(instance, &device).await?;
    let warnings = verbs.warnings_of_considered(instance, &device.registration_id, &explanation).await?;
    let mut json = explanation_json(&explanation);
    json["warnings"] = warnings.into();
    Ok(reply::ok(&json))
}

fn described(device: DescribedDevice) -> DeviceDescription {
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
