//! A hub with a stopped clock, and a client of it.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use axum::{Router, body::Body};
use durable::Sealer;
use embedded_hub::{Hub, HubConfig, Policy};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use model::{DeviceId, HubName, SymmetricKey, Timestamp};
use net::Peer;
use serde_json::Value;
use tempfile::TempDir;
use tower_service::Service;
use wire::sas::sign;

pub const HOST: &str = "hub.example";
pub const NOW: i64 = 1_800_000_000;

/// One hub under test. Its file is removed on drop.
pub struct World {
    pub hub: Hub,
    router: Router,
    clock: Arc<AtomicI64>,
    directory: TempDir,
}

/// A response of the REST API.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl World {
    pub fn new() -> World {
        World::in_directory(tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(NOW)))
    }

    /// Restarts the hub.
    pub async fn reopened(self) -> World {
        let World { hub, router, clock, directory } = self;
        drop((hub, router));
        // The last handle closes the file; connections that are ending may hold one for a moment.
        for _ in 0..100 {
            match open(&directory, &clock) {
                Ok(hub) => return World { router: hub.router(), hub, clock, directory },
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
        panic!("the hub's file stays locked");
    }

    /// Returns the hub as it starts after a kill: on a copy of the files that are on the disk now.
    pub fn killed(&self) -> World {
        let directory = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(self.directory.path()).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
        }
        World::in_directory(directory, Arc::clone(&self.clock))
    }

    fn in_directory(directory: TempDir, clock: Arc<AtomicI64>) -> World {
        let hub = open(&directory, &clock).unwrap();
        World { router: hub.router(), hub, clock, directory }
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Sends a request of the owner.
    pub async fn ask(&self, request: &str, body: &str) -> Reply {
        self.ask_with(request, body, &[]).await
    }

    /// Sends a request of the owner with further headers. `request` is `METHOD /path`.
    pub async fn ask_with(&self, request: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
        let token = self.token(HOST, 1, Some("iothubowner"));
        let headers = [&[("authorization", token.as_str())], headers].concat();
        self.send(request, body.as_bytes().to_vec(), &headers).await
    }

    /// Sends a request of the device `d`, by its token.
    pub async fn ask_as_device(&self, request: &str, body: &str) -> Reply {
        let token = self.token(&format!("{HOST}/devices/d"), 7, None);
        self.send(request, body.as_bytes().to_vec(), &[("authorization", &token)]).await
    }

    /// Sends a request with just these headers.
    pub async fn send(&self, request: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Reply {
        self.call(build(request, body, headers)).await
    }

    /// Sends a request over a connection with this client certificate.
    pub async fn send_with_certificate(&self, request: &str, leaf: &[u8]) -> Reply {
        let mut request = build(request, Vec::new(), &[]);
        let certificates = [leaf.to_vec().into()].into();
        request.extensions_mut().insert(Peer::new("127.0.0.1:1".parse().unwrap(), certificates));
        self.call(request).await
    }

    async fn call(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().call(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let is_json = parts.headers.get("content-type").is_some_and(|kind| kind == JSON);
        let body = match (bytes.is_empty(), is_json) {
            (true, _) => Value::Null,
            (false, true) => serde_json::from_slice(&bytes).unwrap(),
            (false, false) => Value::String(String::from_utf8(bytes.to_vec()).unwrap()),
        };
        Reply { status: parts.status, headers: parts.headers, body }
    }

    /// Queues a message for the device `d`.
    pub async fn send_to_device(&self, body: &str) {
        let to = [("iothub-to", "/devices/d/messages/devicebound")];
        assert_eq!(self.ask_with("POST /messages/devicebound", body, &to).await.status, 201, "{body}");
    }

    pub fn token(&self, resource: &str, key_byte: u8, name: Option<&str>) -> String {
        sign(resource, key(key_byte).as_bytes(), (self.now() + 60) as u64, name)
    }

    /// Creates a device whose keys are [`key`] 7 and 8.
    pub async fn device(&self, id: &str) -> DeviceId {
        let body = format!(
            r#"{{"deviceId":"{id}","authentication":{{"symmetricKey":{{"primaryKey":"{}","secondaryKey":"{}"}},"type":"sas"}}}}"#,
            key(7).to_base64(),
            key(8).to_base64()
        );
        let reply = self.ask(&format!("PUT /devices/{id}"), &body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        DeviceId::parse(id).unwrap()
    }
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the status and the error's name, which header and body agree on; `-` when there is none.
    #[track_caller]
    pub fn verdict(&self) -> (u16, &str) {
        let name = self.header("iothub-errorcode").unwrap_or("-");
        if name != "-" {
            let message = self.body["Message"].as_str().unwrap();
            // Errors of methods nest their number instead of the name.
            let nested =
                ["\"errorCode\":404103", "\"errorCode\":504101"].iter().any(|code| message.contains(code));
            assert!(nested || message.starts_with(&format!("ErrorCode:{name};")), "{message}");
            let exception = self.body["ExceptionMessage"].as_str().unwrap();
            assert!(exception.starts_with("Tracking ID:"), "{exception}");
        }
        (self.status.as_u16(), name)
    }
}

/// The content type of responses to services.
const JSON: &str = "application/json; charset=utf-8";

fn build(request: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Request<Body> {
    let (method, path) = request.split_once(' ').unwrap();
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body)).unwrap()
}

/// Returns a key of 32 equal bytes.
pub fn key(byte: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[byte; 32]).unwrap()
}

fn open(directory: &TempDir, clock: &Arc<AtomicI64>) -> Result<Hub, embedded_hub::StorageError> {
    let config = HubConfig {
        host_name: HubName::parse(HOST).unwrap(),
        aliases: vec!["localhost".to_owned()],
        path: directory.path().join("hub.db"),
        policies: vec![
            Policy::owner(key(1)),
            Policy::registry_read(key(2)),
            Policy::registry_read_write(key(3)),
            Policy::service(key(4)),
            Policy::device(key(5)),
        ],
    };
    let clock = Arc::clone(clock);
    Hub::open(config, Sealer::from_key([9; 32]), move || {
        Timestamp::from_unix_seconds(clock.load(Ordering::Relaxed))
    })
}
