//! A registration ID with an individual enrollment is decided by that enrollment alone: all mechanisms by all evidence.

use std::sync::Arc;

use model::{
    Admission, CaCertificate, EnrollmentRef, Explanation, GroupAttestation, GroupCertificates,
    IndividualAttestation, IndividualCertificates, IndividualEnrollment, Instance, Pair, RevocationSettings,
    SignedClaim, TpmAttestation,
};
use provisioning::{
    attest::{Evidence, tpm::PresentedTpm},
    ports::Change,
    register::DeviceDescription,
};
use testkit::{
    ca::{Authority, Identity},
    sample,
    tpm::{Kind, SoftTpm},
};

use super::{
    token::Token,
    world::{SCOPE, World, disable, group, group_by, individual},
};
use crate::attest::case::{certificates, group_of};

const DEVICE: &str = "dev-1";

/// The secrets of the device and of an attacker, who has a group's key, and certificates of a group's CA and of a named one.
struct Cast {
    root: Authority,
    named: Authority,
    own: Identity,
    tpm: SoftTpm,
    other_tpm: SoftTpm,
}

impl Cast {
    fn new() -> Cast {
        let root = Authority::root("Root");
        let tpm = || SoftTpm::new(Kind::P256, Kind::P256);
        let own = root.device(DEVICE);
        Cast { own, named: Authority::root("Named"), root, tpm: tpm(), other_tpm: tpm() }
    }

    fn mechanisms(&self) -> Vec<(&'static str, IndividualAttestation)> {
        let own = Pair::new(Some(self.own.certificate()), None).unwrap();
        let named = Pair::new(Some(sample::ca_reference("named")), None).unwrap();
        let endorsement_key = self.tpm.identity().endorsement_key.clone();
        vec![
            ("key", IndividualAttestation::SymmetricKey(sample::keys(10))),
            ("leaf", IndividualAttestation::X509(IndividualCertificates::Client(own))),
            ("named CA", IndividualAttestation::X509(IndividualCertificates::CaReferences(named))),
            ("TPM", IndividualAttestation::Tpm(TpmAttestation { endorsement_key, storage_root_key: None })),
        ]
    }

    /// Returns every combination of evidence.
    fn evidences(&self) -> Vec<(String, Evidence)> {
        let (claims, chains, tpms) = (claims(), self.chains(), self.tpms());
        let mut all = Vec::new();
        for (claim_name, claim) in &claims {
            for (chain_name, chain) in &chains {
                for (tpm_name, tpm) in &tpms {
                    let name = format!("{claim_name}, {chain_name}, {tpm_name}");
                    let certificates = Arc::clone(&chain.certificates);
                    all.push((name, Evidence { claim: claim.clone(), certificates, tpm: tpm.clone() }));
                }
            }
        }
        all
    }

    fn chains(&self) -> Vec<(&'static str, Evidence)> {
        vec![
            ("no certificate", Evidence::default()),
            ("its leaf", certificates(&[self.own.der()])),
            ("another leaf of the group's CA", certificates(&[self.root.device(DEVICE).der()])),
            ("a leaf of the named CA", certificates(&[self.named.device(DEVICE).der()])),
            ("a foreign leaf", certificates(&[Authority::root("Root").device(DEVICE).der()])),
        ]
    }

    fn tpms(&self) -> Vec<(&'static str, Option<PresentedTpm>)> {
        let keys = |tpm: &SoftTpm| Some(PresentedTpm::from(tpm.identity()));
        vec![("no TPM", None), ("its TPM", keys(&self.tpm)), ("another TPM", keys(&self.other_tpm))]
    }

    /// Enrolls groups of every kind that would let the ID in.
    async fn enroll_groups(&self, world: &World) {
        world.enroll_group(group("keys")).await;
        world.enroll_group(group_by("chain", group_of("x", &self.root).attestation)).await;
        let named = Pair::new(Some(sample::ca_reference("named")), None).unwrap();
        let attestation = GroupAttestation::X509(GroupCertificates::CaReferences(named));
        world.enroll_group(group_by("named", attestation)).await;
    }

    async fn store_named_ca(&self, world: &World) {
        let stored = sample::ca_certificate("named", &self.named.certificate());
        let verified =
            CaCertificate { is_verified: true, revocation: RevocationSettings::default(), ..stored };
        world.enroll_in(SCOPE, Change::PutCertificate(Box::new(verified))).await;
    }
}

