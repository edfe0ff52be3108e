//! The credentials of devices.

use certpath::Sha256Thumbprint;
use model::{HubCredentials, SymmetricKey, SymmetricKeyPair};
use serde::{Deserialize, Serialize};
use wire::hub::{self, Authentication, AuthenticationType, ThumbprintPair};

/// A device's credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Credentials {
    /// Either of two keys signs its tokens.
    #[serde(rename = "k")]
    SymmetricKeys(SymmetricKeyPair),
    /// The thumbprints of its certificates. Without any it cannot connect.
    #[serde(rename = "t")]
    Thumbprints(Option<Thumbprint>, Option<Thumbprint>),
    /// A certificate of a CA that the hub knows. Kept for registries that are copied; such devices cannot connect, because this hub
    /// has no list of CAs.
    #[serde(rename = "a")]
    Authority,
}

/// A certificate's SHA-1 or SHA-256 in hex, as it was sent; compared without case.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thumbprint(Box<str>);

/// Why credentials are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialRefusal {
    /// The type is `certificateAuthority`.
    #[error("this hub does not know CAs: a device with a certificate needs its thumbprint (selfSigned)")]
    Authority,
    /// The type is `none`.
    #[error("DeviceAuthenticationTypeIsMissing: a device needs an authentication type other than none")]
    NoType,
    /// Only one of two keys is set.
    #[error("Either no keys or both keys can be set")]
    OneKey,
    /// A key is not base64 of 16 to 64 bytes.
    #[error("Invalid device key length: keys are base64 of 16 to 64 bytes")]
    Key,
    /// A thumbprint is not 40 or 64 hex digits.
    #[error("StringIsNotThumbprint: a thumbprint is 40 or 64 hex digits without separators")]
    Thumbprint,
    /// One thumbprint is SHA-1, the other SHA-256.
    #[error("both thumbprints must be of the same length")]
    MixedThumbprints,
}

impl Credentials {
    /// Reads credentials as services send them; keys that are absent or empty are generated.
    pub fn from_wire(
        given: Option<&Authentication>,
        make_key: fn() -> SymmetricKey,
    ) -> Result<Credentials, CredentialRefusal> {
        let made =
            || Credentials::SymmetricKeys(SymmetricKeyPair { primary: make_key(), secondary: make_key() });
        let Some(given) = given else { return Ok(made()) };
        let thumbprints = given.x509_thumbprint.as_ref();
        let kind = given.kind.unwrap_or(match thumbprints {
            Some(pair)
                if filled(&pair.primary_thumbprint).or(filled(&pair.secondary_thumbprint)).is_some() =>
            {
                AuthenticationType::SelfSigned
            }
            _ => AuthenticationType::Sas,
        });
        match kind {
            AuthenticationType::None => Err(CredentialRefusal::NoType),
            AuthenticationType::CertificateAuthority => Ok(Credentials::Authority),
            AuthenticationType::SelfSigned => thumbprint_pair(thumbprints),
            AuthenticationType::Sas => Ok(key_pair(given.symmetric_key.as_ref())?.unwrap_or_else(made)),
        }
    }

    /// Returns them as the REST API represents them.
    pub fn to_wire(&self) -> Authentication {
        let mut keys = hub::SymmetricKeyPair::default();
        let mut thumbprints = ThumbprintPair::default();
        match self {
            Credentials::SymmetricKeys(pair) => {
                keys.primary_key = Some(pair.primary.to_base64());
                keys.secondary_key = Some(pair.secondary.to_base64());
            }
            Credentials::Thumbprints(..) => thumbprints = self.thumbprints(),
            Credentials::Authority => {}
        }
        Authentication {
            symmetric_key: Some(keys),
            x509_thumbprint: Some(thumbprints),
            kind: Some(self.kind()),
        }
    }

    /// Returns the thumbprints, null if there are none.
    pub fn thumbprints(&self) -> ThumbprintPair {
        let text =
            |thumbprint: &Option<Thumbprint>| thumbprint.as_ref().map(|Thumbprint(text)| text.to_string());
        match self {
            Credentials::Thumbprints(primary, secondary) => {
                ThumbprintPair { primary_thumbprint: text(primary), secondary_thumbprint: text(secondary) }
            }
            Credentials::SymmetricKeys(_) | Credentials::Authority => ThumbprintPair::default(),
        }
    }

    /// Returns their kind as the REST API names it.
    pub fn kind(&self) -> AuthenticationType {
        match self {
            Credentials::SymmetricKeys(_) => AuthenticationType::Sas,
            Credentials::Thumbprints(..) => AuthenticationType::SelfSigned,
            Credentials::Authority => AuthenticationType::CertificateAuthority,
        }
    }
}

impl From<&HubCredentials> for Credentials {
    fn from(credentials: &HubCredentials) -> Credentials {
        match credentials {
            HubCredentials::SymmetricKeys(keys) => Credentials::SymmetricKeys(keys.clone()),
            HubCredentials::Certificate(thumbprint) => {
                Credentials::Thumbprints(Some(Thumbprint::from(thumbprint)), None)
            }
        }
    }
}

