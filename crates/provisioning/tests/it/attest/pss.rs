//! Signatures of RSA with PSS, made by OpenSSL: `tests/it/fixtures/pss/make.sh`.

use model::{Certificate, Timestamp};

use super::case::{DEVICE, by_group, certificates, check, group};

macro_rules! fixture {
    ($name:literal) => {
        Certificate::parse(include_str!(concat!("../fixtures/pss/", $name, ".pem"))).unwrap()
    };
}

/// By a CA with an ordinary RSA key, and by one whose key is for PSS alone.
#[test]
fn pss_with_every_salt() {
    let unsigned = Err("CN=dev-1: is not signed by its issuer's key");
    let not_taken = Err("CN=dev-1: is signed by an algorithm that is not taken");
    let (rsa, pss) = (fixture!("root-rsa"), fixture!("root-pss"));
    let limited = fixture!("root-limited");
    let cases = [
        ("the longest salt, OpenSSL's default", &rsa, fixture!("rsa-max"), Ok("root")),
        ("as long as the hash", &rsa, fixture!("rsa-digest"), Ok("root")),
        ("no salt", &rsa, fixture!("rsa-zero"), Ok("root")),
        ("20 bytes, which is not written down", &rsa, fixture!("rsa-20"), Ok("root")),
        ("SHA-384", &rsa, fixture!("rsa-sha384"), Ok("root")),
        ("SHA-512", &rsa, fixture!("rsa-sha512"), Ok("root")),
        ("a key for PSS", &pss, fixture!("pss-max"), Ok("root")),
        ("a key for PSS with SHA-256 and 32 bytes", &limited, fixture!("limited-32"), Ok("root")),
        ("another key", &pss, fixture!("rsa-max"), unsigned),
        ("SHA-1", &rsa, fixture!("rsa-sha1"), not_taken),
        ("SHA-1 for the mask", &rsa, fixture!("rsa-mgf1-sha1"), not_taken),
    ];
    let later = Timestamp::parse("2027-06-01T00:00:00Z").unwrap();
    for (case, root, leaf, expected) in cases {
        let groups = [group("root", Some(root), None)];
        check(case, by_group(&groups, &certificates(&[leaf.der()]), DEVICE, later), expected);
    }
}
