//! CA certificates: the resource manager's routes for them, served here, and with the rights of this endpoint.

use std::sync::Arc;

use axum::response::Response;
use model::{CaCertificate, CaReference, IfMatch};
use provisioning::RecordKind;
use wire::service::{Code, ca_certificate_json, listing_json, parse_ca_certificate, parse_verification};

use crate::{ServiceApi, access::Granted, error::Failure, reply, request::Call, revocation};

/// Lists CA certificates by name. There are few: all of them come at once.
pub(crate) async fn list(api: &ServiceApi, granted: &Granted) -> Result<Response, Failure> {
    let trust = api.provisioning.trust(granted.instance()).await?;
    let shown = |ca: &Arc<CaCertificate>| {
        ca_certificate_json(ca, Code::Hidden, revocation::of_ca(api, granted, &trust, ca))
    };
    let listed = reply::ok(&listing_json(trust.certificates().map(shown).collect()));
    let kinds = [RecordKind::CaCertificate, RecordKind::RevocationList];
    Ok(reply::warned(listed, &api.provisioning.unreadable(granted.instance(), &kinds).await?))
}

/// Shows a CA certificate.
pub(crate) async fn read(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let ca = api.provisioning.ca_certificate(granted.instance(), &name(call)?).await?;
    shown(api, granted, &ca, Code::Hidden).await
}

/// Uploads or replaces a CA certificate.
pub(crate) async fn put(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let (name, draft) = (name(call)?, parse_ca_certificate(call.body())?);
    let if_match = call.if_match()?;
    let verbs = &api.provisioning;
    let ca = verbs
        .put_ca_certificate(granted.instance(), granted.actor(), (&name, &draft), if_match.as_ref())
        .await?;
    Ok(reply::warned(shown(api, granted, &ca, Code::Hidden).await?, &verbs.ca_warnings(&ca)))
}

/// Deletes a CA certificate.
pub(crate) async fn delete(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let (name, if_match) = (name(call)?, condition(call)?);
    api.provisioning.delete_ca_certificate(granted.instance(), granted.actor(), &name, &if_match).await?;
    Ok(reply::deleted())
}

/// Answers a new verification code.
pub(crate) async fn code(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let (name, if_match) = (name(call)?, condition(call)?);
    let ca = api
        .provisioning
        .generate_verification_code(granted.instance(), granted.actor(), &name, &if_match)
        .await?;
    shown(api, granted, &ca, Code::Shown).await
}

/// Takes a proof of possession.
pub(crate) async fn verify(api: &ServiceApi, granted: &Granted, call: &Call) -> Result<Response, Failure> {
    let (name, if_match) = (name(call)?, condition(call)?);
    let proof = parse_verification(call.body())?;
    let ca = api
        .provisioning
        .verify_ca_certificate(granted.instance(), granted.actor(), (&name, &if_match), &proof)
        .await?;
    shown(api, granted, &ca, Code::Hidden).await
}

/// A CA certificate, with what is known of its revocation list.
async fn shown(
    api: &ServiceApi,
    granted: &Granted,
    ca: &CaCertificate,
    code: Code,
) -> Result<Response, Failure> {
    let trust = api.provisioning.trust(granted.instance()).await?;
    let revocation = revocation::of_ca(api, granted, &trust, ca);
    Ok(reply::ok(&ca_certificate_json(ca, code, revocation)))
}

/// The name in the path.
pub(crate) fn name(call: &Call) -> Result<CaReference, Failure> {
    call.id(|text| CaReference::parse(text))
}

/// The condition, which these calls must have.
fn condition(call: &Call) -> Result<IfMatch, Failure> {
    let missing = || {
        Failure::Argument(
            "the header if-match is needed here: the certificate's etag, or * for any".to_owned(),
        )
    };
    call.if_match()?.ok_or_else(missing)
}
