//! A service that links, by connection string and over TLS, the hub of another Muster process.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use ::fleet::{Endpoint, HubClient, HubEndpoint, HubRegistry, ServiceClient, Transport, Trust};
use model::{HostName, HubName, IdScope};
use serde_json::json;
use server::dev::{DevHub, DevInfo};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use wire::sas::ConnectionString;

use crate::{
    program::{ProgramOutput, muster},
    serve::{KEY, ServeFixture, certificates, device, enrollment, free_ports},
};

/// The service that links hubs.
pub struct LinkingServer {
    folder: TempDir,
    ca_pem: String,
    https: u16,
    mqtts: u16,
    amqps: u16,
}

/// An emulator in its own process.
pub struct NeighborProcess {
    pub info: DevInfo,
    _process: Child,
    _folder: TempDir,
}

impl NeighborProcess {
    /// Starts an emulator with this number of hubs.
    pub async fn start(hubs: usize) -> NeighborProcess {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("dev");
        let process = Command::new(env!("CARGO_BIN_EXE_muster"))
            .args(["dev", "--dir", dir.to_str().unwrap(), "--ports", "free", "--log", "error"])
            .args(["--hubs", &hubs.to_string()])
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("the emulator is ready", async || DevInfo::read(&dir).is_ok()).await;
        NeighborProcess { info: DevInfo::read(&dir).unwrap(), _process: process, _folder: folder }
    }

    /// Returns the first hub.
    pub fn hub(&self) -> &DevHub {
        &self.info.hubs[0]
    }

    pub fn trust(&self) -> Trust {
        Trust::from_pem(&std::fs::read(&self.info.ca_file).unwrap()).unwrap()
    }
}

impl LinkingServer {
    pub fn new() -> LinkingServer {
        let folder = tempfile::tempdir().unwrap();
        let [ca_pem, chain, key] = certificates();
        std::fs::write(folder.path().join("server.pem"), chain).unwrap();
        std::fs::write(folder.path().join("server.key"), key).unwrap();
        let [https, mqtts, amqps, ..] = free_ports();
        LinkingServer { folder, ca_pem, https, mqtts, amqps }
    }

    /// Writes a configuration with one instance and these lines for its links, and returns its path.
    pub fn configure(&self, link: &str) -> String {
        let (dir, https) = (self.folder.path().display(), self.https);
        let (mqtts, amqps) = (self.mqtts, self.amqps);
        let text = format!(
            "data_dir = \"{dir}/data\"\n[listen]\nhttps = \"127.0.0.1:{https}\"\nmqtts = \"127.0.0.1:{mqtts}\"\n\
             amqps = \"127.0.0.1:{amqps}\"\n[[tls]]\ncertificate = \"{dir}/server.pem\"\nkey = \"{dir}/server.key\"\n\
             [[instance]]\nname = \"plant\"\nid_scope = \"0neAAAAAAAA\"\nservice_hosts = [\"127.0.0.1\"]\n\
             [[instance.access_policy]]\nname = \"owner\"\nprimary_key = {KEY:?}\nsecondary_key = {KEY:?}\n\
             rights = \"ServiceConfig, EnrollmentWrite, RegistrationStatusWrite\"\n{link}\n"
        );
        self.write("muster.toml", &text)
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Links the hub by a connection string in a file, with the CAs of the system.
    fn link(&self, connection_string: &str) -> String {
        let path = self.folder.path().join("hub.txt");
        std::fs::write(&path, connection_string).unwrap();
        table(&format!("connection_string = \"file:{}\"", path.display()))
    }

    /// Runs `muster hub` as an operator of the service.
    pub async fn hub(&self, command: &[&str]) -> ProgramOutput {
        let ca = self.folder.path().join("ca.pem");
        std::fs::write(&ca, &self.ca_pem).unwrap();
        let (name, connection) = (command[0], self.connection_string());
        let service = ["--connection-string", &connection, "--ca", ca.to_str().unwrap()];
        muster([&["hub", name], &service[..], &command[1..]].concat()).await
    }

    fn connection_string(&self) -> String {
        format!("HostName=127.0.0.1:{};SharedAccessKeyName=owner;SharedAccessKey={KEY}", self.https)
    }

    /// Starts the service with this CA as the system's, logging to a file.
    pub async fn start(&self, config: &str, system_ca: &Path) -> Child {
        self.start_by(Command::new(env!("CARGO_BIN_EXE_muster")), config, system_ca).await
    }

    /// Starts the service by a command that runs the program with its arguments.
    pub async fn start_by(&self, mut program: Command, config: &str, system_ca: &Path) -> Child {
        let log = File::create(self.folder.path().join("log")).unwrap();
        let child = program
            .args(["serve", "--config", config, "--log", "info"])
            .env("SSL_CERT_FILE", system_ca)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        until("the service listens", async || {
            tokio::net::TcpStream::connect(("127.0.0.1", self.mqtts)).await.is_ok()
        })
        .await;
        child
    }

    /// Returns the data folder of the service.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            host: HostName::parse("127.0.0.1").unwrap(),
            https_port: self.https,
            mqtts_port: self.mqtts,
            amqps_port: self.amqps,
            id_scope: IdScope::parse("0neAAAAAAAA").unwrap(),
            trust: Trust::from_pem(self.ca_pem.as_bytes()).unwrap(),
        }
    }

    pub fn client(&self) -> ServiceClient {
        let connection = ConnectionString::parse(&self.connection_string()).unwrap();
        ServiceClient::new(&connection, self.https, self.endpoint().trust).unwrap()
    }
}

