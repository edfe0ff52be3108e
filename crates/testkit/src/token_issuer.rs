//! An issuer of bearer tokens: keys as a JWK set, and tokens with any header and claims, also hostile ones.

use std::sync::{Arc, Mutex};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
        RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The issuer of the tokens of tests.
pub const ISSUER: &str = "https://login.example/plant";
/// Their audience, as the clients of Azure request it.
pub const AUDIENCE: &str = "https://azure-devices-provisioning.net";

/// A key that signs tokens.
#[derive(Clone)]
pub enum TokenKey {
    /// ECDSA over P-256.
    Ec(Arc<EcdsaKeyPair>),
    /// RSA with 2048 bits.
    Rsa(Arc<RsaKeyPair>),
}

impl TokenKey {
    /// Generates an ECDSA key.
    pub fn ec() -> TokenKey {
        TokenKey::Ec(Arc::new(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()))
    }

    /// Generates an RSA key.
    pub fn rsa() -> TokenKey {
        TokenKey::Rsa(Arc::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()))
    }

    /// Returns the public key: a point, or the DER of an `RSAPublicKey`.
    pub fn public(&self) -> &[u8] {
        match self {
            TokenKey::Ec(key) => key.public_key().as_ref(),
            TokenKey::Rsa(key) => key.public_key().as_ref(),
        }
    }

    /// Returns the public key as a JWK without `alg`.
    pub fn jwk(&self, id: &str) -> Value {
        let public = self.public();
        match self {
            TokenKey::Ec(_) => {
                let (x, y) = (encode(&public[1..33]), encode(&public[33..]));
                json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": id, "use": "sig"})
            }
            // The DER of a modulus of 2048 bits, whose header has nine bytes, and of the exponent 65537.
            TokenKey::Rsa(_) => {
                let (n, e) = (encode(&public[9..265]), encode(&public[267..]));
                json!({"kty": "RSA", "n": n, "e": e, "kid": id, "use": "sig"})
            }
        }
    }

    /// Signs a token by the algorithm that its header names; with `none` it is not signed.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = match (header["alg"].as_str().unwrap_or_default(), self) {
            ("none", _) => Vec::new(),
            ("HS256", key) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key.public());
                hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
            }
            (_, TokenKey::Ec(key)) => {
                key.sign(&SystemRandom::new(), message.as_bytes()).unwrap().as_ref().to_vec()
            }
            ("PS256", TokenKey::Rsa(key)) => sign_rsa(key, &RSA_PSS_SHA256, &message),
            (_, TokenKey::Rsa(key)) => sign_rsa(key, &RSA_PKCS1_SHA256, &message),
        };
        format!("{message}.{}", encode(signature))
    }
}

fn sign_rsa(key: &RsaKeyPair, padding: &'static dyn RsaEncoding, message: &str) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    signature
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer with one key at a time.
pub struct TokenIssuer {
    current: Mutex<(String, TokenKey)>,
}

impl TokenIssuer {
    /// Creates an issuer with an ECDSA key of this ID.
    pub fn new(key_id: &str) -> TokenIssuer {
        TokenIssuer { current: Mutex::new((key_id.to_owned(), TokenKey::ec())) }
    }

    /// Replaces the key.
    pub fn rotate(&self, key_id: &str) {
        *self.current.lock().unwrap() = (key_id.to_owned(), TokenKey::ec());
    }

    /// Returns the JWK set.
    pub fn key_set(&self) -> Vec<u8> {
        let (id, key) = self.current.lock().unwrap().clone();
        json!({"keys": [key.jwk(&id)]}).to_string().into_bytes()
    }

    /// Signs an access token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let (id, key) = self.current.lock().unwrap().clone();
        key.sign(&json!({"alg": "ES256", "typ": "at+jwt", "kid": id}), claims)
    }
}

/// Returns the claims of an access token for a subject with these roles, which expires at this second since 1970.
pub fn claims(subject: &str, roles: &[&str], expires: i64) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "exp": expires, "roles": roles})
}
