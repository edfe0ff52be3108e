//! Certificates for servers in tests.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// The file of the certificate of the CA.
pub const CA_FILE: &str = "ca.pem";

/// The file of the server's certificate.
pub const CERTIFICATE_FILE: &str = "server.pem";

/// The file of the server's private key.
pub const KEY_FILE: &str = "server.key";

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

    /// Writes [`CA_FILE`], [`CERTIFICATE_FILE`] and [`KEY_FILE`] into a folder.
    pub fn write(&self, folder: &Path) {
        for (file, pem) in [(CA_FILE, &self.ca), (CERTIFICATE_FILE, &self.certificate), (KEY_FILE, &self.key)]
        {
            fs::write(folder.join(file), pem).unwrap();
        }
    }
}
