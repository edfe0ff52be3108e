//! Certificates: accepted in three encodings, and returned only as the information in them.

use base64::{Engine, engine::general_purpose::STANDARD};
use certpath::Sha256Thumbprint;
use model::{Certificate, CertificateDraft, CertificateInfo, Pair, Timestamp};
use serde_json::Value;

use super::members::{BodyError, Members, Object};

/// Parses `{primary, secondary?}`. A slot with `info` but without `certificate` keeps the stored certificate; a slot
/// that is absent, null or `{}` is empty. Returns `None` if both slots are empty.
pub(super) fn read_pair(
    attestation: &Members<'_>,
    name: &str,
) -> Result<Option<Pair<CertificateDraft>>, BodyError> {
    let Some(pair) = attestation.object(name)? else { return Ok(None) };
    Ok(Pair::new(read_slot(&pair, "primary")?, read_slot(&pair, "secondary")?))
}

fn read_slot(pair: &Members<'_>, name: &str) -> Result<Option<CertificateDraft>, BodyError> {
    let Some(slot) = pair.object(name)? else { return Ok(None) };
    if let Some(certificate) = slot.parsed("certificate", Certificate::parse)? {
        return Ok(Some(CertificateDraft::Given(certificate)));
    }
    let Some(info) = slot.object("info")? else { return Ok(None) };
    Ok(Some(CertificateDraft::Kept(info.parsed("sha256Thumbprint", Sha256Thumbprint::parse)?)))
}

/// Writes `{primary: {info}, secondary?: {info}}`; the certificate itself is never returned.
pub(super) fn pair_json(pair: &Pair<Certificate>) -> Value {
    slots_json(pair, "info", |certificate| info_json(certificate.info()))
}

/// Writes `{primary: {certificate}, secondary?: {certificate}}` for exports, in base64 of DER.
pub(super) fn whole_pair_json(pair: &Pair<Certificate>) -> Value {
    slots_json(pair, "certificate", |certificate| STANDARD.encode(certificate.der()).into())
}

fn slots_json(pair: &Pair<Certificate>, name: &str, value: impl Fn(&Certificate) -> Value) -> Value {
    let slot = |certificate: &Certificate| {
        let mut slot = Object::default();
        slot.put(name, value(certificate));
        slot.into_value()
    };
    let mut json = Object::default();
    json.put_some("primary", pair.primary().map(slot)).put_some("secondary", pair.secondary().map(slot));
    json.into_value()
}

/// Writes `X509CertificateInfo` with all eight members, each of which some client requires.
pub(super) fn info_json(info: &CertificateInfo) -> Value {
    let mut json = Object::default();
    json.put("subjectName", info.subject_name.as_str())
        .put("sha1Thumbprint", info.sha1_thumbprint.as_str())
        .put("sha256Thumbprint", info.sha256_thumbprint.as_str())
        .put("issuerName", info.issuer_name.as_str())
        .put("notBeforeUtc", whole_seconds(info.not_before))
        .put("notAfterUtc", whole_seconds(info.not_after))
        .put("serialNumber", info.serial_number.as_str())
        .put("version", info.version);
    json.into_value()
}

/// Formats an instant in whole seconds, such as `2017-11-14T12:34:18Z`: certificates have no fractions of seconds, and
/// the hosted service writes none.
pub(super) fn whole_seconds(instant: Timestamp) -> String {
    let text = instant.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}
