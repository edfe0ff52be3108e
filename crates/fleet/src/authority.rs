//! Certificates for simulated devices, with keys on P-256, which small devices use.

use model::{RegistrationId, VerificationCode};
use net::tls::{Identity, IdentityError, read_key};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The maximum length of a common name (`ub-common-name`, RFC 5280, appendix A).
const MAX_COMMON_NAME: usize = 64;

/// A CA that issues device certificates.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    /// The certificates that a device sends after its own: from this CA upwards, without the root.
    intermediates: Vec<CertificateDer<'static>>,
}

/// The reasons why a certificate cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The CA's certificate cannot be parsed.
    #[error("CA certificate: {0}")]
    Certificate(String),
    /// The certificate and its key cannot be used for TLS.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The registration ID exceeds the maximum length of a common name.
    #[error(
        "registration ID {0} is longer than the {MAX_COMMON_NAME} characters of a certificate's common name"
    )]
    NameTooLong(RegistrationId),
    /// The certificate generator failed.
    #[error("cannot issue a certificate: {0}")]
    Rcgen(#[from] rcgen::Error),
}

impl CertificateAuthority {
    /// Creates a root CA.
    pub fn root(common_name: &str) -> Result<CertificateAuthority, AuthorityError> {
        let (params, key) = (ca_params(common_name), KeyPair::generate()?);
        let pem = params.self_signed(&key)?.pem();
        Ok(CertificateAuthority { issuer: Issuer::new(params, key), pem, intermediates: Vec::new() })
    }

    /// Creates an intermediate CA below this one.
    pub fn intermediate(&self, common_name: &str) -> Result<CertificateAuthority, AuthorityError> {
        let (params, key) = (ca_params(common_name), KeyPair::generate()?);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let above = self.intermediates.iter().cloned();
        let intermediates = [certificate.der().clone()].into_iter().chain(above).collect();
        Ok(CertificateAuthority { issuer: Issuer::new(params, key), pem: certificate.pem(), intermediates })
    }

    /// Loads an existing CA, in PEM or another encoding. `chain` is its certificate, followed by those above it that
    /// devices send. Fails if `key` is not the key of its certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<CertificateAuthority, AuthorityError> {
        let certificates = model::Certificate::parse_all(chain)
            .map_err(|error| AuthorityError::Certificate(error.to_string()))?;
        // This also checks that the key is that of the certificate.
        let intermediates = Identity::from_pem(chain, key)?.chain().to_vec();
        let own =
            intermediates.first().ok_or_else(|| AuthorityError::Certificate("there is none".to_owned()))?;
        let issuer = Issuer::from_ca_cert_der(own, KeyPair::try_from(&read_key(key)?)?)?;
        let pem = certificates.iter().map(model::Certificate::to_pem).collect();
        Ok(CertificateAuthority { issuer, pem, intermediates })
    }

    /// Returns the CA's certificate in PEM, for an enrollment group.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues the proof of possession of this CA's key: a certificate for a verification code, in PEM.
    pub fn proof(&self, code: &VerificationCode) -> Result<String, AuthorityError> {
        Ok(named(code.as_str()).signed_by(&KeyPair::generate()?, &self.issuer)?.pem())
    }

    /// Issues a key and certificate for a device, with the chain that the device sends.
    pub fn issue(&self, registration_id: &RegistrationId) -> Result<Identity, AuthorityError> {
        let key = KeyPair::generate()?;
        let leaf = device_params(registration_id)?.signed_by(&key, &self.issuer)?;
        identity(&leaf, &key, &self.intermediates)
    }
}

/// Creates a key and self-signed certificate for a device, and returns the certificate also in PEM, for an individual
/// enrollment.
pub fn self_signed(registration_id: &RegistrationId) -> Result<(Identity, String), AuthorityError> {
    let key = KeyPair::generate()?;
    let leaf = device_params(registration_id)?.self_signed(&key)?;
    Ok((identity(&leaf, &key, &[])?, leaf.pem()))
}

fn identity(
    leaf: &Certificate,
    key: &KeyPair,
    above: &[CertificateDer<'static>],
) -> Result<Identity, AuthorityError> {
    let chain = [leaf.der().clone()].into_iter().chain(above.iter().cloned()).collect();
    Ok(Identity::from_der(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into()))?)
}

fn ca_params(common_name: &str) -> CertificateParams {
    let mut params = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params
}

fn device_params(registration_id: &RegistrationId) -> Result<CertificateParams, AuthorityError> {
    if registration_id.as_str().len() > MAX_COMMON_NAME {
        return Err(AuthorityError::NameTooLong(registration_id.clone()));
    }
    let mut params = named(registration_id.as_str());
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

/// Returns parameters with a long validity period, so that the simulator's clock does not matter.
fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(length: usize) -> RegistrationId {
        RegistrationId::parse("d".repeat(length)).unwrap()
    }

    #[test]
    fn chains_hold_all_certificates_below_the_root() {
        let root = CertificateAuthority::root("Root").unwrap();
        let factory = root.intermediate("Region").unwrap().intermediate("Factory").unwrap();
        assert_eq!(root.issue(&id(1)).unwrap().chain().len(), 1);
        assert_eq!(factory.issue(&id(1)).unwrap().chain().len(), 3);
        assert_eq!(self_signed(&id(1)).unwrap().0.chain().len(), 1);
    }

    #[test]
    fn a_registration_id_must_fit_into_the_common_name() {
        let root = CertificateAuthority::root("Root").unwrap();
        assert!(root.issue(&id(MAX_COMMON_NAME)).is_ok());
        assert!(matches!(root.issue(&id(MAX_COMMON_NAME + 1)), Err(AuthorityError::NameTooLong(_))));
    }

    #[test]
    fn an_existing_ca_requires_its_own_key() {
        let (ca, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pem = ca_params("Mine").self_signed(&ca).unwrap().pem();
        let mine = CertificateAuthority::from_pem(pem.as_bytes(), ca.serialize_pem().as_bytes()).unwrap();
        assert_eq!(mine.issue(&id(1)).unwrap().chain().len(), 2, "the leaf and what the file holds");
        for (chain, key) in
            [(pem.as_str(), other.serialize_pem()), ("", ca.serialize_pem()), (&pem, String::new())]
        {
            assert!(CertificateAuthority::from_pem(chain.as_bytes(), key.as_bytes()).is_err());
        }
    }
}
