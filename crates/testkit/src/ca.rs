//! Certificate authorities and device certificates: standard ones, and unusual ones that occur in practice.
//!
//! ```
//! use testkit::ca::{Authority, Form, Profile};
//!
//! let root = Authority::root("Root");
//! let factory = root.intermediate("Factory 1");
//! let tidy = factory.device("dev-1");
//! let untidy = factory.issue(&Profile { form: Form::Bare, ..Profile::device("dev-2") });
//! assert_eq!(factory.chain_of(&tidy).len(), 3);
//! assert_eq!(untidy.certificate().info().subject_name, "CN=dev-2");
//! ```

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{Certificate, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SigningKey,
};

const START_OF_2020: i64 = 1_577_836_800;
const SECONDS_PER_DAY: i64 = 86_400;
pub(crate) const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;

/// A CA: its certificate and key, and the CAs above it.
pub struct Authority {
    identity: Identity,
    issuer: Issuer<'static, KeyPair>,
    /// The certificates of the CAs above, from the next one to the root.
    above: Vec<Vec<u8>>,
}

/// A certificate with its private key.
#[derive(Clone)]
pub struct Identity {
    der: Vec<u8>,
    key: Vec<u8>,
}

/// The parameters of a certificate.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The common name, which is the whole subject.
    pub common_name: String,
    /// The kind of the key.
    pub key: KeyKind,
    /// The start of the validity period.
    pub not_before: Timestamp,
    /// The end of the validity period.
    pub not_after: Timestamp,
    /// The extensions.
    pub form: Form,
    /// The content of the extension cRLDistributionPoints, from [`crate::crl::points`].
    pub crl_points: Option<Vec<u8>>,
}

/// The kinds of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// ECDSA on P-384.
    P384,
    /// ECDSA on P-521.
    P521,
    /// Ed25519.
    Ed25519,
    /// RSA with 2048 bits, whose generation is slow.
    Rsa2048,
}

/// The extensions of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// No extensions, in version 3: a CA without basicConstraints, or a device without key usages.
    Bare,
    /// The extensions of a standard CA.
    Ca,
    /// A CA with a path length constraint.
    CaWithPathLength(u8),
    /// A CA whose key usage does not allow the signing of certificates.
    CaWithoutKeyCertSign,
    /// A CA whose key usage does not allow the signing of revocation lists.
    CaWithoutCrlSign,
    /// The extensions of a standard device: no CA, digital signature, client authentication.
    Device,
    /// A device without an extended key usage.
    DeviceWithoutUsage,
    /// An extended key usage that allows server authentication only.
    ServerOnly,
    /// A device with an unknown critical extension.
    UnknownCritical,
    /// No extensions, in version 1, which `openssl x509 -req` creates by default.
    Version1,
}

impl Authority {
    /// Creates a standard root CA.
    pub fn root(common_name: &str) -> Authority {
        Authority::self_signed(&Profile::ca(common_name))
    }

    /// Creates a root CA with a profile.
    pub fn self_signed(profile: &Profile) -> Authority {
        let (params, key) = (profile.params(), profile.key.generate());
        let issuer = Issuer::new(params, key);
        let der = profile.sign(issuer.key(), &issuer);
        let identity = Identity { der, key: issuer.key().serialize_der() };
        Authority { identity, issuer, above: Vec::new() }
    }

    /// Creates a standard CA below this one.
    pub fn intermediate(&self, common_name: &str) -> Authority {
        self.authority(&Profile::ca(common_name))
    }

    /// Creates a CA with a profile below this one.
    pub fn authority(&self, profile: &Profile) -> Authority {
        let key = profile.key.generate();
        let identity = Identity { der: profile.sign(&key, &self.issuer), key: key.serialize_der() };
        let above = [self.identity.der.clone()].into_iter().chain(self.above.clone()).collect();
        Authority { identity, issuer: Issuer::new(profile.params(), key), above }
    }

    /// Issues a standard device certificate.
    pub fn device(&self, common_name: &str) -> Identity {
        self.issue(&Profile::device(common_name))
    }

    /// Issues a certificate with a profile.
    pub fn issue(&self, profile: &Profile) -> Identity {
        let key = profile.key.generate();
        Identity { der: profile.sign(&key, &self.issuer), key: key.serialize_der() }
    }

    /// Returns another self-signed certificate for the CA's key, with a profile.
    pub fn reissued(&self, profile: &Profile) -> Vec<u8> {
        profile.sign(self.issuer.key(), &self.issuer)
    }

    /// Issues a device certificate with an authority key identifier.
    pub fn device_with_authority_key_id(&self, common_name: &str) -> Identity {
        let profile = Profile::device(common_name);
        let (mut params, key) = (profile.params(), profile.key.generate());
        params.use_authority_key_identifier_extension = true;
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Identity { der, key: key.serialize_der() }
    }