/// Formats a link as a table of the configuration.
pub fn table(lines: &str) -> String {
    format!("[[instance.linked_hub]]\n{lines}")
}

pub async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_device_is_assigned_to_the_hub_of_another_process() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(1).await);
    let (hub, ca_file) = (neighbor.hub(), &neighbor.info.ca_file);
    let config = service.configure(&format!("{}\nca = {ca_file:?}", service.link(&hub.connection_string)));
    let _process = service.start(&config, Path::new("/nonexistent")).await;
    until("the link is checked", async || service.log().contains("its key has the required rights")).await;

    let mut enrolled = enrollment("dev-1");
    enrolled["initialTwin"] = json!({"tags": {"site": "x"}, "properties": {"desired": {"rate": 5}}});
    service.client().create_enrollment(&enrolled).await.unwrap();
    let device = device("dev-1");
    for transport in [Transport::Https, Transport::Mqtt] {
        let registered = ::fleet::register(&service.endpoint(), &device, transport, None).await.unwrap();
        assert_eq!(registered.hub, HubName::parse(&hub.host_name).unwrap(), "without the port");
        let mqtts_port = neighbor.info.ports.mqtts;
        let endpoint = HubEndpoint { name: registered.hub, mqtts_port, trust: neighbor.trust() };
        let mut connected = HubClient::connect(&endpoint, &device, &registered.device_id).await.unwrap();
        let desired = &connected.twin().await.unwrap()["desired"];
        assert_eq!((&desired["rate"], &desired["$version"]), (&json!(5), &json!(2)));
        connected.disconnect().await;
    }
    let connection = ConnectionString::parse(&hub.connection_string).unwrap();
    let mut registry = HubRegistry::new(&connection, 443, neighbor.trust()).unwrap();
    assert_eq!(registry.device_count().await.unwrap(), 1);
    assert!(!service.log().contains(&connection.key), "{}", service.log());
}

#[tokio::test]
async fn a_link_with_a_wrong_key_is_logged_and_does_not_prevent_the_start() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(1).await);
    let right = ConnectionString::parse(&neighbor.hub().connection_string).unwrap();
    let wrong = ConnectionString { key: KEY.to_owned(), ..right }.to_string();
    let config = service.configure(&service.link(&wrong));
    let _process = service.start(&config, &neighbor.info.ca_file).await;
    let message = "the key lacks RegistryRead, RegistryWrite, ServiceConnect";
    until("the link is checked", async || service.log().contains(message)).await;
    service.client().create_enrollment(&enrollment("dev-1")).await.unwrap();
}

