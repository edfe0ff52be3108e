//! The topology that a node measures: real handshakes with a hub that listens, and with one that does not.

use std::{collections::HashMap, sync::Arc, time::Duration};

use durable::Sealer;
use hub::{Connectors, GeoIp, HubProber, HubProberPorts, KnownTopology};
use model::{
    Carried, DeviceId, DeviceSpec, HubAccess, HubEndpoint, HubName, InitialTwin, Instance, Latency,
    LatencySource, LatencyTable, LinkedHub, TwinSpec,
};
use provisioning::{
    allocate::Unavailability,
    ports::{
        Ensured, HubConnector, HubDevice, HubError, HubHealth, HubTopology, HubVersion, Hubs, InstanceWriter,
        Removed,
    },
};
use store::EmbeddedStore;
use tempfile::TempDir;
use testkit::{entropy::SeededEntropy, sample};

use crate::world::{Connection, HOST, World, connector};

/// A port on which no hub listens.
const GONE: &str = "127.0.0.2";

struct FixedConnectors(HashMap<HubName, Arc<dyn HubConnector>>);

impl Hubs for FixedConnectors {
    fn connector(&self, hub: &LinkedHub) -> Option<Arc<dyn HubConnector>> {
        self.0.get(&hub.name).cloned()
    }
}

/// A hub that listens, one that does not, and a node that probes both.
struct Node {
    world: World,
    survey: Arc<HubProber>,
    hubs: Arc<FixedConnectors>,
    instance: Instance,
    _directory: TempDir,
}

impl Node {
    async fn new(max_devices: Option<u64>) -> Node {
        let world = World::new(Connection::OverRest);
        let closed = std::net::TcpListener::bind((GONE, 0)).unwrap().local_addr().unwrap().port();
        let mut gone = world.site.link("iothubowner", 1);
        (gone.hub, gone.port) = (HubName::parse(GONE).unwrap(), closed);
        let gone = connector(gone, &world.clock);
        let ways: [(HubName, Arc<dyn HubConnector>); 2] =
            [(name(HOST), Arc::clone(&world.connector)), (name(GONE), Arc::new(gone))];

        let base = sample::instance("0ne00000001");
        let link = |host: &str| LinkedHub { name: name(host), max_devices, ..base.linked_hubs[0].clone() };
        let instance = Instance { linked_hubs: vec![link(HOST), link(GONE)], ..base.clone() };
        let directory = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(&directory.path().join("db"), Sealer::from_key([7; 32])).unwrap();
        store.put_instance(instance.clone(), sample::by()).await.unwrap();
        let hubs = Arc::new(FixedConnectors(ways.into()));
        let ports = HubProberPorts {
            store: Arc::new(store),
            hubs: hubs.clone(),
            clock: world.clock.clone(),
            entropy: Arc::new(SeededEntropy::new(1)),
        };
        let survey = Arc::new(HubProber::new(ports, Duration::from_secs(10)));
        Node { world, survey, hubs, instance, _directory: directory }
    }

    async fn create(&self, device: &str) {
        let spec =
            DeviceSpec { twin: TwinSpec::Initialize(InitialTwin::default()), ..sample::device_spec(device) };
        self.world.connector.ensure_device(&spec).await.unwrap();
    }

    fn knows(&self, table: LatencyTable, geoip: Option<GeoIp>) -> KnownTopology {
        KnownTopology::new(table, geoip.map(Arc::new), Arc::clone(&self.survey), self.hubs.clone())
    }
}

fn name(host: &str) -> HubName {
    HubName::parse(host).unwrap()
}

fn row(millis: u32) -> HashMap<HubName, Latency> {
    HashMap::from([(name(HOST), Latency::from_millis(millis))])
}

