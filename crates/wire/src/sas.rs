//! Shared access signatures (SAS): the tokens of devices, hubs and operators, and connection strings with their keys.
//!
//! Clients encode the same resource in several ways (raw, upper-case hex, lower-case hex, in lower case), and each
//! signs its own encoding. Therefore the MAC is computed over the text as sent, and the decoded resource is compared
//! afterwards.

use std::fmt;

use aws_lc_rs::hmac;
use base64::{
    Engine,
    alphabet::STANDARD as ALPHABET,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use model::{SignedClaim, Timestamp};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// The maximum length of a token in bytes. Tokens of SDKs have fewer than 500.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// The grace period after a token's expiry, in seconds: clocks of devices are inaccurate, and some SDKs use one token
/// with a lifetime of 30 s for all their polls.
pub const CLOCK_SKEW_SECS: u64 = 300;

/// The characters that JavaScript's `encodeURIComponent` escapes.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Base64 with or without padding: some clients omit it.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The reasons why a text is not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SasError {
    /// The text does not begin with `SharedAccessSignature`.
    #[error("not a SharedAccessSignature")]
    Scheme,
    /// The text exceeds [`MAX_TOKEN_BYTES`].
    #[error("token is too long")]
    TooLong,
    /// `sr`, `sig` or `se` is missing or repeated.
    #[error("token needs sr, sig and se, each once")]
    Fields,
    /// `se` is not a number of seconds.
    #[error("token expiry is not a number of seconds")]
    Expiry,
    /// `sig` is not base64.
    #[error("token signature is not base64")]
    Signature,
}

/// Parses `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]` with its fields in any order; unknown fields are ignored. The
/// claim is unverified: [`SignedClaim::check`] checks audience and expiry, and its result verifies the signature.
pub fn parse(text: &str) -> Result<SignedClaim, SasError> {
    if text.len() > MAX_TOKEN_BYTES {
        return Err(SasError::TooLong);
    }
    let (scheme, fields) = text.trim().split_once(' ').ok_or(SasError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("SharedAccessSignature") {
        return Err(SasError::Scheme);
    }
    let fields = fields.trim();
    let resource = field(fields, "sr")?.ok_or(SasError::Fields)?;
    let expiry = field(fields, "se")?.ok_or(SasError::Fields)?;
    let mac = field(fields, "sig")?.ok_or(SasError::Fields)?;
    let mac = percent_decode_str(mac).decode_utf8().map_err(|_| SasError::Signature)?;
    Ok(SignedClaim {
        resource: decoded(resource),
        expires: expires(expiry.parse().map_err(|_| SasError::Expiry)?),
        signed_text: signed_text(resource, expiry),
        mac: LENIENT.decode(mac.as_bytes()).map_err(|_| SasError::Signature)?,
        policy: field(fields, "skn")?.filter(|name| !name.is_empty()).map(decoded),
    })
}

/// Returns the last instant at which a token is accepted: its expiry plus [`CLOCK_SKEW_SECS`].
fn expires(expiry: u64) -> Timestamp {
    let seconds = expiry.saturating_add(CLOCK_SKEW_SECS);
    Timestamp::from_unix_seconds(i64::try_from(seconds).unwrap_or(i64::MAX))
}

/// Creates a token for a resource, which it percent-encodes. The token is valid until `expiry`, in seconds since 1970.
pub fn sign(resource: &str, key: &[u8], expiry: u64, key_name: Option<&str>) -> String {
    let token = UnsignedToken::new(resource, expiry, key_name);
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    token.signed(hmac::sign(&key, token.text().as_bytes()).as_ref())
}

/// A token without its signature, for keys that are not in memory, such as those in a TPM.
pub struct UnsignedToken {
    resource: String,
    text: String,
    rest: String,
}

impl UnsignedToken {
    /// Creates a token for a resource, which it percent-encodes. The token is valid until `expiry`, in seconds since
    /// 1970.
    pub fn new(resource: &str, expiry: u64, key_name: Option<&str>) -> Self {
        let resource = encode_component(resource);
        let name = key_name.map(|name| format!("&skn={}", encode_component(name))).unwrap_or_default();
        let text = signed_text(&resource, &expiry.to_string());
        UnsignedToken { resource, text, rest: format!("&se={expiry}{name}") }
    }

    /// Returns the text to sign.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the complete token; `mac` is the HMAC-SHA256 of [`UnsignedToken::text`].
    pub fn signed(&self, mac: &[u8]) -> String {
        let mac = encode_component(&STANDARD.encode(mac));
        format!("SharedAccessSignature sr={}&sig={mac}{}", self.resource, self.rest)
    }
}

/// Percent-encodes a text as one URL component, with upper-case hex digits.
pub fn encode_component(text: &str) -> String {
    utf8_percent_encode(text, COMPONENT).to_string()
}

fn signed_text(resource: &str, expiry: &str) -> String {
    [resource, expiry].join("\n")
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns the value of a field, or an error if the field is repeated.
fn field<'a>(fields: &'a str, name: &str) -> Result<Option<&'a str>, SasError> {
    let mut values =
        fields.split('&').filter_map(|pair| pair.split_once('=')).filter(|(key, _)| *key == name);
    match (values.next(), values.next()) {
        (found, None) => Ok(found.map(|(_, value)| value)),
        _ => Err(SasError::Fields),
    }
}

