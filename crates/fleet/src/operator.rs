//! The operator's clients: of the service API, and of the registry of a hub.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, header::RETRY_AFTER, response::Parts};
use model::{Day, DeviceId, HostName, HostPort, HostPortError, KeyError, SymmetricKey};
use net::client::{Call, ClientError, HttpsConnection};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;
use wire::sas::{self, ConnectionString, encode_component};

use crate::{
    clock::expiry_after,
    failure::{Refusal, TransportError},
    login::{LoginError, LoginFile},
    timeouts::DEADLINES,
    trust::Trust,
};

/// The lifetime of tokens, like that of the SDKs.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// The header for warnings: in replies in the form of Azure, the body has no member for them.
const WARNING: &str = "x-muster-warning";
/// How often a request is sent that the service throttles.
const MAX_TRIES: u32 = 8;
/// The longest Retry-After after which a throttled request is repeated, in seconds.
const MAX_RETRY_AFTER_SECS: u64 = 60;
/// The error code of throttled requests. Quotas have another one, since waiting does not help.
const THROTTLED: u32 = 429_000;
const SERVICE_API_VERSION: &str = "2021-10-01";
const HUB_API_VERSION: &str = "2021-04-12";

/// A client of the service API. Enrollments are JSON in the form of the API.
pub struct ServiceClient(Operator);

/// A client of a hub's registry.
pub struct HubRegistry(Operator);

/// The modes of bulk operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkMode {
    /// Creates the enrollments.
    Create,
    /// Deletes the enrollments.
    Delete,
    /// Creates or replaces the enrollments, whatever their etags.
    Update,
}

