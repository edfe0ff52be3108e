//! Responses. Header names are in lower case, because some clients compare them byte by byte.

use std::fmt::Display;

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use provisioning::ports::Page;
use serde_json::Value;
use wire::{device::ErrorBody, service::Collection};

use crate::{ServiceApi, audit::CallRecord, error::Failure};

/// Node parses a body only when it is declared as JSON; the hosted service writes it this way.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");
const MAX_ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-max-item-count");
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");

/// What is to be known about an answer and has no place in its body. Not part of the hosted service's API.
const WARNING: HeaderName = HeaderName::from_static("x-muster-warning");

/// Warnings that are named in one answer: the header stays below what clients take.
const MAX_NAMED: usize = 10;

/// When to come back if the service is busy, in seconds; the range that every SDK honours is 2 to 5.
const RETRY_AFTER_SECS: u32 = 2;

/// 200 with a body, for reads as for writes: clients refuse 201.
pub(crate) fn ok(body: &Value) -> Response {
    json(StatusCode::OK, body.to_string())
}

/// 204: what was to be deleted is.
pub(crate) fn deleted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Says in a header what has no place in the body, which stays what clients know: records that belong into the answer and
/// cannot be read, or what is wrong with what was entered.
pub(crate) fn warned(mut response: Response, warnings: &[impl Display]) -> Response {
    if warnings.is_empty() {
        return response;
    }
    let named = warnings.iter().take(MAX_NAMED).map(ToString::to_string);
    let mut text = named.collect::<Vec<_>>().join("; ");
    if warnings.len() > MAX_NAMED {
        text.push_str(&format!("; and {} more", warnings.len() - MAX_NAMED));
    }
    // A header holds ASCII alone.
    let ascii = |letter: char| match letter {
        ' '..='~' => letter.to_string(),
        other => other.escape_unicode().to_string(),
    };
    let text: String = text.chars().map(ascii).collect();
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(WARNING, value);
    }
    response
}

/// A page of a listing. The continuation is left out on the last page: some clients would follow an empty one.
pub(crate) fn page<T>(
    collection: Collection,
    page: &Page<T>,
    limit: usize,
    shown: impl Fn(&T) -> Value,
) -> Response {
    let items = page.items.iter().map(shown).collect();
    let mut response = warned(ok(&Value::Array(items)), &page.damaged);
    let headers = response.headers_mut();
    headers.insert(ITEM_TYPE, HeaderValue::from_static(collection.item_type()));
    headers.insert(MAX_ITEM_COUNT, HeaderValue::from(limit));
    // A token is base64, which a header can hold.
    let next = page.next.as_deref();
    if let Some(Ok(token)) = next.map(|next| HeaderValue::from_str(&collection.continuation(next))) {
        headers.insert(CONTINUATION, token);
    }
    response
}

/// An error for the caller; the log gets the reason, and both the same tracking ID.
pub(crate) fn failure(failure: &Failure, api: &ServiceApi, record: &CallRecord) -> Response {
    let (code, message) = failure.code_and_message();
    let tracking_id = tracking_id(api);
    record.log_failure(failure, code, &tracking_id);
    let body = ErrorBody::new(code, message, tracking_id, api.clock.now());
    let status = StatusCode::from_u16(body.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, serde_json::to_string(&body).unwrap_or_default());
    let headers = response.headers_mut();
    headers.insert(ERROR_CODE, HeaderValue::from(code));
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECS));
    }
    if let Failure::Method { allowed } = failure
        && let Ok(allowed) = HeaderValue::from_str(allowed)
    {
        headers.insert(header::ALLOW, allowed);
    }
    response
}

pub(crate) fn json(status: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

fn tracking_id(api: &ServiceApi) -> String {
    let mut bytes = [0; 16];
    api.entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}
