//! Revocation lists as operators upload them and distribution points serve them.

use certpath::{Crl, CrlMaxAge};

/// Reads bytes as a file and as text. A list that is read is equal when it is read again from its DER or its stored form.
pub fn run(input: &[u8]) {
    let text = str::from_utf8(input).ok();
    let parsed = [Crl::from_bytes(input).ok(), text.and_then(|text| Crl::parse(text).ok())];
    for crl in parsed.into_iter().flatten() {
        assert_eq!(Crl::from_der(crl.der().to_vec()).as_ref(), Ok(&crl));
        let stored = serde_json::to_string(&crl).expect("a list can be stored");
        assert_eq!(serde_json::from_str::<Crl>(&stored).expect("and read"), crl);
        assert!(!crl.is_older_than(&crl));
        assert_eq!(crl.is_empty(), crl.len() == 0);
        assert!(crl.scope().includes(crl.scope()));
        let _ = (crl.number(), crl.revoked(input), crl.is_stale(CrlMaxAge::default(), crl.this_update()));
    }
}