fn claims() -> Vec<(&'static str, Option<SignedClaim>)> {
    let signed = |key: &model::SymmetricKey| {
        Token::new(&format!("{SCOPE}/registrations/{DEVICE}"), key).evidence().claim
    };
    vec![
        ("no token", None),
        ("its key's token", signed(&sample::key(10))),
        ("a token of a derived key", signed(&sample::key(20).derive(DEVICE))),
        ("a token of a group's key", signed(&sample::key(20))),
    ]
}

async fn explain(world: &World, instance: &Instance, evidence: &Evidence) -> Explanation {
    let registration_id = sample::registration_id(DEVICE);
    let device = DeviceDescription { scope: None, registration_id, evidence: evidence.clone() };
    world.provisioning.explain(instance, &device).await.unwrap()
}

/// A table: groups make no difference, and are not even considered.
#[tokio::test]
async fn groups_make_no_difference_for_an_id_that_is_enrolled_individually() {
    let (cast, world, bare) = (Cast::new(), World::new().await, World::new().await);
    cast.enroll_groups(&world).await;
    for world in [&world, &bare] {
        cast.store_named_ca(world).await;
    }
    let instance = world.instance(SCOPE).await;
    let evidences = cast.evidences();
    for (mechanism, attestation) in cast.mechanisms() {
        for is_disabled in [false, true] {
            let mut enrollment =
                IndividualEnrollment { attestation: attestation.clone(), ..individual(DEVICE) };
            if is_disabled {
                disable(&mut enrollment.settings);
            }
            world.enroll(enrollment.clone()).await;
            bare.enroll(enrollment).await;
            let mut let_in = 0;
            for (presented, evidence) in &evidences {
                let case = format!("{mechanism}, disabled: {is_disabled}; presented: {presented}");
                let explained = explain(&world, &instance, evidence).await;
                assert_eq!(explained, explain(&bare, &instance, evidence).await, "{case}");
                let considered: Vec<_> = explained.considered.iter().map(|one| &one.enrollment).collect();
                assert_eq!(considered, [&EnrollmentRef::Individual], "{case}");
                let_in += usize::from(!matches!(explained.outcome, Admission::Refused { .. }));
            }
            assert!(let_in > 0 && let_in < evidences.len(), "{mechanism}: {let_in} let in");
        }
    }
}

/// Without the individual enrollment the same evidence leads to each of the groups, so the table above can fail.
#[tokio::test]
async fn without_an_individual_enrollment_the_groups_decide() {
    let (cast, world) = (Cast::new(), World::new().await);
    cast.enroll_groups(&world).await;
    cast.store_named_ca(&world).await;
    let instance = world.instance(SCOPE).await;
    let mut admitting = Vec::new();
    for (_, evidence) in cast.evidences() {
        if let Admission::Admitted(enrollment) = explain(&world, &instance, &evidence).await.outcome {
            admitting.push(enrollment);
        }
    }
    for name in ["keys", "chain", "named"] {
        let group = EnrollmentRef::Group(sample::group_id(name));
        assert!(admitting.contains(&group), "{name}: {admitting:?}");
    }
}

/// A registration through a group does not prevent the individual enrollment from deciding.
#[tokio::test]
async fn a_registration_through_a_group_ends_with_the_individual_enrollment() {
    let (cast, world) = (Cast::new(), World::new().await);
    cast.enroll_groups(&world).await;
    let evidence =
        |key: &model::SymmetricKey| Token::new(&format!("{SCOPE}/registrations/{DEVICE}"), key).evidence();
    let derived = evidence(&sample::key(20).derive(DEVICE));
    world.begin_with(SCOPE, DEVICE, derived.clone()).await.unwrap();
    world.enroll(individual(DEVICE)).await;
    for evidence in [derived, certificates(&[cast.root.device(DEVICE).der()])] {
        world.begin_with(SCOPE, DEVICE, evidence).await.unwrap_err();
    }
    world.begin_with(SCOPE, DEVICE, evidence(&sample::key(10))).await.unwrap();
    assert_eq!(world.record(DEVICE).await.unwrap().enrollment, EnrollmentRef::Individual);
}