/// A connection string: the host of a service, and the name and key of one of its policies.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionString {
    /// The host name, optionally followed by a port.
    pub host: String,
    /// The policy's name.
    pub key_name: String,
    /// The policy's key in base64.
    pub key: String,
}

/// The member that a connection string lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("connection string lacks {0}; expected HostName=…;SharedAccessKeyName=…;SharedAccessKey=…")]
pub struct ConnectionStringError(&'static str);

impl ConnectionString {
    /// Parses `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…`, with its parts in any order and names in any case.
    /// The text may be in quotes, which shells and environment files leave.
    pub fn parse(text: &str) -> Result<Self, ConnectionStringError> {
        let text = text.trim();
        let unquoted = |quote: char| text.strip_prefix(quote)?.strip_suffix(quote);
        let text = unquoted('"').or_else(|| unquoted('\'')).unwrap_or(text);
        let part = |name: &'static str| {
            let mut pairs = text.split(';').filter_map(|part| part.split_once('='));
            let found = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value.trim().to_owned())
                .filter(|v| !v.is_empty())
                .ok_or(ConnectionStringError(name))
        };
        Ok(ConnectionString {
            host: part("HostName")?,
            key_name: part("SharedAccessKeyName")?,
            key: part("SharedAccessKey")?,
        })
    }
}

impl fmt::Display for ConnectionString {
    /// Writes the whole string, with its key; debug output omits the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostName={};SharedAccessKeyName={};SharedAccessKey={}", self.host, self.key_name, self.key)
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionString({}, {})", self.host, self.key_name)
    }
}

#[cfg(test)]
mod tests {
    use model::{Audience, Extent, SymmetricKey};
    use proptest::prelude::*;

    use super::*;

    const DEVICE_KEY: &str = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";

    fn key(text: &str) -> Vec<u8> {
        STANDARD.decode(text).unwrap()
    }

    fn is_signed(claim: &SignedClaim, key: &[u8]) -> bool {
        let names = vec![claim.resource.split('/').next().unwrap()];
        let audience = Audience { names, path: &claim.resource, extent: Extent::Within };
        let resource = claim.resource.split_once('/').map_or("", |(_, path)| path);
        let checked =
            claim.check(&Audience { path: resource, ..audience }, Timestamp::from_unix_seconds(0)).unwrap();
        checked.is_signed_by(&SymmetricKey::from_bytes(key).unwrap())
    }

    #[test]
    fn tokens_of_sdks_are_verified() {
        let policy_key =
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==";
        let derived_key = "735y2Yh3/bNAuLtGvIiqbCli8cQzyh4h2XKTIdIpuEA=";
        let tokens = [
            (
                DEVICE_KEY,
                "sr=0ne00000001%2Fregistrations%2Freg-1&sig=B3KWHeYGedAr4bS%2FytVZSW4wplhxVHeHR5N72GibQag%3D&se=1795391650",
            ),
            (
                DEVICE_KEY,
                "sr=0ne00000001%2fregistrations%2freg-1&sig=j6otnVYDOzq9LMOr%2F5PL%2BcdZ23QZfhxMF%2B3pVY67D6E%3D&se=1795391650&skn=registration",
            ),
            (
                DEVICE_KEY,
                "sr=0ne00000001/registrations/reg-1&sig=sjfPWCN2dumwmO49E8cxUJx42QHjRTkwRpYloPrJRx8%3D&skn=&se=1795391650",
            ),
            (
                DEVICE_KEY,
                "sr=0ne00000001/registrations/reg-1&sig=GYXgpTdeqEVNG00d32bRt1Gwtw7jIyt6m6gjEzzzPfI%3D&skn=registration&se=1795391706",
            ),
            (
                derived_key,
                "sr=myhub.azure-devices.net%2Fdevices%2Freg-1&sig=%2F5YN8YLdp1thrq4J584VZEhuPiWFqM7wd0Tmbz7Ep00%3D&se=1900000000",
            ),
            (
                policy_key,
                "sr=myhub.azure-devices.net&sig=6YnhbWhxhmRDKe%2BjfkZRBXDUc6coBmrGKLvnskb1gJg%3D&se=1900000000&skn=iothubowner",
            ),
        ];
        for (secret, fields) in tokens {
            let token = parse(&format!("SharedAccessSignature {fields}")).unwrap();
            assert!(is_signed(&token, &key(secret)), "{fields}");
            assert!(!is_signed(&token, &key(DEVICE_KEY)[1..]), "{fields}");
        }
    }

