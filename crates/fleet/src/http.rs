//! One HTTP/1.1 connection over TLS, kept open: some servers' clients need that, and so does the benchmark.

use std::sync::Arc;

use ::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use ::http::{HeaderValue, Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use crate::dial::{EXCHANGE_TIMEOUT, dial, within};
use crate::failure::TransportError;

/// An open connection. Dropping it closes it.
pub(crate) struct HttpsConnection {
    requests: SendRequest<Full<Bytes>>,
    /// The `Host` header: with the port where it is not the standard one.
    authority: String,
}

/// What is asked; all requests here are JSON or empty.
pub(crate) struct Call<'a> {
    pub method: Method,
    pub path_and_query: String,
    /// A shared access signature; devices with a certificate send none.
    pub authorization: Option<&'a str>,
    pub body: Bytes,
}

impl HttpsConnection {
    pub(crate) async fn open(
        host: &str,
        port: u16,
        config: Arc<ClientConfig>,
    ) -> Result<HttpsConnection, TransportError> {
        let stream = dial(host, port, config).await?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its errors are also those of the request in flight; it ends when the sender is dropped.
        tokio::spawn(connection);
        let authority = if port == 443 { host.to_owned() } else { format!("{host}:{port}") };
        Ok(HttpsConnection { requests, authority })
    }

    /// Whether the server has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request and reads the whole response.
    pub(crate) async fn call(&mut self, call: Call<'_>) -> Result<Response<Bytes>, TransportError> {
        let request = self.request(call)?;
        within(EXCHANGE_TIMEOUT, async {
            self.requests.ready().await?;
            let (head, body) = self.requests.send_request(request).await?.into_parts();
            let body = Limited::new(body, MAX_RESPONSE).collect().await.map_err(body_error)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        })
        .await
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, TransportError> {
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path_and_query)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json; charset=utf-8");
        if let Some(token) = call.authorization {
            let mut token = HeaderValue::from_str(token).map_err(::http::Error::from)?;
            token.set_sensitive(true);
            request = request.header(AUTHORIZATION, token);
        }
        Ok(request.body(Full::new(call.body))?)
    }
}

fn body_error(error: Box<dyn std::error::Error + Send + Sync>) -> TransportError {
    match error.downcast::<hyper::Error>() {
        Ok(error) => TransportError::Http(*error),
        Err(error) if error.is::<LengthLimitError>() => TransportError::BodyTooLong { limit: MAX_RESPONSE },
        Err(_) => TransportError::Closed,
    }
}

/// Far more than any reply that a device or the operator's client asks for here.
const MAX_RESPONSE: usize = 1 << 20;