impl Thumbprint {
    /// Returns whether it is SHA-1 rather than SHA-256.
    pub fn is_sha1(&self) -> bool {
        self.0.len() == SHA1_DIGITS
    }

    /// Returns whether it equals a digest in hex.
    pub fn is_hex(&self, digest: &str) -> bool {
        self.0.eq_ignore_ascii_case(digest)
    }
}

impl From<&Sha256Thumbprint> for Thumbprint {
    fn from(thumbprint: &Sha256Thumbprint) -> Thumbprint {
        Thumbprint(thumbprint.as_str().into())
    }
}

impl PartialEq for Thumbprint {
    fn eq(&self, other: &Thumbprint) -> bool {
        self.is_hex(&other.0)
    }
}

impl Eq for Thumbprint {}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn key_pair(given: Option<&hub::SymmetricKeyPair>) -> Result<Option<Credentials>, CredentialRefusal> {
    let Some(pair) = given else { return Ok(None) };
    let parse = |text| SymmetricKey::parse(text).map_err(|_| CredentialRefusal::Key);
    match (filled(&pair.primary_key), filled(&pair.secondary_key)) {
        (None, None) => Ok(None),
        (Some(primary), Some(secondary)) => Ok(Some(Credentials::SymmetricKeys(SymmetricKeyPair {
            primary: parse(primary)?,
            secondary: parse(secondary)?,
        }))),
        _ => Err(CredentialRefusal::OneKey),
    }
}

fn thumbprint_pair(given: Option<&ThumbprintPair>) -> Result<Credentials, CredentialRefusal> {
    let Some(pair) = given else { return Ok(Credentials::Thumbprints(None, None)) };
    let primary = filled(&pair.primary_thumbprint).map(thumbprint).transpose()?;
    let secondary = filled(&pair.secondary_thumbprint).map(thumbprint).transpose()?;
    match (&primary, &secondary) {
        (Some(primary), Some(secondary)) if primary.is_sha1() != secondary.is_sha1() => {
            Err(CredentialRefusal::MixedThumbprints)
        }
        _ => Ok(Credentials::Thumbprints(primary, secondary)),
    }
}

fn thumbprint(text: &str) -> Result<Thumbprint, CredentialRefusal> {
    let fits =
        matches!(text.len(), SHA1_DIGITS | SHA256_DIGITS) && text.bytes().all(|b| b.is_ascii_hexdigit());
    if fits { Ok(Thumbprint(text.into())) } else { Err(CredentialRefusal::Thumbprint) }
}

const SHA1_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn make_key() -> SymmetricKey {
        SymmetricKey::from_bytes(&[7; 32]).unwrap()
    }

    #[track_caller]
    fn check(body: &str, expected: Result<AuthenticationType, CredentialRefusal>) {
        let given: Option<Authentication> = serde_json::from_str(body).unwrap();
        let read = Credentials::from_wire(given.as_ref(), make_key);
        assert_eq!(read.map(|credentials| credentials.kind()), expected, "{body}");
    }

    #[test]
    fn credentials_of_sdks_are_read_or_refused() {
        let key = make_key().to_base64();
        let sha1 = "a".repeat(40);
        let sha256 = "B".repeat(64);
        check("null", Ok(AuthenticationType::Sas));
        check("{}", Ok(AuthenticationType::Sas));
        check(
            r#"{"symmetricKey":{"primaryKey":"","secondaryKey":""},"type":"sas"}"#,
            Ok(AuthenticationType::Sas),
        );
        check(
            &format!(r#"{{"symmetricKey":{{"primaryKey":"{key}","secondaryKey":"{key}"}}}}"#),
            Ok(AuthenticationType::Sas),
        );
        check(&format!(r#"{{"symmetricKey":{{"primaryKey":"{key}"}}}}"#), Err(CredentialRefusal::OneKey));
        check(
            r#"{"symmetricKey":{"primaryKey":"c2hvcnQ=","secondaryKey":"c2hvcnQ="}}"#,
            Err(CredentialRefusal::Key),
        );
        check(
            &format!(r#"{{"x509Thumbprint":{{"primaryThumbprint":"{sha1}"}}}}"#),
            Ok(AuthenticationType::SelfSigned),
        );
        check(r#"{"type":"selfSigned"}"#, Ok(AuthenticationType::SelfSigned));
        check(
            r#"{"x509Thumbprint":{"primaryThumbprint":"a:b"},"type":"selfSigned"}"#,
            Err(CredentialRefusal::Thumbprint),
        );
        check(
            &format!(
                r#"{{"x509Thumbprint":{{"primaryThumbprint":"{sha1}","secondaryThumbprint":"{sha256}"}}}}"#
            ),
            Err(CredentialRefusal::MixedThumbprints),
        );
        check(r#"{"type":"none"}"#, Err(CredentialRefusal::NoType));
        check(r#"{"type":"certificateAuthority"}"#, Ok(AuthenticationType::CertificateAuthority));
    }

    #[test]
    fn thumbprints_compare_without_case() {
        let lower = thumbprint(&"ab".repeat(32)).unwrap();
        assert_eq!(lower, thumbprint(&"AB".repeat(32)).unwrap());
        assert_ne!(lower, thumbprint(&"AC".repeat(32)).unwrap());
    }
}
