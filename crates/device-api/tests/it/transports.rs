//! What holds over every transport, for every way in which a device proves who it is: one table, run over all of them.
//!
//! A transport is a variant of [`Transport`], an attestation one of [`Attestation`]; every test here is run for each
//! pair.

use std::time::{Duration, Instant};

use codec::amqp::SaslCode;
use device_api::{FirstReply, Timing};
use model::{
    EnrollmentGroup, EnrollmentSettings, GroupAttestation, GroupCertificates, IndividualAttestation,
    IndividualCertificates, IndividualEnrollment, Pair, ProvisioningStatus, StatusKind, SymmetricKey,
};
use net::{Purpose, Transport};
use serde_json::Value;
use testkit::{
    ca::{Authority, Identity, Profile},
    sample,
    tpm::{Kind, SoftTpm},
};

use crate::{
    challenged::{TurnedAway, challenged},
    lines::{Line, Said},
    tls::Presented,
    tpm::TpmDevice,
    world::{AT_ONCE, Device, HUB, IN_TIME, JAVA, NODE, ROOM, SCOPE, World, group, individual, pass},
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
    /// A TPM, which must open a challenge first.
    Tpm,
}

const ATTESTATIONS: [Attestation; 6] = [
    Attestation::Key,
    Attestation::GroupKey,
    Attestation::Certificate,
    Attestation::GroupCertificate,
    Attestation::GroupChain,
    Attestation::Tpm,
];

/// What a device has to prove who it is.
enum Proof {
    Key(SymmetricKey),
    Certificate(Presented),
    Tpm(TpmDevice),
}

/// A device that is enrolled.
struct Case {
    transport: Transport,
    name: String,
    proof: Proof,
    /// That of one who only has its name.
    impostors: Proof,
}

impl Case {
    /// Enrolls a device.
    async fn new(
        world: &World,
        transport: Transport,
        attestation: Attestation,
        status: ProvisioningStatus,
    ) -> Case {
        let name = format!("{transport:?}-{attestation:?}");
        let settings = EnrollmentSettings { provisioning_status: status, ..EnrollmentSettings::default() };
        let individual = IndividualEnrollment { settings: settings.clone(), ..individual(&name) };
        let [proof, impostors] = match attestation {
            Attestation::Key => {
                let attestation = IndividualAttestation::SymmetricKey(sample::keys(10));
                world.enroll(IndividualEnrollment { attestation, ..individual }).await;
                [10, 99].map(|number| Proof::Key(sample::key(number)))
            }
            Attestation::GroupKey => {
                let attestation = GroupAttestation::SymmetricKey(sample::keys(20));
                enroll_group(world, &name, attestation, settings).await;
                [20, 99].map(|number| Proof::Key(sample::key(number).derive(&name)))
            }
            Attestation::Certificate => {
                let [own, other] = [(); 2].map(|()| Identity::self_signed(&Profile::device(&name)));
                let client = Pair::new(Some(own.certificate()), None).unwrap();
                let attestation = IndividualAttestation::X509(IndividualCertificates::Client(client));
                world.enroll(IndividualEnrollment { attestation, ..individual }).await;
                [own, other].map(|identity| Proof::Certificate(Presented::new(&identity, &[])))
            }
            Attestation::GroupCertificate | Attestation::GroupChain => {
                let [root, other] = [(); 2].map(|()| Authority::root(&format!("Root of {name}")));
                let signing = Pair::new(Some(root.certificate()), None).unwrap();
                let of_group = GroupAttestation::X509(GroupCertificates::Signing(signing));
                enroll_group(world, &name, of_group, settings).await;
                let long = attestation == Attestation::GroupChain;
                [root, other].map(|root| Proof::Certificate(issued(&root, &name, long)))
            }
            Attestation::Tpm => {
                let own = TpmDevice::enrolled(world, Kind::P256, individual).await;
                let tpm = SoftTpm::new(Kind::P256, Kind::P256);
                let other = TpmDevice { tpm, name: name.clone() };
                [own, other].map(Proof::Tpm)
            }
        };
        Case { transport, name, proof, impostors }
    }

    /// The device, as it comes to this scope; its proof is another matter.
    fn device(&self, scope: &str) -> Device {
        Device::new(scope, &self.name, sample::key(1))
    }

    async fn line(&self, world: &World) -> Line {
        self.line_of(world, &self.device(SCOPE)).await
    }

    async fn line_of(&self, world: &World, device: &Device) -> Line {
        let line = self.line_with(world, device, &self.proof).await;
        line.unwrap_or_else(|_| panic!("{}: turned away", self.name))
    }

    /// What who comes to this scope with this proof is told, who is not let in. `None` if SASL ended it without a word.
    async fn refusal(&self, world: &World, scope: &str, proof: &Proof) -> Option<Said> {
        match self.line_with(world, &self.device(scope), proof).await {
            Ok(mut line) => Some(line.register().await),
            Err(TurnedAway::With(said)) => Some(said),
            Err(TurnedAway::Silently(code)) => {
                assert_eq!(code, SaslCode::Auth, "{}", self.name);
                None
            }
        }
    }