    #[test]
    fn signed_tokens_are_verified() {
        let text = sign("hub.example/devices/a b", &key(DEVICE_KEY), 1_900_000_000, Some("owner"));
        let token = parse(&text).unwrap();
        assert!(is_signed(&token, &key(DEVICE_KEY)));
        assert_eq!(token.resource, "hub.example/devices/a b");
        assert_eq!(token.policy.as_deref(), Some("owner"));
    }

    #[test]
    fn malformed_tokens_are_refused() {
        let cases = [
            ("Bearer x", SasError::Scheme),
            ("SharedAccessSignature", SasError::Scheme),
            ("SharedAccessSignature sr=a&se=1", SasError::Fields),
            ("SharedAccessSignature sr=a&sr=a&sig=YQ%3D%3D&se=1", SasError::Fields),
            ("SharedAccessSignature sr=a&sig=YQ%3D%3D&se=x", SasError::Expiry),
            ("SharedAccessSignature sr=a&sig=YQ%3D%3D&se=-1", SasError::Expiry),
            ("SharedAccessSignature sr=a&sig=!&se=1", SasError::Signature),
        ];
        for (text, error) in cases {
            assert_eq!(parse(text).unwrap_err(), error, "{text}");
        }
        let long = format!("SharedAccessSignature sr={}", "a".repeat(MAX_TOKEN_BYTES));
        assert_eq!(parse(&long).unwrap_err(), SasError::TooLong);
    }

    #[test]
    fn expired_tokens_have_a_grace_period_of_five_minutes() {
        let expires =
            |se: &str| parse(&format!("SharedAccessSignature sr=a&sig=YQ%3D%3D&se={se}")).unwrap().expires;
        assert_eq!(expires("1000"), Timestamp::from_unix_seconds(1300));
        assert_eq!(expires(&u64::MAX.to_string()), Timestamp::from_unix_seconds(i64::MAX));
    }

    #[test]
    fn connection_strings_are_parsed_and_hide_their_key_in_debug_output() {
        let text = "HostName=h:8443;SharedAccessKeyName=owner;SharedAccessKey=YWI9==";
        let parsed = ConnectionString::parse(text).unwrap();
        assert_eq!((parsed.host.as_str(), parsed.key.as_str()), ("h:8443", "YWI9=="));
        assert_eq!(parsed.to_string(), text);
        for quoted in [format!("\"{text}\""), format!(" '{text}'\n")] {
            assert_eq!(ConnectionString::parse(&quoted).unwrap().to_string(), text, "{quoted}");
        }
        assert!(ConnectionString::parse("HostName=h").is_err());
        assert!(!format!("{parsed:?}").contains("YWI9"));
    }

    proptest! {
        /// The signed text consists of the resource and the expiry as sent, so a token cannot be accepted with others.
        #[test]
        fn the_signed_text_is_part_of_the_token(
            text in "(sr=[a-z%0-9/]{0,10}&?|se=[0-9]{1,12}&?|sig=[a-zA-Z0-9%]{0,8}&?|skn=[a-z]{0,3}&?){3,5}|\\PC{0,200}",
        ) {
            if let Ok(claim) = parse(&format!("SharedAccessSignature {text}")) {
                let (resource, expiry) = claim.signed_text.split_once('\n').unwrap();
                let fields = [format!("sr={resource}"), format!("se={expiry}")];
                prop_assert!(fields.iter().all(|field| text.split('&').any(|part| part.trim() == field.trim())));
                prop_assert_eq!(claim.resource, decoded(resource));
            }
            prop_assert!(parse(&text).is_err() || text.trim_start().len() > "SharedAccessSignature".len());
        }

        #[test]
        fn tokens_read_back(
            resource in "\\PC{1,40}", expiry in 0..u64::from(u32::MAX), name in prop::option::of("[a-z]{1,8}"), key: [u8; 32],
        ) {
            let claim = parse(&sign(&resource, &key, expiry, name.as_deref())).unwrap();
            let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), claim.signed_text.as_bytes());
            prop_assert_eq!(&claim.mac, mac.as_ref());
            prop_assert_eq!((claim.resource, claim.policy), (resource, name));
            prop_assert_eq!(claim.expires, expires(expiry));
        }

        #[test]
        fn connection_strings_read_back(
            text in "\\PC{0,20};?HostName=[^;]{0,9};SharedAccessKeyName=[^;]{0,9};sharedaccesskey=[^;]{0,9}|\\PC{0,200}",
        ) {
            if let Ok(parsed) = ConnectionString::parse(&text) {
                prop_assert_eq!(ConnectionString::parse(&parsed.to_string()), Ok(parsed));
            }
        }
    }
}
