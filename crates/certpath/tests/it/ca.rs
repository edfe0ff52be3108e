//! Certificate authorities for tests.

use certpath::{
    Anchor, CertificateParts, Circumstances, Crl, CrlMaxAge, Found, Leaf, NoAuthorities, PathError,
    PresentedChain, Time, nearest_path,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlIssuingDistributionPoint,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevocationReason, RevokedCertParams,
    SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

/// 2026-11-23T00:00:00Z.
pub const NOW: Time = Time::from_unix_seconds(1_795_392_000);

/// A CA, and the CAs above it.
pub struct Ca {
    name: String,
    key: KeyPair,
    /// Its certificate, and those up to the root.
    pub chain: Vec<Vec<u8>>,
}

impl Ca {
    /// Creates a root.
    pub fn root(name: &str, algorithm: &'static SignatureAlgorithm) -> Ca {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut root = Ca { name: name.to_owned(), key, chain: Vec::new() };
        root.chain = vec![root.reissued(1)];
        root
    }

    /// Creates a CA below this one, with a key of the same kind.
    pub fn intermediate(&self, name: &str) -> Ca {
        self.below(authority(name), self.key.algorithm())
    }

    /// Creates a holder of a key and a certificate below this one.
    pub fn below(&self, params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Ca {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let name = match params.distinguished_name.get(&DnType::CommonName) {
            Some(rcgen::DnValue::Utf8String(name)) => name.clone(),
            other => panic!("{other:?}"),
        };
        let der = params.signed_by(&key, &self.issuer()).unwrap().der().to_vec();
        Ca { name, key, chain: [vec![der], self.chain.clone()].concat() }
    }

    /// Issues a certificate for a new key.
    pub fn issue(&self, params: CertificateParams) -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer()).unwrap().der().to_vec()
    }

    /// Issues another self-signed certificate for the CA's key.
    pub fn reissued(&self, serial: u64) -> Vec<u8> {
        let mut params = authority(&self.name);
        params.serial_number = Some(SerialNumber::from(serial));
        self.certify_itself(params)
    }

    /// Issues a certificate for the CA's own key.
    pub fn certify_itself(&self, params: CertificateParams) -> Vec<u8> {
        self.certify(self, params)
    }

    /// Issues a certificate for the key of a CA.
    pub fn certify(&self, other: &Ca, params: CertificateParams) -> Vec<u8> {
        params.signed_by(&other.key, &self.issuer()).unwrap().der().to_vec()
    }

    /// Issues a list of these certificates, in DER, on 2026-11-01, to be replaced on another day.
    pub fn crl(
        &self,
        revoked: &[&Vec<u8>],
        (year, month, day): (i32, u8, u8),
        issuing_distribution_point: Option<CrlIssuingDistributionPoint>,
    ) -> Crl {
        let entry = |der: &&Vec<u8>| RevokedCertParams {
            serial_number: SerialNumber::from_slice(X509Certificate::from_der(der).unwrap().1.raw_serial()),
            revocation_time: date_time_ymd(2026, 10, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 11, 1),
            next_update: date_time_ymd(year, month, day),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point,
            revoked_certs: revoked.iter().map(entry).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Crl::from_der(params.signed_by(&self.issuer()).unwrap().der().to_vec()).unwrap()
    }

    /// Returns the chain of a new leaf, up to the root.
    pub fn leaf_chain(&self, name: &str) -> Vec<Vec<u8>> {
        [vec![self.issue(named(name))], self.chain.clone()].concat()
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::new(named(&self.name), &self.key)
    }
}

/// Returns the parameters of an end entity.
pub fn named(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
    params
}

/// Returns the parameters of a CA.
pub fn authority(common_name: &str) -> CertificateParams {
    let mut params = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// Searches for the path from the first certificate of a chain to one of the anchors, all in DER.
pub fn search<'s>(chain: &'s PresentedChain<'s>, anchors: &[&'s [u8]]) -> Result<Found<'s, ()>, PathError> {
    let circumstances =
        Circumstances { now: NOW, authorities: &NoAuthorities, crl_max_age: CrlMaxAge::default() };
    let leaf = Leaf::check(chain.leaf(), circumstances)?;
    let anchors = anchors.iter().filter_map(|der| CertificateParts::read(der));
    let anchors: Vec<_> = anchors.map(|parts| Anchor::for_all(parts, ())).collect();
    Ok(nearest_path(leaf.into(), chain.candidates(), &anchors, circumstances))
}

/// Parses certificates in DER.
pub fn presented(chain: &[Vec<u8>]) -> Result<PresentedChain<'_>, PathError> {
    PresentedChain::parse(chain.iter().map(Vec::as_slice))
}
