//! CA certificates, in the form of the resource manager's API (`CertificateResponse`), and what is Muster's own about
//! them: revocation lists, blocks, and what expires.

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    Block, BlockReason, CaCertificate, CaCertificateDraft, Certificate, Crl, CrlAddress, KeyHash,
    RevocationList, RevocationPolicy, RevocationSettings, TbsHash, Timestamp,
};
use serde_json::Value;

use super::{
    certificate::whole_seconds,
    members::{BodyError, Members, Object, parse_json},
};

/// Reads an upload: `{certificate, isVerified?}`, or the same under `properties`, as newer api-versions have it.
pub fn parse_ca_certificate(body: &[u8]) -> Result<CaCertificateDraft, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    let members = members.object("properties")?.unwrap_or(members);
    let certificate = members.parsed("certificate", Certificate::parse)?;
    Ok(CaCertificateDraft {
        certificate: members.required("certificate", certificate)?,
        is_verified: members.flag("isVerified")?,
    })
}

/// Reads a proof of possession: `{certificate}`.
pub fn parse_verification(body: &[u8]) -> Result<Certificate, BodyError> {
    parse_ca_certificate(body).map(|draft| draft.certificate)
}

/// Whether the verification code is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// To whoever asked for it.
    Shown,
    /// To everybody else.
    Hidden,
}

/// Writes a CA certificate. The members after `updated` are Muster's own; `revocation` is its [`revocation_json`].
pub fn ca_certificate_json(ca: &CaCertificate, code: Code, revocation: Value) -> Value {
    let info = ca.certificate.info();
    let code = ca.verification_code.as_ref().filter(|_| code == Code::Shown);
    let mut properties = Object::default();
    properties
        .put("subject", info.subject_name.as_str())
        .put("expiry", info.not_after.to_rfc1123())
        .put("thumbprint", info.sha1_thumbprint.as_str())
        .put("isVerified", ca.is_verified)
        .put("certificate", STANDARD.encode(ca.certificate.der()))
        .put("created", ca.record.created.to_rfc1123())
        .put("updated", ca.record.last_updated.to_rfc1123())
        .put_some("verificationCode", code.map(|code| code.as_str()))
        .put("sha256Thumbprint", info.sha256_thumbprint.as_str())
        .put("issuer", info.issuer_name.as_str())
        .put("serialNumber", info.serial_number.as_str())
        .put("revocationPolicy", policy_word(ca.revocation.policy))
        .put("revocation", revocation);
    let mut json = Object::default();
    json.put("id", format!("/certificates/{}", ca.name))
        .put("name", ca.name.as_str())
        .put("type", "Microsoft.Devices/ProvisioningServices/Certificates")
        .put("etag", ca.record.etag.as_str())
        .put("properties", properties.into_value());
    json.into_value()
}

/// Writes a listing in the resource manager's form: `{value: [...]}`.
pub fn listing_json(items: Vec<Value>) -> Value {
    let mut json = Object::default();
    json.put("value", items);
    json.into_value()
}

/// A change of how a CA's revocation list is looked up, as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationBody {
    /// What a missing or stale list means.
    pub policy: Option<RevocationPolicy>,
    /// Whether the list is fetched.
    pub fetch: Option<bool>,
    /// From where.
    pub fetched_from: Option<CrlAddress>,
    /// A list.
    pub list: Option<Crl>,
}

/// Reads `{policy?, fetch?, fetchedFrom?, list?}`.
pub fn parse_revocation(body: &[u8]) -> Result<RevocationBody, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    Ok(RevocationBody {
        policy: members.word("policy", &POLICIES)?,
        fetch: members.flag("fetch")?,
        fetched_from: members.parsed("fetchedFrom", CrlAddress::parse)?,
        list: members.parsed("list", Crl::parse)?,
    })
}

