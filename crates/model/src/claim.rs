//! Signed claims of shared access tokens, and their verification for the device endpoint, the service endpoint and hubs.
//!
//! A claim is verified in two steps whose order is fixed: [`SignedClaim::check`] compares expiry and audience, and
//! only the [`CheckedClaim`] that it returns can be asked who signed it. Both steps take the same time for a policy or
//! a device that does not exist as for a wrong signature.

use std::fmt;

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};

use crate::{
    AccessPolicy, KeySlot, SymmetricKey, SymmetricKeyPair, Timestamp,
    hmac_sha256::{self, MacKey, Message},
};

/// A resource, an expiry and a MAC over both, as a token carries them. Unverified.
#[derive(Clone)]
pub struct SignedClaim {
    /// The resource claimed, percent-decoded, for example `{idScope}/registrations/{registrationId}`.
    pub resource: String,
    /// When the claim expires, including the allowance for clock skew.
    pub expires: Timestamp,
    /// The text that was signed.
    pub signed_text: String,
    /// HMAC-SHA256 of that text.
    pub mac: Vec<u8>,
    /// The policy whose key signed it (`skn`), if the token names one.
    pub policy: Option<String>,
}

/// The resource of one service that a claim must be for.
#[derive(Debug, Clone)]
pub struct Audience<'a> {
    /// The service's names: its host names, or an ID scope. Compared without case and port.
    pub names: Vec<&'a str>,
    /// The requested path, percent-decoded. Compared by segments and without case, because clients differ in both.
    pub path: &'a str,
    /// Whether a claim to a parent of the path is enough.
    pub extent: Extent,
}

/// How much a claim may cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The resource itself only.
    Exactly,
    /// The resource, or any parent of it up to the whole service.
    Within,
}

/// Why a claim is refused before its signature is verified; for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClaimRefusal {
    /// It has expired.
    #[error("the token expired at {0}")]
    Expired(Timestamp),
    /// It is for another resource.
    #[error("the token is for {0:?}")]
    OtherResource(String),
}

/// Why a claim is not that of a policy; for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyRefusal {
    /// Neither key of the policy made the signature.
    #[error("the signature is not by a key of policy {0:?}")]
    Signature(String),
    /// The service has no such policy, or the token names none.
    #[error("there is no policy {0:?}")]
    Unknown(String),
}

/// A shared access policy that claims name: two keys of equal rank.
pub trait KeyedPolicy {
    /// Returns the name, which claims write without regard to case.
    fn name(&self) -> &str;
    /// Returns both keys; the same one twice if there is only one.
    fn keys(&self) -> [&SymmetricKey; 2];
}

impl KeyedPolicy for AccessPolicy {
    fn name(&self) -> &str {
        self.name.as_str()
    }

    fn keys(&self) -> [&SymmetricKey; 2] {
        [&self.primary_key, &self.secondary_key]
    }
}

/// A claim that has not expired and is for the requested resource. Its signature is not verified yet.
#[derive(Debug, Clone, Copy)]
pub struct CheckedClaim<'a>(&'a SignedClaim);

/// A checked claim that is compared with the keys derived from group keys for one registration ID.
pub struct DerivedClaim<'a> {
    registration_id: Message,
    signed_text: Message,
    mac: &'a [u8],
}

impl SignedClaim {
    /// Returns the claim as one whose signature counts, if it has not expired and is for this audience.
    pub fn check(&self, audience: &Audience<'_>, now: Timestamp) -> Result<CheckedClaim<'_>, ClaimRefusal> {
        if self.expires < now {
            return Err(ClaimRefusal::Expired(self.expires));
        }
        if !audience.is_covered_by(&self.resource) {
            return Err(ClaimRefusal::OtherResource(self.resource.clone()));
        }
        Ok(CheckedClaim(self))
    }
}

impl CheckedClaim<'_> {
    /// Whether this key made the MAC, in constant time.
    pub fn is_signed_by(&self, key: &SymmetricKey) -> bool {
        self.is_mac_under(key.as_bytes())
    }

