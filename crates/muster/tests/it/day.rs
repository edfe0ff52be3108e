//! A day of an operator, told by commands: what `docs/operating.md` describes, in the order in which it comes up.

use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{
    program::{ProgramOutput, muster_with},
    serve::{KEY, certificates_for, free_ports, spawn},
};

/// A key that no enrollment has.
const WRONG_KEY: &str = "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=";

/// A plant: a machine with a service, and what its operator knows.
struct Plant {
    folder: TempDir,
    /// HTTPS, MQTT and AMQP of the endpoint, and of both hubs, which have their own addresses.
    ports: [u16; 3],
    service: Option<tokio::process::Child>,
    /// The connection string of the management API, or of the instance.
    connection_string: String,
    id_scope: String,
}

impl Plant {
    async fn new() -> Plant {
        let folder = tempfile::tempdir().unwrap();
        let [https, mqtts, amqps, ..] = free_ports();
        let connection_string =
            format!("HostName=127.0.0.1:{https};SharedAccessKeyName=root;SharedAccessKey={KEY}");
        let ports = [https, mqtts, amqps];
        let mut plant = Plant { folder, ports, service: None, connection_string, id_scope: String::new() };
        let [ca, chain, key] = certificates_for(&["localhost", "127.0.0.1", "127.0.0.21", "127.0.0.22"]);
        plant.write("ca.pem", &ca);
        plant.write("server.pem", &chain);
        plant.write("server.key", &key);
        plant.write("muster.toml", &plant.configuration("data"));
        plant.start("muster.toml").await;
        plant
    }