#[tokio::test]
async fn a_device_waits_for_a_hub_that_is_down() {
    let (service, neighbor) = (LinkingServer::new(), ServeFixture::new());
    let hub = format!(
        "HostName=127.0.0.1:{};SharedAccessKeyName=iothubowner;SharedAccessKey={KEY}",
        neighbor.hub_https
    );
    let ca_file = service.folder.path().join("hub-ca.pem");
    std::fs::write(&ca_file, &neighbor.ca_pem).unwrap();
    let config = service.configure(&service.link(&hub));
    let _process = service.start(&config, &ca_file).await;
    until("the link is checked", async || service.log().contains("cannot connect to 127.0.0.1")).await;

    service.client().create_enrollment(&enrollment("dev-1")).await.unwrap();
    let (endpoint, device) = (service.endpoint(), device("dev-1"));
    let registering =
        tokio::spawn(async move { ::fleet::register(&endpoint, &device, Transport::Https, None).await });
    until("the assignment is held up", async || service.log().contains("will be tried again")).await;
    let _neighbour = neighbor.start().await;
    let registered = registering.await.unwrap().unwrap();
    assert_eq!(registered.state["status"], "assigned");
}

#[tokio::test]
async fn mistakes_in_a_link_are_reported_with_their_line() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(1).await);
    let string = &neighbor.hub().connection_string;
    let ca = neighbor.info.ca_file.display();
    let link = format!("connection_string = \"{string}\"\nca = \"{ca}\"");
    let twice = format!("{link}\n[[instance.linked_hub]]\n{link}");
    let by_another_key =
        format!("{link}\n[[instance.linked_hub]]\n{}", link.replace("iothubowner", "service"));
    for (lines, expected) in [
        ("weight = 1".to_owned(), Some("line 18")),
        (format!("embedded_hub = \"h\"\nconnection_string = \"{string}\""), Some("either `embedded_hub` or")),
        (format!("embedded_hub = \"h\"\nca = \"{ca}\""), Some("`ca` only beside")),
        ("connection_string = \"env:NO_SUCH_VARIABLE\"".to_owned(), Some("instance \"plant\", linked hub")),
        ("connection_string = \"file:/nonexistent/hub\"".to_owned(), Some("/nonexistent/hub")),
        ("connection_string = \"HostName=h\"".to_owned(), Some("lacks SharedAccessKeyName")),
        (format!("connection_string = \"{string}\"\nca = \"/nonexistent/ca\""), Some("/nonexistent/ca")),
        (link.replace("127.0.0.11:", "127.0.0.11:x"), Some("port \"x")),
        (twice, Some("occurs twice")),
        (by_another_key, Some("occurs twice")),
        (link, None),
    ] {
        let (config, link) = (service.configure(&table(&lines)), lines);
        let ended = muster(["serve", "--check", "--config", &config]).await;
        let key = ConnectionString::parse(string).unwrap().key;
        assert!(!ended.stderr.contains(&key), "{link}: {}", ended.stderr);
        match expected {
            None => assert_eq!(ended.code, 0, "{link}: {ended:?}"),
            Some(part) => assert!(ended.code == 1 && ended.stderr.contains(part), "{link}: {ended:?}"),
        }
    }
}