    async fn line_with(&self, world: &World, device: &Device, proof: &Proof) -> Result<Line, TurnedAway> {
        Ok(match proof {
            Proof::Key(key) => Line::open(world, self.transport, &device.with_key(key.clone()), None).await,
            Proof::Certificate(presented) => Line::open(world, self.transport, device, Some(presented)).await,
            Proof::Tpm(tpm) => challenged(world, self.transport, device, tpm).await?,
        })
    }

    /// What a device is told that is assigned: that, under its name. The key that its TPM is handed, encrypted anew each
    /// time, must be the one that the hub knows, and no part of the rest.
    fn assigned(&self, world: &World, said: &Said) -> Value {
        assert_eq!(said.assigned(), (HUB, &*self.name));
        let mut rest = said.json.clone();
        let handed = rest["registrationState"].as_object_mut().unwrap().remove("tpm");
        match &self.proof {
            Proof::Tpm(tpm) => tpm.check_handed(world, &said.json),
            _ => assert_eq!(handed, None, "{}", self.name),
        }
        rest
    }
}

/// A device's certificate, and the one between it and the root if there is one.
fn issued(root: &Authority, name: &str, long: bool) -> Presented {
    if long {
        let factory = root.intermediate("Factory");
        return Presented::new(&factory.device(name), &[factory.identity().der().to_vec()]);
    }
    Presented::new(&root.device(name), &[])
}

async fn enroll_group(
    world: &World,
    name: &str,
    attestation: GroupAttestation,
    settings: EnrollmentSettings,
) {
    let id = format!("group-of-{}", name.to_ascii_lowercase());
    world.enroll_group(EnrollmentGroup { settings, ..group(&id, attestation) }).await;
}

/// Enrolls a device for each pair of a transport and an attestation.
async fn cases(world: &World, status: ProvisioningStatus) -> Vec<Case> {
    let mut cases = Vec::new();
    for transport in Transport::ALL {
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
        let told = case.assigned(&world, &first);
        assert_eq!((first.retry_after_secs, first.error_code()), (None, None), "{}", case.name);
        let polled = line.poll(first.operation_id()).await;
        assert_eq!((polled.status, case.assigned(&world, &polled)), (200, told), "{}", case.name);
        let before = world.hub().devices();
        let again = case.line(&world).await.register().await;
        case.assigned(&world, &again);
        assert_eq!(world.hub().devices(), before, "{}: it keeps its key", case.name);
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
        let message = match case.proof {
            Proof::Certificate(_) => "Invalid certificate.",
            Proof::Key(_) | Proof::Tpm(_) => "Unauthorized",
        };
        check_refusal(&case, case.refusal(&world, SCOPE, &case.impostors).await, message);
        assert_eq!(world.record(&case.name).await, None);
    }
    assert_eq!(world.counted().await, 0);
}

#[tokio::test]
async fn an_unknown_scope_is_refused_like_a_wrong_credential() {
    let world = World::new(IN_TIME).await;
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        check_refusal(&case, case.refusal(&world, "0neNOBODY", &case.proof).await, "Unauthorized");
    }
}

