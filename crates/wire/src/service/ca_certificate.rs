//! CA certificates in the form of Azure's Resource Manager API (`CertificateResponse`), and additions of Muster:
//! revocation lists, blocks, and expiring certificates.

use base64::{Engine, engine::general_purpose::STANDARD};
use certpath::{CoveredCertificates, Crl, CrlMaxAge, CrlScope, KeyHash, PointNames, Reasons, TbsHash};
use model::{
    Block, BlockReason, CaCertificate, CaCertificateDraft, Certificate, CrlAddresses, HttpUrl,
    RevocationList, RevocationPolicy, RevocationSettings, Timestamp,
};
use serde_json::Value;

use super::{
    certificate::whole_seconds,
    members::{BodyError, Members, Object, parse_json},
};

/// Parses an upload: `{certificate, isVerified?}`, or the same within `properties`, as in newer API versions.
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

/// Parses a proof of possession: `{certificate}`.
pub fn parse_verification(body: &[u8]) -> Result<Certificate, BodyError> {
    parse_ca_certificate(body).map(|draft| draft.certificate)
}

/// Whether the verification code is included in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// In replies to requests for the code.
    Shown,
    /// In all other replies.
    Hidden,
}

/// Writes a CA certificate; `revocation` is the result of [`revocation_json`]. The hash of the certificate, its issuer
/// and serial number, and the members about revocation are additions of Muster.
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

/// Writes a listing in the form of the Resource Manager API: `{value: [...]}`.
pub fn listing_json(items: Vec<Value>) -> Value {
    let mut json = Object::default();
    json.put("value", items);
    json.into_value()
}

/// A change of the revocation settings of a CA certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationBody {
    /// The policy for certificates that no current list covers.
    pub policy: Option<RevocationPolicy>,
    /// Whether to fetch lists.
    pub fetch: Option<bool>,
    /// The addresses to fetch lists from.
    pub fetched_from: Option<CrlAddresses>,
    /// A revocation list to store.
    pub list: Option<Crl>,
}

/// Parses `{policy?, fetch?, fetchedFrom?, list?}`; `fetchedFrom` is one address or an array of addresses.
pub fn parse_revocation(body: &[u8]) -> Result<RevocationBody, BodyError> {
    let body = parse_json(body)?;
    let members = Members::of_body(&body)?;
    Ok(RevocationBody {
        policy: members.word("policy", &POLICIES)?,
        fetch: members.flag("fetch")?,
        fetched_from: addresses(&members)?,
        list: members.parsed("list", Crl::parse)?,
    })
}

fn addresses(members: &Members<'_>) -> Result<Option<CrlAddresses>, BodyError> {
    let name = "fetchedFrom";
    if !members.value(name).is_some_and(Value::is_array) {
        return Ok(members.parsed(name, HttpUrl::parse)?.map(CrlAddresses::from));
    }
    let addresses = members.list(name, HttpUrl::parse)?.map(CrlAddresses::new).transpose();
    addresses.map_err(|error| members.refuse(name, error))
}

/// The last attempt to fetch a revocation list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchAttempt {
    /// The address of the list.
    pub from: HttpUrl,
    /// The time of the attempt.
    pub at: Timestamp,
    /// The reason why the list was not fetched or not accepted.
    pub problem: Option<String>,
    /// The time of the next attempt.
    pub next: Timestamp,
}

/// Writes the revocation settings of a CA certificate, the last fetches, and the stored lists.
pub fn revocation_json<'a>(
    settings: &RevocationSettings,
    lists: impl Iterator<Item = &'a RevocationList>,
    fetches: Vec<FetchAttempt>,
    (max_age, now): (CrlMaxAge, Timestamp),
) -> Value {
    let addresses: Vec<Value> = settings.fetched_from.iter().map(|it| it.as_str().into()).collect();
    let fetches: Vec<Value> = fetches.into_iter().map(fetch_json).collect();
    let lists: Vec<Value> = lists.map(|list| list_json(list, (max_age, now))).collect();
    let mut json = Object::default();
    json.put("policy", policy_word(settings.policy))
        .put("fetch", !addresses.is_empty())
        .put_some("fetchedFrom", (!addresses.is_empty()).then_some(addresses))
        .put_some("fetches", (!fetches.is_empty()).then_some(fetches))
        .put("lists", lists);
    json.into_value()
}

fn fetch_json(fetch: FetchAttempt) -> Value {
    let mut json = Object::default();
    json.put("from", fetch.from.as_str())
        .put("atUtc", fetch.at.to_string())
        .put_some("problem", fetch.problem)
        .put("nextAtUtc", fetch.next.to_string());
    json.into_value()
}

fn list_json(list: &RevocationList, (max_age, now): (CrlMaxAge, Timestamp)) -> Value {
    let mut json = Object::default();
    json.put("id", list.id.as_str())
        .put_some("number", list.crl.number())
        .put("thisUpdate", list.crl.this_update().to_string())
        .put_some("nextUpdate", list.crl.next_update().map(|time| time.to_string()))
        .put("staleAfterUtc", list.crl.due(max_age).to_string())
        .put("isStale", list.crl.is_stale(max_age, now.into()))
        .put("ageSeconds", now.unix_seconds() - list.crl.this_update().unix_seconds())
        .put("revokedCertificates", list.crl.len())
        .put("takenAtUtc", list.record.last_updated.to_string())
        .put("scope", scope_json(list.crl.scope()));
    json.into_value()
}

/// Writes the scope of a list. Without `distributionPoint` and `reasons`, the list covers all of them.
fn scope_json(scope: &CrlScope) -> Value {
    let certificates = match scope.certificates() {
        CoveredCertificates::All => "all",
        CoveredCertificates::EndEntities => "endEntities",
        CoveredCertificates::Cas => "cas",
        CoveredCertificates::None => "none",
    };
    let points = scope.point().map(|names| PointNames::texts(names).map(Value::from).collect::<Vec<_>>());
    let reasons = (scope.reasons() != Reasons::ALL)
        .then(|| scope.reasons().names().map(Value::from).collect::<Vec<_>>());
    let mut json = Object::default();
    json.put("certificates", certificates).put_some("distributionPoint", points).put_some("reasons", reasons);
    json.into_value()
}

/// The body of a request to block a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockBody {
    /// The reason.
    pub reason: BlockReason,
    /// The certificate, if the operator has it.
    pub certificate: Option<Certificate>,
    /// Whether to block every certificate with the same key.
    pub key: Option<bool>,
}

/// Parses `{reason, certificate?, key?}`.
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
        .put_some("sha256OfTbs", block.scope.certificate().map(TbsHash::as_str))
        .put_some("sha256OfKey", block.scope.key().map(KeyHash::as_str))
        .put("blockedAtUtc", block.record.created.to_string())
        .put("etag", block.record.etag.as_str());
    json.into_value()
}

/// Writes an expiring certificate with the kind and name of the object that holds it. `daysLeft` is in whole days, and
/// negative after the expiry.
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
