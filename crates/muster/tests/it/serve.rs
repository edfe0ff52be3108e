//! `muster serve`: two instances in one configuration, a kill, a restart, a clean stop, and invalid configurations.

use std::{
    path::Path,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use ::fleet::{CertificateAuthority, Device, Endpoint, HubClient, ServiceClient, Transport, Trust, Upload};
use model::{HostName, IdScope, RegistrationId, SymmetricKey, VerificationCode};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use wire::sas::ConnectionString;

use crate::program::muster;

pub const KEY: &str = "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=";

/// A configuration, and the service that runs with it.
pub struct ServeFixture {
    folder: TempDir,
    pub ca_pem: String,
    https: u16,
    mqtts: u16,
    amqps: u16,
    pub hub_https: u16,
    hub_mqtts: u16,
    hub_amqps: u16,
}

impl ServeFixture {
    pub fn new() -> ServeFixture {
        let folder = tempfile::tempdir().unwrap();
        let [ca_pem, chain, key] = certificates();
        std::fs::write(folder.path().join("server.pem"), chain).unwrap();
        std::fs::write(folder.path().join("server.key"), key).unwrap();
        let [https, mqtts, amqps, hub_https, hub_mqtts, hub_amqps] = free_ports();
        let fixture = ServeFixture { folder, ca_pem, https, mqtts, amqps, hub_https, hub_mqtts, hub_amqps };
        std::fs::write(fixture.config(), fixture.configuration(hub_https)).unwrap();
        fixture
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the data folder of the service.
    pub fn data(&self) -> std::path::PathBuf {
        self.folder.path().join("data")
    }

    pub fn config(&self) -> std::path::PathBuf {
        self.folder.path().join("muster.toml")
    }

    fn configuration(&self, hub_https: u16) -> String {
        let dir = self.folder.path().display();
        let (https, mqtts, hub_mqtts) = (self.https, self.mqtts, self.hub_mqtts);
        let (amqps, hub_amqps) = (self.amqps, self.hub_amqps);
        let instance = |name: &str, scope: &str, host: &str| {
            format!(
                "[[instance]]\nname = {name:?}\nid_scope = {scope:?}\nservice_hosts = [{host:?}]\n\
                 [[instance.access_policy]]\nname = \"owner\"\nprimary_key = {KEY:?}\nsecondary_key = \"env:SITE_KEY\"\n\
                 rights = \"ServiceConfig, EnrollmentWrite, RegistrationStatusWrite\"\n\
                 [[instance.linked_hub]]\nembedded_hub = \"hub\"\n"
            )
        };
        format!(
            "data_dir = \"{dir}/data\"\n[listen]\nhttps = \"127.0.0.1:{https}\"\nmqtts = \"127.0.0.1:{mqtts}\"\n\
             amqps = \"127.0.0.1:{amqps}\"\n[[tls]]\ncertificate = \"{dir}/server.pem\"\nkey = \"{dir}/server.key\"\n\
             [[embedded_hub]]\nname = \"hub\"\nhost_name = \"127.0.0.1\"\nhttps = \"127.0.0.1:{hub_https}\"\n\
             mqtts = \"127.0.0.1:{hub_mqtts}\"\namqps = \"127.0.0.1:{hub_amqps}\"\nowner_key = {KEY:?}\n{}{}",
            instance("one", "0neAAAAAAAA", "127.0.0.1"),
            instance("two", "0neBBBBBBBB", "localhost"),
        )
    }

    /// Starts the service, and waits until it accepts connections.
    pub async fn start(&self) -> Child {
        self.start_with(&[]).await
    }

    /// Starts the service with further arguments.
    pub async fn start_with(&self, more: &[&str]) -> Child {
        self.spawn(self.command().args(["--log", "warn"]).args(more)).await
    }

    /// Starts the service with the configured log filter, logging to a file.
    pub async fn start_logging_to(&self, log: &Path) -> Child {
        self.spawn(self.command().stderr(std::fs::File::create(log).unwrap())).await
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(["serve", "--config", self.config().to_str().unwrap()]);
        command.env("SITE_KEY", KEY).env_remove("MUSTER_LOG").kill_on_drop(true);
        command
    }

    async fn spawn(&self, command: &mut Command) -> Child {
        spawn(command, self.mqtts).await
    }

    /// Appends text to the configuration.
    pub fn append(&self, text: &str) {
        let before = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), before + text).unwrap();
    }

    /// Replaces text in the configuration.
    pub fn amend(&self, what: &str, instead: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(what), "{text}");
        std::fs::write(self.config(), text.replacen(what, instead, 1)).unwrap();
    }

    fn trust(&self) -> Trust {
        Trust::from_pem(self.ca_pem.as_bytes()).unwrap()
    }

    pub fn endpoint(&self, scope: &str) -> Endpoint {
        Endpoint {
            host: HostName::parse("127.0.0.1").unwrap(),
            https_port: self.https,
            mqtts_port: self.mqtts,
            amqps_port: self.amqps,
            id_scope: IdScope::parse(scope).unwrap(),
            trust: self.trust(),
        }
    }

    pub fn service(&self, host: &str) -> ServiceClient {
        let text = format!("HostName={host}:{};SharedAccessKeyName=owner;SharedAccessKey={KEY}", self.https);
        ServiceClient::new(&ConnectionString::parse(&text).unwrap(), self.https, self.trust()).unwrap()
    }
}