    fn configuration(&self, data: &str) -> String {
        let data = self.path(data);
        let [https, mqtts, amqps] = self.ports;
        let listen = |address: &str| {
            format!(
                "https = \"{address}:{https}\"\nmqtts = \"{address}:{mqtts}\"\namqps = \"{address}:{amqps}\"\n"
            )
        };
        let hub = |name: &str, address: &str| {
            let listen = listen(address);
            format!(
                "[[embedded_hub]]\nname = {name:?}\nhost_name = {address:?}\n{listen}owner_key = {KEY:?}\n"
            )
        };
        format!(
            "data_dir = {data:?}\nlog = {{ filter = \"warn\" }}\naudit = {{ file = \"audit.jsonl\" }}\n\
             tls = [{{ certificate = \"server.pem\", key = \"server.key\" }}]\n[listen]\n{}\
             [[management.access_policy]]\nname = \"root\"\nprimary_key = {KEY:?}\nsecondary_key = {KEY:?}\n{}{}",
            listen("127.0.0.1"),
            hub("hub-a", "127.0.0.21"),
            hub("hub-b", "127.0.0.22"),
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Starts the service; one that runs is killed.
    async fn start(&mut self, configuration: &str) {
        if let Some(mut running) = self.service.take() {
            running.kill().await.unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
        command.args(["serve", "--config", configuration]).current_dir(&self.folder);
        command.env_remove("MUSTER_LOG").env_remove("MUSTER_STORE").kill_on_drop(true);
        self.service = Some(spawn(&mut command, self.ports[1]).await);
    }

    /// Runs an operator's command, whose words are separated by blanks. `@NAME` is a file of the plant.
    async fn run(&self, command: &str) -> ProgramOutput {
        let ca = self.path("ca.pem").display().to_string();
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.path(name).display().to_string(),
            None => word.to_owned(),
        };
        let variables = [
            ("MUSTER_CONNECTION_STRING", self.connection_string.as_str()),
            ("MUSTER_CA", ca.as_str()),
            ("MUSTER_PASSPHRASE", "a passphrase of the plant"),
        ];
        muster_with(&variables, command.split_whitespace().map(word)).await
    }

    /// The same for a command that must succeed. Returns what it prints.
    async fn does(&self, command: &str) -> String {
        let ended = self.run(command).await;
        assert_eq!(ended.code, 0, "{command}: {ended:?}");
        ended.stdout
    }

    /// The same for a command that must fail with this exit status. Returns what it prints, with its error.
    async fn fails(&self, command: &str, code: i32) -> String {
        let ended = self.run(command).await;
        assert_eq!(ended.code, code, "{command}: {ended:?}");
        ended.stdout + &ended.stderr
    }

    async fn json(&self, command: &str) -> Value {
        serde_json::from_str(&self.does(&format!("{command} --json")).await).unwrap()
    }

    /// Returns the arguments that a device needs, of its endpoint.
    fn endpoint(&self) -> String {
        let [https, mqtts, amqps] = self.ports;
        let scope = &self.id_scope;
        format!("--endpoint localhost:{https} --mqtt-port {mqtts} --amqp-port {amqps} --id-scope {scope}")
    }

    /// Has a device register. Returns its hub.
    async fn registers(&self, name: &str, key: &str, transport: &str) -> String {
        let endpoint = self.endpoint();
        let command = format!(
            "device register {endpoint} --registration-id {name} --key {key} --transport {transport}"
        );
        self.json(&command).await["assignedHub"].as_str().unwrap().to_owned()
    }
}

/// The plant gets an instance with two hubs, and its operator a key of his own.
async fn an_instance_is_set_up(plant: &mut Plant) {
    assert!(plant.does("instance list").await.contains("no instances"));
    plant.does("instance create plant-1 --host localhost --location hall-2 --tag team=line-3").await;
    plant.fails("instance create plant-1 --host localhost", 1).await;
    let instance = plant.json("instance show plant-1").await;
    plant.id_scope = instance["properties"]["idScope"].as_str().unwrap().to_owned();
    let owner = plant.does("policy connection-string plant-1").await;
    plant.does("policy put plant-1 reader --rights EnrollmentRead").await;
    let reader = plant.does("policy connection-string plant-1 reader").await;

    plant.connection_string = reader.trim().to_owned();
    let hub = |address: &str| {
        let https = plant.ports[0];
        format!(
            "HostName={address}:{https};SharedAccessKeyName=iothubowner;SharedAccessKey={KEY} --hub-ca @ca.pem"
        )
    };
    let links = ["127.0.0.21", "127.0.0.22"].map(hub);
    plant.fails(&format!("hub link {}", links[0]), 4).await;
    plant.connection_string = owner.trim().to_owned();
    for link in links {
        plant.does(&format!("hub link {link}")).await;
    }
}

/// An order of devices arrives as a table, with a mistake in one line. What is right is imported, and repeating that changes nothing.
async fn an_order_is_imported(plant: &Plant) {
    let mut order = String::from("registrationId,primaryKey,secondaryKey\n");
    (1..=50).for_each(|number| order += &format!("device-{number},{KEY},{KEY}\n"));
    plant.write("order.csv", &(order.clone() + "device 51,short,short\n"));
    let report = plant.fails("enrollment import @order.csv", 1).await;
    assert!(report.contains("50 created") && report.contains("1 failed"), "{report}");
    assert!(plant.read("order.csv.errors.jsonl").contains("device 51"));
    plant.write("order.csv", &order);
    assert!(plant.does("enrollment import @order.csv").await.contains("50 unchanged"));
    plant.does("enrollment create line-3 --group --symmetric-key").await;
}

/// Devices arrive over every transport; one has the wrong key. `muster why` shows the reason, the operator mends it, and the device is admitted.
async fn devices_arrive(plant: &Plant) {
    for (number, transport) in ["https", "mqtt", "mqtt-ws", "amqp", "amqp-ws"].iter().enumerate() {
        plant.registers(&format!("device-{}", number + 1), KEY, transport).await;
    }
    let group = plant.does("enrollment show line-3 --group --keys").await;
    let group: Value = serde_json::from_str(&group).unwrap();
    let key = group["attestation"]["symmetricKey"]["primaryKey"].as_str().unwrap();
    let fleet = format!("fleet {} --enrollment-group-key {key} --devices 30", plant.endpoint());
    plant.does(&fleet).await;

    let wrong = format!("device register {} --registration-id device-6 --key {WRONG_KEY}", plant.endpoint());
    assert!(plant.fails(&wrong, 1).await.contains("401002"));
    let why = plant.does("why device-6").await;
    assert!(why.contains("wrongKey") && why.contains("next: "), "{why}");
    assert!(plant.does("registration attempts --since 1h --reason wrongKey").await.contains("device-6"));
    plant.write(
        "device-6.csv",
        &format!("registrationId,primaryKey,secondaryKey\ndevice-6,{WRONG_KEY},{KEY}\n"),
    );
    plant.does("enrollment import @device-6.csv --replace").await;
    plant.registers("device-6", WRONG_KEY, "https").await;
    assert!(plant.does("why device-6").await.contains("enrollment"));
}

/// A key of an access policy was seen in a chat. It is replaced while the other one goes on, and opens nothing any more.
async fn a_key_leaks(plant: &mut Plant, management: &str) {
    let owner = std::mem::replace(&mut plant.connection_string, management.to_owned());
    let secondary = plant.does("policy connection-string plant-1 --key secondary").await;
    plant.does("policy rotate plant-1 provisioningserviceowner primary").await;
    plant.connection_string = owner;
    plant.fails("enrollment list", 4).await;
    plant.connection_string = secondary.trim().to_owned();
    plant.does("enrollment list").await;
}

/// A network that is not the plant's is shut out: its operators at once, then its devices. Everyone is admitted again.
async fn a_network_is_shut_out(plant: &mut Plant, management: &str) {
    let owner = std::mem::replace(&mut plant.connection_string, management.to_owned());
    let update = "instance update plant-1";
    plant.does(&format!("{update} --ip-filter-rule others=reject,127.0.0.0/8,serviceApi")).await;
    plant.connection_string.clone_from(&owner);
    plant.fails("enrollment list", 4).await;
    plant.registers("device-1", KEY, "https").await;
    management.clone_into(&mut plant.connection_string);
    plant.does(&format!("{update} --ip-filter-rule others=reject,127.0.0.0/8,deviceApi")).await;
    let device = format!("device register {} --registration-id device-1 --key {KEY}", plant.endpoint());
    assert!(plant.fails(&device, 1).await.contains("401002"));
    plant.does(&format!("{update} --no-ip-filter-rules")).await;
    plant.connection_string = owner;
    assert!(plant.does("why device-1").await.contains("ipFilter"));
    plant.registers("device-1", KEY, "mqtt").await;
}

/// The operator looks for devices: those at one hub, those of the group, and enrollments by their beginning.
async fn devices_are_found(plant: &Plant) {
    let count = async |command: &str| plant.json(command).await.as_array().unwrap().len();
    let at = async |hub: &str| count(&format!("registration list --hub {hub}")).await;
    let (a, b) = (at("127.0.0.21").await, at("127.0.0.22").await);
    assert_eq!((a + b, a > 0, b > 0), (36, true, true));
    assert_eq!(count("registration list --group line-3").await, 30);
    assert_eq!(count("enrollment list --prefix device-4").await, 11);
}

/// The machine is replaced: what was acknowledged before the backup is there after the restore, and devices stay where they were.
async fn the_machine_is_replaced(plant: &mut Plant) {
    let homes = plant.json("registration list").await;
    plant.does("backup @night.backup --config @muster.toml").await;
    plant.registers("device-9", KEY, "https").await;
    plant.does("backup check @night.backup").await;
    plant.does("restore @night.backup --data @new-data").await;
    plant.write("new.toml", &plant.configuration("new-data"));
    plant.start("new.toml").await;
    assert_eq!(plant.json("registration list").await, homes);
    for home in homes.as_array().unwrap().iter().filter(|it| it["registrationId"] == "device-1") {
        assert_eq!(plant.registers("device-1", KEY, "amqp").await, home["assignedHub"]);
    }
    plant.registers("device-9", KEY, "https").await;
}

/// The auditor asks who did what. The log has each change, the audit trail the refused call, and neither has a key.
async fn the_auditor_asks(plant: &Plant) {
    let log = plant.does("log --since 1h --json").await;
    for operation in ["linkedHub.put", "enrollment.bulk", "registration.assign"] {
        assert!(log.contains(operation), "{operation} is missing");
    }
    let audit = plant.read("audit.jsonl");
    assert!(audit.contains(r#""actor":"reader""#) && audit.contains(r#""outcome":"refused""#), "{audit}");
    assert!(audit.contains("IotDpsResource_ListKeys"), "{audit}");
    for text in [&log, &audit] {
        assert!(!text.contains(KEY) && !text.contains(WRONG_KEY));
    }
    assert!(plant.does("usage").await.contains("registration"));
}

/// The plant closes. The operator sees what goes, types the name, and the ID scope is never used again.
async fn the_plant_closes(plant: &mut Plant, management: &str) {
    management.clone_into(&mut plant.connection_string);
    let preview = plant.does("instance delete plant-1 --dry-run").await;
    assert!(preview.contains("enrollments") && preview.contains("50"), "{preview}");
    plant.fails("instance delete plant-1", 1).await;
    plant.does("instance delete plant-1 --yes").await;
    let late = format!("device register {} --registration-id device-1 --key {KEY}", plant.endpoint());
    plant.fails(&late, 1).await;
    plant.fails("instance show plant-1", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_has_a_day() {
    let mut plant = Plant::new().await;
    let management = plant.connection_string.clone();
    an_instance_is_set_up(&mut plant).await;
    an_order_is_imported(&plant).await;
    devices_arrive(&plant).await;
    devices_are_found(&plant).await;
    a_key_leaks(&mut plant, &management).await;
    a_network_is_shut_out(&mut plant, &management).await;
    the_machine_is_replaced(&mut plant).await;
    the_auditor_asks(&plant).await;
    the_plant_closes(&mut plant, &management).await;
}
