//! The emulator's own CA and server certificates.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::Context;
use net::tls::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use super::write_private;

/// Until when the emulator's certificates are valid: longer than anyone keeps a folder.
const LAST_YEAR: i32 = 2049;

/// The server's identity and who vouches for it.
pub(super) struct Certificates {
    pub(super) identities: Vec<Identity>,
    pub(super) ca_file: PathBuf,
}

/// Reads the CA from the folder, or makes one; issues a server certificate for these addresses unless the folder has it.
pub(super) fn load_or_create(dir: &Path, hubs: &[Ipv4Addr]) -> anyhow::Result<Certificates> {
    let ca_file = std::path::absolute(dir.join("ca.pem"))?;
    let ca_key_file = dir.join("ca.key");
    if !ca_file.exists() || !ca_key_file.exists() {
        let (certificate, key) = make_ca()?;
        write_private(&ca_key_file, key.as_bytes())?;
        write_private(&ca_file, certificate.as_bytes())?;
    }
    let read = |path: &Path| std::fs::read_to_string(path).with_context(|| path.display().to_string());
    let (ca, ca_key) = (read(&ca_file)?, read(&ca_key_file)?);
    // Issued anew at each start: hubs may have been added, and nobody pins an emulator's leaf.
    let (certificate, key) = make_server(&ca, &ca_key, hubs)?;
    let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes())?;
    Ok(Certificates { identities: vec![identity], ca_file })
}

fn make_ca() -> anyhow::Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = named("Muster emulator CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// The leaf and its key; the chain ends with the CA, for clients that want it whole.
fn make_server(ca: &str, ca_key: &str, hubs: &[Ipv4Addr]) -> anyhow::Result<(String, String)> {
    let issuer = Issuer::from_ca_cert_pem(ca, KeyPair::from_pem(ca_key)?)?;
    let key = KeyPair::generate()?;
    let mut params = named("localhost");
    params.subject_alt_names =
        vec![SanType::DnsName("localhost".try_into()?), SanType::IpAddress(super::ADDRESS.into())];
    params.subject_alt_names.extend(hubs.iter().map(|address| SanType::IpAddress(IpAddr::V4(*address))));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf = params.signed_by(&key, &issuer)?;
    Ok((format!("{}{ca}", leaf.pem()), key.serialize_pem()))
}

fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(LAST_YEAR, 12, 31);
    params
}
