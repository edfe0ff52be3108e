//! A service whose linked hub is down, throttles, fails, talks nonsense and is cut off: each device is assigned, once.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::fleet::{HubRegistry, Transport};
use net::tls::{Identity, server_config};
use testkit::server_certificate::ServerCertificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional, sink};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use wire::sas::ConnectionString;

use crate::linked_hub::{Linking, Neighbour, table, until};
use crate::serve::{device, enrollment};

/// What a hub in trouble answers to each call, before it ends the connection.
type Fault = &'static str;

const FAULTS: [Fault; 4] = [
    "HTTP/1.1 429 X\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 500 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    "SSH-2.0-OpenSSH\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"deviceId\"",
];

/// What stands before a hub: it answers with a fault, or lets everything through as it is, TLS included.
struct Gate {
    /// While it is not open, nothing listens.
    socket: TcpSocket,
    hub: String,
    acceptor: TlsAcceptor,
    ca_pem: String,
    state: Arc<State>,
}

struct State {
    fault: watch::Sender<Option<Fault>>,
    /// How many devices were to be made meanwhile; the hub is asked other things, too.
    answered: AtomicUsize,
}

impl Gate {
    /// Before the hub at this address and port.
    fn before(hub: &str) -> Gate {
        let (address, _) = hub.split_once(':').unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
        let ServerCertificate { ca, certificate, key } = ServerCertificate::of(address);
        let identity = Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
        let acceptor = TlsAcceptor::from(server_config(vec![identity]).unwrap());
        let state = Arc::new(State { fault: watch::Sender::new(None), answered: AtomicUsize::new(0) });
        Gate { socket, hub: hub.to_owned(), acceptor, ca_pem: ca, state }
    }

    fn address(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    fn open(self) -> Arc<State> {
        let Gate { socket, hub, acceptor, state, .. } = self;
        let (listener, opened) = (socket.listen(64).unwrap(), Arc::clone(&state));
        tokio::spawn(async move {
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let (acceptor, state, hub) = (acceptor.clone(), Arc::clone(&state), hub.clone());
                tokio::spawn(async move {
                    let mut changes = state.fault.subscribe();
                    let fault = *changes.borrow_and_update();
                    let serving = async {
                        match fault {
                            Some(fault) => state.answer(acceptor, tcp, fault).await,
                            None => let_through(tcp, &hub).await,
                        }
                    };
                    // Connections are kept: what the hub does now is no longer what it did on an old one.
                    tokio::select! { _ = serving => (), _ = changes.changed() => () }
                });
            }
        });
        opened
    }
}

impl State {
    async fn answer(&self, acceptor: TlsAcceptor, tcp: TcpStream, fault: Fault) -> std::io::Result<()> {
        let mut stream = acceptor.accept(tcp).await?;
        let mut request = [0; 4096];
        let read = stream.read(&mut request).await?;
        stream.write_all(fault.as_bytes()).await?;
        stream.shutdown().await?;
        if request[..read].starts_with(b"PUT /devices/") {
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        copy(&mut stream, &mut sink()).await.map(drop)
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::SeqCst)
    }
}

async fn let_through(mut tcp: TcpStream, hub: &str) -> std::io::Result<()> {
    let mut onward = TcpStream::connect(hub).await?;
    copy_bidirectional(&mut tcp, &mut onward).await.map(drop)
}

/// Registers a device while the hub is in trouble, and ends the trouble when the device has met it.
async fn registers(service: &Linking, name: &str, trouble: impl AsyncFn() -> bool, end: impl FnOnce()) {
    service.client().create_enrollment(&enrollment(name)).await.unwrap();
    let (endpoint, device) = (service.endpoint(), device(name));
    let registering =
        tokio::spawn(async move { ::fleet::register(&endpoint, &device, Transport::Https, None).await });
    until("the device is being assigned", async || {
        let found = service.client().registration(name).await.unwrap();
        trouble().await && found.is_some_and(|found| found["status"] == "assigning")
    })
    .await;
    end();
    let registered = registering.await.unwrap().unwrap();
    assert_eq!(registered.state["status"], "assigned", "{name}");
    assert!(registered.round_trips > 1, "{name} was told `assigning`");
}

#[tokio::test]
async fn devices_are_assigned_once_whatever_the_hub_does_first() {
    let (service, neighbour) = (Linking::new(), Neighbour::start().await);
    let right = ConnectionString::parse(&neighbour.hub().connection_string).unwrap();
    let gate = Gate::before(&right.host);
    let linked = ConnectionString { host: gate.address(), ..right.clone() };
    let cas = std::fs::read_to_string(&neighbour.info.ca_file).unwrap() + &gate.ca_pem;
    let config = service.configure(&table(&format!("connection_string = \"{linked}\"")));
    let _process = service.start(&config, Path::new(&service.write("cas.pem", &cas))).await;
    let mut registry = HubRegistry::new(&right, 443, neighbour.trust()).unwrap();

    let held_up = async || service.log().contains("will be tried again");
    let mut opened = None;
    registers(&service, "down", held_up, || opened = Some(gate.open())).await;
    assert_eq!(registry.device_count().await.unwrap(), 1);
    let hub = opened.unwrap();
    for (number, fault) in FAULTS.into_iter().enumerate() {
        let before = hub.answered();
        hub.fault.send_replace(Some(fault));
        let met = async || hub.answered() > before;
        let end = || _ = hub.fault.send_replace(None);
        registers(&service, &format!("dev-{number}"), met, end).await;
        assert_eq!(registry.device_count().await.unwrap(), 2 + number as u64, "{fault}");
    }
    let usage = service.client().usage(None, None).await.unwrap();
    let rows = usage["usage"].as_array().unwrap().iter().filter(|row| row["kind"] == "registration");
    let registrations: u64 = rows.map(|row| row["count"].as_u64().unwrap()).sum();
    assert_eq!(registrations, 1 + FAULTS.len() as u64, "{usage}");
}
