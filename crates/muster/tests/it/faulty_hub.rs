//! A service whose linked hub is down, throttles, fails, sends invalid responses, hangs, and closes connections before and
//! after it executed a request: each device is assigned once, and devices of other hubs do not wait.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ::fleet::{HubRegistry, Registered, Transport, Trust};
use model::{DeviceId, RegistrationId};
use net::{
    client::{Duplex, dial},
    tls::{Identity, server_config},
};
use serde_json::json;
use testkit::server_certificate::ServerCertificate;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional, sink},
    net::{TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;
use wire::sas::ConnectionString;

use crate::{
    linked_hub::{LinkingServer, NeighborProcess, table, until},
    serve::{device, enrollment},
};

const FAULTS: [Fault; 6] = [
    Fault::Answers("HTTP/1.1 429 X\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    Fault::Answers("HTTP/1.1 500 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
    Fault::Answers("SSH-2.0-OpenSSH\r\n"),
    Fault::Answers("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"deviceId\""),
    Fault::CutsBeforeItsAnswer,
    Fault::CutsInItsAnswer,
];

const FULL: Fault = Fault::Answers(
    "HTTP/1.1 403 X\r\nConnection: close\r\nContent-Length: 48\r\n\r\n\
     {\"Message\":\"ErrorCode:IotHubQuotaExceeded;full\"}",
);

/// Links a hub by its connection string.
pub fn link(hub: &ConnectionString) -> String {
    table(&format!("connection_string = \"{hub}\""))
}

/// How a faulty hub handles each call.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// Sends this response, and closes the connection.
    Answers(&'static str),
    /// Executes the request, and closes the connection without a response.
    CutsBeforeItsAnswer,
    /// Executes the request, and closes the connection in the middle of its response.
    CutsInItsAnswer,
    /// Does nothing until the fault ends; then executes the request.
    Hangs,
}

/// A proxy in front of a hub: simulates a fault, or forwards everything, including TLS.
pub struct FaultyProxy {
    /// Bound, but without a listener until the proxy is open.
    socket: TcpSocket,
    acceptor: TlsAcceptor,
    hub: ConnectionString,
    /// The CAs of the hub and of the proxy.
    pub cas: String,
    state: Arc<HubFault>,
}

/// The current fault of the hub.
pub struct HubFault {
    /// The hub itself.
    hub: String,
    trust: Trust,
    fault: watch::Sender<Option<Fault>>,
    /// The number of creations of devices during the fault; other calls are not counted.
    met: AtomicUsize,
}

impl FaultyProxy {
    /// Makes a proxy in front of this hub.
    pub fn before(neighbor: &NeighborProcess, hub: &ConnectionString) -> FaultyProxy {
        let (address, _) = hub.host.split_once(':').unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let ServerCertificate { ca, certificate, key } = ServerCertificate::of(address);
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let acceptor = TlsAcceptor::from(server_config(vec![identity]).unwrap());
        let fault = watch::Sender::new(None);
        let (host, trust) = (hub.host.clone(), neighbor.trust());
        let state = Arc::new(HubFault { hub: host, trust, fault, met: AtomicUsize::new(0) });
        let cas = std::fs::read_to_string(&neighbor.info.ca_file).unwrap() + &ca;
        FaultyProxy { socket, acceptor, hub: hub.clone(), cas, state }
    }

    /// Returns the connection string of the hub through the proxy.
    pub fn linked(&self) -> ConnectionString {
        ConnectionString { host: self.socket.local_addr().unwrap().to_string(), ..self.hub.clone() }
    }

    pub fn open(self) -> Arc<HubFault> {
        let FaultyProxy { socket, acceptor, state, .. } = self;
        let (listener, opened) = (socket.listen(64).unwrap(), Arc::clone(&state));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                tokio::spawn(Arc::clone(&state).serve(acceptor.clone(), tcp));
            }
        });
        opened
    }
}

impl HubFault {
    pub fn begin(&self, fault: Fault) {
        self.fault.send_replace(Some(fault));
    }

    pub fn end(&self) {
        self.fault.send_replace(None);
    }

