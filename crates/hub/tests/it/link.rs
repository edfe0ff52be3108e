//! Links: what connection strings say, what keys may do, tokens and connections that are kept.

use std::time::Duration;

use hub::{LinkRight, RestConnector, RestLink};
use model::{DeviceId, InitialTwin, Order, Timestamp, TwinOrder};
use net::tls;
use provisioning::ports::{HubConnector, HubError};
use testkit::sample;
use wire::sas::ConnectionString;

use crate::script::{Script, Step};
use crate::world::{Way, World, certificates};

#[tokio::test]
async fn a_connection_string_is_read() {
    let (ca_pem, _) = certificates();
    let check = |host: &str, key: &str, expected: Result<(&str, u16), &str>| {
        let text = format!("HostName={host};SharedAccessKeyName=p;SharedAccessKey={key}");
        let tls = tls::client_config(ca_pem.as_bytes(), None).unwrap();
        let link = RestLink::new(&ConnectionString::parse(&text).unwrap(), tls);
        let link = link.map(|link| (link.hub.to_string(), link.port)).map_err(|error| error.to_string());
        match expected {
            Ok((host, port)) => assert_eq!(link, Ok((host.to_owned(), port)), "{text}"),
            Err(part) => assert!(link.clone().unwrap_err().contains(part), "{link:?}"),
        }
    };
    let key = sample::key(1).to_base64();
    check("Hub.Azure-Devices.net", &key, Ok(("hub.azure-devices.net", 443)));
    check("127.0.0.11:8443", &key, Ok(("127.0.0.11", 8443)));
    check("hub:0", &key, Err("port"));
    check("hub!", &key, Err("host name"));
    check("hub", "c2hvcnQ=", Err("16 to 64"));
}

#[tokio::test]
async fn the_check_says_which_rights_are_missing_and_changes_nothing() {
    use LinkRight::{RegistryRead, RegistryWrite, ServiceConnect};
    let world = World::new(Way::OverRest);
    for (policy, key, expected) in [
        ("iothubowner", 1, vec![]),
        ("registryRead", 2, vec![RegistryWrite, ServiceConnect]),
        ("registryReadWrite", 3, vec![ServiceConnect]),
        ("service", 4, vec![RegistryRead, RegistryWrite]),
        ("iothubowner", 9, vec![RegistryRead, RegistryWrite, ServiceConnect]),
        ("nobody", 1, vec![RegistryRead, RegistryWrite, ServiceConnect]),
    ] {
        let connector = RestConnector::new(world.site.link(policy, key), world.clock.clone());
        assert_eq!(connector.lacking().await, Ok(expected), "{policy}");
    }
    assert_eq!(world.hub.counts().unwrap().devices, 0);
    // A device that happens to have the probe's name stays as it is.
    let blank = TwinOrder::Seed(InitialTwin::default());
    let order = Order { twin: blank, ..sample::order("muster-link-check") };
    world.connector.ensure_device(&order).await.unwrap();
    let before = world.shown("muster-link-check");
    let connector = RestConnector::new(world.site.link("iothubowner", 1), world.clock.clone());
    assert_eq!(connector.lacking().await, Ok(vec![]));
    assert_eq!(world.shown("muster-link-check"), before);
}

#[tokio::test]
async fn a_key_that_is_not_accepted_holds_devices_up() {
    let world = World::new(Way::OverRest);
    let connector = RestConnector::new(world.site.link("iothubowner", 9), world.clock.clone());
    let outcome = connector.ensure_device(&sample::order("d")).await;
    let Err(HubError::Unavailable(reason)) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("\"iothubowner\"") && reason.contains("401"), "{reason}");
    assert!(!reason.contains(&sample::key(9).to_base64()), "{reason}");
}

#[tokio::test]
async fn a_server_that_another_ca_vouches_for_gets_no_token() {
    let world = World::new(Way::OverRest);
    let tls = tls::client_config(certificates().0.as_bytes(), None).unwrap();
    let link = RestLink { tls, ..world.site.link("iothubowner", 1) };
    let outcome = RestConnector::new(link, world.clock.clone()).ensure_device(&sample::order("d")).await;
    assert!(matches!(&outcome, Err(HubError::Unavailable(reason)) if reason.contains("TLS")), "{outcome:?}");
}

#[tokio::test]
async fn tokens_are_renewed_and_connections_kept() {
    let world = World::new(Way::OverRest);
    let script = Script::start(std::iter::repeat_n(Step::reply(404, GONE), 8)).await;
    let connector = RestConnector::new(script.site.link("p", 1), world.clock.clone());
    let id = DeviceId::parse("d").unwrap();
    let ask = async |pass: u64| {
        world.clock.advance(Duration::from_secs(pass));
        connector.remove_device(&id).await.unwrap();
        script.last_token()
    };
    let first = ask(0).await;
    assert_eq!(ask(2879).await, first, "used for four fifths of its hour");
    let second = ask(1).await;
    assert_ne!(second, first);
    world.clock.set(Timestamp::from_unix_seconds(1_700_000_000));
    assert_ne!(ask(0).await, second, "the clock was put back");
    assert_eq!(script.connections(), 1);
    assert!(script.last_request().starts_with("DELETE /devices/d?api-version=2021-04-12 If-Match:\"*\""));
}

const GONE: &str = r#"{"Message":"ErrorCode:DeviceNotFound;no"}"#;
