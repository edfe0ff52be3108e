//! The keys of a provider: a JWK set (RFC 7517).

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse},
};
use serde_json::Value;

/// The maximum number of keys of a set. Providers have one to ten.
pub(crate) const MAX_KEYS: usize = 100;

/// The public keys that signatures are verified with.
#[derive(Default)]
pub(crate) struct KeySet(Vec<VerificationKey>);

/// A key, and the one algorithm that it is for.
pub(crate) struct VerificationKey {
    id: Option<String>,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

impl KeySet {
    /// Parses a JWK set. Keys that are not for signatures, are symmetric, or are of a kind that is not supported are skipped. Fails if
    /// no key is left.
    pub(crate) fn parse(document: &[u8]) -> Result<KeySet, String> {
        let set: Value =
            serde_json::from_slice(document).map_err(|error| format!("not a JWK set: {error}"))?;
        let keys =
            set.get("keys").and_then(Value::as_array).ok_or("not a JWK set: there is no array keys")?;
        if keys.len() > MAX_KEYS {
            return Err(format!("the JWK set has more than {MAX_KEYS} keys"));
        }
        let keys: Vec<_> = keys.iter().filter_map(VerificationKey::parse).collect();
        if keys.is_empty() {
            return Err("the JWK set has no key for signatures by RSA, ECDSA or EdDSA".to_owned());
        }
        Ok(KeySet(keys))
    }

    /// Returns the key with this ID. A token without an ID is verified by the only key of its set.
    pub(crate) fn find(&self, id: Option<&str>) -> Option<&VerificationKey> {
        match (id, self.0.as_slice()) {
            (None, [only]) => Some(only),
            (None, _) => None,
            (Some(id), keys) => keys.iter().find(|key| key.id.as_deref() == Some(id)),
        }
    }
}

impl VerificationKey {
    fn parse(key: &Value) -> Option<VerificationKey> {
        let jwk: Jwk = serde_json::from_value(key.clone()).ok()?;
        let is_for_signatures =
            jwk.common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
        let algorithm = algorithm(&jwk).filter(|_| is_for_signatures)?;
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        Some(VerificationKey { id: jwk.common.key_id, algorithm, key })
    }
}

/// Returns the algorithm of a key: the one that it names, if it fits, else the usual one of its kind. Never that of a token.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let fitting: &[Algorithm] = match &jwk.algorithm {
        // Keys of Entra name none.
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => &[ES256],
        AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P384 => &[ES384],
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[EdDSA],
        _ => return None,
    };
    match jwk.common.key_algorithm {
        None => fitting.first().copied(),
        Some(named) => Algorithm::try_from(named).ok().filter(|named| fitting.contains(named)),
    }
}
