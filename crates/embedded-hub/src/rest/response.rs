//! Responses as SDKs read them: JSON with its character set, a request ID, the etag in quotes; errors with their name in a header and
//! in the body.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
    header::{CONTENT_TYPE, ETAG, IF_MATCH},
};
use model::Timestamp;
use serde::Serialize;
use wire::hub::{ErrorBody, ErrorCode, ErrorDetail, IfMatch, quoted};

use crate::{
    failure::HubFailure,
    hub::{Hub, tracking_id},
};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const ERROR_CODE: HeaderName = HeaderName::from_static("iothub-errorcode");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// An error response.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    code: ErrorCode,
    text: String,
    now: Timestamp,
}

impl Refusal {
    /// Creates the error response of a failure.
    pub fn new(hub: &Hub, failure: &HubFailure) -> Refusal {
        if let HubFailure::Broken(reason) = failure {
            tracing::error!(reason, hub.name = %hub.name(), "a request failed");
        }
        Refusal::with(hub, failure.code(), failure.message_for_caller())
    }

    /// Creates the error response of a denied request, without the reason.
    pub fn unauthorized(hub: &Hub) -> Refusal {
        Refusal::with(hub, ErrorCode::IotHubUnauthorizedAccess, "Unauthorized".to_owned())
    }

    fn with(hub: &Hub, code: ErrorCode, text: String) -> Refusal {
        let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal { status, code, text, now: hub.now() }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let tracking_id = tracking_id();
        let body = match self.code {
            ErrorCode::DeviceNotOnline | ErrorCode::GatewayTimeout => ErrorBody::nesting(
                &ErrorDetail {
                    error_code: self.code.number(),
                    tracking_id: &tracking_id,
                    message: &self.text,
                    timestamp_utc: &self.now.to_string(),
                },
                &stamp(self.now),
            ),
            code => ErrorBody::new(code, &self.text, &tracking_id, &stamp(self.now)),
        };
        tracing::debug!(code = self.code.name(), reason = %self.text, tracking.id = tracking_id, "refused");
        let mut response = json(self.status, &body);
        response.headers_mut().insert(ERROR_CODE, HeaderValue::from_static(self.code.name()));
        response
    }
}

/// Returns the response of a handler's outcome.
pub fn answer<T: IntoResponse>(hub: &Hub, outcome: Result<T, HubFailure>) -> Response {
    outcome.map_or_else(|failure| Refusal::new(hub, &failure).into_response(), IntoResponse::into_response)
}

/// Returns a JSON response.
pub fn json(status: StatusCode, value: &impl Serialize) -> Response {
    // Only maps with keys that are not strings cannot be encoded; there are none.
    let mut response = Response::new(Body::from(serde_json::to_vec(value).unwrap_or_default()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    with_request_id(response)
}

/// Returns a JSON response with an etag.
pub fn versioned(etag: &str, value: &impl Serialize) -> Response {
    let mut response = json(StatusCode::OK, value);
    if let Ok(etag) = HeaderValue::from_str(&quoted(etag)) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// Returns a 204.
pub fn nothing() -> Response {
    with_request_id(StatusCode::NO_CONTENT.into_response())
}

/// Reads the `If-Match` header. One that is not ASCII matches nothing; it is not treated as absent.
pub fn if_match(headers: &HeaderMap) -> IfMatch {
    let text = headers.get(IF_MATCH).map(|value| String::from_utf8_lossy(value.as_bytes()));
    IfMatch::parse(text.as_deref())
}

/// Returns a 404, for an unknown path.
pub async fn no_such_route(State(hub): State<Hub>) -> Response {
    let text = "There is nothing at this path.".to_owned();
    Refusal { status: StatusCode::NOT_FOUND, ..Refusal::with(&hub, ErrorCode::InvalidOperation, text) }
        .into_response()
}

/// Returns a 501, for a feature of the hosted hub that is not supported.
pub async fn not_offered(State(hub): State<Hub>, uri: Uri) -> Response {
    let text = format!("This hub does not offer {}; see the list in its documentation.", uri.path());
    let refusal = Refusal::with(&hub, ErrorCode::InvalidOperation, text);
    Refusal { status: StatusCode::NOT_IMPLEMENTED, ..refusal }.into_response()
}

/// Returns a 405, for a method that the path does not have.
pub async fn no_such_method(State(hub): State<Hub>) -> Response {
    let text = "The method is not allowed on this path.".to_owned();
    let refusal = Refusal::with(&hub, ErrorCode::InvalidOperation, text);
    Refusal { status: StatusCode::METHOD_NOT_ALLOWED, ..refusal }.into_response()
}

fn with_request_id(mut response: Response) -> Response {
    if let Ok(id) = HeaderValue::from_str(&tracking_id()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// Returns a time as `MM/dd/yyyy HH:mm:ss`, the form in error bodies.
fn stamp(now: Timestamp) -> String {
    let iso = now.to_string();
    let part = |range| iso.get(range).unwrap_or_default();
    format!("{}/{}/{} {}", part(5..7), part(8..10), part(0..4), part(11..19))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_errors_have_the_american_form() {
        assert_eq!(stamp(Timestamp::parse("2026-11-23T01:02:03.4Z").unwrap()), "11/23/2026 01:02:03");
    }
}
