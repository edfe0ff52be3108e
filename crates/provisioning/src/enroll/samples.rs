//! Sample values for unit tests.

use std::sync::atomic::{AtomicU8, Ordering};

use model::{
    AllocationPolicy, AllocationWeight, Certificate, Configured, HostName, HubEndpoint, HubName, IdScope,
    Instance, LinkedHub, RegistrationOwnership, SymmetricKey,
};

use crate::ports::Entropy;

/// An entropy source that fills every buffer with the next number.
#[derive(Default)]
pub(crate) struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        buffer.fill(self.0.fetch_add(1, Ordering::Relaxed) + 1);
    }
}

/// Returns an instance with the linked hubs `hub-1.test` and `hub-2.test`.
pub(crate) fn instance(scope: &str) -> Instance {
    let hub = |name: &str| LinkedHub {
        name: HubName::parse(name).unwrap(),
        endpoint: HubEndpoint::Embedded,
        location: "here".into(),
        weight: AllocationWeight::default(),
        takes_new_devices: true,
        max_devices: None,
    };
    Instance {
        id_scope: IdScope::parse(scope).unwrap(),
        name: scope.into(),
        service_hosts: vec![HostName::parse(format!("{scope}.test")).unwrap()],
        allocation_policy: AllocationPolicy::Hashed,
        access_policies: Vec::new(),
        linked_hubs: vec![hub("hub-1.test"), hub("hub-2.test")],
        failover: false,
        require_verified_ca: false,
        registrations: RegistrationOwnership::default(),
        existing_devices: model::ExistingDevices::default(),
        crl_max_age: certpath::CrlMaxAge::default(),
        max_registrations_per_minute: None,
        quotas: Default::default(),
        public_network_access: Default::default(),
        ip_filter: Default::default(),
        latency_table: Default::default(),
        keep_attempts: None,
        resource: model::ResourceFacts::default(),
        managed: model::ManagedBy::Operators,
        deletion: None,
        cleanups_held: None,
        configured: Configured::default(),
        webhook_key: None,
        operation_key: key(9),
    }
}

/// Returns a key of 32 equal bytes.
pub(crate) fn key(byte: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[byte; 32]).unwrap()
}

/// Returns the key that [`Counting`] generates as its first, second and so on.
pub(crate) fn generated_key(number: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[number; SymmetricKey::MAX_BYTES]).unwrap()
}

/// Returns a new self-signed certificate.
pub(crate) fn certificate(name: &str) -> Certificate {
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let signed = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
    Certificate::from_der(signed.der()).unwrap()
}
