//! An embedded hub and a connector to it: in the same process, or over its REST API and TLS.

use std::sync::Arc;
use std::time::Duration;

use durable::Sealer;
use embedded_hub::{Hub, HubConfig, Listeners, Policy, limits, serve};
use hub::{EmbeddedConnector, RestConnector, RestLink};
use model::{DeviceId, HubName};
use net::client::Deadlines;
use net::{CancellationToken, Gate, Limits, bind, tls};
use provisioning::ports::{Clock, HubConnector};
use serde_json::Value;
use tempfile::TempDir;
use testkit::{clock::SteppedClock, sample, server_certificate::ServerCertificate};
use wire::sas::ConnectionString;

pub const HOST: &str = "127.0.0.1";

/// How a connector gets to its hub.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    InProcess,
    OverRest,
}

pub const WAYS: [Way; 2] = [Way::InProcess, Way::OverRest];

pub struct World {
    pub hub: Hub,
    pub connector: Arc<dyn HubConnector>,
    pub site: Site,
    pub clock: Arc<SteppedClock>,
    shutdown: CancellationToken,
    _directory: TempDir,
}

/// Where the hub's REST API is.
pub struct Site {
    pub port: u16,
    pub ca_pem: String,
}

impl World {
    pub fn new(way: Way) -> World {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(SteppedClock::default());
        let hub = open(&directory, &clock);
        let shutdown = CancellationToken::new();
        let site = served(&hub, &shutdown);
        let connector: Arc<dyn HubConnector> = match way {
            Way::InProcess => Arc::new(EmbeddedConnector::new(hub.clone())),
            Way::OverRest => Arc::new(RestConnector::new(site.link("iothubowner", 1), clock.clone())),
        };
        World { hub, connector, site, clock, shutdown, _directory: directory }
    }

    /// Identity and twin as operators see them.
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

impl Site {
    /// A link with a policy's name and the key of 32 such bytes.
    pub fn link(&self, policy: &str, key_byte: u8) -> RestLink {
        let text = format!(
            "HostName={HOST}:{};SharedAccessKeyName={policy};SharedAccessKey={}",
            self.port,
            sample::key(key_byte).to_base64()
        );
        let tls = tls::client_config(self.ca_pem.as_bytes(), None).unwrap();
        let link = RestLink::new(&ConnectionString::parse(&text).unwrap(), tls).unwrap();
        let deadlines = Deadlines { connect: Duration::from_secs(20), exchange: Duration::from_secs(20) };
        RestLink { deadlines, ..link }
    }
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

fn served(hub: &Hub, shutdown: &CancellationToken) -> Site {
    let (ca_pem, identity) = certificates();
    let loopback = "127.0.0.1:0".parse().unwrap();
    let listeners = Listeners { https: bind(loopback).unwrap(), mqtts: bind(loopback).unwrap() };
    let port = listeners.https.local_addr().unwrap().port();
    let tls = tls::server_config(vec![identity]).unwrap();
    let gate = Gate::new(limits(&Limits::default()));
    tokio::spawn(serve(hub.clone(), listeners, tls, gate, shutdown.clone()));
    Site { port, ca_pem }
}

/// A CA's certificate, and the identity of a server at [`HOST`].
pub fn certificates() -> (String, tls::Identity) {
    let ServerCertificate { ca, certificate, key } = ServerCertificate::of(HOST);
    (ca, tls::Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap())
}