/// A connection is proven by an accepted call, and by nothing less.
#[tokio::test]
async fn an_accepted_call_proves_a_connection() {
    let world = World::new(IN_TIME).await;
    let proven = || world.limiter.proven(Purpose::Provisioning);
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        let impostor = case.line_with(&world, &case.device(SCOPE), &case.impostors).await;
        if let Ok(mut line) = impostor {
            line.register().await;
            assert_eq!(proven(), 0, "{}: an impostor", case.name);
        }
        let mut line = case.line(&world).await;
        line.register().await;
        assert_eq!(proven(), 1, "{}", case.name);
        drop(line);
        let patience = Instant::now() + Duration::from_secs(10);
        while proven() > 0 {
            assert!(Instant::now() < patience, "{}: the place is given back", case.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// An unproven connection may not send this much, so its device is judged before it does.
#[tokio::test]
async fn a_large_payload_is_taken_of_a_device_that_shows_who_it_is() {
    let world = World::new(IN_TIME).await;
    let payload = format!("\"{}\"", "x".repeat(40_000));
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        let said = case.line(&world).await.register_with(&payload).await;
        case.assigned(&world, &said);
        if case.transport == Transport::Https && !matches!(case.proof, Proof::Tpm(_)) {
            let mut line = case.line_with(&world, &case.device(SCOPE), &case.impostors).await.ok().unwrap();
            assert_eq!(line.register_with(&payload).await.status, 401, "{}", case.name);
        }
    }
}

/// Who is not let in is told so with this message. Only SASL says no more than that, and only to a TPM: other devices are
/// judged with their requests.
fn check_refusal(case: &Case, said: Option<Said>, message: &str) {
    let over_sasl = matches!(case.transport, Transport::Amqp | Transport::AmqpWs);
    assert_eq!(said.is_none(), over_sasl && matches!(case.proof, Proof::Tpm(_)), "{}", case.name);
    if let Some(said) = said {
        assert_eq!((said.status, said.error_code()), (401, Some(401_002)), "{}", case.name);
        assert_eq!((&said.json["message"], said.retry_after_secs), (&message.into(), None), "{}", case.name);
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
        case.assigned(&world, &ended);
    }
}

/// The hosted service says `assigning` first over MQTT and AMQP, and there are clients that take an operation ID from
/// nothing else, also when they return. Their next poll carries the result.
#[tokio::test]
async fn a_client_that_is_not_known_is_answered_assigning_first() {
    for first_reply in [FirstReply::ByClient, FirstReply::Assigning, FirstReply::Result] {
        let timing = Timing { java_delay: Duration::ZERO, first_reply, ..IN_TIME };
        let world = World::new(timing).await;
        for case in cases(&world, ProvisioningStatus::Enabled).await {
            for (agent, is_known) in [("someone/1.0", false), (NODE, true), (JAVA, true)] {
                let at_once = match (case.transport, first_reply) {
                    (Transport::Https, _) | (_, FirstReply::Result) => true,
                    (_, FirstReply::Assigning) => false,
                    (_, FirstReply::ByClient) => is_known,
                };
                let device = Device { agent, ..case.device(SCOPE) };
                let mut line = case.line_of(&world, &device).await;
                let said = line.register().await;
                let what = format!("{} {agent} {first_reply:?}", case.name);
                if at_once {
                    assert_eq!(said.retry_after_secs, None, "{what}");
                    case.assigned(&world, &said);
                } else {
                    let (status, word) = (said.status, said.status_word());
                    assert_eq!((status, word, said.retry_after_secs), (202, "assigning", Some(3)), "{what}");
                    let polled = line.poll(said.operation_id()).await;
                    assert_eq!(polled.status, 200, "{what}");
                    case.assigned(&world, &polled);
                }
            }
        }
        assert_eq!(world.hub().devices().len(), 6 * 5, "no device is made twice");
    }
}

/// Pauses grow with the wait, but not beyond what a client honours.
#[tokio::test]
async fn java_is_told_shorter_pauses() {
    let world = World::new(Timing { java_delay: Duration::ZERO, ..AT_ONCE }).await;
    let cases = cases(&world, ProvisioningStatus::Enabled).await;
    let _held = world.hub().hold().await;
    let mut begun = Vec::new();
    for case in &cases {
        begun.push((case, case.line(&world).await.register().await));
    }
    pass(Duration::from_secs(240)).await;
    for (case, said) in begun {
        for (agent, seconds) in [(NODE, 60), (JAVA, 5)] {
            let device = Device { agent, ..case.device(SCOPE) };
            let polled = case.line_of(&world, &device).await.poll(said.operation_id()).await;
            assert_eq!(
                (polled.status, polled.retry_after_secs),
                (202, Some(seconds)),
                "{}: {agent}",
                case.name
            );
        }
    }
}

/// Beyond the rate of its instance a device is answered `assigning`, and is asked to come back late. Its registration is on
/// disk meanwhile, and is carried out at the first question once its turn has come.
#[tokio::test]
async fn a_device_beyond_the_rate_of_its_instance_comes_back_later() {
    let world = World::new(Timing { java_delay: Duration::ZERO, ..IN_TIME }).await;
    let cases = cases(&world, ProvisioningStatus::Enabled).await;
    world.limit(SCOPE, 1).await;
    let first = world.device("first").await;
    world.http(None).await.register(&first).await.assigned();
    for case in &cases {
        let said = case.line(&world).await.register().await;
        let expected = format!(r#"{{"operationId":"{}","status":"assigning"}}"#, said.operation_id());
        assert_eq!((said.status, said.retry_after_secs), (202, Some(60)), "{}", case.name);
        assert_eq!(said.json.to_string(), expected, "{}", case.name);
        for (agent, seconds) in [(NODE, 60), (JAVA, 5)] {
            let device = Device { agent, ..case.device(SCOPE) };
            let polled = case.line_of(&world, &device).await.poll(said.operation_id()).await;
            assert_eq!((polled.status, polled.retry_after_secs), (202, Some(seconds)), "{}", case.name);
            assert_eq!(polled.json["registrationState"]["status"], "assigning", "{}", case.name);
        }
        let record = world.record(&case.name).await.unwrap();
        assert_eq!(record.status.kind(), StatusKind::Assigning, "{}: on disk", case.name);
        let devices = world.hub().devices().len();

        pass(Duration::from_secs(60)).await;
        let ended = case.line(&world).await.poll_to_the_end(said.operation_id()).await;
        case.assigned(&world, &ended);
        assert_eq!(world.hub().devices().len(), devices + 1, "{}: only now", case.name);
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
        case.assigned(&world, &ended);
    }
}
