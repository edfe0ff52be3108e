//! Who may do what: shared access tokens of operators and devices, and device certificates.
//!
//! Tokens are judged in three steps: the signature over the literal text, the expiry, and whether the
//! decoded resource covers what is asked for. Every refusal looks the same from outside.

use aws_lc_rs::digest;
use model::{DeviceId, Sha256Thumbprint, SymmetricKey, Timestamp};
use wire::{
    hub::Status,
    sas::{SasError, SasToken},
};

use crate::{
    config::{Policy, Right},
    identity::{Credentials, Identity, Thumbprint},
};

/// Why somebody is not let in; for the operator's log, never for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Credentials of another kind than the device has.
    #[error("the credentials are of another kind than the device's")]
    Credentials,
    /// The device is disabled.
    #[error("the device is disabled")]
    Disabled,
    /// The token is past its expiry.
    #[error("the token has expired")]
    Expired,
    /// Neither a token nor a certificate.
    #[error("no credentials")]
    NoCredentials,
    /// The token is for another hub or another resource.
    #[error("the token's resource does not cover what is asked for")]
    Resource,
    /// The policy does not allow it.
    #[error("the policy does not allow it")]
    Right,
    /// The signature fits neither key, or the certificate neither thumbprint.
    #[error("the signature or certificate does not match")]
    Signature,
    /// The token cannot be read.
    #[error("the token cannot be read: {0}")]
    Token(#[from] SasError),
    /// There is no such device.
    #[error("there is no such device")]
    UnknownDevice,
    /// There is no such policy.
    #[error("there is no such policy")]
    UnknownPolicy,
}

/// Whom a hub answers to: its host names and policies.
#[derive(Debug)]
pub struct Doors {
    /// In lower case, the hub's own name first.
    pub host_names: Vec<String>,
    /// The shared access policies.
    pub policies: Vec<Policy>,
}

impl Doors {
    /// Whether this is one of the hub's names; case and a port do not matter.
    pub fn is_own_name(&self, host: &str) -> bool {
        let name = host.split_once(':').map_or(host, |(name, _)| name);
        self.host_names.iter().any(|own| own.eq_ignore_ascii_case(name))
    }

    /// Whether this is one of the hub's names, or the first label of one, as SASL PLAIN has it.
    pub fn is_own_short_name(&self, name: &str) -> bool {
        let mut labels = self.host_names.iter().filter_map(|own| own.split('.').next());
        self.is_own_name(name) || labels.any(|label| label.eq_ignore_ascii_case(name))
    }

    /// Lets a caller of the service REST do something with the resource at `path`.
    pub fn admit_caller(&self, token: &str, right: Right, path: &str, now: Timestamp) -> Result<(), Denied> {
        let token = SasToken::parse(token)?;
        let name = token.key_name().ok_or(Denied::UnknownPolicy)?;
        self.admit_policy(&token, name, right)?;
        self.check_scope(&token, path, now)
    }

    /// Whether this is the key of a policy that allows this: for callers in the same process, which need no token.
    pub fn allows(&self, policy: &str, key: &SymmetricKey, right: Right) -> bool {
        let Some(policy) = self.policies.iter().find(|it| it.name == policy) else { return false };
        let mut keys = std::iter::once(&policy.primary_key).chain(&policy.secondary_key);
        keys.any(|own| own == key) && policy.allows(right)
    }

    /// Lets a device connect with a token; tells when the token expires.
    pub fn admit_device(
        &self,
        token: &str,
        id: &DeviceId,
        identity: &Identity,
        now: Timestamp,
    ) -> Result<Timestamp, Denied> {
        let token = SasToken::parse(token)?;
        let path = format!("/devices/{id}");
        match token.key_name() {
            Some(name) => self.admit_policy(&token, name, Right::DeviceConnect)?,
            None => {
                admit_own_key(&token, identity)?;
                if !self.scope(&token.decoded_resource()).is_some_and(|scope| same_resource(scope, &path)) {
                    return Err(Denied::Resource);
                }
            }
        }
        self.check_scope(&token, &path, now)?;
        admit_enabled(identity)?;
        Ok(Timestamp::from_unix_seconds(i64::try_from(token.expiry()).unwrap_or(i64::MAX)))
    }