#[tokio::test]
async fn a_hub_that_answers_has_a_latency_and_one_that_does_not_is_down() {
    let node = Node::new(None).await;
    let known = node.knows(LatencyTable::default(), None);
    assert!(
        known.latencies(&node.instance, None).to(&name(HOST)).is_none(),
        "nothing is known before the first round"
    );
    node.survey.round().await.unwrap();
    let [there, gone] = &node.instance.linked_hubs[..] else { panic!() };
    assert_eq!(known.unavailability(gone), None, "one probe may be lost");
    node.survey.round().await.unwrap();

    let latencies = known.latencies(&node.instance, None);
    assert_eq!(latencies.source(), Some(&LatencySource::Probes));
    let measured = latencies.to(&name(HOST)).unwrap();
    assert!(measured > Latency::from_micros(0) && measured < Latency::from_millis(5_000), "{measured}");
    assert_eq!(latencies.to(&name(GONE)), None);
    assert_eq!((known.unavailability(there), known.unavailability(gone)), (None, Some(Unavailability::Down)));

    let report = known.report(&node.instance);
    let misses = report.probes.iter().map(|probe| (probe.hub.as_str(), probe.last.as_ref().unwrap().misses));
    let misses: Vec<_> = misses.collect();
    assert_eq!(misses, [(HOST, 0), (GONE, 2)]);
    assert_eq!(report.probes[0].devices, None, "devices are counted only for a limit");
}

/// Failed calls for devices open the circuit before a probe fails.
#[tokio::test]
async fn a_hub_whose_circuit_is_open_is_down() {
    let node = Node::new(None).await;
    let known = node.knows(LatencyTable::default(), None);
    let gone = &node.instance.linked_hubs[1];
    let connector = node.hubs.connector(gone).unwrap();
    assert_eq!(known.unavailability(gone), None);
    for _ in 0..5 {
        connector.ensure_device(&sample::device_spec("dev-1")).await.unwrap_err();
    }
    assert_eq!(known.unavailability(gone), Some(Unavailability::Down));
}

#[tokio::test]
async fn a_hub_with_max_devices_is_full() {
    let node = Node::new(Some(2)).await;
    let known = node.knows(LatencyTable::default(), None);
    let there = &node.instance.linked_hubs[0];
    node.create("dev-1").await;
    node.survey.round().await.unwrap();
    assert_eq!(known.report(&node.instance).probes[0].devices, Some(1));
    assert_eq!(known.unavailability(there), None);

    // Another node, because this one counts again only after a while.
    let node = Node::new(Some(2)).await;
    let known = node.knows(LatencyTable::default(), None);
    for device in ["dev-1", "dev-2"] {
        node.create(device).await;
    }
    node.survey.round().await.unwrap();
    assert_eq!(known.unavailability(&node.instance.linked_hubs[0]), Some(Unavailability::Full));
}

/// An instance that links a hub wrongly, or without a valid key, neither affects the results of others nor sees them.
#[tokio::test]
async fn results_belong_to_the_endpoint_of_a_link() {
    let node = Node::new(None).await;
    let world = &node.world;
    let access = world.site.access("iothubowner", 1);
    let closed = std::net::TcpListener::bind((HOST, 0)).unwrap().local_addr().unwrap().port();
    let linking = |scope: &str, access: HubAccess| {
        let base = sample::instance(scope);
        let hub = LinkedHub {
            name: name(HOST),
            endpoint: HubEndpoint::Access(access),
            max_devices: Some(9),
            ..base.linked_hubs[0].clone()
        };
        Instance { linked_hubs: vec![hub], failover: true, ..base }
    };
    let wrong_port = linking("0ne00000000", HubAccess { port: closed, ..access.clone() });
    let wrong_key = linking("0ne00000001", HubAccess { key: sample::key(9), ..access.clone() });
    let right = linking("0ne00000002", access);

    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(&directory.path().join("db"), Sealer::from_key([7; 32])).unwrap();
    for instance in [&wrong_port, &wrong_key, &right] {
        store.put_instance(instance.clone(), sample::by()).await.unwrap();
    }
    let entropy = Arc::new(SeededEntropy::new(1));
    let hubs = Arc::new(Connectors::new([], world.clock.clone(), entropy.clone()));
    let ports =
        HubProberPorts { store: Arc::new(store), hubs: hubs.clone(), clock: world.clock.clone(), entropy };
    let survey = Arc::new(HubProber::new(ports, Duration::from_secs(10)));
    for _ in 0..2 {
        survey.round().await.unwrap();
    }
    let known = KnownTopology::new(LatencyTable::default(), None, survey, hubs);
    for (instance, unavailability, is_reached, devices) in [
        (&wrong_port, Some(Unavailability::Down), false, None),
        (&wrong_key, None, true, None),
        (&right, None, true, Some(0)),
    ] {
        let scope = &instance.id_scope;
        assert_eq!(known.unavailability(&instance.linked_hubs[0]), unavailability, "{scope}");
        assert_eq!(known.latencies(instance, None).to(&name(HOST)).is_some(), is_reached, "{scope}");
        assert_eq!(known.report(instance).probes[0].devices, devices, "{scope}");
    }
}