/// The last attempt to fetch a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchNote {
    /// When.
    pub at: Timestamp,
    /// Why the list did not come, or was not taken.
    pub problem: Option<String>,
    /// When it is tried again.
    pub next: Timestamp,
}

/// Writes how a CA's revocation list is looked up, and what is known of the list.
pub fn revocation_json(
    settings: &RevocationSettings,
    list: Option<&RevocationList>,
    last_fetch: Option<FetchNote>,
    now: Timestamp,
) -> Value {
    let list = list.map(|list| {
        let mut json = Object::default();
        json.put_some("number", list.crl.number())
            .put("thisUpdate", whole_seconds(list.crl.this_update()))
            .put_some("nextUpdate", list.crl.next_update().map(whole_seconds))
            .put("isStale", list.crl.is_stale(now))
            .put("ageSeconds", now.unix_seconds() - list.crl.this_update().unix_seconds())
            .put("revokedCertificates", list.crl.len())
            .put("takenAtUtc", list.record.last_updated.to_string());
        json.into_value()
    });
    let last_fetch = last_fetch.map(|fetch| {
        let mut json = Object::default();
        json.put("atUtc", fetch.at.to_string())
            .put_some("problem", fetch.problem)
            .put("nextAtUtc", fetch.next.to_string());
        json.into_value()
    });
    let mut json = Object::default();
    json.put("policy", policy_word(settings.policy))
        .put("fetch", settings.fetched_from.is_some())
        .put_some("fetchedFrom", settings.fetched_from.as_ref().map(CrlAddress::as_str))
        .put_some("lastFetch", last_fetch)
        .put_some("list", list);
    json.into_value()
}

/// A block as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBody {
    /// Why.
    pub reason: BlockReason,
    /// The certificate, when the operator has it.
    pub certificate: Option<Certificate>,
    /// Whether every certificate with its key is meant.
    pub key: Option<bool>,
}

/// Reads `{reason, certificate?, key?}`.
pub fn parse_block(body: &[u8]) -> Result<BlockBody, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    let reason = members.parsed("reason", BlockReason::parse)?;
    Ok(BlockBody {
        reason: members.required("reason", reason)?,
        certificate: members.parsed("certificate", Certificate::parse)?,
        key: members.flag("key")?,
    })
}

/// Writes a block.
pub fn block_json(block: &Block) -> Value {
    let mut json = Object::default();
    json.put("sha256Thumbprint", block.thumbprint.as_str())
        .put("reason", block.reason.as_str())
        .put_some("subject", block.subject.as_deref())
        .put_some("sha256OfTbs", block.tbs.as_ref().map(TbsHash::as_str))
        .put_some("sha256OfKey", block.key.as_ref().map(KeyHash::as_str))
        .put("blockedAtUtc", block.record.created.to_string())
        .put("etag", block.record.etag.as_str());
    json.into_value()
}

/// Writes a certificate that expires: who holds it, and how many whole days are left; fewer than none when it has
/// expired.
pub fn expiring_json((kind, name): (&str, &str), certificate: &Certificate, now: Timestamp) -> Value {
    let info = certificate.info();
    let seconds = info.not_after.unix_seconds() - now.unix_seconds();
    let mut json = Object::default();
    json.put("kind", kind)
        .put("name", name)
        .put("subject", info.subject_name.as_str())
        .put("sha256Thumbprint", info.sha256_thumbprint.as_str())
        .put("notAfterUtc", whole_seconds(info.not_after))
        .put("daysLeft", seconds.div_euclid(SECONDS_PER_DAY));
    json.into_value()
}

fn policy_word(policy: RevocationPolicy) -> &'static str {
    match policy {
        RevocationPolicy::Soft => "soft",
        RevocationPolicy::Hard => "hard",
    }
}

const POLICIES: [(&str, RevocationPolicy); 2] =
    [("soft", RevocationPolicy::Soft), ("hard", RevocationPolicy::Hard)];
const SECONDS_PER_DAY: i64 = 86_400;