    fn admit_policy(&self, token: &SasToken, name: &str, right: Right) -> Result<(), Denied> {
        let policy = self.policies.iter().find(|policy| policy.name == name).ok_or(Denied::UnknownPolicy)?;
        let mut keys = std::iter::once(&policy.primary_key).chain(&policy.secondary_key);
        if !keys.any(|key| token.verify(key.as_bytes())) {
            return Err(Denied::Signature);
        }
        if policy.allows(right) { Ok(()) } else { Err(Denied::Right) }
    }

    fn check_scope(&self, token: &SasToken, path: &str, now: Timestamp) -> Result<(), Denied> {
        if i64::try_from(token.expiry()).is_ok_and(|expiry| expiry <= now.unix_seconds()) {
            return Err(Denied::Expired);
        }
        let resource = token.decoded_resource();
        let scope = self.scope(&resource).ok_or(Denied::Resource)?;
        if is_segment_prefix(scope, path) || same_resource(scope, path) {
            Ok(())
        } else {
            Err(Denied::Resource)
        }
    }

    /// What follows the hub's name in a token's resource; `None` when it is of another hub.
    fn scope<'a>(&self, resource: &'a str) -> Option<&'a str> {
        let host_ends = resource.find('/').unwrap_or(resource.len());
        let (host, scope) = resource.split_at(host_ends);
        self.is_own_name(host).then_some(scope)
    }
}

/// Lets a device connect with the certificate it proved to hold.
pub fn admit_certificate(leaf: &[u8], identity: &Identity) -> Result<(), Denied> {
    let Credentials::Thumbprints(primary, secondary) = &identity.credentials else {
        return Err(Denied::Credentials);
    };
    let fits = |thumbprint: &Thumbprint| {
        if thumbprint.is_sha1() {
            thumbprint.is_hex(&hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, leaf).as_ref()))
        } else {
            thumbprint.is_hex(Sha256Thumbprint::of(leaf).as_str())
        }
    };
    if !primary.iter().chain(secondary).any(fits) {
        return Err(Denied::Signature);
    }
    admit_enabled(identity)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn admit_own_key(token: &SasToken, identity: &Identity) -> Result<(), Denied> {
    let Credentials::SymmetricKeys(keys) = &identity.credentials else { return Err(Denied::Credentials) };
    if keys.iter().any(|key| token.verify(key.as_bytes())) { Ok(()) } else { Err(Denied::Signature) }
}

fn admit_enabled(identity: &Identity) -> Result<(), Denied> {
    match identity.status {
        Status::Enabled => Ok(()),
        Status::Disabled => Err(Denied::Disabled),
    }
}

/// Whether `path` lies at or under `scope`, comparing whole segments without case: one SDK lower-cases
/// all of what it signs.
fn is_segment_prefix(scope: &str, path: &str) -> bool {
    let scope = scope.strip_suffix('/').unwrap_or(scope);
    match (path.get(..scope.len()), path.get(scope.len()..)) {
        (Some(head), Some(tail)) => {
            head.eq_ignore_ascii_case(scope) && (tail.is_empty() || tail.starts_with('/'))
        }
        _ => false,
    }
}

/// Whether the scope is that of `path` itself; old C SDKs append `/api-version=…` to it.
fn same_resource(scope: &str, path: &str) -> bool {
    let Some((head, tail)) = scope.split_at_checked(path.len()) else { return false };
    head.eq_ignore_ascii_case(path) && (tail.is_empty() || tail == "/" || tail.starts_with("/api-version="))
}

#[cfg(test)]
mod tests {
    use model::SymmetricKeyPair;
    use wire::sas::sign;

    use super::*;

    const NOW: i64 = 1_000_000;

