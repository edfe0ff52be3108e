//! A TPM in software with the functions that a registration needs: it has an endorsement key and a storage root key,
//! and decrypts blobs for both. It follows the TPM 2.0 specification and shares no code with the service.

use aws_lc_rs::{
    agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree},
    cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey},
    digest::{SHA256, digest},
    encoding::AsDer,
    error::Unspecified,
    hmac,
    iv::FixedLength,
    rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use model::{EndorsementKey, StorageRootKey, SymmetricKey, TpmIdentity};

/// A TPM in software.
pub struct SoftTpm {
    endorsement: Private,
    storage: Private,
    identity: TpmIdentity,
}

/// The content of a blob.
#[derive(Debug, PartialEq)]
pub struct Opened {
    /// The key that the TPM imports.
    pub key: SymmetricKey,
    /// The resource that the key is for.
    pub resource: String,
}

/// The kinds of keys of a TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA-2048.
    Rsa,
    /// ECC P-256.
    P256,
}

enum Private {
    Rsa(OaepPrivateDecryptingKey),
    P256(PrivateKey),
}

impl SoftTpm {
    /// Creates a TPM with new keys of these kinds.
    pub fn new(endorsement: Kind, storage: Kind) -> SoftTpm {
        let ((endorsement, endorsement_area), (storage, storage_area)) = (endorsement.key(), storage.key());
        let identity = TpmIdentity {
            endorsement_key: EndorsementKey::from_bytes(endorsement_area).unwrap(),
            storage_root_key: StorageRootKey::from_bytes(storage_area).unwrap(),
        };
        SoftTpm { endorsement, storage, identity }
    }

    /// Clears the TPM (`TPM2_Clear`): it gets a new storage root key.
    pub fn cleared(self) -> SoftTpm {
        let (storage, area) = Kind::P256.key();
        let storage_root_key = StorageRootKey::from_bytes(area).unwrap();
        SoftTpm { storage, identity: TpmIdentity { storage_root_key, ..self.identity }, ..self }
    }

    /// Returns the public keys.
    pub fn identity(&self) -> &TpmIdentity {
        &self.identity
    }

    /// Decrypts a blob in the steps of `TPM2_ActivateCredential` and `TPM2_Import`; panics where a TPM would return an
    /// error.
    pub fn open(&self, blob: &[u8]) -> Opened {
        let fields = fields(blob);
        let [id_object, secret, duplicate, symmetric_seed, area, resource] = fields[..] else {
            panic!("{} fields", fields.len())
        };
        let seed = self.endorsement.open_seed(secret, "IDENTITY");
        let inner_key = unwrap(&seed, &self.identity.storage_root_key.name(), id_object);
        let inner_key = take(&inner_key).0;

        let name = [&[0, 0x0B], digest(&SHA256, area).as_ref()].concat();
        let seed = self.storage.open_seed(symmetric_seed, "DUPLICATE");
        let inner = decrypt(inner_key, &unwrap(&seed, &name, duplicate));
        let (integrity, sensitive) = take(&inner);
        assert_eq!(integrity, digest(&SHA256, &[sensitive, &name].concat()).as_ref(), "inner integrity");
        let resource = String::from_utf8(decrypt(inner_key, resource)).unwrap();
        Opened { key: key_of(take(sensitive).0, area), resource }
    }
}

/// Returns the key in a TPMT_SENSITIVE, after a check that it is the key of the public area.
fn key_of(sensitive: &[u8], area: &[u8]) -> SymmetricKey {
    let (kind, sensitive) = sensitive.split_at(2);
    let (no_auth, sensitive) = take(sensitive);
    let (blinding, sensitive) = take(sensitive);
    let (key, end) = take(sensitive);
    assert_eq!((kind, no_auth, end), (&[0, 8][..], &[][..], &[][..]));
    let unique = digest(&SHA256, &[blinding, key].concat());
    assert_eq!(take(&area[14..]), (unique.as_ref(), &[][..]), "the public area is that of the key");
    SymmetricKey::from_bytes(key).unwrap()
}

