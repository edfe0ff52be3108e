//! Which enrollment lets a device in: the individual one, a group, or none.

use model::{EnrollmentRef, IndividualEnrollment, Status};
use provisioning::{Error, attest::Evidence, register::RegisterOutcome};
use testkit::{
    ca::{Authority, Identity},
    sample,
};

use super::{
    token::Token,
    world::{SCOPE, World, disable, group, group_by, individual},
};
use crate::attest::case::{certificates, group_of};

const DEVICE: &str = "dev-1";

/// A world with a symmetric-key group and a certificate group, which both would let the device in.
struct Groups {
    world: World,
    root: Authority,
    leaf: Identity,
}

impl Groups {
    async fn new() -> Groups {
        let (world, root) = (World::new().await, Authority::root("Root"));
        world.enroll_group(group("keys")).await;
        world.enroll_group(group_by("certificates", group_of("x", &root).attestation)).await;
        let leaf = root.device(DEVICE);
        Groups { world, root, leaf }
    }

    fn certificate(&self) -> Evidence {
        certificates(&[self.leaf.der()])
    }

    /// Registers, and returns the enrollment that let the device in, `disabled`, or the message of the refusal.
    async fn outcome(&self, evidence: Evidence) -> String {
        match self.world.begin_with(SCOPE, DEVICE, evidence).await {
            Ok(RegisterOutcome::Running(run)) => match run.registration.enrollment {
                EnrollmentRef::Individual => "individual".into(),
                EnrollmentRef::Group(id) => id.to_string(),
            },
            Ok(RegisterOutcome::Settled(registration)) => match registration.status {
                Status::Disabled { .. } => "disabled".into(),
                other => panic!("{other:?}"),
            },
            Err(Error::Unauthorized { message, .. }) => message.into(),
            other => panic!("{other:?}"),
        }
    }
}

fn token(key: &model::SymmetricKey) -> Evidence {
    Token::new(&format!("{SCOPE}/registrations/{DEVICE}"), key).evidence()
}

fn derived() -> Evidence {
    token(&sample::key(20).derive(DEVICE))
}

/// Returns a disabled individual enrollment with `sample::key(10)`.
fn blocking() -> IndividualEnrollment {
    let mut enrollment = individual(DEVICE);
    disable(&mut enrollment.settings);
    enrollment
}

#[tokio::test]
async fn without_an_individual_enrollment_a_group_lets_the_device_in() {
    let groups = Groups::new().await;
    assert_eq!(groups.outcome(derived()).await, "keys");
    groups.world.delete_registration(DEVICE).await;
    assert_eq!(groups.outcome(groups.certificate()).await, "certificates");
    for (case, evidence) in [
        ("nothing", Evidence::default()),
        ("the group's own key", token(&sample::key(20))),
        ("a foreign key", token(&sample::key(99))),
    ] {
        assert_eq!(groups.outcome(evidence).await, "Unauthorized", "{case}");
    }
    let foreign = certificates(&[Authority::root("Root").device(DEVICE).der()]);
    assert_eq!(groups.outcome(foreign).await, "Invalid certificate.");
    let other = certificates(&[groups.root.device("dev-2").der()]);
    assert_eq!(groups.outcome(other).await, "Invalid certificate.");
}

#[tokio::test]
async fn the_individual_enrollment_takes_precedence() {
    let groups = Groups::new().await;
    groups.world.enroll(individual(DEVICE)).await;
    assert_eq!(groups.outcome(token(&sample::key(10))).await, "individual");
    assert_eq!(groups.outcome(derived()).await, "Unauthorized", "a key of the group is not the device's own");
}

#[tokio::test]
async fn a_disabled_individual_enrollment_refuses_all_evidence() {
    let groups = Groups::new().await;
    groups.world.enroll(blocking()).await;
    assert_eq!(groups.outcome(token(&sample::key(10))).await, "disabled");
    assert_eq!(groups.outcome(derived()).await, "Unauthorized");
    assert_eq!(groups.outcome(groups.certificate()).await, "Invalid certificate.");
    assert_eq!(groups.outcome(Evidence::default()).await, "Unauthorized");
    groups.world.delete_enrollment(DEVICE).await;
    assert_eq!(groups.outcome(derived()).await, "keys", "deleted, it blocks no more");
}

