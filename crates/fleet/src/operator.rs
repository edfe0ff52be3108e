//! The operator's side: the provisioning service's API, and the registry of a hub.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use model::{Day, DeviceId, HostPort, HostPortError, KeyError, SymmetricKey};
use net::client::{Call, HttpsConnection};
use serde_json::{Value, json};
use wire::sas::{self, ConnectionString, encode_component};

use crate::clock::expiry_after;
use crate::failure::{Refusal, TransportError};
use crate::patience::DEADLINES;
use crate::trust::Trust;

/// A client of the service API: enrollments and enrollment groups, as the JSON that the API speaks.
pub struct ServiceClient(Operator);

/// A client of a hub's registry.
pub struct HubRegistry(Operator);

/// What a bulk operation does with its enrollments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkMode {
    /// Makes new ones.
    Create,
    /// Removes them.
    Delete,
    /// Makes or replaces them, whatever their version.
    Update,
}

/// Why an operator's request failed.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// Some enrollments of a bulk operation were refused; the value is the result.
    #[error("bulk operation: {0}")]
    Bulk(Value),
    /// The host of a connection string is none.
    #[error("connection string: {0}")]
    Host(#[from] HostPortError),
    /// An enrollment without its ID.
    #[error("the enrollment has no {0}")]
    Id(&'static str),
    /// The key of a connection string is none.
    #[error("connection string: {0}")]
    Key(#[from] KeyError),
    /// The reply makes no sense.
    #[error("malformed reply: {0}")]
    Malformed(String),
    /// The service refused the request.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The conversation broke down.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl ServiceClient {
    /// A client with the rights of a connection string; it connects when it is first used. The port counts where the
    /// connection string has none.
    pub fn new(
        connection_string: &ConnectionString,
        port: u16,
        trust: Trust,
    ) -> Result<ServiceClient, OperatorError> {
        Operator::new(connection_string, port, trust, SERVICE_API_VERSION).map(ServiceClient)
    }

    /// Passes on what the service warns of beside its answers.
    pub fn on_warning(self, on_warning: fn(&str)) -> ServiceClient {
        ServiceClient(Operator { on_warning: Some(on_warning), ..self.0 })
    }

    /// Creates an individual enrollment; the reply shows its keys.
    pub async fn create_enrollment(&mut self, enrollment: &Value) -> Result<Value, OperatorError> {
        let id = member(enrollment, "registrationId")?;
        self.0.call(Method::PUT, &format!("/enrollments/{}", encode_component(id)), Some(enrollment)).await
    }

    /// Reads an individual enrollment, its registration included.
    pub async fn enrollment(&mut self, registration_id: &str) -> Result<Value, OperatorError> {
        let path = format!("/enrollments/{}", encode_component(registration_id));
        self.0.call(Method::GET, &path, None).await
    }

    /// Creates an enrollment group; the reply shows its keys.
    pub async fn create_group(&mut self, group: &Value) -> Result<Value, OperatorError> {
        let id = member(group, "enrollmentGroupId")?;
        self.0.call(Method::PUT, &format!("/enrollmentGroups/{}", encode_component(id)), Some(group)).await
    }

    /// Reads an enrollment group.
    pub async fn group(&mut self, group_id: &str) -> Result<Value, OperatorError> {
        let path = format!("/enrollmentGroups/{}", encode_component(group_id));
        self.0.call(Method::GET, &path, None).await
    }

    /// Does one thing with several individual enrollments, at most [`ServiceClient::BULK_LIMIT`].
    pub async fn bulk(&mut self, mode: BulkMode, enrollments: &[Value]) -> Result<(), OperatorError> {
        let mode = match mode {
            BulkMode::Create => "create",
            BulkMode::Delete => "delete",
            BulkMode::Update => "update",
        };
        let mut enrollments = enrollments.to_vec();
        if mode == "update" {
            // Without an etag the service takes the enrollment for one that the client has not read.
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

    /// Reads a registration, whatever enrollment it came through; `None` when there is none.
    pub async fn registration(&mut self, registration_id: &str) -> Result<Option<Value>, OperatorError> {
        self.0.find(&format!("/registrations/{}", encode_component(registration_id))).await
    }

    /// Reads how many operations were completed, by day and kind; both days are included.
    pub async fn usage(&mut self, from: Option<Day>, to: Option<Day>) -> Result<Value, OperatorError> {
        let bound = |name: &str, day: Option<Day>| day.map(|day| format!("{name}={day}"));
        let bounds: Vec<String> = [bound("from", from), bound("to", to)].into_iter().flatten().collect();
        self.0.call(Method::GET, &format!("/usage?{}", bounds.join("&")), None).await
    }

    /// For what has a module of its own.
    pub(crate) fn operator(&mut self) -> &mut Operator {
        &mut self.0
    }

    /// Asks whether a device would be let in, and why; nothing is registered.
    pub async fn explain(&mut self, device: &Value) -> Result<Value, OperatorError> {
        self.0.call(Method::POST, "/attestation/explain", Some(device)).await
    }

    /// Reads the last registrations under a name that were refused, newest first.
    pub async fn attempts(&mut self, registration_id: &str) -> Result<Value, OperatorError> {
        let path = format!("/registrations/{}/attempts", encode_component(registration_id));
        self.0.call(Method::GET, &path, None).await
    }

    /// How many enrollments a bulk operation may have.
    pub const BULK_LIMIT: usize = 10;
}

impl HubRegistry {
    /// A client with the rights of a hub's connection string; it connects when it is first used. The port counts where
    /// the connection string has none.
    pub fn new(
        connection_string: &ConnectionString,
        port: u16,
        trust: Trust,
    ) -> Result<HubRegistry, OperatorError> {
        Operator::new(connection_string, port, trust, HUB_API_VERSION).map(HubRegistry)
    }

    /// Reads a device's identity; `None` when the hub does not know it.
    pub async fn device(&mut self, device_id: &DeviceId) -> Result<Option<Value>, OperatorError> {
        self.0.find(&format!("/devices/{}", encode_component(device_id.as_str()))).await
    }

    /// Reads a device's twin as operators see it, tags included; `None` when the hub does not know the device.
    pub async fn twin(&mut self, device_id: &DeviceId) -> Result<Option<Value>, OperatorError> {
        self.0.find(&format!("/twins/{}", encode_component(device_id.as_str()))).await
    }

    /// How many devices the hub knows.
    pub async fn device_count(&mut self) -> Result<u64, OperatorError> {
        let statistics = self.0.call(Method::GET, "/statistics/devices", None).await?;
        let count = statistics.get("totalDeviceCount").and_then(Value::as_u64);
        count.ok_or_else(|| OperatorError::Malformed("no totalDeviceCount".to_owned()))
    }
}

/// Signs requests with a policy's key, over one kept connection.
pub(crate) struct Operator {
    address: HostPort,
    port: u16,
    trust: Trust,
    key_name: String,
    key: SymmetricKey,
    api_version: &'static str,
    connection: Option<HttpsConnection>,
    on_warning: Option<fn(&str)>,
}

/// What is asked.
#[derive(Clone)]
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    /// With a query, if there is one.
    pub(crate) path: &'a str,
    /// The version that is meant, as a header has it.
    pub(crate) if_match: Option<&'a str>,
    /// More headers: names in lower case.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: Option<&'a Value>,
}

impl<'a> Request<'a> {
    /// A request without body.
    pub(crate) fn new(method: Method, path: &'a str) -> Request<'a> {
        Request { method, path, if_match: None, headers: &[], body: None }
    }
}

impl Operator {
    fn new(
        connection_string: &ConnectionString,
        port: u16,
        trust: Trust,
        api_version: &'static str,
    ) -> Result<Operator, OperatorError> {
        let address: HostPort = connection_string.host.parse()?;
        Ok(Operator {
            port: address.port.unwrap_or(port),
            address,
            trust,
            key_name: connection_string.key_name.clone(),
            key: SymmetricKey::parse(&connection_string.key)?,
            api_version,
            connection: None,
            on_warning: None,
        })
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, OperatorError> {
        self.ask(Request { body, ..Request::new(method, path) }).await
    }

    /// Asks. The answer is null when it has no body.
    pub(crate) async fn ask(&mut self, request: Request<'_>) -> Result<Value, OperatorError> {
        let (_, answer) = self.ask_with_headers(request).await?;
        Ok(answer)
    }

    /// Asks where the headers of the answer count as well.
    pub(crate) async fn ask_with_headers(
        &mut self,
        request: Request<'_>,
    ) -> Result<(HeaderMap, Value), OperatorError> {
        let Request { method, path, if_match, headers, body } = request;
        let token = self.token();
        let separator = if path.contains('?') { '&' } else { '?' };
        let path_and_query = format!("{path}{separator}api-version={}", self.api_version);
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let call =
            Call { method, path_and_query, authorization: Some(token.as_str()), if_match, headers, body };
        let response = self.connection().await?.call(call).await.map_err(TransportError::from)?;
        let (head, body) = response.into_parts();
        let warning = head.headers.get(WARNING).and_then(|warning| warning.to_str().ok());
        if let (Some(on_warning), Some(warning)) = (self.on_warning, warning) {
            on_warning(warning);
        }
        if !head.status.is_success() {
            return Err(OperatorError::Refused(Refusal::read(head.status.as_u16(), &body)));
        }
        if body.is_empty() {
            return Ok((head.headers, Value::Null));
        }
        let answer =
            serde_json::from_slice(&body).map_err(|error| OperatorError::Malformed(error.to_string()))?;
        Ok((head.headers, answer))
    }

    /// Reads what may not be there.
    async fn find(&mut self, path: &str) -> Result<Option<Value>, OperatorError> {
        match self.call(Method::GET, path, None).await {
            Ok(found) => Ok(Some(found)),
            Err(OperatorError::Refused(Refusal { status: 404, .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The kept connection, or a new one when the server has closed it.
    async fn connection(&mut self) -> Result<&mut HttpsConnection, OperatorError> {
        let kept = self.connection.take().filter(|connection| !connection.is_closed());
        let open = match kept {
            Some(connection) => connection,
            None => {
                let host = self.address.host.as_str();
                let opened = HttpsConnection::open(host, self.port, self.trust.anonymous(), DEADLINES).await;
                opened.map_err(TransportError::from)?
            }
        };
        Ok(self.connection.insert(open))
    }

    fn token(&self) -> String {
        let expiry = expiry_after(TOKEN_LIFETIME);
        sas::sign(self.address.host.as_str(), self.key.as_bytes(), expiry, Some(&self.key_name))
    }
}

fn member<'a>(json: &'a Value, name: &'static str) -> Result<&'a str, OperatorError> {
    json.get(name).and_then(Value::as_str).ok_or(OperatorError::Id(name))
}

/// What the SDKs give their tokens.
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// What is to be known about an answer and has no place in its body.
const WARNING: &str = "x-muster-warning";
const SERVICE_API_VERSION: &str = "2021-10-01";
const HUB_API_VERSION: &str = "2021-04-12";
