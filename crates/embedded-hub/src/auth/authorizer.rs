//! Checks shared access tokens of services and devices, and device certificates.
//!
//! Tokens are verified by [`SignedClaim`], as everywhere in Muster. Callers cannot distinguish the refusals.

use aws_lc_rs::digest;
use certpath::Sha256Thumbprint;
use model::{
    Audience, ClaimRefusal, DeviceId, Extent, KeyedPolicy, PolicyRefusal, SignedClaim, SymmetricKey,
    SymmetricKeyPair, Timestamp, without_port,
};
use wire::{
    hub::Status,
    sas::{self, SasError},
};

use crate::{
    config::{Policy, Right},
    registry::identity::{Credentials, Identity, Thumbprint},
};

/// Why access is denied; for the operator's log, never for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessDenied {
    /// The credentials are of another kind than the device's.
    #[error("the credentials are of another kind than the device's")]
    Credentials,
    /// The device is disabled.
    #[error("the device is disabled")]
    Disabled,
    /// The token is past its expiry, or for another hub or resource.
    #[error(transparent)]
    Claim(#[from] ClaimRefusal),
    /// There is neither a token nor a certificate.
    #[error("no credentials")]
    NoCredentials,
    /// The token is not signed by a policy of the hub.
    #[error(transparent)]
    Policy(#[from] PolicyRefusal),
    /// The policy does not have the right.
    #[error("the policy does not allow it")]
    Right,
    /// The signature fits neither key of the device, or the certificate neither thumbprint.
    #[error("the signature or certificate does not match")]
    Signature,
    /// The token cannot be read.
    #[error("the token cannot be read: {0}")]
    Token(#[from] SasError),
    /// The device does not exist.
    #[error("there is no such device")]
    UnknownDevice,
}

/// The host names and policies of a hub, which tokens are checked against.
#[derive(Debug)]
pub struct HubAuthorizer {
    /// In lower case, the hub's own name first.
    pub host_names: Vec<String>,
    /// The shared access policies.
    pub policies: Vec<Policy>,
}

impl HubAuthorizer {
    /// Returns whether `host` is one of the hub's names; case and a port do not matter.
    pub fn is_own_name(&self, host: &str) -> bool {
        let name = without_port(host);
        self.host_names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Returns whether `name` is one of the hub's names, or the first label of one, as in SASL PLAIN.
    pub fn is_own_short_name(&self, name: &str) -> bool {
        let mut labels = self.host_names.iter().filter_map(|own| own.split('.').next());
        self.is_own_name(name) || labels.any(|label| label.eq_ignore_ascii_case(name))
    }

    /// Returns the policy of a caller of the REST API that requests the resource at `path`.
    pub fn admit_caller(&self, token: &str, path: &str, now: Timestamp) -> Result<&Policy, AccessDenied> {
        let claim = sas::parse(token)?;
        Ok(claim.check(&self.audience(path, Extent::Within), now)?.policy(&self.policies)?)
    }

    /// Returns whether `key` is one of a policy that allows `right`: for callers in the same process, which need no token.
    pub fn allows(&self, policy: &str, key: &SymmetricKey, right: Right) -> bool {
        let mut policies = self.policies.iter().filter(|it| it.name.eq_ignore_ascii_case(policy));
        policies.any(|policy| policy.keys().contains(&key) && policy.allows(right))
    }

    /// Authenticates a device by a token; returns when the token expires. `identity` is `None` for a device that does not exist, whose
    /// refusal takes the same time.
    pub fn admit_device(
        &self,
        token: &str,
        id: &DeviceId,
        identity: Option<&Identity>,
        now: Timestamp,
    ) -> Result<Timestamp, AccessDenied> {
        let claim = sas::parse(token)?;
        match claim.policy {
            Some(_) => self.admit_policy(&claim, id, now)?,
            None => self.admit_own_key(&claim, id, identity, now)?,
        }
        admit_enabled(identity.ok_or(AccessDenied::UnknownDevice)?)?;
        Ok(claim.expires)
    }

    fn admit_policy(&self, claim: &SignedClaim, id: &DeviceId, now: Timestamp) -> Result<(), AccessDenied> {
        let path = device_path(id);
        let policy = claim.check(&self.audience(&path, Extent::Within), now)?.policy(&self.policies)?;
        if policy.allows(Right::DeviceConnect) { Ok(()) } else { Err(AccessDenied::Right) }
    }

    /// Checks a token that is signed by the device's key: its audience must be exactly the device.
    fn admit_own_key(
        &self,
        claim: &SignedClaim,
        id: &DeviceId,
        identity: Option<&Identity>,
        now: Timestamp,
    ) -> Result<(), AccessDenied> {
        let path = device_path(id);
        let claim = claim.check(&self.audience(&path, Extent::Exactly), now)?;
        let keys = identity.map(own_keys).transpose();
        let signed = claim.is_signed_by_device(keys.as_ref().copied().unwrap_or_default());
        keys?;
        if signed { Ok(()) } else { Err(AccessDenied::Signature) }
    }

    fn audience<'a>(&'a self, path: &'a str, extent: Extent) -> Audience<'a> {
        Audience { names: self.host_names.iter().map(String::as_str).collect(), path, extent }
    }
}

/// Authenticates a device by the certificate whose key it proved to hold.
pub fn admit_certificate(leaf: &[u8], identity: &Identity) -> Result<(), AccessDenied> {
    let Credentials::Thumbprints(primary, secondary) = &identity.credentials else {
        return Err(AccessDenied::Credentials);
    };
    let fits = |thumbprint: &Thumbprint| {
        if thumbprint.is_sha1() {
            thumbprint.is_hex(&hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, leaf).as_ref()))
        } else {
            thumbprint.is_hex(Sha256Thumbprint::of(leaf).as_str())
        }
    };
    if !primary.iter().chain(secondary).any(fits) {
        return Err(AccessDenied::Signature);
    }
    admit_enabled(identity)
}

/// Returns lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn device_path(id: &DeviceId) -> String {
    format!("/devices/{id}")
}

