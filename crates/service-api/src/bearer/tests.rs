//! Tables of tokens, which are accepted only as they are issued, and the fetching of keys.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use model::{IdScope, Identity, Role, Subject};
use serde_json::{Value, json};
use testkit::token_issuer::{AUDIENCE, ISSUER, TokenIssuer, TokenKey, claims};

use super::{keys::KeySet, token::BearerRefusal as Refusal, *};
use crate::access::GrantScope;

const NOW: i64 = 1_800_000_000;

fn settings() -> BearerSettings {
    let row = RoleRow {
        value: "line-one".to_owned(),
        role: Role::DataContributor,
        on: GrantScope::Instance(IdScope::parse("one").unwrap()),
    };
    BearerSettings {
        issuer: Issuer::parse(ISSUER).unwrap(),
        audiences: vec!["other".to_owned(), AUDIENCE.to_owned()],
        roles: RoleTable::new(ClaimPointer::parse("/roles").unwrap(), vec![row]),
    }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(NOW)
}

fn key_set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap_or_default()
}

fn verify(token: &str, keys: &[Value]) -> Result<VerifiedToken, Refusal> {
    token::verify(token, &key_set(keys), &settings(), now())
}

/// Returns the claims of a valid token with one of them changed; null removes it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("alice", &["line-one"], NOW + 600);
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

fn header(algorithm: &str) -> Value {
    json!({"alg": algorithm, "typ": "at+jwt", "kid": "1"})
}

#[test]
fn a_token_names_its_subject_and_roles() {
    let key = TokenKey::ec();
    let token = key.sign(&header("ES256"), &claims("alice", &["line-one", "unknown"], NOW + 600));
    let verified = verify(&token, &[key.jwk("1")]).unwrap();
    let subject = Subject::parse(Issuer::parse(ISSUER).unwrap(), "alice").unwrap();
    assert_eq!(verified.identity, Identity::Subject(subject));
    assert_eq!(verified.grants.iter().map(|it| it.role).collect::<Vec<_>>(), [Some(Role::DataContributor)]);
}

#[test]
fn claims_decide_whether_a_token_is_accepted() {
    let key = TokenKey::ec();
    let skew = 60;
    let table = [
        (with("aud", json!([AUDIENCE])), None),
        (with("aud", json!(["x", "other"])), None),
        (with("aud", json!("x")), Some(Refusal::Audience)),
        (with("aud", json!([])), Some(Refusal::Audience)),
        (with("aud", json!([[AUDIENCE]])), Some(Refusal::Audience)),
        (with("aud", json!(format!("{AUDIENCE}/"))), Some(Refusal::Audience)),
        (with("aud", json!({"a": AUDIENCE})), Some(Refusal::Claim("aud"))),
        (with("aud", Value::Null), Some(Refusal::Claim("aud"))),
        (with("iss", json!("https://login.example/plant/")), Some(Refusal::Issuer)),
        (with("iss", json!("https://LOGIN.example/plant")), Some(Refusal::Issuer)),
        (with("iss", json!([ISSUER])), Some(Refusal::Claim("iss"))),
        (with("iss", Value::Null), Some(Refusal::Claim("iss"))),
        (with("sub", Value::Null), Some(Refusal::Claim("sub"))),
        (with("sub", json!("")), Some(Refusal::Claim("sub"))),
        (with("sub", json!(7)), Some(Refusal::Claim("sub"))),
        (with("sub", json!("a\nb")), Some(Refusal::Claim("sub"))),
        (with("sub", json!("a".repeat(256))), Some(Refusal::Claim("sub"))),
        (with("exp", json!(NOW - skew)), None),
        (with("exp", json!(NOW - skew - 1)), Some(Refusal::Expired)),
        (with("exp", json!(NOW as f64 + 0.5)), None),
        (with("exp", json!(i64::MIN)), Some(Refusal::Expired)),
        (with("exp", json!(1e300)), None),
        (with("exp", json!("1800000600")), Some(Refusal::Claim("exp"))),
        (with("exp", Value::Null), Some(Refusal::Claim("exp"))),
        (with("nbf", json!(NOW + skew)), None),
        (with("nbf", json!(NOW + skew + 1)), Some(Refusal::Early)),
        (with("nbf", json!("soon")), Some(Refusal::Claim("nbf"))),
        (with("typ", json!("Bearer")), None),
        (with("typ", json!("ID")), Some(Refusal::Type)),
        (with("typ", json!("Refresh")), Some(Refusal::Type)),
        (with("typ", json!(1)), Some(Refusal::Type)),
    ];
    for (claims, refusal) in table {
        let found = verify(&key.sign(&header("ES256"), &claims), &[key.jwk("1")]);
        assert_eq!(found.err(), refusal, "{claims}");
    }
}

