//! The CAs and server certificates of the emulator.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use model::Certificate;
use net::tls::{Identity, read_key};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SanType,
};

use super::write_private;

/// The last year of validity of the emulator's certificates.
const LAST_YEAR: i32 = 2049;

/// The server's identities and their CAs.
pub(super) struct Certificates {
    pub(super) identities: Vec<Identity>,
    /// The PEM file with both CAs.
    pub(super) ca_file: PathBuf,
}

/// The signature algorithm of a CA. RSA is for clients that support nothing else.
#[derive(Clone, Copy)]
enum Algorithm {
    Ecdsa,
    Rsa,
}

impl Algorithm {
    fn key(self) -> Result<KeyPair, rcgen::Error> {
        match self {
            Algorithm::Ecdsa => KeyPair::generate(),
            Algorithm::Rsa => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
    }
}

/// A CA of the emulator.
struct Authority {
    algorithm: Algorithm,
    certificate: Certificate,
    key: KeyPair,
}

/// Reads or creates the CAs in the folder, and issues a server certificate of each for these addresses.
pub(super) fn load_or_create(dir: &Path, hubs: &[Ipv4Addr]) -> anyhow::Result<Certificates> {
    let ca_file = std::path::absolute(dir.join("ca.pem"))?;
    let ecdsa = Authority::load_or_create(Algorithm::Ecdsa, &ca_file, &dir.join("ca.key"))?;
    let rsa = Authority::load_or_create(Algorithm::Rsa, &dir.join("ca-rsa.pem"), &dir.join("ca-rsa.key"))?;
    let both = ecdsa.certificate.to_pem() + &rsa.certificate.to_pem();
    if std::fs::read_to_string(&ca_file).ok().as_ref() != Some(&both) {
        write_private(&ca_file, both.as_bytes())?;
    }
    // Issued at each start, because hubs may have been added.
    let identities = [ecdsa, rsa].into_iter().map(|authority| authority.issue(hubs));
    Ok(Certificates { identities: identities.collect::<anyhow::Result<_>>()?, ca_file })
}

impl Authority {
    /// Reads the CA from these files, by the first certificate if there are several, or creates it.
    fn load_or_create(algorithm: Algorithm, certificate: &Path, key: &Path) -> anyhow::Result<Self> {
        if !certificate.exists() || !key.exists() {
            let created = Authority::create(algorithm)?;
            write_private(key, created.key.serialize_pem().as_bytes())?;
            write_private(certificate, created.certificate.to_pem().as_bytes())?;
            return Ok(created);
        }
        let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
        let certificates = Certificate::parse_all(&read(certificate)?);
        let certificates = certificates.with_context(|| certificate.display().to_string())?;
        let certificate = certificates.into_iter().next().context("the CA file holds no certificate")?;
        let key = KeyPair::try_from(&read_key(&read(key)?).with_context(|| key.display().to_string())?)?;
        Ok(Authority { algorithm, certificate, key })
    }

    fn create(algorithm: Algorithm) -> anyhow::Result<Self> {
        let key = algorithm.key()?;
        let mut params = named(match algorithm {
            Algorithm::Ecdsa => "Muster emulator CA",
            Algorithm::Rsa => "Muster emulator RSA CA",
        });
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = Certificate::from_der(params.self_signed(&key)?.der())?;
        Ok(Authority { algorithm, certificate, key })
    }

    /// Issues a server certificate with the CA's algorithm.
    fn issue(&self, hubs: &[Ipv4Addr]) -> anyhow::Result<Identity> {
        let issuer = Issuer::from_ca_cert_der(&self.certificate.der().into(), &self.key)?;
        let key = self.algorithm.key()?;
        let mut params = named("localhost");
        params.subject_alt_names =
            vec![SanType::DnsName("localhost".try_into()?), SanType::IpAddress(super::ADDRESS.into())];
        params.subject_alt_names.extend(hubs.iter().map(|hub| SanType::IpAddress(IpAddr::V4(*hub))));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer)?;
        Ok(Identity::from_pem(leaf.pem().as_bytes(), key.serialize_pem().as_bytes())?)
    }
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(LAST_YEAR, 12, 31);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: &str = "-----END CERTIFICATE-----\n";

    fn certificates(pem: &str) -> usize {
        pem.matches(END).count()
    }

    #[test]
    fn both_cas_are_kept_and_a_missing_one_is_added() {
        let dir = tempfile::tempdir().unwrap();
        let first = load_or_create(dir.path(), &[]).unwrap();
        let bundle = std::fs::read_to_string(&first.ca_file).unwrap();
        assert_eq!((first.identities.len(), certificates(&bundle)), (2, 2));
        load_or_create(dir.path(), &[]).unwrap();
        assert_eq!(std::fs::read_to_string(&first.ca_file).unwrap(), bundle, "the CAs are kept");
        // The state of the first version.
        let alone = &bundle[..bundle.find(END).unwrap() + END.len()];
        std::fs::write(&first.ca_file, alone).unwrap();
        for name in ["ca-rsa.pem", "ca-rsa.key"] {
            std::fs::remove_file(dir.path().join(name)).unwrap();
        }
        load_or_create(dir.path(), &[]).unwrap();
        let upgraded = std::fs::read_to_string(&first.ca_file).unwrap();
        assert!(upgraded.starts_with(alone) && certificates(&upgraded) == 2);
    }
}
