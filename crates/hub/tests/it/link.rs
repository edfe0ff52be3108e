//! Links: the rights of keys, tokens, and kept connections.

use std::time::Duration;

use hub::{EmbeddedConnector, RestLink};
use model::{DeviceId, DeviceSpec, InitialTwin, Timestamp, TwinSpec};
use net::tls;
use provisioning::ports::{Delay, HubConnector, HubError, HubRight, HubVersion};
use testkit::sample;

use crate::{
    script::{Script, Step},
    world::{Connection, World, certificates, connector},
};

#[tokio::test]
async fn the_check_names_the_missing_rights_and_changes_nothing() {
    use HubRight::{RegistryRead, RegistryWrite, ServiceConnect};
    let world = World::new(Connection::OverRest);
    for (policy, key, expected) in [
        ("iothubowner", 1, vec![]),
        ("registryRead", 2, vec![RegistryWrite, ServiceConnect]),
        ("registryReadWrite", 3, vec![ServiceConnect]),
        ("service", 4, vec![RegistryRead, RegistryWrite]),
        ("iothubowner", 9, vec![RegistryRead, RegistryWrite, ServiceConnect]),
        ("nobody", 1, vec![RegistryRead, RegistryWrite, ServiceConnect]),
    ] {
        let over_rest = connector(world.site.link(policy, key), &world.clock);
        assert_eq!(over_rest.lacking().await, Ok(expected.clone()), "{policy}");
        let in_process = EmbeddedConnector::by_key(world.hub.clone(), &world.site.access(policy, key));
        assert_eq!(in_process.lacking().await, Ok(expected.clone()), "{policy}");
        let blank = TwinSpec::Initialize(InitialTwin::default());
        let spec = in_process.ensure_device(&DeviceSpec { twin: blank, ..sample::device_spec("d") }).await;
        assert_eq!(spec.is_ok(), expected.is_empty(), "{policy}: {spec:?}");
        let id = sample::device_spec("d").device_id;
        if let Ok(Some(found)) = in_process.find_device(&id).await {
            in_process.remove_device(&id, &found.version).await.unwrap();
        }
    }
    assert_eq!(world.hub.counts().unwrap().devices, 0);
    // A device that has the ID of the probe stays as it is.
    let blank = TwinSpec::Initialize(InitialTwin::default());
    let spec = DeviceSpec { twin: blank, ..sample::device_spec("muster-link-check") };
    world.connector.ensure_device(&spec).await.unwrap();
    let before = world.shown("muster-link-check");
    let connector = connector(world.site.link("iothubowner", 1), &world.clock);
    assert_eq!(connector.lacking().await, Ok(vec![]));
    assert_eq!(world.shown("muster-link-check"), before);
}

#[tokio::test]
async fn a_rejected_key_makes_the_hub_unavailable() {
    let world = World::new(Connection::OverRest);
    let connector = connector(world.site.link("iothubowner", 9), &world.clock);
    let outcome = connector.ensure_device(&sample::device_spec("d")).await;
    let Err(HubError::Unavailable(Delay { reason, .. })) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("\"iothubowner\"") && reason.contains("401"), "{reason}");
    assert!(!reason.contains(&sample::key(9).to_base64()), "{reason}");
}

#[tokio::test]
async fn a_server_with_a_certificate_of_another_ca_gets_no_token() {
    let world = World::new(Connection::OverRest);
    let tls = tls::client_config(certificates().0.as_bytes(), None).unwrap();
    let link = RestLink { tls, ..world.site.link("iothubowner", 1) };
    let outcome = connector(link, &world.clock).ensure_device(&sample::device_spec("d")).await;
    assert!(
        matches!(&outcome, Err(HubError::Unavailable(delay)) if delay.reason.contains("TLS")),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn tokens_are_renewed_and_connections_kept() {
    let world = World::new(Connection::OverRest);
    let script = Script::start(std::iter::repeat_n(Step::reply(404, GONE), 8)).await;
    let connector = connector(script.site.link("p", 1), &world.clock);
    let id = DeviceId::parse("d").unwrap();
    let ask = async |pass: u64| {
        world.clock.advance(Duration::from_secs(pass));
        connector.remove_device(&id, &HubVersion("MQ==".to_owned())).await.unwrap();
        script.last_token()
    };
    let first = ask(0).await;
    assert_eq!(ask(2879).await, first, "used for four fifths of its hour");
    let second = ask(1).await;
    assert_ne!(second, first);
    world.clock.set(Timestamp::from_unix_seconds(1_700_000_000));
    assert_ne!(ask(0).await, second, "the clock was put back");
    assert_eq!(script.connections(), 1);
    assert!(script.last_request().starts_with("DELETE /devices/d?api-version=2021-04-12 If-Match:\"MQ==\""));
}

const GONE: &str = r#"{"Message":"ErrorCode:DeviceNotFound;no"}"#;