#[tokio::test]
async fn a_disabled_group_refuses_its_devices() {
    let groups = Groups::new().await;
    let (mut keys, mut chain) =
        (group("keys"), group_by("certificates", group_of("x", &groups.root).attestation));
    disable(&mut keys.settings);
    disable(&mut chain.settings);
    groups.world.enroll_group(keys).await;
    groups.world.enroll_group(chain.clone()).await;
    assert_eq!(groups.outcome(derived()).await, "disabled");
    assert_eq!(groups.outcome(groups.certificate()).await, "disabled");
    // An enabled group with the same certificate does not help.
    groups.world.enroll_group(group_by("another", chain.attestation)).await;
    assert_eq!(groups.outcome(groups.certificate()).await, "disabled");
}

/// Neither without a registration nor with one: no record, no call to a hub, and no operation is counted.
#[tokio::test]
async fn a_refusal_changes_nothing() {
    let groups = Groups::new().await;
    let refused = || {
        [
            (Evidence::default(), "Unauthorized"),
            (token(&sample::key(20)), "Unauthorized"),
            (certificates(&[b"rubbish"]), "Invalid certificate."),
            (certificates(&[Authority::root("Other").device(DEVICE).der()]), "Invalid certificate."),
        ]
    };
    for (evidence, refusal) in refused() {
        assert_eq!(groups.outcome(evidence).await, refusal);
    }
    assert_eq!(groups.world.record(DEVICE).await, None);
    assert_eq!((groups.world.calls(), groups.world.counted(SCOPE).await), (0, (0, 0)));

    assert_eq!(groups.outcome(derived()).await, "keys");
    let registered =
        (groups.world.record(DEVICE).await, groups.world.calls(), groups.world.counted(SCOPE).await);
    assert!(registered.0.is_some());
    for (evidence, refusal) in refused() {
        assert_eq!(groups.outcome(evidence).await, refusal);
        let after =
            (groups.world.record(DEVICE).await, groups.world.calls(), groups.world.counted(SCOPE).await);
        assert_eq!(after, registered, "{refusal}");
    }
}

#[tokio::test]
async fn the_operator_sees_the_rule_that_refused() {
    let groups = Groups::new().await;
    let refused = groups.world.begin_with(SCOPE, DEVICE, certificates(&[b"rubbish"])).await;
    let Err(Error::Unauthorized { message, reason }) = refused else { panic!("{refused:?}") };
    assert_eq!(message, "Invalid certificate.");
    assert_eq!(reason, "certificate 0 of those presented cannot be read");
}

/// Counts computations, and runs them.
#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU32);

#[async_trait::async_trait]
impl provisioning::ports::Compute for Counting {
    async fn run(&self, work: Box<dyn FnOnce() + Send>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        work();
    }
}

/// Signatures of certificates are verified on threads that may block.
#[tokio::test]
async fn certificates_are_verified_by_the_compute_port() {
    let (world, counting) = (World::new().await, std::sync::Arc::new(Counting::default()));
    let instance = world.instance(SCOPE).await;
    let provisioning = std::sync::Arc::into_inner(world.provisioning).unwrap().computing_on(counting.clone());
    let leaf = testkit::ca::Identity::self_signed(&testkit::ca::Profile::device("dev-1"));
    let with_leaf = crate::attest::case::certificates(&[leaf.der()]);
    for (evidence, expected) in [(provisioning::attest::Evidence::default(), 0), (with_leaf, 1)] {
        let registration_id = testkit::sample::registration_id("dev-1");
        let device = provisioning::register::DeviceDescription { scope: None, registration_id, evidence };
        provisioning.explain(&instance, &device).await.unwrap();
        assert_eq!(counting.0.load(std::sync::atomic::Ordering::Relaxed), expected);
    }
}
