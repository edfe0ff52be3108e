//! What devices and operators say of a TPM.

use model::{EndorsementKey, StorageRootKey, SymmetricKey, TpmIdentity};
use provisioning::{attest::tpm::credential, ports::Entropy};

/// A TPM2B_PUBLIC: what is taken stays what it was, and something can be encrypted to it.
pub fn run(input: &[u8]) {
    let (Ok(endorsement_key), Ok(storage_root_key)) =
        (EndorsementKey::from_bytes(input.to_vec()), StorageRootKey::from_bytes(input.to_vec()))
    else {
        return;
    };
    assert_eq!(endorsement_key.as_bytes(), input);
    assert_eq!(EndorsementKey::parse(&endorsement_key.to_base64()).as_ref(), Ok(&endorsement_key));
    let identity = TpmIdentity { endorsement_key, storage_root_key };
    let key = SymmetricKey::from_bytes(&[7; 32]).expect("a key of 32 bytes");
    let blob =
        credential(&identity, &key, "0ne/registrations/r", &Fixed).expect("a key that was taken works");
    assert_eq!(fields(&blob), Some(6));
}

/// How many fields a blob consists of, when it consists of fields and nothing else.
fn fields(mut blob: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !blob.is_empty() {
        let (size, rest) = blob.split_first_chunk()?;
        blob = rest.get(usize::from(u16::from_be_bytes(*size))..)?;
        count += 1;
    }
    Some(count)
}

struct Fixed;

impl Entropy for Fixed {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(7);
    }
}