/// Starts a service, and waits until it accepts connections at its port for MQTT.
pub async fn spawn(command: &mut Command, mqtts: u16) -> Child {
    let child = command.spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while tokio::net::TcpStream::connect(("127.0.0.1", mqtts)).await.is_err() {
        assert!(Instant::now() < deadline, "the service did not start");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    child
}

/// Makes a CA certificate, and the chain and key of a server at 127.0.0.1 and localhost.
pub fn certificates() -> [String; 3] {
    certificates_for(&["localhost", "127.0.0.1"])
}

/// The same for a server with these names.
pub fn certificates_for(names: &[&str]) -> [String; 3] {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::from_params(&ca, &ca_key);
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap().pem();
    [ca_pem.clone(), leaf + &ca_pem, key.serialize_pem()]
}

/// Returns unused ports. No two tests get the same ones, and they are below the ephemeral ports of connections (32768).
pub fn free_ports() -> [u16; 6] {
    static NEXT: AtomicU16 = AtomicU16::new(21_000);
    [(); 6].map(|()| {
        loop {
            let port = NEXT.fetch_add(1, Ordering::Relaxed);
            if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

pub fn device(name: &str) -> Device {
    Device::with_key(RegistrationId::parse(name).unwrap(), SymmetricKey::parse(KEY).unwrap())
}

pub fn enrollment(name: &str) -> serde_json::Value {
    let keys = json!({"primaryKey": KEY, "secondaryKey": KEY});
    json!({"registrationId": name, "attestation": {"type": "symmetricKey", "symmetricKey": keys}})
}

#[tokio::test]
async fn instances_are_isolated_and_survive_a_kill() {
    let fixture = ServeFixture::new();
    let mut service = fixture.start().await;
    fixture.service("127.0.0.1").create_enrollment(&enrollment("dev-1")).await.unwrap();
    let (one, two) = (fixture.endpoint("0neAAAAAAAA"), fixture.endpoint("0neBBBBBBBB"));
    let first = ::fleet::register(&one, &device("dev-1"), Transport::Https, None).await.unwrap();
    let elsewhere = ::fleet::register(&two, &device("dev-1"), Transport::Mqtt, None).await;
    assert!(elsewhere.is_err(), "an enrollment of one instance applied in the other");

    service.kill().await.unwrap();
    let mut service = fixture.start().await;
    let again = ::fleet::register(&one, &device("dev-1"), Transport::Mqtt, None).await.unwrap();
    assert_eq!((&again.hub, &again.device_id), (&first.hub, &first.device_id));
    assert_eq!(again.state["createdDateTimeUtc"], first.state["createdDateTimeUtc"]);
    for transport in Transport::ALL {
        let same = ::fleet::register(&one, &device("dev-1"), transport, None).await.unwrap();
        assert_eq!(same.hub, first.hub, "{transport}");
    }
    let hub = ::fleet::HubEndpoint {
        name: again.hub.clone(),
        mqtts_port: fixture.hub_mqtts,
        trust: fixture.trust(),
    };
    let mut connected = HubClient::connect(&hub, &device("dev-1"), &again.device_id).await.unwrap();
    assert!(connected.twin().await.unwrap().get("desired").is_some());
    connected.disconnect().await;

    let pid = service.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    assert_eq!(service.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_ca_of_a_group_must_be_verified_unless_configured_otherwise() {
    let fixture = ServeFixture::new();
    let mut service = fixture.start().await;
    let authority = CertificateAuthority::root("Plant").unwrap();
    let signing = json!({"signingCertificates": {"primary": {"certificate": authority.pem()}}});
    let group = json!({"enrollmentGroupId": "line", "attestation": {"type": "x509", "x509": signing}});
    let mut operator = fixture.service("127.0.0.1");
    operator.create_group(&group).await.unwrap();
    let id = RegistrationId::parse("dev-1").unwrap();
    let device = Device::with_certificate(id.clone(), authority.issue(&id).unwrap());
    let endpoint = fixture.endpoint("0neAAAAAAAA");
    let register = async || ::fleet::register(&endpoint, &device, Transport::Https, None).await;
    assert!(register().await.is_err(), "the CA certificate is not stored");
    let upload = Upload { name: "plant", certificate: authority.pem(), is_verified: None, if_match: None };
    operator.put_ca_certificate(upload).await.unwrap();
    assert!(register().await.is_err(), "the CA certificate is not verified");
    let code = operator.verification_code("plant").await.unwrap();
    let proof = authority.proof(&VerificationCode::parse(code).unwrap()).unwrap();
    operator.verify_ca_certificate("plant", &proof).await.unwrap();
    register().await.unwrap();

    service.kill().await.unwrap();
    operator = fixture.service("127.0.0.1");
    let text = std::fs::read_to_string(fixture.config()).unwrap();
    let lenient =
        text.replace("[[instance.access_policy]]", "require_verified_ca = false\n[[instance.access_policy]]");
    std::fs::write(fixture.config(), lenient).unwrap();
    service = fixture.start().await;
    operator.delete_ca_certificate("plant").await.unwrap();
    register().await.unwrap();
    service.kill().await.unwrap();
}

#[tokio::test]
async fn a_check_runs_beside_the_service_and_data_folders_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let fixture = ServeFixture::new();
    let mut service = fixture.start().await;
    let check = ["serve", "--check", "--config", fixture.config().to_str().unwrap()].map(str::to_owned);
    let checked =
        Command::new(env!("CARGO_BIN_EXE_muster")).args(check).env("SITE_KEY", KEY).status().await.unwrap();
    assert_eq!(checked.code(), Some(0));
    for made in ["data", "data/hubs"] {
        let mode = std::fs::metadata(fixture.folder.path().join(made)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{made}");
    }
    service.kill().await.unwrap();
}

#[tokio::test]
async fn the_check_names_the_mistake_in_a_configuration() {
    let fixture = ServeFixture::new();
    let config = fixture.config();
    let text = std::fs::read_to_string(&config).unwrap();
    let check = async |text: &str, expected: &str| {
        std::fs::write(&config, text).unwrap();
        let ended = muster(["serve", "--check", "--config", config.to_str().unwrap()]).await;
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.stderr.contains(expected), "{expected}: {}", ended.stderr);
    };
    check(&text.replace("https =", "htps ="), "unknown field `htps`").await;
    check(&text.replace("[listen]", "[listen"), "line 2").await;
    check(&text.replace("0neBBBBBBBB", "0neaaaaaaaa"), "occurs twice").await;
    check(&text, "environment variable SITE_KEY").await;
    check(&text.replace("server.key", "gone.key"), "gone.key").await;
    let missing = muster(["serve", "--config", "/nonexistent/muster.toml"]).await;
    assert_eq!(missing.code, 1);
    assert!(missing.stderr.contains("/nonexistent/muster.toml"), "{}", missing.stderr);
}

#[tokio::test]
async fn the_printed_example_is_the_documented_file() {
    let ended = muster(["serve", "--example"]).await;
    assert_eq!(ended.code, 0);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/muster.example.toml");
    assert_eq!(ended.stdout, std::fs::read_to_string(path).unwrap());
}
