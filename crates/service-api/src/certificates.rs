//! CA certificates, over the routes of Azure's Resource Manager API, with the rights of this endpoint.

use std::sync::Arc;

use model::{CaCertificate, CaReference, IfMatch};
use provisioning::RecordKind;
use serde_json::Value;
use wire::service::{Code, ca_certificate_json, listing_json, parse_ca_certificate, parse_verification};

use crate::{error::Failure, reply, request::Call, revocation, route::Answer};

/// Lists the CA certificates by name, without pages: their number is limited.
pub(crate) async fn list(call: &Call) -> Answer {
    let trust = call.verbs().trust(call.instance()).await?;
    let json = |ca: &Arc<CaCertificate>| {
        let settings = revocation::settings_json(call, &trust, ca);
        within_resource(call, ca_certificate_json(ca, Code::Hidden, settings))
    };
    let listed = reply::ok(&listing_json(trust.certificates().map(json).collect()));
    let kinds = [RecordKind::CaCertificate, RecordKind::RevocationList];
    Ok(reply::warned(listed, &call.verbs().unreadable(call.instance(), &kinds).await?))
}

/// Returns a CA certificate.
pub(crate) async fn read(call: &Call) -> Answer {
    let ca = call.verbs().ca_certificate(call.instance(), &name(call)?).await?;
    reply_with(call, &ca, Code::Hidden).await
}

/// Uploads or replaces a CA certificate.
pub(crate) async fn put(call: &Call) -> Answer {
    let (name, draft) = (name(call)?, parse_ca_certificate(call.body())?);
    let if_match = call.if_match()?;
    let verbs = call.verbs();
    let ca =
        verbs.put_ca_certificate(call.instance(), call.actor(), (&name, &draft), if_match.as_ref()).await?;
    Ok(reply::warned(reply_with(call, &ca, Code::Hidden).await?, &verbs.ca_warnings(&ca)))
}

/// Deletes a CA certificate.
pub(crate) async fn delete(call: &Call) -> Answer {
    let (name, if_match) = (name(call)?, condition(call)?);
    call.verbs().delete_ca_certificate(call.instance(), call.actor(), &name, &if_match).await?;
    Ok(reply::no_content())
}

/// Generates a verification code, and returns the CA certificate with it.
pub(crate) async fn code(call: &Call) -> Answer {
    let (name, if_match) = (name(call)?, condition(call)?);
    let ca = call.verbs().generate_verification_code(call.instance(), call.actor(), &name, &if_match).await?;
    reply_with(call, &ca, Code::Shown).await
}

/// Verifies a proof of possession.
pub(crate) async fn verify(call: &Call) -> Answer {
    let (name, if_match) = (name(call)?, condition(call)?);
    let proof = parse_verification(call.body())?;
    let ca =
        call.verbs().verify_ca_certificate(call.instance(), call.actor(), (&name, &if_match), &proof).await?;
    reply_with(call, &ca, Code::Hidden).await
}

/// Creates the reply with a CA certificate and its revocation lists.
async fn reply_with(call: &Call, ca: &CaCertificate, code: Code) -> Answer {
    let trust = call.verbs().trust(call.instance()).await?;
    let revocation = revocation::settings_json(call, &trust, ca);
    Ok(reply::ok(&within_resource(call, ca_certificate_json(ca, code, revocation))))
}

/// Completes the resource ID of a CA certificate, in replies of the management API.
fn within_resource(call: &Call, mut json: Value) -> Value {
    if let Some(Value::String(id)) = json.get_mut("id") {
        id.insert_str(0, &call.resource_path());
    }
    json
}

/// Parses the name in the path.
pub(crate) fn name(call: &Call) -> Result<CaReference, Failure> {
    call.id(|text| CaReference::parse(text))
}

/// Parses the condition, which these calls require.
fn condition(call: &Call) -> Result<IfMatch, Failure> {
    let missing = || {
        Failure::Argument(
            "the header if-match is needed here: the certificate's etag, or * for any".to_owned(),
        )
    };
    call.if_match()?.ok_or_else(missing)
}