#[test]
fn only_access_tokens_are_accepted() {
    let key = TokenKey::ec();
    let id_claims = |name: &str| with(name, json!("x"));
    let plain = || with("azp", json!("client"));
    let table = [
        (json!({"typ": "at+jwt"}), id_claims("nonce"), true),
        (json!({"typ": "application/AT+JWT"}), plain(), true),
        (json!({"typ": "JWT"}), plain(), true),
        (json!({}), plain(), true),
        (json!({"typ": "JWT"}), id_claims("nonce"), false),
        (json!({}), id_claims("at_hash"), false),
        (json!({"typ": "jwt"}), id_claims("c_hash"), false),
        (json!({"typ": "JWT"}), with("events", json!({})), false),
        (json!({"typ": "logout+jwt"}), plain(), false),
        (json!({"typ": "dpop+jwt"}), plain(), false),
        (json!({"typ": ""}), plain(), false),
    ];
    for (mut header, claims, is_accepted) in table {
        header["alg"] = json!("ES256");
        header["kid"] = json!("1");
        let found = verify(&key.sign(&header, &claims), &[key.jwk("1")]);
        assert_eq!(found.err(), (!is_accepted).then_some(Refusal::Type), "{header} {claims}");
    }
    let critical = json!({"alg": "ES256", "typ": "at+jwt", "kid": "1", "crit": ["b64"], "b64": false});
    assert_eq!(verify(&key.sign(&critical, &plain()), &[key.jwk("1")]).err(), Some(Refusal::Malformed));
}

/// Every algorithm over every kind of key, and what the header may claim of keys.
#[test]
fn the_key_decides_about_the_algorithm() {
    let (ec, other, rsa) = (TokenKey::ec(), TokenKey::ec(), TokenKey::rsa());
    let good = claims("alice", &[], NOW + 600);
    let with_alg = |key: &TokenKey, algorithm: &str| {
        let mut jwk = key.jwk("1");
        jwk["alg"] = json!(algorithm);
        jwk
    };
    let signed = |key: &TokenKey, algorithm: &str| key.sign(&header(algorithm), &good);
    let table = [
        (signed(&ec, "ES256"), ec.jwk("1"), None),
        (signed(&rsa, "RS256"), rsa.jwk("1"), None),
        (signed(&rsa, "PS256"), with_alg(&rsa, "PS256"), None),
        (signed(&rsa, "PS256"), rsa.jwk("1"), Some(Refusal::Algorithm)),
        (signed(&rsa, "RS256"), with_alg(&rsa, "PS256"), Some(Refusal::Algorithm)),
        (signed(&rsa, "RS512"), rsa.jwk("1"), Some(Refusal::Algorithm)),
        (signed(&ec, "none"), ec.jwk("1"), Some(Refusal::Malformed)),
        (signed(&ec, "None"), ec.jwk("1"), Some(Refusal::Malformed)),
        (signed(&ec, "HS256"), ec.jwk("1"), Some(Refusal::Algorithm)),
        (signed(&rsa, "HS256"), rsa.jwk("1"), Some(Refusal::Algorithm)),
        (signed(&rsa, "RS256"), ec.jwk("1"), Some(Refusal::Algorithm)),
        (signed(&ec, "ES384"), ec.jwk("1"), Some(Refusal::Algorithm)),
        (signed(&other, "ES256"), ec.jwk("1"), Some(Refusal::Signature)),
        (signed(&ec, "ES256"), ec.jwk("2"), Some(Refusal::UnknownKey)),
    ];
    for (index, (token, jwk, refusal)) in table.into_iter().enumerate() {
        assert_eq!(verify(&token, &[jwk]).err(), refusal, "row {index}");
    }
    // Keys that the token brings along, or says where to find, count for nothing.
    for (name, value) in [("jwk", other.jwk("1")), ("jku", json!("https://evil.example/keys"))] {
        let mut header = header("ES256");
        header[name] = value;
        assert_eq!(verify(&other.sign(&header, &good), &[ec.jwk("1")]).err(), Some(Refusal::Signature));
    }
}

#[test]
fn keys_that_do_not_verify_signatures_are_skipped() {
    let key = TokenKey::ec();
    let mut for_encryption = key.jwk("1");
    for_encryption["use"] = json!("enc");
    let symmetric = json!({"kty": "oct", "k": "AAAA", "kid": "1", "alg": "HS256"});
    let unknown = json!({"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "1"});
    let mut of_rsa = key.jwk("1");
    of_rsa["alg"] = json!("RS256");
    let none = [for_encryption, symmetric, unknown, of_rsa, json!(7), json!({})];
    let document = |keys: &[Value]| json!({"keys": keys}).to_string().into_bytes();
    assert!(KeySet::parse(&document(&none)).is_err());
    let token = key.sign(&json!({"alg": "ES256"}), &claims("alice", &[], NOW + 600));
    let all: Vec<Value> = none.into_iter().chain([key.jwk("1")]).collect();
    assert!(verify(&token, &all).is_ok(), "the only usable key of the set");
    assert_eq!(verify(&token, &[key.jwk("1"), key.jwk("2")]).err(), Some(Refusal::UnknownKey));
    assert!(KeySet::parse(&document(&vec![key.jwk("1"); keys::MAX_KEYS + 1])).is_err());
    assert!(KeySet::parse(b"[]").is_err() && KeySet::parse(b"{").is_err());
}

/// No change of a single byte of a valid token leaves it valid, and no text is more than refused.
#[test]
fn a_changed_token_is_refused() {
    let key = TokenKey::ec();
    let token = key.sign(&header("ES256"), &claims("alice", &["line-one"], NOW + 600));
    let jwk = [key.jwk("1")];
    assert!(verify(&token, &jwk).is_ok());
    for at in 0..token.len() {
        for byte in [b'A', b'z', b'.', b' ', b'='] {
            let mut changed = token.clone().into_bytes();
            changed[at] = byte;
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed == token || verify(&changed, &jwk).is_err(), "{at}: {changed}");
        }
        assert!(verify(&token[..at], &jwk).is_err(), "{at}");
    }
    for text in ["", ".", "..", "...", "a.b.c", &"x".repeat(token::MAX_TOKEN_BYTES + 1)] {
        assert!(verify(text, &jwk).is_err(), "{text}");
    }
}

/// A provider that counts requests, and may be down or slow.
struct Provider {
    issuer: TokenIssuer,
    requests: AtomicUsize,
    is_down: std::sync::atomic::AtomicBool,
}

#[async_trait]
impl KeySource for Provider {
    async fn fetch(&self) -> Result<Vec<u8>, String> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
        if self.is_down.load(Ordering::SeqCst) { Err("down".to_owned()) } else { Ok(self.issuer.key_set()) }
    }
}