/// The reasons why an operator's request failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A bulk operation failed for some enrollments; the value is its result.
    #[error("bulk operation: {0}")]
    Bulk(Value),
    /// The host of a connection string is invalid.
    #[error("connection string: {0}")]
    Host(#[from] HostPortError),
    /// An enrollment has no ID; the value is the name of the member.
    #[error("the enrollment has no {0}")]
    Id(&'static str),
    /// The key of a connection string is invalid.
    #[error("connection string: {0}")]
    Key(#[from] KeyError),
    /// The login of the operator cannot be used.
    #[error(transparent)]
    Login(#[from] LoginError),
    /// The reply is malformed.
    #[error("malformed reply: {0}")]
    Malformed(String),
    /// The service refused the request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The exchange with the service failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl OperatorError {
    /// Whether the reply was longer than the client takes.
    pub(crate) fn is_too_long(&self) -> bool {
        matches!(self, OperatorError::Transport(TransportError::Client(ClientError::BodyTooLong { .. })))
    }
}

impl ServiceClient {
    /// Creates a client with the rights of a connection string, which connects on its first request. `port` is the
    /// default for connection strings without a port.
    pub fn new(
        connection_string: &ConnectionString,
        port: u16,
        trust: Trust,
    ) -> Result<ServiceClient, OperatorError> {
        Operator::new(connection_string, port, trust, SERVICE_API_VERSION).map(ServiceClient)
    }

    /// Creates a client with the rights of a login, which connects on its first request. `port` is the default for addresses
    /// without a port.
    pub fn with_login(address: HostPort, port: u16, trust: Trust, login: LoginFile) -> ServiceClient {
        ServiceClient(Operator::with((address, port), trust, Credential::Login(login), SERVICE_API_VERSION))
    }

    /// Makes further calls for this host name, though at the address of the client: for another instance of the same service. `None`
    /// stands for the address.
    pub fn call_host(&mut self, host: Option<HostName>) {
        self.0.host = host;
    }

    /// Sets a function that receives the warnings in replies of the service.
    pub fn on_warning(self, on_warning: fn(&str)) -> ServiceClient {
        ServiceClient(Operator { on_warning: Some(on_warning), ..self.0 })
    }

    /// Creates an individual enrollment. The reply includes its symmetric keys.
    pub async fn create_enrollment(&mut self, enrollment: &Value) -> Result<Value, OperatorError> {
        let id = member(enrollment, "registrationId")?;
        self.0.call(Method::PUT, &format!("/enrollments/{}", encode_component(id)), Some(enrollment)).await
    }

    /// Reads an individual enrollment, with the state of its registration.
    pub async fn enrollment(&mut self, registration_id: &str) -> Result<Value, OperatorError> {
        let path = format!("/enrollments/{}", encode_component(registration_id));
        self.0.call(Method::GET, &path, None).await
    }

    /// Creates an enrollment group. The reply includes its symmetric keys.
    pub async fn create_group(&mut self, group: &Value) -> Result<Value, OperatorError> {
        let id = member(group, "enrollmentGroupId")?;
        self.0.call(Method::PUT, &format!("/enrollmentGroups/{}", encode_component(id)), Some(group)).await
    }

    /// Reads an enrollment group.
    pub async fn group(&mut self, group_id: &str) -> Result<Value, OperatorError> {
        let path = format!("/enrollmentGroups/{}", encode_component(group_id));
        self.0.call(Method::GET, &path, None).await
    }

    /// Executes a bulk operation on at most [`ServiceClient::BULK_LIMIT`] individual enrollments.
    pub async fn bulk(&mut self, mode: BulkMode, enrollments: &[Value]) -> Result<(), OperatorError> {
        let mode = match mode {
            BulkMode::Create => "create",
            BulkMode::Delete => "delete",
            BulkMode::Update => "update",
        };
        let mut enrollments = enrollments.to_vec();
        if mode == "update" {
            // The service treats an update without an etag as a conflict.
            let objects = enrollments.iter_mut().filter_map(Value::as_object_mut);
            objects.for_each(|enrollment| {
                enrollment.entry("etag").or_insert_with(|| "*".into());
            });
        }
        let operation = json!({"mode": mode, "enrollments": enrollments});
        let result = self.0.call(Method::POST, "/enrollments", Some(&operation)).await?;
        match result.get("isSuccessful").and_then(Value::as_bool) {
            Some(true) => Ok(()),
            _ => Err(OperatorError::Bulk(result)),
        }
    }

    /// Reads the registration of a device, of whatever enrollment; `None` if there is none.
    pub async fn registration(&mut self, registration_id: &str) -> Result<Option<Value>, OperatorError> {
        self.0.find(&format!("/registrations/{}", encode_component(registration_id))).await
    }

    /// Reads the number of completed operations by day and kind, from one day to another, both included.
    pub async fn usage(&mut self, from: Option<Day>, to: Option<Day>) -> Result<Value, OperatorError> {
        let [from, to] = [from, to].map(|day| day.map(|day| day.to_string()));
        self.0.call(Method::GET, &with_query("/usage", [("from", from), ("to", to)]), None).await
    }

    /// Returns the port of the endpoint.
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// Reads the limits of the instance, and how much of each is used.
    pub async fn quotas(&mut self) -> Result<Value, OperatorError> {
        self.0.call(Method::GET, "/quotas", None).await
    }

    /// Returns the client below, for calls in other modules.
    pub(crate) fn operator(&mut self) -> &mut Operator {
        &mut self.0
    }

    /// Asks whether the service would admit a device, and why. The device is not registered.
    pub async fn explain(&mut self, device: &Value) -> Result<Value, OperatorError> {
        self.0.call(Method::POST, "/attestation/explain", Some(device)).await
    }

    /// Reads the latest refused attempts to register under a registration ID, newest first.
    pub async fn attempts(&mut self, registration_id: &str) -> Result<Value, OperatorError> {
        let path = format!("/registrations/{}/attempts", encode_component(registration_id));
        self.0.call(Method::GET, &path, None).await
    }

    /// The maximum number of enrollments in a bulk operation.
    pub const BULK_LIMIT: usize = 10;
}

impl HubRegistry {
    /// Creates a client with the rights of a hub's connection string, which connects on its first request. `port` is
    /// the default for connection strings without a port.
    pub fn new(
        connection_string: &ConnectionString,
        port: u16,
        trust: Trust,
    ) -> Result<HubRegistry, OperatorError> {
        Operator::new(connection_string, port, trust, HUB_API_VERSION).map(HubRegistry)
    }

    /// Reads the identity of a device; `None` if the hub does not have the device.
    pub async fn device(&mut self, device_id: &DeviceId) -> Result<Option<Value>, OperatorError> {
        self.0.find(&format!("/devices/{}", encode_component(device_id.as_str()))).await
    }

    /// Reads the twin of a device, including its tags; `None` if the hub does not have the device.
    pub async fn twin(&mut self, device_id: &DeviceId) -> Result<Option<Value>, OperatorError> {
        self.0.find(&format!("/twins/{}", encode_component(device_id.as_str()))).await
    }

    /// Reads the number of devices of the hub.
    pub async fn device_count(&mut self) -> Result<u64, OperatorError> {
        let statistics = self.0.call(Method::GET, "/statistics/devices", None).await?;
        let count = statistics.get("totalDeviceCount").and_then(Value::as_u64);
        count.ok_or_else(|| OperatorError::Malformed("no totalDeviceCount".to_owned()))
    }
}

/// What proves the rights of an operator. Has no `Debug`, because it contains a secret.
enum Credential {
    /// The key of an access policy, with which requests are signed.
    Key { name: String, key: SymmetricKey },
    /// A login at an OpenID provider.
    Login(LoginFile),
}

/// A client that authorizes its requests, and reuses its connection.
pub(crate) struct Operator {
    address: HostPort,
    port: u16,
    /// The host name that requests are for, unless it is that of the address.
    host: Option<HostName>,
    trust: Trust,
    credential: Credential,
    api_version: &'static str,
    connection: Option<HttpsConnection>,
    on_warning: Option<fn(&str)>,
    /// Whether a warning said that the service throttles requests.
    has_warned_of_throttle: bool,
}

/// A request to the service API or to a registry.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// The path, optionally with a query.
    pub(crate) path: &'a str,
    /// The value of the header `If-Match`.
    pub(crate) if_match: Option<&'a str>,
    /// Further headers, with names in lower case.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Option<&'a Value>,
}

impl<'a> Request<'a> {
    /// Creates a request without a body.
    pub(crate) fn new(method: Method, path: &'a str) -> Request<'a> {
        Request { method, path, if_match: None, headers: &[], body: None }
    }
}

/// Returns a path with a query of the parameters that have a value.
pub(crate) fn with_query<const N: usize>(path: &str, parameters: [(&str, Option<String>); N]) -> String {
    let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let given: Vec<_> = given.map(|(name, value)| format!("{name}={}", encode_component(&value))).collect();
    format!("{path}?{}", given.join("&"))
}

/// Returns a reply as what it should be.
pub(crate) fn parsed<T: DeserializeOwned>(reply: Value) -> Result<T, OperatorError> {
    serde_json::from_value(reply).map_err(|error| OperatorError::Malformed(error.to_string()))
}

impl Operator {
    fn new(
        connection_string: &ConnectionString,
        port: u16,
        trust: Trust,
        api_version: &'static str,
    ) -> Result<Operator, OperatorError> {
        let address: HostPort = connection_string.host.parse()?;
        let key = SymmetricKey::parse(&connection_string.key)?;
        let credential = Credential::Key { name: connection_string.key_name.clone(), key };
        Ok(Operator::with((address, port), trust, credential, api_version))
    }

    fn with(
        (address, port): (HostPort, u16),
        trust: Trust,
        credential: Credential,
        api_version: &'static str,
    ) -> Operator {
        Operator {
            port: address.port.unwrap_or(port),
            address,
            host: None,
            trust,
            credential,
            api_version,
            connection: None,
            on_warning: None,
            has_warned_of_throttle: false,
        }
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, OperatorError> {
        self.send(Request { body, ..Request::new(method, path) }).await
    }

    /// Sends a request and returns the body of the reply; null if it is empty.
    pub(crate) async fn send(&mut self, request: Request<'_>) -> Result<Value, OperatorError> {
        let (_, reply) = self.send_with_headers(request).await?;
        Ok(reply)
    }

    /// Sends a request and returns the headers and the body of the reply; the body is null if it is empty. Repeats a request that
    /// the service throttles, after its Retry-After.
    pub(crate) async fn send_with_headers(
        &mut self,
        request: Request<'_>,
    ) -> Result<(HeaderMap, Value), OperatorError> {
        for _ in 1..MAX_TRIES {
            let (head, body) = self.exchange(request.clone()).await?;
            let Some(pause) = throttle_pause(&head, &body) else { return read_reply(head, &body) };
            self.warn_of_throttle(pause);
            sleep(pause).await;
        }
        let (head, body) = self.exchange(request).await?;
        read_reply(head, &body)
    }

    async fn exchange(&mut self, request: Request<'_>) -> Result<(Parts, Bytes), OperatorError> {
        let Request { method, path, if_match, headers, body } = request;
        let authorization = self.authorization().await?;
        let separator = if path.contains('?') { '&' } else { '?' };
        let path_and_query = format!("{path}{separator}api-version={}", self.api_version);
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let authorization = Some(authorization.as_str());
        let host = self.host.clone();
        let host = host.as_ref().map(HostName::as_str);
        let call = Call { method, path_and_query, host, authorization, if_match, headers, body };
        let called = self.connection().await?.call(call).await;
        if called.is_err() {
            // The rest of a reply may still arrive.
            self.connection = None;
        }
        let (head, body) = called.map_err(TransportError::from)?.into_parts();
        let warning = head.headers.get(WARNING).and_then(|warning| warning.to_str().ok());
        if let (Some(on_warning), Some(warning)) = (self.on_warning, warning) {
            on_warning(warning);
        }
        Ok((head, body))
    }

    fn warn_of_throttle(&mut self, pause: Duration) {
        let has_warned = std::mem::replace(&mut self.has_warned_of_throttle, true);
        if let Some(on_warning) = self.on_warning.filter(|_| !has_warned) {
            on_warning(&format!("the service throttles requests; waiting for {} s", pause.as_secs()));
        }
    }

    /// Reads an object; `None` if it does not exist.
    pub(crate) async fn find(&mut self, path: &str) -> Result<Option<Value>, OperatorError> {
        match self.call(Method::GET, path, None).await {
            Ok(found) => Ok(Some(found)),
            Err(OperatorError::Refused(Refusal { status: 404, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns the open connection, or a new one if the server has closed it.
    async fn connection(&mut self) -> Result<&mut HttpsConnection, OperatorError> {
        let open = self.connection.take().filter(|connection| !connection.is_closed());
        let connection = match open {
            Some(connection) => connection,
            None => {
                let host = self.address.host.as_str();
                let opened = HttpsConnection::open(host, self.port, self.trust.anonymous(), DEADLINES).await;
                opened.map_err(TransportError::from)?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Returns the value of the header `Authorization`.
    async fn authorization(&self) -> Result<String, LoginError> {
        match &self.credential {
            Credential::Key { name, key } => {
                let (host, expiry) = (self.host.as_ref(), expiry_after(TOKEN_LIFETIME));
                let host = host.unwrap_or(&self.address.host).as_str();
                Ok(sas::sign(host, key.as_bytes(), expiry, Some(name)))
            }
            Credential::Login(file) => Ok(format!("Bearer {}", file.access_token(&self.address).await?)),
        }
    }
}

fn member<'a>(json: &'a Value, name: &'static str) -> Result<&'a str, OperatorError> {
    json.get(name).and_then(Value::as_str).ok_or(OperatorError::Id(name))
}

/// Returns how long to wait before a throttled request is repeated; `None` for other replies, and if that is too long.
fn throttle_pause(head: &Parts, body: &[u8]) -> Option<Duration> {
    let is_throttled = head.status == StatusCode::TOO_MANY_REQUESTS
        && Refusal::read(head.status.as_u16(), body).error_code == THROTTLED;
    let seconds = head.headers.get(RETRY_AFTER).filter(|_| is_throttled)?.to_str().ok()?.parse().ok()?;
    (seconds <= MAX_RETRY_AFTER_SECS).then(|| Duration::from_secs(seconds))
}

fn read_reply(head: Parts, body: &[u8]) -> Result<(HeaderMap, Value), OperatorError> {
    if !head.status.is_success() {
        return Err(OperatorError::Refused(Refusal::read(head.status.as_u16(), body)));
    }
    if body.is_empty() {
        return Ok((head.headers, Value::Null));
    }
    let reply = serde_json::from_slice(body).map_err(|error| OperatorError::Malformed(error.to_string()))?;
    Ok((head.headers, reply))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttled_requests_wait_for_retry_after_within_a_minute() {
        for (status, code, retry_after, expected) in [
            (429, 429_000, Some("7"), Some(7)),
            (429, 429_000, Some("60"), Some(60)),
            (429, 429_000, Some("61"), None),
            (429, 429_000, Some("Mon, 30 Nov 2026 00:00:00 GMT"), None),
            (429, 429_000, None, None),
            (429, 429_001, Some("7"), None),
            (503, 429_000, Some("7"), None),
        ] {
            let mut response = http::Response::builder().status(status);
            response = retry_after.into_iter().fold(response, |it, value| it.header(RETRY_AFTER, value));
            let (head, ()) = response.body(()).unwrap().into_parts();
            let body = json!({"errorCode": code, "message": "m"}).to_string();
            let pause = throttle_pause(&head, body.as_bytes());
            assert_eq!(pause, expected.map(Duration::from_secs), "{status} {code} {retry_after:?}");
        }
    }
}