    /// Returns the claim for comparison with keys derived from group keys for this registration ID.
    pub fn by_derived_key(&self, registration_id: &str) -> DerivedClaim<'_> {
        DerivedClaim {
            registration_id: Message::new(registration_id.as_bytes()),
            signed_text: Message::new(self.0.signed_text.as_bytes()),
            mac: &self.0.mac,
        }
    }

    /// Returns the policy that the claim names, if one of its keys made the MAC.
    pub fn policy<'p, P: KeyedPolicy>(&self, policies: &'p [P]) -> Result<&'p P, PolicyRefusal> {
        let name = self.0.policy.as_deref().unwrap_or_default();
        let found = policies.iter().find(|policy| policy.name().eq_ignore_ascii_case(name));
        let signed = self.slot_signing(found.map(KeyedPolicy::keys));
        let policy = found.ok_or_else(|| PolicyRefusal::Unknown(name.to_owned()))?;
        if signed.is_some() { Ok(policy) } else { Err(PolicyRefusal::Signature(policy.name().to_owned())) }
    }

    /// Whether one of a device's keys made the MAC. `None` for a device that has none or does not exist.
    pub fn is_signed_by_device(&self, keys: Option<&SymmetricKeyPair>) -> bool {
        self.device_key(keys).is_some()
    }

    /// Returns which of a device's keys made the MAC.
    pub fn device_key(&self, keys: Option<&SymmetricKeyPair>) -> Option<KeySlot> {
        self.slot_signing(keys.map(|keys| [&keys.primary, &keys.secondary]))
    }

    /// Tries both keys whatever the first result, and dummy keys if there are none, so that the time reveals neither which key it
    /// was nor whether there is one.
    fn slot_signing(&self, keys: Option<[&SymmetricKey; 2]>) -> Option<KeySlot> {
        let tried = keys.map_or([&STAND_IN[..]; 2], |keys| keys.map(SymmetricKey::as_bytes));
        let signed = tried.map(|key| self.is_mac_under(key));
        let signing = KeySlot::ALL.into_iter().zip(signed).find(|(_, signed)| *signed);
        keys.and(signing).map(|(slot, _)| slot)
    }

    fn is_mac_under(&self, key: &[u8]) -> bool {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::verify(&key, self.0.signed_text.as_bytes(), &self.0.mac).is_ok()
    }
}

impl DerivedClaim<'_> {
    /// Returns the index of the first of these group keys whose derived key made the MAC. All are tried together, at a third of the
    /// cost of one after the other. The derived keys are not cached, for at most one fits.
    pub fn signer_among(&self, group_keys: &[&SymmetricKey]) -> Option<usize> {
        let keys = group_keys.iter().map(|key| key.mac_key());
        let derived = hmac_sha256::macs(keys, &self.registration_id);
        let derived: Vec<_> = derived.iter().map(|key| MacKey::new(key)).collect();
        let macs = hmac_sha256::macs(derived.iter(), &self.signed_text);
        macs.iter().position(|mac| verify_slices_are_equal(mac, self.mac).is_ok())
    }
}

impl Audience<'_> {
    /// Whether the resource of a claim covers this. Clients may write a scheme or a port.
    fn is_covered_by(&self, resource: &str) -> bool {
        let rest = resource.split_once("://").map_or(resource, |(_, rest)| rest);
        let mut claimed = segments(rest);
        let name = claimed.next().map(without_port).unwrap_or_default();
        if !self.names.iter().any(|own| own.eq_ignore_ascii_case(name)) {
            return false;
        }
        let mut path = segments(self.path);
        let covers = claimed.all(|segment| match path.next() {
            Some(own) => own.eq_ignore_ascii_case(segment),
            None => segment.starts_with(VERSION_SUFFIX),
        });
        covers && (self.extent == Extent::Within || path.next().is_none())
    }
}

impl fmt::Debug for SignedClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedClaim({}, until {}, {:?})", self.resource, self.expires, self.policy)
    }
}

