//! What a token costs that no group with symmetric keys admits: `cargo run --release -p provisioning --example key_groups`.
//!
//! The device does not name its group, so its token is compared with both keys of each one.

#![expect(clippy::unwrap_used, reason = "a measurement that fails has nothing to say")]

use std::{sync::Arc, time::Instant};

use certpath::CrlMaxAge;
use model::{
    EnrollmentGroup, GroupAttestation, IdScope, RegistrationId, SignedClaim, SymmetricKey, SymmetricKeyPair,
    Timestamp, Trust,
};
use provisioning::attest::{Claimant, Evidence, symmetric_key_group, x509::CaRules};
use testkit::sample;

const ROUNDS: u32 = 200;

fn main() {
    for number in [1_u32, 100, 1000] {
        let groups: Vec<_> = (0..number).map(group).collect();
        for id in ["sensor-0001", "Sensor-0001"] {
            tell(&groups, id);
        }
    }
}

fn group(number: u32) -> Arc<EnrollmentGroup> {
    let key = |side: u8| {
        let bytes: Vec<u8> = number.to_be_bytes().into_iter().chain([side]).cycle().take(64).collect();
        SymmetricKey::from_bytes(&bytes).unwrap()
    };
    let attestation = GroupAttestation::SymmetricKey(SymmetricKeyPair { primary: key(1), secondary: key(2) });
    Arc::new(EnrollmentGroup { attestation, ..sample::group(&format!("group-{number}")) })
}

fn tell(groups: &[Arc<EnrollmentGroup>], id: &str) {
    let (scope, registration_id) =
        (IdScope::parse("0ne00000001").unwrap(), RegistrationId::parse(id).unwrap());
    let resource = format!("{scope}/registrations/{id}");
    let claim = SignedClaim {
        signed_text: format!("{}\n4102444800", resource.replace('/', "%2F")),
        resource,
        expires: Timestamp::from_unix_seconds(4_102_444_800),
        mac: vec![7; 32],
        policy: Some("registration".to_owned()),
    };
    let evidence = Evidence { claim: Some(claim), ..Evidence::default() };
    let known = std::sync::Arc::new(Trust::default());
    let claimant = Claimant {
        scope: &scope,
        registration_id: &registration_id,
        evidence: &evidence,
        tpm: None,
        ca: CaRules { known: &known, require_verified: false, crl_max_age: CrlMaxAge::default() },
        now: Timestamp::from_unix_seconds(0),
    };
    let judge = || assert!(symmetric_key_group(groups, None, &claimant).outcome.is_err());
    judge();
    let took = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        judge();
        start.elapsed()
    });
    // The best, because whatever else the machine does adds to the others.
    let best = took.min().unwrap();
    println!("{:>5} groups, registration ID {id}: {:>9.1} µs", groups.len(), best.as_secs_f64() * 1e6);
}
