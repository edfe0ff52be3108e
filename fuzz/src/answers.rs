//! What every answer over HTTP must be, whatever the request was.

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tower_service::Service;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: HeaderMap,
    /// Its body; null when there was none.
    pub body: Value,
}

/// Asks. The server is never at fault, and what it answers is JSON or nothing.
pub async fn ask(router: &Router, request: Request<Body>) -> Answer {
    let asked = format!("{} {}", request.method(), request.uri());
    let Ok(response) = router.clone().call(request).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body that is all there").to_bytes();
    let status = parts.status;
    assert!(!status.is_server_error() || SHORT_OF.contains(&status), "{asked}: {status} {bytes:?}");
    let body = match &bytes[..] {
        [] => Value::Null,
        bytes => serde_json::from_slice(bytes).expect("a body that is JSON"),
    };
    Answer { status, headers: parts.headers, body }
}

impl Answer {
    /// An error of the device endpoint and of the service endpoint says in its body what its status says.
    pub fn assert_error_body(&self) {
        if self.status.is_client_error() {
            let code = self.body["errorCode"].as_u64().expect("an error has a code");
            assert_eq!(code / 1000, u64::from(self.status.as_u16()));
            assert!(self.body["message"].is_string() && self.body["trackingId"].is_string());
        }
    }
}

/// What is no fault of the server: a device that does not answer its hub, and what a hub does not offer.
const SHORT_OF: [StatusCode; 2] = [StatusCode::GATEWAY_TIMEOUT, StatusCode::NOT_IMPLEMENTED];
