//! What holds over every transport, for every way in which a device proves who it is: one table, run over all of them.
//!
//! A transport is a variant of [`Transport`], an attestation one of [`Attestation`]; every test here is run for each
//! pair.

use model::{
    EnrollmentGroup, EnrollmentSettings, GroupAttestation, GroupCertificates, IndividualAttestation,
    IndividualCertificates, IndividualEnrollment, Pair, ProvisioningStatus,
};
use testkit::{
    ca::{Authority, Identity, Profile},
    sample,
};

use crate::{
    lines::{Line, TRANSPORTS, Transport},
    tls::Presented,
    world::{AT_ONCE, Device, HUB, IN_TIME, ROOM, SCOPE, World, group, individual},
};

/// How a device proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attestation {
    /// A key of its own.
    Key,
    /// A key derived from its group's.
    GroupKey,
    /// A certificate of its own.
    Certificate,
    /// A certificate issued by its group's CA.
    GroupCertificate,
    /// The same, with an intermediate in between, which the device sends.
    GroupChain,
}

const ATTESTATIONS: [Attestation; 5] = [
    Attestation::Key,
    Attestation::GroupKey,
    Attestation::Certificate,
    Attestation::GroupCertificate,
    Attestation::GroupChain,
];

/// A device with an enrollment of its own, and one that only has its name.
struct Case {
    transport: Transport,
    name: String,
    device: Device,
    presented: Option<Presented>,
    impostor: (Device, Option<Presented>),
}

impl Case {
    /// Enrolls a device.
    async fn new(
        world: &World,
        transport: Transport,
        attestation: Attestation,
        status: ProvisioningStatus,
    ) -> Case {
        let id = format!("{transport:?}-{attestation:?}");
        let settings = EnrollmentSettings { provisioning_status: status, ..EnrollmentSettings::default() };
        let with_key = |key| Device::new(SCOPE, &id, key);
        let certified = || with_key(sample::key(1));
        let (device, presented, impostor) = match attestation {
            Attestation::Key => {
                let attestation = IndividualAttestation::SymmetricKey(sample::keys(10));
                world.enroll(IndividualEnrollment { attestation, settings, ..individual(&id) }).await;
                (with_key(sample::key(10)), None, None)
            }
            Attestation::GroupKey => {
                let attestation = GroupAttestation::SymmetricKey(sample::keys(20));
                enroll_group(world, &id, attestation, settings).await;
                (with_key(sample::key(20).derive(&id)), None, None)
            }
            Attestation::Certificate => {
                let [own, other] = [(); 2].map(|()| Identity::self_signed(&Profile::device(&id)));
                let client = Pair::new(Some(own.certificate()), None).unwrap();
                let attestation = IndividualAttestation::X509(IndividualCertificates::Client(client));
                world.enroll(IndividualEnrollment { attestation, settings, ..individual(&id) }).await;
                (certified(), Some(Presented::new(&own, &[])), Some(Presented::new(&other, &[])))
            }
            Attestation::GroupCertificate | Attestation::GroupChain => {
                let [root, other] = [(); 2].map(|()| Authority::root(&format!("Root of {id}")));
                let signing = Pair::new(Some(root.certificate()), None).unwrap();
                let attestation_of_group = GroupAttestation::X509(GroupCertificates::Signing(signing));
                enroll_group(world, &id, attestation_of_group, settings).await;
                let presented = |root: &Authority| match attestation {
                    Attestation::GroupChain => {
                        let factory = root.intermediate("Factory");
                        Presented::new(&factory.device(&id), &[factory.identity().der().to_vec()])
                    }
                    _ => Presented::new(&root.device(&id), &[]),
                };
                (certified(), Some(presented(&root)), Some(presented(&other)))
            }
        };
        let impostor = (with_key(sample::key(99)), impostor);
        Case { transport, name: id.clone(), device, presented, impostor }
    }

    async fn line(&self, world: &World) -> Line {
        Line::open(world, self.transport, &self.device, self.presented.as_ref()).await
    }
}

async fn enroll_group(world: &World, id: &str, attestation: GroupAttestation, settings: EnrollmentSettings) {
    let name = format!("group-of-{}", id.to_ascii_lowercase());
    world.enroll_group(EnrollmentGroup { settings, ..group(&name, attestation) }).await;
}

/// Enrolls a device for each pair of a transport and an attestation.
async fn cases(world: &World, status: ProvisioningStatus) -> Vec<Case> {
    let mut cases = Vec::new();
    for transport in TRANSPORTS {
        for attestation in ATTESTATIONS {
            cases.push(Case::new(world, transport, attestation, status).await);
        }
    }
    cases
}

