//! A service with a full disk: nothing is acknowledged that is not stored, clients get 503, reads continue, and writes
//! recover without a restart.
//!
//! The file size limit of the process (RLIMIT_FSIZE) simulates the full disk. A write beyond it fails in the middle of
//! SQLite's writes.

use std::{path::Path, time::Duration};

use ::fleet::{BulkMode, HubRegistry, OperatorError};
use http::{Method, StatusCode};
use model::{DeviceId, SymmetricKey};
use net::client::{Call, Deadlines, HttpsConnection};
use serde_json::{Value, json};
use tokio::process::{Child, Command};
use wire::sas::{self, ConnectionString};

use crate::{
    faulty_hub::{Fault, FaultyProxy, HubFault, counted, link},
    linked_hub::{LinkingServer, NeighborProcess, until},
    serve::{KEY, enrollment},
    storage::stop,
};

/// The error code of a service that cannot store anything.
const NOT_STORED: u32 = 503_000;

/// The number of devices; the disk is full before all are registered.
const DEVICES: usize = 200;

/// Makes a command that ignores SIGXFSZ, so that a write beyond the limit fails instead of ending the process.
fn program() -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_muster")]);
    shell
}

/// Limits the size of the files of the service.
async fn limit(process: &Child, bytes: Option<u64>) {
    let pid = process.id().unwrap().to_string();
    let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    // Only the soft limit, because a hard one cannot be raised again.
    let set = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().await;
    assert!(set.unwrap().success());
}

fn log_ahead_bytes(service: &LinkingServer) -> u64 {
    std::fs::metadata(service.data().join("muster.db-wal")).unwrap().len()
}

/// Sends a request as a device.
async fn ask(service: &LinkingServer, method: Method, name: &str, route: &str) -> (StatusCode, Value) {
    let endpoint = service.endpoint();
    let resource = format!("{}/registrations/{name}", endpoint.id_scope);
    let key = SymmetricKey::parse(KEY).unwrap();
    let token = sas::sign(&resource, key.as_bytes(), 4_102_444_800, Some("registration"));
    let deadlines = Deadlines { connect: Duration::from_secs(10), exchange: Duration::from_secs(30) };
    let port = endpoint.https_port;
    let mut connection =
        HttpsConnection::open("127.0.0.1", port, endpoint.trust.anonymous(), deadlines).await.unwrap();
    let call = Call {
        method,
        path_and_query: format!("/{resource}/{route}?api-version=2021-06-01"),
        authorization: Some(&token),
        body: json!({"registrationId": name}).to_string().into(),
        ..Call::default()
    };
    let response = connection.call(call).await.unwrap();
    let reply: Value = serde_json::from_slice(response.body()).unwrap();
    let is_over = reply["status"] == "assigned";
    assert!(is_over != response.headers().contains_key("retry-after"), "{response:?}");
    (response.status(), reply)
}

async fn register(service: &LinkingServer, name: &str) -> (StatusCode, Value) {
    ask(service, Method::PUT, name, "register").await
}

/// Polls an operation until the device is assigned.
async fn follow(service: &LinkingServer, name: &str, reply: &Value) {
    let route = format!("operations/{}", reply["operationId"].as_str().unwrap());
    until("the device is assigned", async || {
        let (_, reply) = ask(service, Method::GET, name, &route).await;
        reply["status"] == "assigned"
    })
    .await;
}

/// Devices and what they were told: those that are under way are followed when there is room again.
#[derive(Default)]
struct Devices {
    begun: usize,
    under_way: Vec<(String, Value)>,
    returned: u64,
}

impl Devices {
    /// Registers devices until one gets 503, and returns its name.
    async fn fill(&mut self, service: &LinkingServer) -> String {
        for number in self.begun..DEVICES {
            let name = format!("dev-{number}");
            let (status, reply) = register(service, &name).await;
            if status == StatusCode::SERVICE_UNAVAILABLE {
                assert_eq!(reply["errorCode"], NOT_STORED, "{reply}");
                assert!(service.client().registration(&name).await.unwrap().is_none(), "{reply}");
                return name;
            }
            self.begun = number + 1;
            if reply["status"] != "assigned" {
                self.under_way.push((name, reply));
            }
        }
        unreachable!("the disk is never full");
    }

    /// Registers a device that is already assigned.
    async fn come_back(&mut self, service: &LinkingServer, name: &str) {
        let (status, reply) = register(service, name).await;
        assert!(status.is_success(), "{reply}");
        self.under_way.push((name.to_owned(), reply));
        self.returned += 1;
    }

    async fn settle(&mut self, service: &LinkingServer) {
        for (name, reply) in self.under_way.drain(..) {
            follow(service, &name, &reply).await;
        }
    }
}

/// Checks that reads continue, and that writes of an operator are refused and not stored.
async fn check_operator_calls(service: &LinkingServer) {
    let mut operator = service.client();
    assert_eq!(operator.registration("dev-0").await.unwrap().unwrap()["status"], "assigned");
    assert_eq!(operator.enrollment("dev-0").await.unwrap()["registrationId"], "dev-0");
    let new = enrollment("new");
    let refused =
        [operator.create_enrollment(&new).await.map(drop), operator.bulk(BulkMode::Create, &[new]).await];
    for refused in refused {
        assert!(
            matches!(&refused, Err(OperatorError::Refused(why)) if why.error_code == NOT_STORED),
            "{refused:?}"
        );
    }
    let found = operator.enrollment("new").await;
    assert!(matches!(&found, Err(OperatorError::Refused(why)) if why.status == 404), "{found:?}");
}