fn own_keys(identity: &Identity) -> Result<&SymmetricKeyPair, AccessDenied> {
    match &identity.credentials {
        Credentials::SymmetricKeys(keys) => Ok(keys),
        _ => Err(AccessDenied::Credentials),
    }
}

fn admit_enabled(identity: &Identity) -> Result<(), AccessDenied> {
    match identity.status {
        Status::Enabled => Ok(()),
        Status::Disabled => Err(AccessDenied::Disabled),
    }
}

#[cfg(test)]
mod tests {
    use wire::sas::sign;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn key(byte: u8) -> SymmetricKey {
        SymmetricKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn authorizer() -> HubAuthorizer {
        HubAuthorizer {
            host_names: vec!["hub.example".into(), "localhost".into()],
            policies: vec![
                Policy::owner(key(1)),
                Policy::registry_read_write(key(2)),
                Policy::device(key(3)),
            ],
        }
    }

    fn token(resource: &str, byte: u8, name: Option<&str>) -> String {
        sign(resource, key(byte).as_bytes(), NOW as u64 + 60, name)
    }

    fn now() -> Timestamp {
        Timestamp::from_unix_seconds(NOW)
    }

    #[test]
    fn tokens_of_callers_are_checked() {
        let owner = Some("iothubowner");
        let other = |resource: &str| AccessDenied::Claim(ClaimRefusal::OtherResource(resource.to_owned()));
        let unknown = |name: &str| AccessDenied::Policy(PolicyRefusal::Unknown(name.to_owned()));
        let stale = sign("hub.example", key(1).as_bytes(), NOW as u64 - 301, owner);
        let expired = AccessDenied::Claim(ClaimRefusal::Expired(Timestamp::from_unix_seconds(NOW - 1)));
        for (token, path, expected) in [
            (token("hub.example", 1, owner), "/twins/d", Ok("iothubowner")),
            (token("hub.example", 1, Some("IotHubOwner")), "/twins/d", Ok("iothubowner")),
            (token("HUB.example/Devices", 1, owner), "/devices/d", Ok("iothubowner")),
            (token("localhost:18443", 1, owner), "/devices/d", Ok("iothubowner")),
            (token("hub.example", 2, Some("registryReadWrite")), "/devices", Ok("registryReadWrite")),
            (token("hub.example/devices/d", 1, owner), "/devices/d", Ok("iothubowner")),
            (token("hub.example/devices/d", 1, owner), "/devices/dd", Err(other("hub.example/devices/d"))),
            (token("hub.example/devices/d", 1, owner), "/twins/d", Err(other("hub.example/devices/d"))),
            (token("other.example", 1, owner), "/devices", Err(other("other.example"))),
            (
                token("hub.example", 9, owner),
                "/devices",
                Err(AccessDenied::Policy(PolicyRefusal::Signature("iothubowner".into()))),
            ),
            (token("hub.example", 1, Some("x")), "/devices", Err(unknown("x"))),
            (token("hub.example", 1, None), "/devices", Err(unknown(""))),
            (stale, "/devices", Err(expired)),
            ("Bearer x".to_owned(), "/devices", Err(AccessDenied::Token(SasError::Scheme))),
        ] {
            let admitted = authorizer().admit_caller(&token, path, now()).map(|policy| policy.name.clone());
            assert_eq!(admitted, expected.map(str::to_owned), "{path} {token}");
        }
    }

    #[track_caller]
    fn check_device(token: &str, status: Status, expected: Result<(), AccessDenied>) {
        let id = DeviceId::parse("Dev-1").unwrap();
        let keys = SymmetricKeyPair { primary: key(7), secondary: key(8) };
        let mut identity = Identity::new(Credentials::SymmetricKeys(keys), false, &id, now());
        identity.status = status;
        assert_eq!(
            authorizer().admit_device(token, &id, Some(&identity), now()).map(drop),
            expected,
            "{token}"
        );
    }

    #[test]
    fn devices_connect_with_their_own_keys_or_those_of_a_policy() {
        let own = "hub.example/devices/Dev-1";
        let other =
            |resource: &str| Err(AccessDenied::Claim(ClaimRefusal::OtherResource(resource.to_owned())));
        check_device(&token(own, 7, None), Status::Enabled, Ok(()));
        check_device(&token(own, 8, None), Status::Enabled, Ok(()));
        check_device(&token("hub.example/devices/dev-1", 7, None), Status::Enabled, Ok(()));
        check_device(
            &token("hub.example/devices/Dev-1/api-version=2016-11-14", 7, None),
            Status::Enabled,
            Ok(()),
        );
        check_device(&token("hub.example", 3, Some("device")), Status::Enabled, Ok(()));
        check_device(
            &token("hub.example", 2, Some("registryReadWrite")),
            Status::Enabled,
            Err(AccessDenied::Right),
        );
        for resource in ["hub.example", "hub.example/devices/Dev-2", "hub.example/devices/Dev-1/modules/m"] {
            check_device(&token(resource, 7, None), Status::Enabled, other(resource));
        }
        check_device(&token(own, 9, None), Status::Enabled, Err(AccessDenied::Signature));
        check_device(&token(own, 7, None), Status::Disabled, Err(AccessDenied::Disabled));
        let ended = |seconds: i64| sign(own, key(7).as_bytes(), (NOW - seconds) as u64, None);
        check_device(&ended(300), Status::Enabled, Ok(()));
        let expired = ClaimRefusal::Expired(Timestamp::from_unix_seconds(NOW - 1));
        check_device(&ended(301), Status::Enabled, Err(AccessDenied::Claim(expired)));
    }

    #[test]
    fn a_device_that_does_not_exist_is_refused_with_any_key() {
        let id = DeviceId::parse("unknown").unwrap();
        let own = "hub.example/devices/unknown";
        for (key, policy, expected) in [
            (7, None, AccessDenied::Signature),
            (0, None, AccessDenied::Signature),
            (3, Some("device"), AccessDenied::UnknownDevice),
        ] {
            let admitted = authorizer().admit_device(&token(own, key, policy), &id, None, now());
            assert_eq!(admitted, Err(expected), "{key} {policy:?}");
        }
    }

    #[test]
    fn certificates_match_by_either_thumbprint() {
        let id = DeviceId::parse("d").unwrap();
        let leaf = b"the DER of a leaf";
        let identity = |primary: &str, secondary: &str| {
            let body = format!(
                r#"{{"x509Thumbprint":{{"primaryThumbprint":"{primary}","secondaryThumbprint":"{secondary}"}},"type":"selfSigned"}}"#
            );
            let given = serde_json::from_str(&body).unwrap();
            Identity::new(Credentials::from_wire(Some(&given), || key(1)).unwrap(), false, &id, now())
        };
        let sha1 = hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, leaf).as_ref());
        let sha256 = Sha256Thumbprint::of(leaf).to_string();
        let other = "0".repeat(64);
        for (primary, secondary, expected) in [
            (sha256.as_str(), "", Ok(())),
            (&sha256.to_lowercase(), "", Ok(())),
            (&other, &sha256, Ok(())),
            (&sha1, "", Ok(())),
            (&other, &other, Err(AccessDenied::Signature)),
            ("", "", Err(AccessDenied::Signature)),
        ] {
            assert_eq!(
                admit_certificate(leaf, &identity(primary, secondary)),
                expected,
                "{primary} {secondary}"
            );
        }
        let by_key = Identity::new(
            Credentials::SymmetricKeys(SymmetricKeyPair { primary: key(1), secondary: key(1) }),
            false,
            &id,
            now(),
        );
        assert_eq!(admit_certificate(leaf, &by_key), Err(AccessDenied::Credentials));
    }
}
