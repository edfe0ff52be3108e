//! Verifies one token: a pure function of the token, the keys, the settings and the time.

use jsonwebtoken::{Header, Validation, decode, decode_header, errors::ErrorKind};
use model::{Identity, Subject, Timestamp};
use serde_json::Value;

use crate::access::RightsGrant;

use super::{BearerSettings, keys::KeySet};

/// The maximum length of a token, in bytes. Those of Entra have two to four kilobytes.
pub(crate) const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The difference between the clocks of provider and service that is tolerated, in seconds.
const CLOCK_SKEW: i64 = 60;

/// The types of access tokens (RFC 9068 §2.1, RFC 7519 §5.1). A token may also have none.
const ACCESS_TOKEN_TYPE: &str = "at+jwt";
const ANY_TYPE: &str = "jwt";

/// Claims of ID tokens and logout tokens (OpenID Connect Core §2 and §3.1.3.6, Back-Channel Logout §2.4).
const CLAIMS_OF_OTHER_TOKENS: [&str; 4] = ["nonce", "at_hash", "c_hash", "events"];

/// A token that was verified.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VerifiedToken {
    pub(crate) identity: Identity,
    pub(crate) grants: Vec<RightsGrant>,
    /// The last second in which it is accepted.
    until: i64,
}

impl VerifiedToken {
    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.until < now.unix_seconds()
    }
}

/// Why a token is invalid. The texts go into headers: they have no quotes, and nothing of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BearerRefusal {
    /// It has no form of a JWT, or an algorithm that is not supported.
    #[error("the token is not a JWT that is signed by RSA, ECDSA or EdDSA")]
    Malformed,
    /// It is longer than any token.
    #[error("the token is longer than {MAX_TOKEN_BYTES} bytes")]
    TooLong,
    /// The provider has no such key.
    #[error("the identity provider has no key of the ID that the token names")]
    UnknownKey,
    /// The algorithm is not that of the key.
    #[error("the token is signed by another algorithm than that of its key")]
    Algorithm,
    /// The signature is wrong.
    #[error("the signature of the token is wrong")]
    Signature,
    /// It is an ID token, or one of another kind.
    #[error("the token is not an access token")]
    Type,
    /// A claim is missing or malformed.
    #[error("the claim {0} of the token is missing or malformed")]
    Claim(&'static str),
    /// Another issuer.
    #[error("the token is of another issuer")]
    Issuer,
    /// Another audience.
    #[error("the token is for another audience")]
    Audience,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    Early,
}

/// Returns the ID of the key that a token names, before anything of the token is verified.
pub(crate) fn key_id(token: &str) -> Result<Option<String>, BearerRefusal> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(BearerRefusal::TooLong);
    }
    decode_header(token).map(|header| header.kid).map_err(|_| BearerRefusal::Malformed)
}

/// Verifies a token.
pub(crate) fn verify(
    token: &str,
    keys: &KeySet,
    settings: &BearerSettings,
    now: Timestamp,
) -> Result<VerifiedToken, BearerRefusal> {
    let id = key_id(token)?;
    let found = keys.find(id.as_deref()).ok_or(BearerRefusal::UnknownKey)?;
    // Only the signature is verified there: that code reads the system's clock, and accepts tokens without some claims.
    let mut validation = Validation::new(found.algorithm);
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let decoded = decode::<Value>(token, &found.key, &validation).map_err(|error| match error.kind() {
        ErrorKind::InvalidSignature => BearerRefusal::Signature,
        ErrorKind::InvalidAlgorithm => BearerRefusal::Algorithm,
        _ => BearerRefusal::Malformed,
    })?;
    verify_type(&decoded.header, &decoded.claims)?;
    verify_claims(&decoded.claims, settings, now)
}

/// Rejects tokens that are no access tokens: the provider signs all with the same keys.
fn verify_type(header: &Header, claims: &Value) -> Result<(), BearerRefusal> {
    // Extensions that must be understood, and none is (RFC 7515 §4.1.11).
    if header.crit.is_some() {
        return Err(BearerRefusal::Malformed);
    }
    let declared = header.typ.as_deref().unwrap_or(ANY_TYPE).to_ascii_lowercase();
    let declared = declared.strip_prefix("application/").unwrap_or(&declared);
    // Keycloak declares the type in a claim.
    let claimed = claims.get("typ").map(|typ| typ.as_str().unwrap_or_default());
    let is_access_token = match (declared, claimed) {
        (_, Some(claimed)) if !claimed.eq_ignore_ascii_case("Bearer") => false,
        (ACCESS_TOKEN_TYPE, _) | (ANY_TYPE, Some(_)) => true,
        (ANY_TYPE, None) => CLAIMS_OF_OTHER_TOKENS.iter().all(|name| claims.get(name).is_none()),
        _ => false,
    };
    if is_access_token { Ok(()) } else { Err(BearerRefusal::Type) }
}

fn verify_claims(
    claims: &Value,
    settings: &BearerSettings,
    now: Timestamp,
) -> Result<VerifiedToken, BearerRefusal> {
    let text =
        |name: &'static str| claims.get(name).and_then(Value::as_str).ok_or(BearerRefusal::Claim(name));
    if text("iss")? != settings.issuer.as_str() {
        return Err(BearerRefusal::Issuer);
    }
    verify_audience(claims.get("aud"), &settings.audiences)?;
    let until = seconds(claims, "exp")?.ok_or(BearerRefusal::Claim("exp"))?.saturating_add(CLOCK_SKEW);
    if until < now.unix_seconds() {
        return Err(BearerRefusal::Expired);
    }
    if seconds(claims, "nbf")?.is_some_and(|from| from > now.unix_seconds().saturating_add(CLOCK_SKEW)) {
        return Err(BearerRefusal::Early);
    }
    let subject = Subject::parse(settings.issuer.clone(), text("sub")?);
    let identity = Identity::Subject(subject.map_err(|_| BearerRefusal::Claim("sub"))?);
    Ok(VerifiedToken { identity, grants: settings.roles.grants(claims), until })
}

/// Verifies that one of the audiences is among those of the token: a text, or an array of them (RFC 7519 §4.1.3).
fn verify_audience(claim: Option<&Value>, audiences: &[String]) -> Result<(), BearerRefusal> {
    let is_ours = |name: &str| audiences.iter().any(|audience| audience == name);
    let found = match claim {
        Some(Value::String(name)) => is_ours(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(is_ours),
        _ => return Err(BearerRefusal::Claim("aud")),
    };
    if found { Ok(()) } else { Err(BearerRefusal::Audience) }
}

/// Returns an instant in seconds since 1970, rounded down: a number that may have a fraction (RFC 7519 §2).
fn seconds(claims: &Value, name: &'static str) -> Result<Option<i64>, BearerRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| value.as_f64().map(|number| number.floor() as i64));
    whole.map(Some).ok_or(BearerRefusal::Claim(name))
}
