//! Shared access signatures and connection strings.

use wire::sas::{ConnectionString, SasToken, sign};

/// What parses can be asked everything, and what is signed over it is verified by the same key only.
pub fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(token) = SasToken::parse(text) {
        assert!(!token.verify(b"a key that signed nothing"));
        assert!(token.is_expired(i64::MAX) || token.expiry() > i64::MAX as u64 / 2);
        let _ = (token.resource_text(), token.mac(), format!("{token:?}"));
        sign_again(&token);
    }
    if let Ok(parsed) = ConnectionString::parse(text) {
        assert_eq!(ConnectionString::parse(&parsed.to_string()).as_ref(), Ok(&parsed));
        let other = ConnectionString { key: "another key".to_owned(), ..parsed.clone() };
        assert_eq!(format!("{parsed:?}"), format!("{other:?}"), "the key shows");
    }
}

fn sign_again(token: &SasToken) {
    let resource = token.decoded_resource();
    let text = sign(&resource, b"key", token.expiry(), token.key_name());
    // Escapes may make it longer than a token may be.
    let Ok(again) = SasToken::parse(&text) else { return };
    assert!(again.verify(b"key") && !again.verify(b"yek"));
    assert_eq!((again.decoded_resource(), again.expiry()), (resource, token.expiry()));
    assert_eq!(again.key_name(), token.key_name());
}
