//! What holds over every transport for a device with a TPM: each registration begins with a challenge, which HTTPS and
//! MQTT give in reply to a request and AMQP while SASL goes on.

use model::{EnrollmentSettings, IndividualEnrollment, ProvisioningStatus, SymmetricKey};
use serde_json::Value;
use testkit::{
    sample,
    tpm::{Kind, SoftTpm},
};
use wire::amqp::SaslCode;

use crate::{
    amqp_tpm::{Sasl, first_of},
    http::{Http, VERSION, register_path},
    lines::{Line, Said, TRANSPORTS, Transport},
    mqtt_client::REGISTER,
    tpm::{TpmDevice, asking},
    world::{Device, HUB, IN_TIME, SCOPE, World, individual},
};

/// A device, and the TPM that it has.
struct Case {
    transport: Transport,
    device: TpmDevice,
}

/// How a device without a challenge is turned away.
enum TurnedAway {
    With(u64, Value),
    /// SASL has no words for why.
    Silently(SaslCode),
}

impl Case {
    async fn new(world: &World, transport: Transport, provisioning_status: ProvisioningStatus) -> Case {
        let settings = EnrollmentSettings { provisioning_status, ..EnrollmentSettings::default() };
        let enrollment = IndividualEnrollment { settings, ..individual(&format!("tpm-{transport:?}")) };
        Case { transport, device: TpmDevice::enrolled(world, Kind::P256, enrollment).await }
    }

    fn name(&self) -> &str {
        &self.device.name
    }

    /// Has itself challenged, opens the challenge and registers with the key inside.
    async fn register(&self, world: &World) -> Said {
        self.line(world, SCOPE)
            .await
            .unwrap_or_else(|_| panic!("{}: turned away", self.name()))
            .register()
            .await
    }

    /// A line on which the device proved itself, or proves itself with each request.
    async fn line(&self, world: &World, scope: &str) -> Result<Line, TurnedAway> {
        let device = |key| Device::new(scope, self.name(), key);
        match self.transport {
            Transport::Https => {
                let key = self.opened(self.asked_over_https(world, &device(sample::key(1))).await)?;
                Ok(Line::open(world, self.transport, &device(key), None).await)
            }
            Transport::Mqtt | Transport::MqttWs => {
                let key = self.opened(self.asked_over_mqtt(world, &device(sample::key(1))).await)?;
                Ok(Line::open(world, self.transport, &device(key), None).await)
            }
            Transport::Amqp | Transport::AmqpWs => {
                let (stream, tpm) = (self.transport.dial(world, None).await, &self.device.tpm);
                let mut sasl = Sasl::begin(stream, first_of(scope, self.name(), tpm)).await;
                let device = device(sasl.opened(tpm).await.map_err(TurnedAway::Silently)?);
                sasl.respond(device.token().as_bytes()).await;
                assert_eq!(sasl.over().await, SaslCode::Ok, "{}", self.name());
                Ok(Line::let_in(sasl.stream, &device).await)
            }
        }
    }

    async fn asked_over_https(&self, world: &World, device: &Device) -> (u64, Value) {
        let mut http = Http::new(self.transport.dial(world, None).await).await;
        let call = http.call("PUT", register_path(device, VERSION)).body(self.device.body().to_string());
        let reply = call.send().await;
        (reply.status.as_u16().into(), reply.json())
    }

    async fn asked_over_mqtt(&self, world: &World, device: &Device) -> (u64, Value) {
        let mut mqtt = asking(self.transport.dial(world, None).await, device).await;
        let response = mqtt.request(format!("{REGISTER}1"), self.device.body().to_string()).await;
        let (status, _) = response.topic.split_once('/').unwrap();
        (status.parse().unwrap(), response.json)
    }

    fn opened(&self, (status, json): (u64, Value)) -> Result<SymmetricKey, TurnedAway> {
        if json.get("authenticationKey").is_none() {
            return Err(TurnedAway::With(status, json));
        }
        assert_eq!((status, &json["keyName"]), (401, &"registration".into()), "{}", self.name());
        Ok(self.device.open(&json))
    }

    fn check_handed(&self, world: &World, said: &Said) {
        assert_eq!(said.assigned(), (HUB, self.name()));
        self.device.check_handed(world, &said.json);
    }
}

impl TurnedAway {
    /// As anyone is who is not let in.
    fn check(&self, name: &str) {
        match self {
            TurnedAway::With(status, json) => {
                assert_eq!((*status, &json["errorCode"]), (401, &401_002.into()), "{name}: {json}");
                assert_eq!(json["message"], "Unauthorized", "{name}");
            }
            TurnedAway::Silently(code) => assert_eq!(*code, SaslCode::Auth, "{name}"),
        }
    }
}

async fn cases(world: &World, status: ProvisioningStatus) -> Vec<Case> {
    let mut cases = Vec::new();
    for transport in TRANSPORTS {
        cases.push(Case::new(world, transport, status).await);
    }
    cases
}

#[tokio::test]
async fn a_tpm_registers_and_comes_back() {
    let world = World::new(IN_TIME).await;
    for (number, case) in cases(&world, ProvisioningStatus::Enabled).await.iter().enumerate() {
        let mut line = case.line(&world, SCOPE).await.unwrap_or_else(|_| panic!("{}", case.name()));
        let first = line.register().await;
        case.check_handed(&world, &first);
        let polled = line.poll(first.operation_id()).await;
        assert_eq!(polled.status, 200, "{}", case.name());
        case.check_handed(&world, &polled);
        let replayed = line.register().await;
        assert_eq!(replayed.error_code(), Some(401_002), "{}: a proof is good once", case.name());
        let again = case.register(&world).await;
        case.check_handed(&world, &again);
        let handed = |said: &Said| case.device.open(&said.json["registrationState"]["tpm"]);
        assert_eq!(handed(&again), handed(&first), "{}: it keeps its key", case.name());
        assert_eq!(world.hub().devices().len(), number + 1, "{}: one device", case.name());
        assert_eq!(world.counted().await, 2 * (number as u64 + 1), "{}: two operations", case.name());
    }
}

#[tokio::test]
async fn a_disabled_tpm_is_said_to_be() {
    let world = World::new(IN_TIME).await;
    for case in cases(&world, ProvisioningStatus::Disabled).await {
        let said = case.register(&world).await;
        assert_eq!((said.status_word(), said.error_code()), ("disabled", None), "{}: {said:?}", case.name());
        assert_eq!(said.json["registrationState"].get("tpm"), None, "{}: no key", case.name());
    }
    assert!(world.hub().devices().is_empty());
}

#[tokio::test]
async fn another_tpm_is_not_challenged() {
    let world = World::new(IN_TIME).await;
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        let tpm = SoftTpm::new(Kind::P256, Kind::P256);
        let thief = Case { device: TpmDevice { tpm, ..case.device }, ..case };
        let Err(turned_away) = thief.line(&world, SCOPE).await else { panic!("{}: let in", thief.name()) };
        turned_away.check(thief.name());
        assert_eq!(world.record(thief.name()).await, None);
    }
    assert_eq!(world.counted().await, 0);
}

#[tokio::test]
async fn a_tpm_in_an_unknown_scope_is_turned_away_like_another_tpm() {
    let world = World::new(IN_TIME).await;
    for case in cases(&world, ProvisioningStatus::Enabled).await {
        let Err(turned_away) = case.line(&world, "0neNOBODY").await else {
            panic!("{}: let in", case.name())
        };
        turned_away.check(case.name());
    }
}
