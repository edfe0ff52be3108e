//! An HTTP/1.1 client that keeps its connection, like a device's.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::time::timeout;

use crate::{tls::ByteStream, world::Device};

/// The version that most SDKs send.
pub const VERSION: &str = "2021-06-01";

/// Longer than any reply takes.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Http {
    requests: SendRequest<Full<Bytes>>,
}

/// A response with its body.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// A request that is put together step by step.
pub struct Call<'a> {
    http: &'a mut Http,
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Http {
    pub async fn new(stream: ByteStream) -> Http {
        let (requests, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Http { requests }
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub fn call(&mut self, method: &'static str, target: impl Into<String>) -> Call<'_> {
        Call { http: self, method, target: target.into(), headers: Vec::new(), body: Bytes::new() }
    }

    /// A device registers.
    pub async fn register(&mut self, device: &Device) -> Reply {
        let body = format!(r#"{{"registrationId":"{}"}}"#, device.id);
        self.call("PUT", register_path(device, VERSION)).token(device.token()).body(body).send().await
    }

    /// A device polls.
    pub async fn poll(&mut self, device: &Device, operation_id: &str) -> Reply {
        self.call("GET", poll_path(device, operation_id)).token(device.token()).send().await
    }

    /// Polls as often as it is told to, without the pauses.
    pub async fn poll_to_the_end(&mut self, device: &Device, operation_id: &str) -> Reply {
        let polling = async {
            loop {
                let reply = self.poll(device, operation_id).await;
                if reply.status != 202 {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, polling).await.expect("it ends")
    }
}

pub fn register_path(device: &Device, version: &str) -> String {
    format!("{}/register?api-version={version}", device.path())
}

pub fn poll_path(device: &Device, operation_id: &str) -> String {
    format!("{}/operations/{operation_id}?api-version={VERSION}", device.path())
}

impl Call<'_> {
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn token(self, token: impl Into<String>) -> Self {
        self.header("authorization", token)
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    pub async fn send(self) -> Reply {
        let mut request =
            Request::builder().method(self.method).uri(self.target).header(header::HOST, "localhost");
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(self.body)).unwrap();
        let exchange = async {
            self.http.requests.ready().await.expect("the connection is open");
            let (head, body) = self.http.requests.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let text = String::from_utf8(body.to_vec()).unwrap();
            Reply { status: head.status, headers: head.headers, text }
        };
        timeout(PATIENCE, exchange).await.expect("a reply")
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub fn operation_id(&self) -> String {
        self.json()["operationId"].as_str().unwrap().to_owned()
    }

    /// The registration state of an operation reply that says `assigned`, which must hold all that SDKs need.
    pub fn assigned(&self) -> Value {
        let json = self.json();
        assert_eq!(json["status"], "assigned", "{json}");
        let state = &json["registrationState"];
        for member in ["registrationId", "assignedHub", "deviceId", "substatus", "createdDateTimeUtc", "etag"]
        {
            assert!(state[member].is_string(), "{member} in {json}");
        }
        assert_eq!(state["status"], "assigned", "{json}");
        state.clone()
    }

    /// Fails unless this is an error of this code, in the form that all errors have.
    pub fn check_error(&self, case: &str, code: u64) {
        let json = self.json();
        assert_eq!(json["errorCode"], code, "{case}: {json}");
        assert_eq!(u64::from(self.status.as_u16()), code / 1000, "{case}: {json}");
        assert_eq!(self.header("x-ms-error-code"), Some(&*code.to_string()), "{case}");
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"), "{case}");
        check_error_body(case, &json);
        let transient = self.status == 429 || self.status.is_server_error();
        assert_eq!(self.header("retry-after").is_some(), transient, "{case}");
    }
}

/// All that every error says, besides its code.
pub fn check_error_body(case: &str, json: &Value) {
    let tracking_id: Vec<_> = json["trackingId"].as_str().unwrap().split('-').map(str::len).collect();
    assert_eq!(tracking_id, [8, 4, 4, 4, 12], "{case}: {json}");
    assert!(json["message"].as_str().is_some_and(|message| !message.is_empty()), "{case}: {json}");
    assert_eq!(json["timestampUtc"], "2026-11-23T00:00:00.0000000Z", "{case}");
    assert_eq!(json.as_object().unwrap().len(), 4, "{case}: {json}");
}
