//! An embedded hub and a connector to it: in the same process, or over its REST API and TLS.

use std::{sync::Arc, time::Duration};

use durable::Sealer;
use embedded_hub::{Hub, HubConfig, Listeners, Policy, limits, serve};
use hub::{EmbeddedConnector, RestConnector, RestLink};
use model::{Certificate, DeviceId, HubAccess, HubName};
use net::{CancellationToken, ConnectionLimiter, Limits, bind, client::Deadlines, tls};
use provisioning::ports::{Clock, HubConnector};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{clock::SteppedClock, entropy::SeededEntropy, sample, server_certificate::ServerCertificate};

pub const HOST: &str = "127.0.0.1";

/// How a connector reaches its hub.
#[derive(Debug, Clone, Copy)]
pub enum Connection {
    InProcess,
    InProcessByKey,
    OverRest,
}

pub const CONNECTIONS: [Connection; 3] =
    [Connection::InProcess, Connection::InProcessByKey, Connection::OverRest];

pub struct World {
    pub hub: Hub,
    pub connector: Arc<dyn HubConnector>,
    pub site: RestAddress,
    pub clock: Arc<SteppedClock>,
    shutdown: CancellationToken,
    _directory: TempDir,
}

/// The address of the hub's REST API.
pub struct RestAddress {
    pub port: u16,
    pub ca_pem: String,
}

impl World {
    pub fn new(way: Connection) -> World {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SteppedClock::default());
        let hub = open(&directory, &clock);
        let shutdown = CancellationToken::new();
        let site = served(&hub, &shutdown);
        let connector: Arc<dyn HubConnector> = match way {
            Connection::InProcess => Arc::new(EmbeddedConnector::new(hub.clone())),
            Connection::InProcessByKey => {
                Arc::new(EmbeddedConnector::by_key(hub.clone(), &site.access("iothubowner", 1)))
            }
            Connection::OverRest => Arc::new(connector(site.link("iothubowner", 1), &clock)),
        };
        World { hub, connector, site, clock, shutdown, _directory: directory }
    }

    /// Returns identity and twin as operators see them.
    pub fn shown(&self, id: &str) -> (Value, Value) {
        let id = DeviceId::parse(id).unwrap();
        let device = self.hub.device(&id).unwrap().unwrap();
        let twin = self.hub.twin(&id).unwrap().unwrap();
        (serde_json::to_value(device).unwrap(), serde_json::to_value(twin).unwrap())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl RestAddress {
    /// Returns the access by a policy and the key of 32 such bytes.
    pub fn access(&self, policy: &str, key_byte: u8) -> HubAccess {
        HubAccess {
            port: self.port,
            policy: policy.to_owned(),
            key: sample::key(key_byte),
            ca: Certificate::parse_all(self.ca_pem.as_bytes()).unwrap(),
        }
    }

    /// Returns a link with that access.
    pub fn link(&self, policy: &str, key_byte: u8) -> RestLink {
        let link = RestLink::new(HubName::parse(HOST).unwrap(), &self.access(policy, key_byte)).unwrap();
        let deadlines = Deadlines { connect: Duration::from_secs(20), exchange: Duration::from_secs(20) };
        RestLink { deadlines, ..link }
    }
}

/// Returns a connector over this link, with this clock.
pub fn connector(link: RestLink, clock: &Arc<SteppedClock>) -> RestConnector {
    RestConnector::new(link, clock.clone(), Arc::new(SeededEntropy::new(1)))
}

fn open(directory: &TempDir, clock: &Arc<SteppedClock>) -> Hub {
    let config = HubConfig {
        host_name: HubName::parse(HOST).unwrap(),
        aliases: Vec::new(),
        path: directory.path().join("hub.db"),
        policies: vec![
            Policy::owner(sample::key(1)),
            Policy::registry_read(sample::key(2)),
            Policy::registry_read_write(sample::key(3)),
            Policy::service(sample::key(4)),
        ],
    };
    let clock = Arc::clone(clock);
    Hub::open(config, Sealer::from_key([9; 32]), move || clock.now()).unwrap()
}

fn served(hub: &Hub, shutdown: &CancellationToken) -> RestAddress {
    let (ca_pem, identity) = certificates();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let [https, amqps, mqtts] = [(); 3].map(|()| net::Listener::from(bind(loopback).unwrap()));
    let listeners = Listeners { https, amqps, mqtts };
    let port = listeners.https.local_addr().unwrap().port();
    let tls = tls::server_config(vec![identity]).unwrap();
    let limiter = ConnectionLimiter::new(limits(&Limits::default()));
    tokio::spawn(serve(hub.clone(), listeners, tls, limiter, shutdown.clone()));
    RestAddress { port, ca_pem }
}

/// Returns a CA's certificate, and the identity of a server at [`HOST`].
pub fn certificates() -> (String, tls::Identity) {
    let ServerCertificate { ca, certificate, key } = ServerCertificate::of(HOST);
    (ca, tls::Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap())
}
