//! Keys that a TPM made, and what is wrong with others.

use proptest::prelude::*;

use super::*;

/// The endorsement key that Microsoft's documentation and samples use.
const DOCUMENTED: &str = "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAxsj2gUScTk1UjuioeTlfGYZrrimExB+bScH75adUMRIi2UOMxG1kw4y+9RW/IVoMl4e620VxZad0ARX2gUqVjYO7KPVt3dyKhZS3dkcvfBisBhP1XH9B33VqHG9SHnbnQXdBUaCgKAfxome8UmBKfe+naTsE5fkvjb/do3/dD6l4sGBwFCnKRdln4XpM03zLpoHFao8zOwt8l/uP3qUIxmCYv9A7m69Ms+5/pCkTu/rK4mRDsfhZ0QLfbzVI6zQFOKF/rwsfBtFeWlWtcuJMKlXdD8TXWElTzgh7JS4qhFzreL0c1mI0GCj+Aws0usZh7dLIVPnlgZcBhgy1SSDQMQ==";

/// Keys that a TPM made: endorsement keys by the default templates, and storage root keys.
const RSA_ENDORSEMENT: &str = "AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAoY2BLjjATnznsUm91OlqlkxJvsEzf4wd8/peGSuNEz5B6K1YGBpZvEFKclD+H770UXd2AqrGGujC8dVSE//HjFdxoz5VFRyx9RRwHUC4hO+Rrmw3eepdMgkxJO5x1SkB4lPG3xxWL/o26CytK8Uhyce/GxutmBcROa6FRlpgZ7wJR5FzDyiE7v43sQfUkT1GwzkQpqIp6h+UXhiTWpNA3Az1GiqDNDQmpVPxrjlkB+nmrABMTiDLbVUtkEqjZltPnaxo9ZqNFJOHvqDGWSOC/nRG5UlQQgt7D15OBUJ22Y/diOQaAPLxi2i1mVbohtEQ2m9t0+Ryvz86UBbrqFk5xw==";
const ECC_ENDORSEMENT: &str = "AHoAIwALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAADABAAIF+sF+J44OUPm3VxP4lojx+21l26lPakpaGnaPQPr0dzACA7Z62tf42Ge97CSXykgkXsQjyq7fYKZ0GJCzTPru5s9w==";
const RSA_STORAGE: &str = "ARoAAQALAAMEcgAAAAYAgABDABAIAAAAAAABAJZPrbul8OVY76CP5CxzX5xHceTHddIBEhso6hCdEE6YIk5QjeSxdSyB3G5kBZfXB0hPTJg3VRlkPk5c4H9fAArVvwDBcnnEiTVHx8UP/nz4ksrmbkVKOBFajUtYCDL/mttXXWETzQ23+kn5uCFNIexiZosJ2n3xhWllSzLXbyoRK7dJZcZz6QUZGCInCVvT/+J1JXH3VmJfxKDCZ9tOuiisB2oxxlV2jHOwf6CETMRLSpLJuSWoOEKgnyh5oCV4aZOcv087cQ5/4MW9nS1CgjwtGkYjLgMfp2ghAu6Mv7gYYcSd/0TV9RJ867hQ70C8Zcfgc6Bgao56OWd4smloLO8=";
const ECC_STORAGE: &str = "AFoAIwALAAMEcgAAAAYAgABDABAAAwAQACCpRJZ7bFeId4jDuKIgBMlq3BFpri52YPlGMCSBd2gHwQAgLQUg7zbyXTmdPWBEvJ/fLlSwd+4GC6VPIk06C9u2Vjk=";

/// An RSA key that the same TPM made for signing.
const SIGNING: &str = "ARYAAQALAAYAcgAAABAAEAgAAAAAAAEAjKHCIfCeuKb5PPmGXEYxVccLC155e+ZX4FpVdghQaW5vMjm+oUOhhSJ1ni8tEzyi5ZDb4uJ5BPRn+/hLYvQYggiUyJWt5OVWlyGeWtxaMhV+imb2WvNQsmtknkNxX12JZWGNXTo78KPlFp7qHbUZCHKWTIm4wm85/8sfxn9e0tYgqCZm6YfKjqw6h7evm5mT9bJ63TbUJ4Y8cquTJ2Qiqjy3nSHHO5blmWjAWf/bmseZYTQOSxaZILE7162WyZ7kbakSPNH0bXJCyNXCtXiKc2jBdp+OlH9lxiJE0QM+nXpMf2UcnjlBO3lyWcz3w6/ub9iEkGWOOOnScs35Uq/AIw==";

fn bytes(text: &str) -> Vec<u8> {
    STANDARD.decode(text).unwrap()
}