/// Registers a device whose hub creates it while the result cannot be stored: it stays `assigning`.
async fn register_while_result_cannot_be_stored(
    service: &LinkingServer,
    process: &Child,
    hub: &HubFault,
    registry: &mut HubRegistry,
) -> Value {
    let (name, before) = ("between", hub.met());
    service.client().create_enrollment(&enrollment(name)).await.unwrap();
    hub.begin(Fault::Hangs);
    let (status, reply) = register(service, name).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{reply}");
    until("the hub is asked", async || hub.met() > before).await;
    limit(process, Some(0)).await;
    hub.end();
    let id = DeviceId::parse(name).unwrap();
    let mut there = false;
    while !there {
        there = registry.device(&id).await.unwrap().is_some();
    }
    let route = format!("operations/{}", reply["operationId"].as_str().unwrap());
    for _ in 0..3 {
        let (status, reply) = ask(service, Method::GET, name, &route).await;
        assert_eq!((status, &reply["status"]), (StatusCode::ACCEPTED, &json!("assigning")), "{reply}");
    }
    reply
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_writes_recover() {
    let (service, neighbor) = (LinkingServer::new(), NeighborProcess::start(1).await);
    let right = ConnectionString::parse(&neighbor.hub().connection_string).unwrap();
    let proxy = FaultyProxy::before(&neighbor, &right);
    let cas = service.write("cas.pem", &proxy.cas);
    let config = service.configure(&link(&proxy.linked()));
    let hub = proxy.open();
    let mut process = service.start_by(program(), &config, Path::new(&cas)).await;
    let mut registry = HubRegistry::new(&right, 443, neighbor.trust()).unwrap();

    let mut devices = Devices::default();
    let enrollments: Vec<Value> = (0..DEVICES).map(|number| enrollment(&format!("dev-{number}"))).collect();
    for some in enrollments.chunks(10) {
        service.client().bulk(BulkMode::Create, some).await.unwrap();
    }
    let (status, _) = register(&service, "dev-0").await;
    devices.begun = 1;
    assert!(status.is_success());
    // No space; space for a part of one commit; space for several commits and a part of one.
    for room in [None, Some(3_000), Some(400_000)] {
        // A clean stop empties the write-ahead log, so that the space is what it grows by.
        stop(process).await;
        process = service.start_by(program(), &config, Path::new(&cas)).await;
        limit(&process, Some(room.map_or(0, |room| log_ahead_bytes(&service) + room))).await;
        let refused = devices.fill(&service).await;
        // The log may restart in its space; from here on it gets none.
        limit(&process, Some(0)).await;
        check_operator_calls(&service).await;
        // An assigned device gets 503 while its operation cannot be metered.
        let (status, reply) = register(&service, "dev-0").await;
        let reply_code = (status, &reply["errorCode"]);
        assert_eq!(reply_code, (StatusCode::SERVICE_UNAVAILABLE, &json!(NOT_STORED)), "{reply}");
        limit(&process, None).await;
        devices.come_back(&service, "dev-0").await;
        let (status, reply) = register(&service, &refused).await;
        assert!(status.is_success(), "{reply}");
        devices.under_way.push((refused, reply));
        devices.begun += 1;
        devices.settle(&service).await;
        service
            .client()
            .create_enrollment(&enrollment(&format!("after-{}", room.unwrap_or_default())))
            .await
            .unwrap();
    }
    let reply = register_while_result_cannot_be_stored(&service, &process, &hub, &mut registry).await;
    limit(&process, None).await;
    follow(&service, "between", &reply).await;

    process.kill().await.unwrap();
    let _process = service.start(&config, Path::new(&cas)).await;
    let assigned = devices.begun as u64 + 1;
    for number in 0..devices.begun {
        let found = service.client().registration(&format!("dev-{number}")).await.unwrap().unwrap();
        assert_eq!(found["status"], "assigned", "dev-{number}");
    }
    assert!(devices.begun > 10 && devices.begun < DEVICES, "{} were registered", devices.begun);
    assert_eq!(registry.device_count().await.unwrap(), assigned);
    assert_eq!(counted(&service, "registration").await, assigned);
    assert_eq!(counted(&service, "reregistration").await, devices.returned);
}

/// Returns the status of a health check.
async fn check(service: &LinkingServer, path: &str) -> StatusCode {
    let endpoint = service.endpoint();
    let deadlines = Deadlines { connect: Duration::from_secs(10), exchange: Duration::from_secs(30) };
    let (port, config) = (endpoint.https_port, endpoint.trust.anonymous());
    let mut connection = HttpsConnection::open("127.0.0.1", port, config, deadlines).await.unwrap();
    let call = Call { method: Method::GET, path_and_query: path.to_owned(), ..Call::default() };
    connection.call(call).await.unwrap().status()
}

#[tokio::test]
async fn a_service_that_cannot_write_is_alive_and_not_ready() {
    let service = LinkingServer::new();
    let config = service.configure("");
    let process = service.start_by(program(), &config, Path::new("/nonexistent")).await;
    until("it is ready", async || check(&service, "/readyz").await == StatusCode::OK).await;

    limit(&process, Some(0)).await;
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    assert!(
        service.client().create_enrollment(&enrollment("new")).await.is_err(),
        "it notices when it writes"
    );
    until("it is not ready", async || check(&service, "/readyz").await == unavailable).await;
    assert_eq!(check(&service, "/healthz").await, StatusCode::OK);
    assert_eq!(check(&service, "/health").await, StatusCode::OK, "as it was named before");

    limit(&process, None).await;
    until("it is ready again", async || check(&service, "/readyz").await == StatusCode::OK).await;
    stop(process).await;
}