    fn key(byte: u8) -> SymmetricKey {
        SymmetricKey::from_bytes(&[byte; 32]).unwrap()
    }

    fn doors() -> Doors {
        Doors {
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

    #[track_caller]
    fn check_caller(token: &str, right: Right, path: &str, expected: Result<(), Denied>) {
        assert_eq!(doors().admit_caller(token, right, path, now()), expected, "{path}");
    }

    #[test]
    fn callers_need_the_right_the_scope_and_the_time() {
        let owner = Some("iothubowner");
        check_caller(&token("hub.example", 1, owner), Right::ServiceConnect, "/twins/d", Ok(()));
        check_caller(&token("HUB.example/Devices", 1, owner), Right::RegistryRead, "/devices/d", Ok(()));
        check_caller(&token("localhost:18443", 1, owner), Right::RegistryWrite, "/devices/d", Ok(()));
        let read_write = token("hub.example", 2, Some("registryReadWrite"));
        check_caller(&read_write, Right::RegistryRead, "/devices", Ok(()));
        check_caller(&read_write, Right::ServiceConnect, "/twins/d", Err(Denied::Right));
        let device = token("hub.example/devices/d", 1, owner);
        check_caller(&device, Right::RegistryRead, "/devices/d", Ok(()));
        check_caller(&device, Right::RegistryRead, "/devices/dd", Err(Denied::Resource));
        check_caller(&device, Right::ServiceConnect, "/twins/d", Err(Denied::Resource));
        check_caller(
            &token("other.example", 1, owner),
            Right::RegistryRead,
            "/devices",
            Err(Denied::Resource),
        );
        check_caller(
            &token("hub.example", 9, owner),
            Right::RegistryRead,
            "/devices",
            Err(Denied::Signature),
        );
        check_caller(
            &token("hub.example", 1, Some("x")),
            Right::RegistryRead,
            "/devices",
            Err(Denied::UnknownPolicy),
        );
        check_caller(
            &token("hub.example", 1, None),
            Right::RegistryRead,
            "/devices",
            Err(Denied::UnknownPolicy),
        );
        let stale = sign("hub.example", key(1).as_bytes(), NOW as u64, owner);
        check_caller(&stale, Right::RegistryRead, "/devices", Err(Denied::Expired));
        check_caller("Bearer x", Right::RegistryRead, "/devices", Err(Denied::Token(SasError::Scheme)));
    }

    #[track_caller]
    fn check_device(token: &str, status: Status, expected: Result<(), Denied>) {
        let id = DeviceId::parse("Dev-1").unwrap();
        let keys = SymmetricKeyPair { primary: key(7), secondary: key(8) };
        let mut identity = Identity::new(Credentials::SymmetricKeys(keys), false, &id, now());
        identity.status = status;
        assert_eq!(doors().admit_device(token, &id, &identity, now()).map(drop), expected, "{token}");
    }

    #[test]
    fn devices_come_in_by_their_own_keys_or_a_policy() {
        let own = "hub.example/devices/Dev-1";
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
            Err(Denied::Right),
        );
        check_device(&token("hub.example", 7, None), Status::Enabled, Err(Denied::Resource));
        check_device(&token("hub.example/devices/Dev-2", 7, None), Status::Enabled, Err(Denied::Resource));
        check_device(
            &token("hub.example/devices/Dev-1/modules/m", 7, None),
            Status::Enabled,
            Err(Denied::Resource),
        );
        check_device(&token(own, 9, None), Status::Enabled, Err(Denied::Signature));
        check_device(&token(own, 7, None), Status::Disabled, Err(Denied::Disabled));
        check_device(&sign(own, key(7).as_bytes(), NOW as u64, None), Status::Enabled, Err(Denied::Expired));
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
            (&other, &other, Err(Denied::Signature)),
            ("", "", Err(Denied::Signature)),
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
        assert_eq!(admit_certificate(leaf, &by_key), Err(Denied::Credentials));
    }
}