#[tokio::test]
async fn a_hub_is_linked_rotated_and_unlinked_while_devices_register() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(1).await);
    let (hub, ca_file) = (neighbor.hub(), neighbor.info.ca_file.to_str().unwrap());
    let name = hub.host_name.as_str();
    let config = service.configure("");
    let mut process = service.start(&config, Path::new("/nonexistent")).await;
    service.client().create_enrollment(&enrollment("dev-1")).await.unwrap();
    let (endpoint, device) = (service.endpoint(), device("dev-1"));
    let register = async || ::fleet::register(&endpoint, &device, Transport::Https, None).await;
    let refused = register().await.unwrap_err().to_string();
    assert!(refused.contains("no hub is linked"), "{refused}");

    // A key without rights, and a hub with an untrusted certificate, are reported at once.
    let right = ConnectionString::parse(&hub.connection_string).unwrap();
    let wrong = ConnectionString { key: KEY.to_owned(), ..right.clone() }.to_string();
    let ended = service.hub(&["link", "--hub-ca", ca_file, &wrong]).await;
    assert!(ended.code == 1 && ended.stderr.contains("not accepted for RegistryRead"), "{ended:?}");
    let ended = service.hub(&["link", &hub.connection_string]).await;
    assert!(ended.code == 1 && ended.stderr.contains("the hub cannot be asked"), "{ended:?}");
    assert!(!service.hub(&["list"]).await.stdout.contains(name), "nothing was linked");

    let ended = service.hub(&["link", "--hub-ca", ca_file, "--weight", "3", &hub.connection_string]).await;
    assert!(ended.code == 0 && ended.stdout.contains("SharedAccessKey=****"), "{ended:?}");
    assert_eq!(register().await.unwrap().hub, HubName::parse(name).unwrap());
    let listed = service.hub(&["list"]).await.stdout;
    assert!(listed.contains(name) && listed.contains("closed") && listed.contains("operator"), "{listed}");

    // Simulates a rotation: the link gets an unknown key, then the right one again.
    let ended = service.hub(&["update", name, "--key", KEY]).await;
    assert!(ended.code == 1 && ended.stderr.contains("not accepted"), "{ended:?}");
    assert_eq!(service.hub(&["update", name, "--key", KEY, "--no-check"]).await.code, 0);
    let ended = service.hub(&["check"]).await;
    assert!(ended.code == 1 && ended.stdout.contains("the key lacks RegistryRead"), "{ended:?}");
    service.client().create_enrollment(&enrollment("dev-2")).await.unwrap();
    let (endpoint_2, device_2) = (service.endpoint(), crate::serve::device("dev-2"));
    let waiting =
        tokio::spawn(async move { ::fleet::register(&endpoint_2, &device_2, Transport::Https, None).await });
    until("the assignment is held up", async || service.log().contains("will be tried again")).await;
    let ended = service.hub(&["update", name, "--key", &right.key, "--weight", "5"]).await;
    assert!(ended.code == 0 && !ended.stdout.contains(&right.key), "{ended:?}");
    assert_eq!(waiting.await.unwrap().unwrap().state["status"], "assigned");
    let shown = service.hub(&["show", name, "--json"]).await.json();
    assert_eq!((&shown["allocationWeight"], &shown["origin"]), (&json!(5), &json!("operator")));

    // The link survives a restart.
    process.kill().await.unwrap();
    let _process = service.start(&config, Path::new("/nonexistent")).await;
    assert!(service.hub(&["check", name]).await.stdout.contains("reachable"));
    assert_eq!(register().await.unwrap().state["status"], "assigned");

    assert_eq!(service.hub(&["unlink", name]).await.code, 0);
    let refused = register().await.unwrap_err().to_string();
    assert!(refused.contains("no hub is linked"), "{refused}");
    let ended = service.hub(&["unlink", name]).await;
    assert!(ended.code == 3 && ended.stderr.contains("linked hub not found"), "{ended:?}");
    assert!(!service.log().contains(&right.key), "{}", service.log());
}

#[tokio::test]
async fn the_default_policy_is_shown_and_set() {
    let service = LinkingServer::new();
    let config = service.configure("");
    let _process = service.start(&config, Path::new("/nonexistent")).await;
    assert_eq!(service.hub(&["policy"]).await.last_line(), "hashed");
    assert_eq!(service.hub(&["policy", "geoLatency"]).await.last_line(), "geoLatency");
    assert_eq!(service.hub(&["policy"]).await.last_line(), "geoLatency");
    assert_eq!(service.hub(&["policy", "custom"]).await.code, 2);
    let with = "geoLatency, with failover";
    assert_eq!(service.hub(&["policy", "--failover", "true"]).await.last_line(), with);
    assert_eq!(service.hub(&["policy"]).await.last_line(), with);
    assert_eq!(service.hub(&["policy", "hashed", "--failover", "false"]).await.last_line(), "hashed");
}