    /// Returns the signer of certificates.
    pub(crate) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Returns the signer of revocation lists, which ignores the CA's key usage.
    pub(crate) fn list_signer(&self) -> Issuer<'static, &KeyPair> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let subject = self.certificate().info().subject_name.clone();
        params.distinguished_name.push(DnType::CommonName, subject.trim_start_matches("CN="));
        Issuer::new(params, self.issuer.key())
    }

    /// Returns the CA's certificate and key.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Returns the CA's certificate, as in an enrollment.
    pub fn certificate(&self) -> Certificate {
        self.identity.certificate()
    }

    /// Returns the chain from a certificate of this CA to the root, in DER.
    pub fn chain_of(&self, leaf: &Identity) -> Vec<Vec<u8>> {
        [leaf.der.clone(), self.identity.der.clone()].into_iter().chain(self.above.clone()).collect()
    }
}

impl Identity {
    /// Creates a self-signed certificate.
    pub fn self_signed(profile: &Profile) -> Identity {
        Authority::self_signed(profile).identity
    }

    /// Returns the certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Returns the certificate in PEM.
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// Returns the certificate, as in an enrollment.
    pub fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.der).unwrap()
    }

    /// Returns the private key as PKCS #8 in DER.
    pub fn key_der(&self) -> &[u8] {
        &self.key
    }

    /// Returns the private key as PKCS #8 in PEM.
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", &self.key)
    }
}

impl Profile {
    /// Returns the profile of a standard CA, valid from 2020 to 2120.
    pub fn ca(common_name: &str) -> Profile {
        Profile { form: Form::Ca, ..Profile::device(common_name) }
    }

    /// Returns the profile of a standard device, valid from 2020 to 2120.
    pub fn device(common_name: &str) -> Profile {
        Profile {
            common_name: common_name.to_owned(),
            key: KeyKind::P256,
            not_before: Timestamp::from_unix_seconds(START_OF_2020),
            not_after: Timestamp::from_unix_seconds(START_OF_2020 + 100 * 365 * SECONDS_PER_DAY),
            form: Form::Device,
            crl_points: None,
        }
    }

    /// Changes the validity period so that it ended with 2020.
    pub fn expired(self) -> Profile {
        let not_after = Timestamp::from_unix_seconds(START_OF_2020 + 365 * SECONDS_PER_DAY);
        Profile { not_after, ..self }
    }

    /// Changes the validity period to one day from `not_before`.
    pub fn one_day_from(self, not_before: Timestamp) -> Profile {
        let not_after = Timestamp::from_unix_seconds(not_before.unix_seconds() + SECONDS_PER_DAY);
        Profile { not_before, not_after, ..self }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_1970(self.not_before);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_1970(self.not_after);
        self.form.shape(&mut params);
        let point = |points: &Vec<u8>| CustomExtension::from_oid_content(&[2, 5, 29, 31], points.clone());
        params.custom_extensions.extend(self.crl_points.iter().map(point));
        params
    }

    fn sign(&self, key: &KeyPair, issuer: &Issuer<'_, KeyPair>) -> Vec<u8> {
        let der = self.params().signed_by(key, issuer).unwrap().der().to_vec();
        if self.form == Form::Version1 { version_1(&der, issuer.key()) } else { der }
    }
}

impl KeyKind {
    fn generate(self) -> KeyPair {
        let algorithm = match self {
            KeyKind::P256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyKind::P384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyKind::P521 => &rcgen::PKCS_ECDSA_P521_SHA512,
            KeyKind::Ed25519 => &rcgen::PKCS_ED25519,
            KeyKind::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
        };
        KeyPair::generate_for(algorithm).unwrap()
    }
}

impl Form {
    fn shape(self, params: &mut CertificateParams) {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        use KeyUsagePurpose::{CrlSign, DigitalSignature, KeyCertSign};
        let unlimited = IsCa::Ca(BasicConstraints::Unconstrained);
        let (is_ca, key_usages, extended) = match self {
            Form::Bare | Form::Version1 => (IsCa::NoCa, vec![], vec![]),
            Form::Ca => (unlimited, vec![KeyCertSign, CrlSign], vec![]),
            Form::CaWithPathLength(length) => {
                (IsCa::Ca(BasicConstraints::Constrained(length)), vec![KeyCertSign, CrlSign], vec![])
            }
            Form::CaWithoutKeyCertSign => (unlimited, vec![DigitalSignature], vec![]),
            Form::CaWithoutCrlSign => (unlimited, vec![KeyCertSign], vec![]),
            Form::Device | Form::UnknownCritical => {
                (IsCa::ExplicitNoCa, vec![DigitalSignature], vec![ClientAuth])
            }
            Form::DeviceWithoutUsage => (IsCa::ExplicitNoCa, vec![DigitalSignature], vec![]),
            Form::ServerOnly => (IsCa::ExplicitNoCa, vec![DigitalSignature], vec![ServerAuth]),
        };
        (params.is_ca, params.key_usages, params.extended_key_usages) = (is_ca, key_usages, extended);
        if self == Form::UnknownCritical {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        }
    }
}

