//! Connectors are created for the settings of links, and dropped with them.

use std::{sync::Arc, time::Duration};

use hub::Connectors;
use model::{DeviceSpec, HubAccess, HubEndpoint, InitialTwin, LinkedHub, TwinSpec};
use provisioning::ports::{HubConnector, HubError, HubRight, Hubs};
use testkit::{entropy::SeededEntropy, sample};

use crate::{
    script::{Script, Step},
    world::{Connection, HOST, World},
};

fn link(endpoint: HubEndpoint) -> LinkedHub {
    LinkedHub { name: sample::hub_name(HOST), endpoint, ..sample::instance("one").linked_hubs.swap_remove(0) }
}

/// Returns connectors in whose process the hub of `World` is embedded, or not.
fn connectors(world: &World, embedded: bool) -> Connectors {
    let hubs = embedded.then(|| world.hub.clone());
    Connectors::new(hubs, world.clock.clone(), Arc::new(SeededEntropy::new(1)))
}

async fn register(connectors: &Connectors, link: &LinkedHub) -> Result<(), HubError> {
    connectors.connector(link).unwrap().ensure_device(&spec()).await.map(drop)
}

fn spec() -> DeviceSpec {
    DeviceSpec { twin: TwinSpec::Initialize(InitialTwin::default()), ..sample::device_spec("d") }
}

fn same(one: &Arc<dyn HubConnector>, other: &Arc<dyn HubConnector>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

#[tokio::test]
async fn a_rotated_key_is_used_from_the_next_call_on() {
    let world = World::new(Connection::OverRest);
    for embedded in [false, true] {
        let connectors = connectors(&world, embedded);
        let by = |key| link(HubEndpoint::Access(world.site.access("iothubowner", key)));
        register(&connectors, &by(1)).await.unwrap();
        for _ in 0..6 {
            register(&connectors, &by(9)).await.unwrap_err();
        }
        register(&connectors, &by(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_hub_of_this_process_is_called_directly_but_only_with_its_key() {
    let world = World::new(Connection::InProcess);
    let connectors = connectors(&world, true);
    register(&connectors, &link(HubEndpoint::Embedded)).await.unwrap();
    // Nothing listens there.
    let access = |key| HubAccess { port: 1, ..world.site.access("iothubowner", key) };
    register(&connectors, &link(HubEndpoint::Access(access(1)))).await.unwrap();
    let wrong = link(HubEndpoint::Access(access(9)));
    register(&connectors, &wrong).await.unwrap_err();
    assert_eq!(connectors.connector(&wrong).unwrap().lacking().await.unwrap().len(), 3);
    let reader = link(HubEndpoint::Access(HubAccess { policy: "registryRead".into(), ..access(2) }));
    let lacking = connectors.connector(&reader).unwrap().lacking().await.unwrap();
    assert_eq!(lacking, [HubRight::RegistryWrite, HubRight::ServiceConnect]);
}

#[tokio::test]
async fn an_embedded_hub_that_was_removed_has_no_connector() {
    let world = World::new(Connection::OverRest);
    assert!(connectors(&world, false).connector(&link(HubEndpoint::Embedded)).is_none());
}

#[tokio::test]
async fn connectors_are_kept_until_they_are_forgotten_or_idle() {
    let world = World::new(Connection::OverRest);
    let connectors = connectors(&world, false);
    let by = |port| link(HubEndpoint::Access(HubAccess { port, ..world.site.access("p", 1) }));
    let [one, two] = [1, 2].map(|port| connectors.connector(&by(port)).unwrap());
    assert!(same(&one, &connectors.connector(&by(1)).unwrap()));
    assert!(!same(&one, &two));
    connectors.forget(&by(1));
    assert!(!same(&one, &connectors.connector(&by(1)).unwrap()));
    assert!(same(&two, &connectors.connector(&by(2)).unwrap()));
    // Idle connectors are evicted when another is created.
    world.clock.advance(Duration::from_secs(599));
    connectors.connector(&by(1)).unwrap();
    world.clock.advance(Duration::from_secs(2));
    connectors.connector(&by(3)).unwrap();
    assert_eq!(Arc::strong_count(&two), 1, "it is kept nowhere else");
}

#[tokio::test]
async fn a_call_in_flight_ends_although_its_hub_is_unlinked() {
    let world = World::new(Connection::OverRest);
    let script =
        Script::start([Step::Late { after: Duration::from_millis(300), status: 200, body: "{}" }]).await;
    let connectors = connectors(&world, false);
    let link = link(HubEndpoint::Access(script.site.access("p", 1)));
    let connector = connectors.connector(&link).unwrap();
    let call = tokio::spawn(async move { connector.ensure_device(&spec()).await });
    while script.requests().is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    connectors.forget(&link);
    assert_eq!(call.await.unwrap().map(|it| it.generation), Ok(None), "it names no generation");
}
