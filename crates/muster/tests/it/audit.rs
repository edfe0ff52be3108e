//! The audit of the demo finds wrong twins, and missing and additional devices.

use std::{collections::BTreeMap, num::NonZeroUsize, sync::Arc};

use ::fleet::{
    Device, Endpoint, ExpectedTwin, HubRegistry, HubVisit, Member, Outcome, Run, Transport, Trust, audit,
};
use model::{DeviceId, HostName, HubName, IdScope, RegistrationId, SymmetricKey};
use serde_json::{Value, json};
use wire::sas::ConnectionString;

use crate::program::World;

/// Enrolls a device with 1 as the value of tag and desired property, and provisions it with other expectations.
async fn provision(world: &World, id: &str, tag: u32, desired: u32) -> Outcome {
    let enrollment = json!({
        "registrationId": id,
        "attestation": {"type": "symmetricKey"},
        "initialTwin": {"tags": {"tag": 1}, "properties": {"desired": {"desired": 1}}},
    });
    let enrollment = world.service().create_enrollment(&enrollment).await.unwrap();
    let key = enrollment.pointer("/attestation/symmetricKey/primaryKey").and_then(Value::as_str).unwrap();
    let object = |value: Value| value.as_object().unwrap().clone();
    let twin =
        ExpectedTwin { tags: object(json!({"tag": tag})), desired: object(json!({"desired": desired})) };
    let member = Member {
        device: Device::with_key(RegistrationId::parse(id).unwrap(), SymmetricKey::parse(key).unwrap()),
        enrollment: "individual".into(),
        transport: Transport::Https,
        twin: Some(Arc::new(twin)),
    };
    let endpoint = endpoint(world);
    let hub_visit = HubVisit::ReadTwin { mqtts_port: endpoint.mqtts_port };
    let run = Run { endpoint, hub_visit, concurrency: NonZeroUsize::MIN };
    run.start(vec![member], |_| ()).await.remove(0)
}

fn endpoint(world: &World) -> Endpoint {
    let info = world.emulator.info();
    Endpoint {
        host: HostName::parse(&info.device_endpoint).unwrap(),
        https_port: info.ports.https,
        mqtts_port: info.ports.mqtts,
        amqps_port: info.ports.amqps,
        id_scope: IdScope::parse(&info.id_scope).unwrap(),
        trust: Trust::from_pem(&std::fs::read(&info.ca_file).unwrap()).unwrap(),
    }
}

fn registries(world: &World) -> BTreeMap<HubName, HubRegistry> {
    let (hubs, trust) = (&world.emulator.info().hubs, endpoint(world).trust);
    let registry = |connection: &str| {
        let connection = ConnectionString::parse(connection).unwrap();
        HubRegistry::new(&connection, 443, trust.clone()).unwrap()
    };
    hubs.iter()
        .map(|hub| (HubName::parse(&hub.host_name).unwrap(), registry(&hub.connection_string)))
        .collect()
}

#[track_caller]
fn check(outcome: &Outcome, expected: Option<&str>) {
    let found = outcome.failure.as_ref().map(|failure| format!("{}: {}", failure.stage, failure.reason));
    assert_eq!(found.as_deref(), expected, "{}", outcome.member.device.registration_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_twins_and_missing_devices_are_failures() {
    let world = World::start().await;
    let right = provision(&world, "right", 1, 1).await;
    let wrong_desired = provision(&world, "wrong-desired", 1, 2).await;
    let wrong_tags = provision(&world, "wrong-tags", 2, 1).await;
    let mut vanished = right.clone();
    if let Some(assignment) = &mut vanished.assignment {
        assignment.device_id = DeviceId::parse("vanished").unwrap();
    }
    let mut outcomes = [right, wrong_desired, wrong_tags, vanished];
    let mut checked = 0;
    let problems = audit(&mut outcomes, &mut registries(&world), || checked += 1).await.unwrap();

    check(&outcomes[0], None);
    check(&outcomes[1], Some("twin: desired property desired is not the expected one"));
    check(&outcomes[2], Some("registry: the tags are not the expected ones"));
    check(&outcomes[3], Some("registry: the hub does not know the device"));
    assert_eq!(checked, 4);
    assert_eq!(problems.len(), 1, "one device too few: {problems:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_outside_of_the_fleet_is_a_problem() {
    let world = World::start().await;
    let outcomes = [provision(&world, "one", 1, 1).await, provision(&world, "two", 1, 1).await];
    let [one, two] = outcomes;
    let problems = audit(&mut [one.clone(), two], &mut registries(&world), || ()).await.unwrap();
    assert!(problems.is_empty(), "{problems:?}");
    let problems = audit(&mut [one], &mut registries(&world), || ()).await.unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    world.stop().await;
}
