//! HTTP responses.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use wire::device::ErrorBody;

use crate::{
    call::{Answer, Caller, Reply},
    error::CallError,
};

/// Node parses a body only with a JSON content type; this is the hosted service's.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// Returns the response to a register call: 202 also with a result, because two SDKs reject 200 here; 401 with a challenge.
pub(super) fn registering(caller: &Caller, answer: Answer) -> Response {
    let Reply::Operation(operation) = &answer.reply else {
        return json(StatusCode::UNAUTHORIZED, &answer.reply);
    };
    let location = format!(
        "/{}/registrations/{}/operations/{}",
        caller.scope, caller.registration_id, operation.operation_id
    );
    let mut response = with_retry_after(json(StatusCode::ACCEPTED, operation), answer.retry_after_secs);
    // Its parts are printable ASCII.
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Returns the response to a poll: 202 while the operation is in progress, 200 once it has ended.
pub(super) fn operation(answer: Answer) -> Response {
    with_retry_after(json(status(answer.reply.http_status()), &answer.reply), answer.retry_after_secs)
}

/// Returns 200 with a body.
pub(super) fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

/// Returns an error, with Retry-After if it is transient.
pub(super) fn error(error: &CallError, body: &ErrorBody, retry_after_secs: u32) -> Response {
    let status = status(body.http_status());
    let mut response = json(status, body);
    response.headers_mut().insert("x-ms-error-code", HeaderValue::from(body.error_code));
    if let CallError::Method(allowed) = error {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    }
    let transient = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
    with_retry_after(response, transient.then_some(retry_after_secs))
}

fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn with_retry_after(mut response: Response, seconds: Option<u32>) -> Response {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let (status, text) = match serde_json::to_vec(body) {
        Ok(text) => (status, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, b"{}".to_vec()),
    };
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CONTENT_TYPE, JSON);
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
