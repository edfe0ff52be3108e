//! Signatures of RSA with PSS, created by OpenSSL: `tests/it/fixtures/pss/make.sh`.

use certpath::{
    CertificateParts, Question, Time,
    encoding::{Object, read_object},
    verify,
};

use crate::ca::presented;

macro_rules! fixture {
    ($name:literal) => {
        read_object(include_bytes!(concat!("fixtures/pss/", $name, ".pem")), Object::Certificate).unwrap()
    };
}

/// The CA has an ordinary RSA key, or one for PSS only.
#[test]
fn pss_with_every_salt() {
    let unsigned = Err("CN=dev-1: is not signed by its issuer's key");
    let unsupported = Err("CN=dev-1: is signed by an algorithm that is not accepted");
    let (rsa, pss, limited) = (fixture!("root-rsa"), fixture!("root-pss"), fixture!("root-limited"));
    let cases = [
        ("the longest salt, OpenSSL's default", &rsa, fixture!("rsa-max"), Ok(())),
        ("as long as the hash", &rsa, fixture!("rsa-digest"), Ok(())),
        ("no salt", &rsa, fixture!("rsa-zero"), Ok(())),
        ("20 bytes, which is not written down", &rsa, fixture!("rsa-20"), Ok(())),
        ("SHA-384", &rsa, fixture!("rsa-sha384"), Ok(())),
        ("SHA-512", &rsa, fixture!("rsa-sha512"), Ok(())),
        ("a key for PSS", &pss, fixture!("pss-max"), Ok(())),
        ("a key for PSS with SHA-256 and 32 bytes", &limited, fixture!("limited-32"), Ok(())),
        ("another key", &pss, fixture!("rsa-max"), unsigned),
        ("SHA-1", &rsa, fixture!("rsa-sha1"), unsupported),
        ("SHA-1 for the mask", &rsa, fixture!("rsa-mgf1-sha1"), unsupported),
    ];
    // 2027-06-01T00:00:00Z.
    let question = Question { at: Time::from_unix_seconds(1_811_808_000), purpose: None };
    for (case, root, leaf, expected) in cases {
        let sent = [leaf];
        let verified = verify(&presented(&sent).unwrap(), &[CertificateParts::read(root).unwrap()], question);
        match (verified, expected) {
            (Ok(path), Ok(())) => assert_eq!(path, [&sent[0][..], root], "{case}"),
            (Err(error), Err(expected)) => {
                assert!(error.to_string().starts_with(expected), "{case}: {error}")
            }
            (verified, _) => panic!("{case}: {verified:?}"),
        }
    }
}
