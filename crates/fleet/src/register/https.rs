//! Registration over HTTPS.

use bytes::Bytes;
use http::{Method, header::RETRY_AFTER};
use model::{IdScope, OperationId};
use net::client::{Call, HttpsConnection};
use serde_json::Value;

use crate::{
    device::Device,
    endpoint::Endpoint,
    failure::{RegisterError, TransportError},
    timeouts::DEADLINES,
};

use super::{
    API_VERSION, Registered,
    answer::Answer,
    channel::{Channel, register_over},
};

/// An HTTPS connection to the device endpoint, which is closed on drop.
pub struct HttpsSession {
    connection: HttpsConnection,
    id_scope: IdScope,
}

impl HttpsSession {
    /// Connects, with the device's certificate if it has one.
    pub async fn open(endpoint: &Endpoint, device: &Device) -> Result<HttpsSession, RegisterError> {
        let config = endpoint.trust.of(&device.credentials).map_err(TransportError::from)?;
        let open = HttpsConnection::open(endpoint.host.as_str(), endpoint.https_port, config, DEADLINES);
        let connection = open.await.map_err(TransportError::from)?;
        Ok(HttpsSession { connection, id_scope: endpoint.id_scope.clone() })
    }

    /// Registers the device that the session was opened for, or any device without a certificate.
    pub async fn register(
        &mut self,
        device: &Device,
        payload: Option<&Value>,
    ) -> Result<Registered, RegisterError> {
        let mut channel = HttpsChannel {
            base: format!("/{}", device.address(&self.id_scope)),
            token: device.first_token(&self.id_scope),
            connection: &mut self.connection,
        };
        register_over(&mut channel, (device, &self.id_scope), payload).await
    }
}

struct HttpsChannel<'a> {
    connection: &'a mut HttpsConnection,
    base: String,
    token: Option<String>,
}

impl HttpsChannel<'_> {
    async fn call(&mut self, method: Method, route: &str, body: Bytes) -> Result<Answer, TransportError> {
        let path_and_query = format!("{}/{route}?api-version={API_VERSION}", self.base);
        let authorization = self.token.as_deref();
        let call = Call { method, path_and_query, authorization, body, ..Call::default() };
        let response = self.connection.call(call).await?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after_secs: retry_after.and_then(|seconds| seconds.parse().ok()),
            body: response.into_body(),
        })
    }
}

impl Channel for HttpsChannel<'_> {
    async fn register(&mut self, body: Bytes) -> Result<Answer, TransportError> {
        self.call(Method::PUT, "register", body).await
    }

    async fn poll(&mut self, operation_id: &OperationId) -> Result<Answer, TransportError> {
        self.call(Method::GET, &format!("operations/{operation_id}"), Bytes::new()).await
    }

    async fn authenticate(&mut self, token: String) -> Result<(), TransportError> {
        self.token = Some(token);
        Ok(())
    }
}