#[test]
fn reads_the_keys_of_tpms() {
    for (text, length) in [(DOCUMENTED, 316), (RSA_ENDORSEMENT, 316), (RSA_STORAGE, 284)] {
        let key = EndorsementKey::parse(text).unwrap();
        assert!(
            matches!(key.public_key(), TpmPublicKey::Rsa(modulus) if modulus[..] == key.as_bytes()[length - 256..])
        );
        assert_eq!((key.as_bytes().len(), key.to_base64()), (length, text.to_owned()));
    }
    for text in [ECC_ENDORSEMENT, ECC_STORAGE] {
        let key = StorageRootKey::parse(&format!(" {text}\n")).unwrap();
        let TpmPublicKey::P256(point) = key.public_key() else { panic!("{key:?}") };
        let length = key.as_bytes().len();
        assert_eq!(point[1..33], key.as_bytes()[length - 66..length - 34]);
        assert_eq!(point[33..], key.as_bytes()[length - 32..]);
    }
}

#[test]
fn is_stored_as_base64() {
    let key = EndorsementKey::parse(ECC_ENDORSEMENT).unwrap();
    let stored = serde_json::to_string(&key).unwrap();
    assert_eq!(stored, format!("{ECC_ENDORSEMENT:?}"));
    assert_eq!(serde_json::from_str::<EndorsementKey>(&stored).unwrap(), key);
    assert!(serde_json::from_str::<EndorsementKey>("\"AAAA\"").is_err());
}

/// The expected name is printed by `tpm2_readpublic`.
#[test]
fn its_name_is_what_the_tpm_calls_it() {
    let hex: String =
        StorageRootKey::parse(RSA_STORAGE).unwrap().name().map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(hex, "000b38a9853141335d108167e4ba6bd1e56344742ac579d4dcce522f33af0f961653");
}

/// Returns the RSA endorsement key with another byte at this index.
fn with(at: usize, byte: u8) -> Vec<u8> {
    let mut bytes = bytes(RSA_ENDORSEMENT);
    bytes[at] = byte;
    bytes
}

#[test]
fn refuses_keys_that_must_not_be_encrypted_to() {
    let rsa = bytes(RSA_ENDORSEMENT);
    let mut ecc = bytes(ECC_ENDORSEMENT);
    *ecc.last_mut().unwrap() ^= 1;
    let cases = [
        ("nothing", vec![], TpmKeyError::NotPublic),
        ("an empty area", vec![0, 0], TpmKeyError::NotPublic),
        ("cut off", rsa[..315].to_vec(), TpmKeyError::NotPublic),
        ("a byte too many", [&rsa[..], &[0]].concat(), TpmKeyError::NotPublic),
        ("a byte too many in the area", [&[0x01, 0x3B], &rsa[2..], &[0]].concat(), TpmKeyError::NotPublic),
        ("a keyed hash", with(3, 0x08), TpmKeyError::Kind(8)),
        ("named by SHA-1", with(5, 0x04), TpmKeyError::NameAlgorithm(4)),
        ("not restricted", with(7, 0x02), TpmKeyError::Attributes(0x0002_00B2)),
        ("also for signing", with(7, 0x07), TpmKeyError::Attributes(0x0007_00B2)),
        ("may be duplicated", with(9, 0xA0), TpmKeyError::Attributes(0x0003_00A0)),
        ("children by AES-256", with(47, 0x01), TpmKeyError::Cipher),
        ("children in CBC mode", with(49, 0x42), TpmKeyError::Cipher),
        ("with a scheme", with(51, 0x15), TpmKeyError::Scheme),
        ("of 3072 bits", with(52, 0x0C), TpmKeyError::RsaBits(3072)),
        ("with the exponent 3", with(57, 0x03), TpmKeyError::RsaKey),
        ("an even modulus", with(315, 0xC6), TpmKeyError::RsaKey),
        ("a short modulus", with(60, 0x00), TpmKeyError::RsaKey),
        ("a point off the curve", ecc.clone(), TpmKeyError::Point),
        ("the point at infinity", [&ecc[..56], &[0, 0, 0, 0]].concat(), TpmKeyError::NotPublic),
        (
            "P-384",
            {
                ecc[53] = 4;
                ecc
            },
            TpmKeyError::Curve(4),
        ),
        ("a signing key", bytes(SIGNING), TpmKeyError::Attributes(0x0006_0072)),
    ];
    for (case, bytes, expected) in cases {
        assert_eq!(EndorsementKey::from_bytes(bytes).err(), Some(expected), "{case}");
    }
    assert_eq!(EndorsementKey::parse("?").err(), Some(TpmKeyError::NotBase64));
}

proptest! {
    /// A key that is read keeps its bytes, which read back from base64; a key that is cut off is never read.
    #[test]
    fn changed_keys_keep_their_bytes_or_are_rejected(at in 0_usize..316, byte: u8, length in 0_usize..316) {
        let mut bytes = with(at, byte);
        if let Ok(key) = EndorsementKey::from_bytes(bytes.clone()) {
            prop_assert_eq!(key.as_bytes(), &bytes[..]);
            prop_assert_eq!(EndorsementKey::parse(&key.to_base64()), Ok(key));
        }
        bytes.truncate(length);
        prop_assert!(EndorsementKey::from_bytes(bytes).is_err());
    }
}