    pub fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }

    async fn serve(self: Arc<Self>, acceptor: TlsAcceptor, mut tcp: TcpStream) -> std::io::Result<()> {
        let mut changes = self.fault.subscribe();
        let fault = *changes.borrow_and_update();
        let Some(fault) = fault else {
            let mut onward = TcpStream::connect(&self.hub).await?;
            // Connections are kept alive, so a change of the fault closes them.
            return tokio::select! {
                through = copy_bidirectional(&mut tcp, &mut onward) => through.map(drop),
                _ = changes.changed() => Ok(()),
            };
        };
        let mut stream = acceptor.accept(tcp).await?;
        let request = read_message(&mut stream).await?;
        let is_creation = request.starts_with(b"PUT /devices/");
        let meet = || self.met.fetch_add(usize::from(is_creation), Ordering::SeqCst);
        match fault {
            Fault::Answers(text) => stream.write_all(text.as_bytes()).await?,
            Fault::CutsBeforeItsAnswer => drop(self.carry_out(&request).await?),
            Fault::CutsInItsAnswer => {
                let answer = self.carry_out(&request).await?;
                stream.write_all(&answer[..answer.len() / 2]).await?;
            }
            Fault::Hangs => {
                meet();
                // An error means that the test has ended.
                let _ = changes.changed().await;
                let answer = self.carry_out(&request).await?;
                return stream.write_all(&answer).await;
            }
        }
        stream.shutdown().await?;
        meet();
        copy(&mut stream, &mut sink()).await.map(drop)
    }

    /// Executes a request at the hub, and returns its response.
    async fn carry_out(&self, request: &[u8]) -> std::io::Result<Vec<u8>> {
        let (address, port) = self.hub.split_once(':').unwrap();
        let config = self.trust.anonymous();
        let mut hub = dial(address, port.parse().unwrap(), config, Duration::from_secs(10)).await.unwrap();
        hub.write_all(request).await?;
        read_message(&mut hub).await
    }
}

/// Reads a request or a response with its body.
async fn read_message(stream: &mut impl Duplex) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let head = loop {
        if stream.read_buf(&mut message).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = message.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
    while message.len() < head + length {
        if stream.read_buf(&mut message).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message)
}

/// Registers a device until it is assigned, in the background.
fn registering(service: &LinkingServer, name: &str) -> JoinHandle<Registered> {
    let (endpoint, device) = (service.endpoint(), device(name));
    tokio::spawn(async move { ::fleet::register(&endpoint, &device, Transport::Https, None).await.unwrap() })
}

/// Registers a device while the hub is faulty, and ends the fault once the device met it.
async fn register_during_fault(
    service: &LinkingServer,
    name: &str,
    is_met: impl AsyncFn() -> bool,
    end: impl FnOnce(),
) {
    service.client().create_enrollment(&enrollment(name)).await.unwrap();
    let registering = registering(service, name);
    until("the device is being assigned", async || {
        let found = service.client().registration(name).await.unwrap();
        is_met().await && found.is_some_and(|found| found["status"] == "assigning")
    })
    .await;
    end();
    let registered = registering.await.unwrap();
    assert_eq!(registered.state["status"], "assigned", "{name}");
    assert!(registered.round_trips > 1, "{name} got `assigning` first");
}

/// Returns the number of metered operations of a kind.
pub async fn counted(service: &LinkingServer, kind: &str) -> u64 {
    let usage = service.client().usage(None, None).await.unwrap();
    let rows = usage["usage"].as_array().unwrap().iter().filter(|row| row["kind"] == kind);
    rows.map(|row| row["count"].as_u64().unwrap()).sum()
}

#[tokio::test]
async fn each_device_is_assigned_once_after_each_fault() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(1).await);
    let right = ConnectionString::parse(&neighbor.hub().connection_string).unwrap();
    let proxy = FaultyProxy::before(&neighbor, &right);
    let cas = service.write("cas.pem", &proxy.cas);
    let config = service.configure(&link(&proxy.linked()));
    let _process = service.start(&config, Path::new(&cas)).await;
    let mut registry = HubRegistry::new(&right, 443, neighbor.trust()).unwrap();

    let held_up = async || service.log().contains("will be tried again");
    let mut opened = None;
    register_during_fault(&service, "down", held_up, || opened = Some(proxy.open())).await;
    assert_eq!(registry.device_count().await.unwrap(), 1);
    let hub = opened.unwrap();
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let before = hub.met();
        hub.begin(fault);
        let met = async || hub.met() > before;
        register_during_fault(&service, &format!("dev-{number}"), met, || hub.end()).await;
        assert_eq!(registry.device_count().await.unwrap(), 2 + number as u64, "{fault:?}");
    }
    assert_eq!(counted(&service, "registration").await, 1 + FAULTS.len() as u64);
}