/// Removes the port from a host name.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn segments(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|segment| !segment.is_empty())
}

/// The dummy key that is tried if there is no key. Nothing that it signed is accepted.
const STAND_IN: [u8; 32] = [0; 32];
/// Old C SDKs append `/api-version=…` to the resource that they sign.
const VERSION_SUFFIX: &str = "api-version=";

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Extent = Extent::Within;
    const EXACTLY: Extent = Extent::Exactly;

    #[test]
    fn audiences() {
        let cases = [
            ("one.example", WITHIN, true),
            ("ONE.example", WITHIN, true),
            ("one.example:8443", WITHIN, true),
            ("localhost", WITHIN, true),
            ("https://one.example", WITHIN, true),
            ("http://127.0.0.1:18080", WITHIN, false),
            ("https://one.example:443/", WITHIN, true),
            ("one.example/devices", WITHIN, true),
            ("one.example/Devices/A:1", WITHIN, true),
            ("one.example/devices/a", WITHIN, false),
            ("one.example/dev", WITHIN, false),
            ("one.example/twins", WITHIN, false),
            ("one.example/devices/a:1/x", WITHIN, false),
            ("one.example/devices/a:1/api-version=2016-11-14", WITHIN, true),
            ("two.example", WITHIN, false),
            ("one.example.evil.test", WITHIN, false),
            ("evil.test/one.example", WITHIN, false),
            ("", WITHIN, false),
            ("one.example/devices/a:1", EXACTLY, true),
            ("/one.example/devices/a:1/", EXACTLY, true),
            ("one.example/devices/a:1/api-version=2016-11-14", EXACTLY, true),
            ("one.example/devices", EXACTLY, false),
            ("one.example/devices/api-version=2016-11-14", EXACTLY, false),
            ("one.example", EXACTLY, false),
        ];
        for (resource, extent, covered) in cases {
            let names = vec!["one.example", "localhost"];
            let audience = Audience { names, path: "/devices/a:1", extent };
            assert_eq!(audience.is_covered_by(resource), covered, "{resource} {extent:?}");
        }
    }

    /// The place of each signer among keys of which none is like another, and none where none signed.
    #[test]
    fn the_group_key_behind_a_derived_key_is_found() {
        let keys: Vec<_> = (0..40).map(|at| SymmetricKey::from_bytes(&[at; 64]).unwrap()).collect();
        let keys: Vec<_> = keys.iter().collect();
        let claim_by = |key: &SymmetricKey| SignedClaim {
            resource: "one.example".to_owned(),
            expires: Timestamp::from_unix_seconds(1),
            signed_text: "text".to_owned(),
            mac: hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes()), b"text").as_ref().to_vec(),
            policy: None,
        };
        for (at, key) in keys.iter().enumerate() {
            let claim = claim_by(&key.derive("dev-1"));
            let claim = CheckedClaim(&claim);
            assert_eq!(claim.by_derived_key("dev-1").signer_among(&keys), Some(at));
            assert_eq!(claim.by_derived_key("dev-2").signer_among(&keys), None);
            assert_eq!(claim.by_derived_key("dev-1").signer_among(&keys[..at]), None);
        }
        assert_eq!(CheckedClaim(&claim_by(keys[0])).by_derived_key("dev-1").signer_among(&keys), None);
    }

    #[test]
    fn a_missing_key_signs_nothing() {
        let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &STAND_IN), b"text");
        let claim = SignedClaim {
            resource: "one.example".to_owned(),
            expires: Timestamp::from_unix_seconds(1),
            signed_text: "text".to_owned(),
            mac: mac.as_ref().to_vec(),
            policy: None,
        };
        let claim = CheckedClaim(&claim);
        assert!(claim.is_mac_under(&STAND_IN));
        assert!(!claim.is_signed_by_device(None));
        let refused = claim.policy::<AccessPolicy>(&[]).map(drop);
        assert_eq!(refused, Err(PolicyRefusal::Unknown(String::new())));
    }
}