#[tokio::test]
async fn a_device_registers_and_comes_back() {
    let world = World::new(IN_TIME).await;
    for (number, case) in cases(&world, ProvisioningStatus::Enabled).await.iter().enumerate() {
        let mut line = case.line(&world).await;
        let first = line.register().await;
        assert_eq!(first.assigned(), (HUB, &*case.name), "{}", case.name);
        assert_eq!((first.retry_after_secs, first.error_code()), (None, None), "{}", case.name);
        let polled = line.poll(first.operation_id()).await;
        assert_eq!((polled.status, &polled.json), (200, &first.json), "{}", case.name);
        let again = case.line(&world).await.register().await;
        assert_eq!(again.assigned(), first.assigned(), "{}", case.name);
        assert_eq!(world.hub().devices().len(), number + 1, "{}: one device", case.name);
        assert_eq!(world.counted().await, 2 * (number as u64 + 1), "{}: two operations", case.name);
    }
}

#[tokio::test]
async fn a_disabled_enrollment_is_said_to_be() {
    let world = World::new(IN_TIME).await;
    for case in cases(&world, ProvisioningStatus::Disabled).await {
        let said = case.line(&world).await.register().await;
        let expected = format!(
            r#"{{"operationId":"","status":"disabled","registrationState":{{"registrationId":"{}","status":"disabled"}}}}"#,
            case.name
        );
        assert_eq!(said.json.to_string(), expected);
        assert_eq!((said.retry_after_secs, said.error_code()), (None, None), "{}", case.name);
    }
    assert!(world.hub().devices().is_empty());
}

#[tokio::test]
async fn a_wrong_credential_is_refused() {
    let world = World::new(IN_TIME).await;
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        let (device, presented) = &case.impostor;
        let said = Line::open(&world, case.transport, device, presented.as_ref()).await.register().await;
        assert_eq!((said.status, said.error_code()), (401, Some(401_002)), "{}", case.name);
        let message = if presented.is_some() { "Invalid certificate." } else { "Unauthorized" };
        assert_eq!((&said.json["message"], said.retry_after_secs), (&message.into(), None), "{}", case.name);
        assert_eq!(world.record(&case.name).await, None);
    }
    assert_eq!(world.counted().await, 0);
}

#[tokio::test]
async fn an_unknown_scope_is_refused_like_a_wrong_credential() {
    let world = World::new(IN_TIME).await;
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        let device = Device::new("0neNOBODY", &case.name, case.device.key.clone());
        let said =
            Line::open(&world, case.transport, &device, case.presented.as_ref()).await.register().await;
        assert_eq!((said.status, said.error_code()), (401, Some(401_002)), "{}", case.name);
        assert_eq!(said.json["message"], "Unauthorized", "{}", case.name);
    }
}

#[tokio::test]
async fn a_slow_hub_is_asked_after() {
    let world = World::new(AT_ONCE).await;
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        let held = world.hub().hold().await;
        let mut line = case.line(&world).await;
        let said = line.register().await;
        let expected = format!(r#"{{"operationId":"{}","status":"assigning"}}"#, said.operation_id());
        assert_eq!((said.status, said.retry_after_secs), (202, Some(3)), "{}", case.name);
        assert_eq!(said.json.to_string(), expected);
        let polled = line.poll(said.operation_id()).await;
        assert_eq!((polled.status, polled.retry_after_secs), (202, Some(3)), "{}", case.name);
        assert_eq!(polled.json["registrationState"]["status"], "assigning");
        drop(held);
        let ended = line.poll_to_the_end(said.operation_id()).await;
        assert_eq!(ended.assigned(), (HUB, &*case.name));
    }
}

/// A busy service asks devices to come back, and serves them then: two SDKs give up when they hear of an error.
#[tokio::test]
async fn a_busy_service_is_asked_again() {
    let world = World::new(AT_ONCE).await;
    let cases = cases(&world, ProvisioningStatus::Enabled).await;
    let held = world.hub().hold().await;
    for number in 0..ROOM {
        let device = world.device(&format!("crowd-{number}")).await;
        assert_eq!(world.http(None).await.register(&device).await.json()["status"], "assigning");
    }
    let mut waiting = Vec::new();
    for case in &cases {
        let mut line = case.line(&world).await;
        let said = line.register().await;
        assert_eq!((said.status, said.retry_after_secs), (202, Some(3)), "{}", case.name);
        waiting.push((case, line, said.operation_id().to_owned()));
    }
    drop(held);
    for (case, mut line, operation_id) in waiting {
        let ended = line.poll_to_the_end(&operation_id).await;
        assert_eq!(ended.assigned(), (HUB, &*case.name));
    }
}