#[tokio::test]
async fn a_hanging_hub_delays_only_its_own_devices() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(2).await);
    let [hung, healthy] =
        [0, 1].map(|hub| ConnectionString::parse(&neighbor.info.hubs[hub].connection_string).unwrap());
    let proxy = FaultyProxy::before(&neighbor, &hung);
    let cas = service.write("cas.pem", &proxy.cas);
    let config = service.configure(&[link(&proxy.linked()), link(&healthy)].join("\n"));
    let hub = proxy.open();
    hub.begin(Fault::Hangs);
    let _process = service.start(&config, Path::new(&cas)).await;
    let enroll = async |name: &str, hub: &str| {
        let enrolled = enrollment(name);
        let mut enrolled = enrolled.clone();
        enrolled["iotHubs"] = json!([hub.split(':').next()]);
        service.client().create_enrollment(&enrolled).await.unwrap();
    };

    let names = |kind: &'static str| (0..4).map(move |number| format!("{kind}-{number}"));
    for name in names("hung") {
        enroll(&name, &hung.host).await;
    }
    let waiting: Vec<_> = names("hung").map(|name| registering(&service, &name)).collect();
    until("the hub has been asked for all of them", async || hub.met() >= waiting.len()).await;
    for name in names("healthy") {
        enroll(&name, &healthy.host).await;
        let registered = registering(&service, &name).await.unwrap();
        assert_eq!(registered.hub.as_str(), healthy.host.split(':').next().unwrap());
    }
    for name in names("hung") {
        let found = service.client().registration(&name).await.unwrap().unwrap();
        assert_eq!(found["status"], "assigning", "{name}");
    }
    hub.end();
    for registering in waiting {
        assert_eq!(registering.await.unwrap().hub.as_str(), hung.host.split(':').next().unwrap());
    }
    for (hub, kind) in [(&hung, "hung"), (&healthy, "healthy")] {
        let mut registry = HubRegistry::new(hub, 443, neighbor.trust()).unwrap();
        assert_eq!(registry.device_count().await.unwrap(), 4, "{kind}");
        for name in names(kind) {
            assert!(registry.device(&DeviceId::parse(&name).unwrap()).await.unwrap().is_some(), "{name}");
        }
    }
    assert_eq!(counted(&service, "registration").await, 8);
}

/// Without failover a device waits for capacity at its hub. With failover, which is turned on at run time, new devices go to
/// another hub, and only the first of them calls the full one.
#[tokio::test]
async fn a_full_hub_is_waited_for_or_with_failover_passed_over() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(2).await);
    let [small, large] =
        [0, 1].map(|hub| ConnectionString::parse(&neighbor.info.hubs[hub].connection_string).unwrap());
    let proxy = FaultyProxy::before(&neighbor, &small);
    let cas = service.write("cas.pem", &proxy.cas);
    let config = service.configure(&[link(&proxy.linked()), link(&large)].join("\n"));
    let hub = proxy.open();
    let _process = service.start(&config, Path::new(&cas)).await;
    until("the link is checked", async || service.log().contains("its key has the required rights")).await;
    let [small_name, large_name] = [&small, &large].map(|hub| hub.host.split(':').next().unwrap());
    let devices = async |hub: &ConnectionString| {
        HubRegistry::new(hub, 443, neighbor.trust()).unwrap().device_count().await.unwrap()
    };

    hub.begin(FULL);
    let mut only_there = enrollment("waits");
    only_there["iotHubs"] = json!([small_name]);
    service.client().create_enrollment(&only_there).await.unwrap();
    let waiting = registering(&service, "waits");
    until("it waits", async || service.log().contains("it takes no more devices")).await;
    hub.end();
    assert_eq!(waiting.await.unwrap().hub.as_str(), small_name);

    assert_eq!(service.hub(&["policy", "--failover", "true"]).await.last_line(), "hashed, with failover");
    hub.begin(FULL);
    let before = hub.met();
    for number in 0..12 {
        let name = format!("goes-{number}");
        service.client().create_enrollment(&enrollment(&name)).await.unwrap();
        let registered = registering(&service, &name).await.unwrap();
        assert_eq!((registered.hub.as_str(), registered.round_trips), (large_name, 1), "{name}");
    }
    assert_eq!(hub.met(), before + 1, "the hub is known as full after one call");
    let mut redirected = 0;
    for number in 0..12 {
        let id = RegistrationId::parse(format!("goes-{number}")).unwrap();
        let explained = service.client().explain_registration(&id).await.unwrap().to_string();
        redirected += usize::from(explained.contains("it failed: the hub is full"));
    }
    assert_eq!(redirected, 1);
    let shown = service.hub(&["show", small_name]).await.stdout;
    assert!(shown.contains("full since") && shown.contains("closed"), "{shown}");
    hub.end();
    assert_eq!((devices(&small).await, devices(&large).await), (1, 12));
    assert_eq!(counted(&service, "registration").await, 13);
}
