//! Certificates for servers in tests.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A server's certificate and key, and the certificate of its CA, all in PEM.
#[derive(Debug, Clone)]
pub struct ServerCertificate {
    /// The certificate of the CA, which clients must trust.
    pub ca: String,
    /// The server's certificate.
    pub certificate: String,
    /// The server's private key.
    pub key: String,
}

impl ServerCertificate {
    /// Creates a certificate for a host name or IP address, and its CA.
    pub fn of(host: &str) -> ServerCertificate {
        let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::from_params(&ca, &ca_key);
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        ServerCertificate { ca: ca_pem, certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
