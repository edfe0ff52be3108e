//! Shared access signatures and connection strings.

use model::{Audience, CheckedClaim, Extent, SignedClaim, SymmetricKey, Timestamp};
use wire::sas::{self, ConnectionString, sign};

/// What parses can be asked everything, and what is signed over it is verified by the same key only.
pub fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(claim) = sas::parse(text) {
        if let Some(checked) = checked(&claim) {
            assert!(!checked.is_signed_by(&key(2)));
            assert!(!checked.is_signed_by_device(None));
        }
        let _ = format!("{claim:?}");
        sign_again(&claim);
    }
    if let Ok(parsed) = ConnectionString::parse(text) {
        assert_eq!(ConnectionString::parse(&parsed.to_string()).as_ref(), Ok(&parsed));
        let other = ConnectionString { key: "another key".to_owned(), ..parsed.clone() };
        assert_eq!(format!("{parsed:?}"), format!("{other:?}"), "the key shows");
    }
}

fn sign_again(claim: &SignedClaim) {
    let text = sign(&claim.resource, key(1).as_bytes(), 1_000, claim.policy.as_deref());
    // Escapes may make it longer than a token may be.
    let Ok(again) = sas::parse(&text) else { return };
    assert_eq!(again.resource, claim.resource);
    assert_eq!(again.policy, claim.policy.clone().filter(|name| !name.is_empty()));
    let Some(checked) = checked(&again) else { return };
    assert!(checked.is_signed_by(&key(1)) && !checked.is_signed_by(&key(2)));
}

/// The claim as one to the very resource that it names; `None` if it names nothing.
fn checked(claim: &SignedClaim) -> Option<CheckedClaim<'_>> {
    let (name, path) = claim.resource.split_once('/').unwrap_or((&claim.resource, ""));
    let audience = Audience { names: vec![name], path, extent: Extent::Within };
    claim.check(&audience, Timestamp::from_unix_seconds(0)).ok()
}

fn key(byte: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[byte; 32]).expect("32 bytes are a key")
}