/// Removes the version number of a certificate, which makes it version 1 (RFC 5280 §4.1), and signs it again.
fn version_1(der: &[u8], key: &KeyPair) -> Vec<u8> {
    signed_again(der, key, |versioned| contents(versioned).1.to_vec())
}

/// Changes the content of the signed part of a certificate or revocation list, and signs it again.
pub(crate) fn signed_again(der: &[u8], key: &KeyPair, change: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (outer, _) = contents(der);
    let (signed, algorithm_and_signature) = contents(outer);
    let (_, old_signature) = contents(algorithm_and_signature);
    let algorithm = &algorithm_and_signature[..algorithm_and_signature.len() - old_signature.len()];
    let tbs = wrapped(SEQUENCE, &change(signed));
    let no_unused_bits = [&[0], key.sign(&tbs).unwrap().as_slice()].concat();
    wrapped(SEQUENCE, &[&tbs, algorithm, &wrapped(BIT_STRING, &no_unused_bits)].concat())
}

/// Returns the content of the first DER value, and the rest after it.
pub(crate) fn contents(der: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = match der[1] {
        short @ 0..=0x7F => (2, usize::from(short)),
        0x81 => (3, usize::from(der[2])),
        _ => (4, usize::from(u16::from_be_bytes([der[2], der[3]]))),
    };
    der[header..].split_at(length)
}

/// Encodes a DER value of at most 65,535 bytes.
pub(crate) fn wrapped(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let header: &[u8] = match contents.len() {
        0..=0x7F => &[tag, low],
        0x80..=0xFF => &[tag, 0x81, low],
        _ => &[tag, 0x82, high, low],
    };
    [header, contents].concat()
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

/// Returns the time since 1970; `time` is not before.
pub(crate) fn since_1970(time: Timestamp) -> Duration {
    Duration::from_secs(time.unix_seconds().unsigned_abs())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

    use super::*;

    #[test]
    fn certificates_of_every_form_and_key_are_parsed() {
        let root = Authority::root("Root");
        let forms = [
            (Form::Bare, 3),
            (Form::Ca, 3),
            (Form::CaWithPathLength(0), 3),
            (Form::CaWithoutKeyCertSign, 3),
            (Form::CaWithoutCrlSign, 3),
            (Form::Device, 3),
            (Form::DeviceWithoutUsage, 3),
            (Form::ServerOnly, 3),
            (Form::UnknownCritical, 3),
            (Form::Version1, 1),
        ];
        for (form, version) in forms {
            let certificate = root.issue(&Profile { form, ..Profile::device("dev") }).certificate();
            assert_eq!(certificate.info().version, version, "{form:?}");
            assert_eq!(certificate.info().subject_name, "CN=dev", "{form:?}");
            assert_eq!(certificate.info().issuer_name, "CN=Root", "{form:?}");
        }
        for key in [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Ed25519, KeyKind::Rsa2048] {
            let certificate = root.issue(&Profile { key, ..Profile::device("dev") }).certificate();
            assert_eq!(certificate.info().subject_name, "CN=dev", "{key:?}");
        }
    }

    #[test]
    fn certificates_of_version_1_have_valid_signatures() {
        let root = Authority::root("Root");
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, root.issuer.key().public_key_raw());
        for form in [Form::Bare, Form::Version1] {
            let leaf = root.issue(&Profile { form, ..Profile::device("dev") });
            let (certificate, _) = contents(&leaf.der);
            let (_, after_tbs) = contents(certificate);
            let tbs = &certificate[..certificate.len() - after_tbs.len()];
            let (signature, _) = contents(contents(after_tbs).1);
            assert!(key.verify(tbs, &signature[1..]).is_ok(), "{form:?}");
            assert!(key.verify(&tbs[1..], &signature[1..]).is_err(), "{form:?}");
        }
    }

    #[test]
    fn validity_periods_are_those_of_the_profile() {
        let now = Timestamp::from_unix_seconds(1_795_392_000);
        let day = Identity::self_signed(&Profile::device("dev").one_day_from(now)).certificate();
        assert_eq!(day.info().not_before, now);
        assert_eq!(day.info().not_after.unix_seconds() - now.unix_seconds(), SECONDS_PER_DAY);
        let expired = Identity::self_signed(&Profile::device("dev").expired()).certificate();
        assert!(expired.info().not_after < now);
    }

    #[test]
    fn chains_end_at_the_root() {
        let root = Authority::root("Root");
        let factory = root.intermediate("Region").intermediate("Factory");
        let leaf = factory.device("dev");
        let chain = factory.chain_of(&leaf);
        let names: Vec<_> =
            chain.iter().map(|der| Certificate::from_der(der).unwrap().info().clone()).collect();
        assert_eq!(chain.len(), 4);
        for pair in names.windows(2) {
            assert_eq!(pair[0].issuer_name, pair[1].subject_name);
        }
        assert_eq!(chain[3], root.identity().der());
        assert_eq!(Certificate::parse(&leaf.pem()).unwrap(), leaf.certificate());
    }
}