#[tokio::test]
async fn a_hub_that_reports_being_full_is_full() {
    struct Full;

    #[async_trait::async_trait]
    impl HubConnector for Full {
        async fn ensure_device(&self, _: &DeviceSpec) -> Result<Ensured, HubError> {
            Err(HubError::Full("full".to_owned()))
        }

        async fn receive_device(&self, _: &DeviceSpec, _: &Carried) -> Result<Ensured, HubError> {
            Err(HubError::Full("full".to_owned()))
        }

        async fn find_device(&self, _: &DeviceId) -> Result<Option<HubDevice>, HubError> {
            Ok(None)
        }

        async fn remove_device(&self, _: &DeviceId, _: &HubVersion) -> Result<Removed, HubError> {
            Ok(Removed::Gone)
        }

        fn health(&self) -> HubHealth {
            let full_at = Some(model::Timestamp::from_unix_seconds(0));
            HubHealth { full_at, ..HubHealth::default() }
        }
    }

    let node = Node::new(None).await;
    let ways: [(HubName, Arc<dyn HubConnector>); 1] = [(name(HOST), Arc::new(Full))];
    let hubs = Arc::new(FixedConnectors(ways.into()));
    let known = KnownTopology::new(LatencyTable::default(), None, Arc::clone(&node.survey), hubs);
    assert_eq!(known.unavailability(&node.instance.linked_hubs[0]), Some(Unavailability::Full));
}

#[tokio::test]
async fn the_table_takes_precedence_over_geoip_and_geoip_over_probes() {
    let node = Node::new(None).await;
    node.survey.round().await.unwrap();
    let networks = [("203.0.113.128/25".parse().unwrap(), row(1))];
    let table = LatencyTable::new(networks, [("DE".to_owned(), row(2))]).unwrap();
    let database = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/before.mmdb");
    let known = node.knows(table, Some(GeoIp::open(database).unwrap()));
    let from = |address: &str| {
        let latencies = known.latencies(&node.instance, Some(address.parse().unwrap()));
        (latencies.source().cloned().unwrap(), latencies.to(&name(HOST)).unwrap())
    };
    let network = LatencySource::Table("203.0.113.128/25".into());
    assert_eq!(from("203.0.113.200"), (network.clone(), Latency::from_millis(1)));
    assert_eq!(from("::ffff:203.0.113.200"), (network, Latency::from_millis(1)));
    assert_eq!(from("203.0.113.9"), (LatencySource::Region("DE".into()), Latency::from_millis(2)));
    assert_eq!(from("198.51.100.7").0, LatencySource::Probes, "its region has no row");
    assert_eq!(from("192.0.2.1").0, LatencySource::Probes);

    // Both kinds of rows of the instance precede those of the service.
    let networks = [("203.0.113.200".parse().unwrap(), row(3))];
    let latency_table = LatencyTable::new(networks, [("DE".to_owned(), row(4))]).unwrap();
    let own = Instance { latency_table, ..node.instance.clone() };
    let from = |address: &str| {
        known.latencies(&own, Some(address.parse().unwrap())).to(&name(HOST)).map(Latency::millis)
    };
    assert_eq!((from("203.0.113.200"), from("203.0.113.201")), (Some(3.0), Some(4.0)));
    assert_eq!(from("203.0.113.9"), Some(4.0));
    let sources: Vec<_> = known.report(&own).rows.into_iter().map(|row| row.source).collect();
    assert_eq!(
        sources[..2],
        [LatencySource::Table("203.0.113.200/32".into()), LatencySource::Region("DE".into())]
    );
    assert_eq!(sources.len(), 4);
}