impl Provider {
    fn start() -> (Arc<Provider>, Arc<BearerTokens>) {
        let provider = Provider {
            issuer: TokenIssuer::new("1"),
            requests: AtomicUsize::default(),
            is_down: false.into(),
        };
        let provider = Arc::new(provider);
        (Arc::clone(&provider), Arc::new(BearerTokens::new(settings(), provider)))
    }

    fn token(&self, subject: &str) -> String {
        self.issuer.sign(&claims(subject, &[], NOW + 600))
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    fn set_down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }
}

async fn refusal(tokens: &BearerTokens, token: &str) -> Option<BearerFailure> {
    tokens.verify(token, now()).await.err()
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_for_all_callers_and_seldom_for_unknown_ones() {
    let (provider, tokens) = Provider::start();
    let callers = (0..50).map(|number| {
        let (tokens, token) = (Arc::clone(&tokens), provider.token(&format!("subject-{number}")));
        tokio::spawn(async move { refusal(&tokens, &token).await })
    });
    for caller in callers.collect::<Vec<_>>() {
        assert_eq!(caller.await.unwrap(), None);
    }
    assert_eq!(provider.requests(), 1);
    let unknown = TokenIssuer::new("unknown").sign(&claims("mallory", &[], NOW + 600));
    for _ in 0..100 {
        let refused = refusal(&tokens, &unknown).await;
        assert_eq!(refused, Some(BearerFailure::Refused(Refusal::UnknownKey)));
    }
    assert_eq!(provider.requests(), 1);
    tokio::time::advance(Duration::from_secs(30)).await;
    refusal(&tokens, &unknown).await;
    assert_eq!(provider.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn rotated_keys_are_found_and_withdrawn_ones_end() {
    let (provider, tokens) = Provider::start();
    let old = provider.token("alice");
    assert_eq!(refusal(&tokens, &old).await, None);
    provider.issuer.rotate("2");
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(refusal(&tokens, &provider.token("alice")).await, None);
    assert_eq!(refusal(&tokens, &old).await, Some(BearerFailure::Refused(Refusal::UnknownKey)));
    // Without a token of a new key, the age of the keys leads to the next fetch, also while tokens are remembered.
    let current = provider.token("bob");
    assert_eq!(refusal(&tokens, &current).await, None);
    provider.issuer.rotate("3");
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert_eq!(refusal(&tokens, &current).await, None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(refusal(&tokens, &current).await, Some(BearerFailure::Refused(Refusal::UnknownKey)));
}

#[tokio::test(start_paused = true)]
async fn known_keys_are_used_while_the_provider_is_down() {
    let (provider, tokens) = Provider::start();
    provider.set_down(true);
    let token = provider.token("alice");
    assert_eq!(refusal(&tokens, &token).await, Some(BearerFailure::NoKeys("down".to_owned())));
    assert_eq!(refusal(&tokens, &token).await, Some(BearerFailure::NoKeys("down".to_owned())));
    assert_eq!(provider.requests(), 1);
    provider.set_down(false);
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(refusal(&tokens, &token).await, None);
    provider.set_down(true);
    tokio::time::advance(Duration::from_secs(7200)).await;
    assert_eq!(refusal(&tokens, &provider.token("bob")).await, None);
    let unknown = TokenIssuer::new("unknown").sign(&claims("mallory", &[], NOW + 600));
    assert_eq!(refusal(&tokens, &unknown).await, Some(BearerFailure::NoKeys("down".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_token_expires() {
    let (provider, tokens) = Provider::start();
    let token = provider.token("alice");
    let at =
        async |second: i64| tokens.verify(&token, Timestamp::from_unix_seconds(NOW + second)).await.map(drop);
    assert_eq!(at(0).await, Ok(()));
    assert_eq!(at(660).await, Ok(()));
    assert_eq!(at(661).await, Err(BearerFailure::Refused(Refusal::Expired)));
}