impl Kind {
    fn key(self) -> (Private, Vec<u8>) {
        match self {
            Kind::Rsa => {
                let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap();
                let der = private.public_key().as_der().unwrap();
                // After the modulus, the exponent 65537 takes five bytes.
                let end = der.as_ref().len() - 5;
                let modulus = sized(&der.as_ref()[end - 256..end]);
                let area = public(1, &[&[8, 0, 0, 0, 0, 0][..], &modulus].concat());
                (Private::Rsa(OaepPrivateDecryptingKey::new(private).unwrap()), area)
            }
            Kind::P256 => {
                let private = PrivateKey::generate(&ECDH_P256).unwrap();
                let point = private.compute_public_key().unwrap();
                let (x, y) = point.as_ref()[1..].split_at(32);
                let area = public(0x23, &[&[0, 3, 0, 0x10][..], &sized(x), &sized(y)].concat());
                (Private::P256(private), area)
            }
        }
    }
}

impl Private {
    fn open_seed(&self, encrypted: &[u8], label: &str) -> Vec<u8> {
        match self {
            Private::Rsa(key) => {
                let (mut out, label) = (vec![0; 256], [label.as_bytes(), &[0]].concat());
                let seed = key.decrypt(&OAEP_SHA256_MGF1SHA256, encrypted, &mut out, Some(&label));
                seed.expect("a seed for this key").to_vec()
            }
            Private::P256(key) => {
                let (x, rest) = take(encrypted);
                let (y, _) = take(rest);
                let point = [&[4], x, y].concat();
                let own = key.compute_public_key().unwrap();
                let peer = UnparsedPublicKey::new(&ECDH_P256, &point);
                agree(key, peer, Unspecified, |z| Ok(kdfe(z, label, x, &own.as_ref()[1..33]))).unwrap()
            }
        }
    }
}

/// Checks the MAC of an outer wrapper and decrypts its content.
fn unwrap(seed: &[u8], name: &[u8], wrapped: &[u8]) -> Vec<u8> {
    let (mac, encrypted) = take(wrapped);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &kdfa(seed, "INTEGRITY", &[], 256));
    hmac::verify(&key, &[encrypted, name].concat(), mac).expect("the integrity holds");
    decrypt(&kdfa(seed, "STORAGE", name, 128), encrypted)
}

fn decrypt(key: &[u8], content: &[u8]) -> Vec<u8> {
    let key = DecryptingKey::cfb128(UnboundCipherKey::new(&AES_128, key).unwrap()).unwrap();
    let mut content = content.to_vec();
    key.decrypt(&mut content, DecryptionContext::Iv128(FixedLength::from([0; 16]))).unwrap().to_vec()
}

fn kdfa(key: &[u8], label: &str, context: &[u8], bits: u32) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let message = [&[0, 0, 0, 1], label.as_bytes(), &[0], context, &bits.to_be_bytes()].concat();
    hmac::sign(&key, &message).as_ref()[..bits as usize / 8].to_vec()
}

fn kdfe(z: &[u8], label: &str, party_u: &[u8], party_v: &[u8]) -> Vec<u8> {
    let message = [&[0, 0, 0, 1], z, label.as_bytes(), &[0], party_u, party_v].concat();
    digest(&SHA256, &message).as_ref().to_vec()
}

/// Returns a TPM2B_PUBLIC with the attributes of storage root keys.
fn public(kind: u8, parameters: &[u8]) -> Vec<u8> {
    let head = [0, kind, 0, 0x0B, 0, 3, 4, 0x72, 0, 0, 0, 6, 0, 128, 0, 0x43, 0, 0x10];
    sized(&[&head, parameters].concat())
}

fn fields(mut blob: &[u8]) -> Vec<&[u8]> {
    let mut fields = Vec::new();
    while !blob.is_empty() {
        let (field, rest) = take(blob);
        fields.push(field);
        blob = rest;
    }
    fields
}

/// Returns the content of the first `TPM2B`, and the rest after it.
fn take(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (size, rest) = bytes.split_first_chunk().unwrap();
    rest.split_at(u16::from_be_bytes(*size).into())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
}
