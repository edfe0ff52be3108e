//! Replies. Header names are in lower case, because some clients compare them byte by byte.

use std::fmt::Display;

use axum::{body::Body, response::Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use provisioning::{
    ports::Page,
    search::{SearchCount, SearchMethod},
};
use serde_json::{Value, json};
use wire::{device::ErrorBody, service::Collection};

use crate::{ServiceApi, audit::CallRecord, error::Failure};

/// The content type as the hosted service writes it. The Node SDK parses a body only if it is declared as JSON.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const ITEM_TYPE: HeaderName = HeaderName::from_static("x-ms-item-type");
const MAX_ITEM_COUNT: HeaderName = HeaderName::from_static("x-ms-max-item-count");
const CONTINUATION: HeaderName = HeaderName::from_static("x-ms-continuation");

/// Warnings about a successful reply, whose body has no member for them. Not part of the hosted service's API.
const WARNING: HeaderName = HeaderName::from_static("x-muster-warning");

/// How a search was answered: by an index, by the search table and how far that is behind, or by examining records. Not part of
/// the hosted service's API.
const SEARCH: HeaderName = HeaderName::from_static("x-muster-search");

/// The maximum number of warnings in a reply, so that the header stays below the limits of clients.
const MAX_NAMED: usize = 10;

/// The value of Retry-After, in seconds. Every SDK honors values from 2 to 5.
const RETRY_AFTER_SECS: u32 = 2;

/// Creates a reply with status 200, for reads and for writes: clients refuse 201.
pub(crate) fn ok(body: &Value) -> Response {
    json(StatusCode::OK, body.to_string())
}

/// Creates a reply with status 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Creates a reply with status 202: the work goes on in the background.
pub(crate) fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// Creates the reply of a call that ended with the process.
pub(crate) fn stopped() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Adds warnings in a header: records that are damaged and therefore missing, or problems of what was stored. The body stays
/// as clients expect it.
pub(crate) fn warned(mut response: Response, warnings: &[impl Display]) -> Response {
    if warnings.is_empty() {
        return response;
    }
    let named = warnings.iter().take(MAX_NAMED).map(ToString::to_string);
    let mut text = named.collect::<Vec<_>>().join("; ");
    if warnings.len() > MAX_NAMED {
        text.push_str(&format!("; and {} more", warnings.len() - MAX_NAMED));
    }
    // Headers are ASCII.
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

/// Adds how the records of a reply were found.
pub(crate) fn found_by(method: SearchMethod, mut response: Response) -> Response {
    let text = match method {
        SearchMethod::Index => "index".to_owned(),
        SearchMethod::Scan => "scan".to_owned(),
        SearchMethod::Table(lag) => format!("table; lag={:.1}", lag.as_secs_f64()),
    };
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(SEARCH, value);
    }
    response
}

/// Creates a reply with the count of a search, which continues like a listing.
pub(crate) fn count(collection: Collection, count: &SearchCount) -> Response {
    let mut response = found_by(count.method, ok(&json!({"count": count.count})));
    continued(collection, count.next.as_deref(), &mut response);
    response
}

/// Creates a reply with a page of a listing. The last page has no continuation header: some clients would follow an empty one.
pub(crate) fn page<T>(
    collection: Collection,
    page: &Page<T>,
    limit: usize,
    to_json: impl Fn(&T) -> Value,
) -> Response {
    let items = page.items.iter().map(to_json).collect();
    let mut response = warned(ok(&Value::Array(items)), &page.damaged);
    let headers = response.headers_mut();
    headers.insert(ITEM_TYPE, HeaderValue::from_static(collection.item_type()));
    headers.insert(MAX_ITEM_COUNT, HeaderValue::from(limit));
    continued(collection, page.next.as_deref(), &mut response);
    response
}

/// Adds where a listing continues. Tokens are base64, so that the conversion never fails.
fn continued(collection: Collection, next: Option<&str>, response: &mut Response) {
    if let Some(Ok(token)) = next.map(|next| HeaderValue::from_str(&collection.continuation(next))) {
        response.headers_mut().insert(CONTINUATION, token);
    }
}

/// Creates the reply of a call that was refused or failed, and logs the reason with the same tracking ID.
pub(crate) fn failure(failure: &Failure, api: &ServiceApi, record: &CallRecord) -> Response {
    let (code, message) = failure.code_and_message();
    let tracking_id = tracking_id(api);
    record.log_failure(api, failure, (code, &tracking_id));
    let body = ErrorBody::new(code, message, tracking_id, api.clock.now());
    let status = StatusCode::from_u16(body.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let text = match record.is_management() {
        true => management_error(&body, status, record.version().as_deref()).to_string(),
        false => serde_json::to_string(&body).unwrap_or_default(),
    };
    let mut response = json(status, text);
    let headers = response.headers_mut();
    headers.insert(ERROR_CODE, HeaderValue::from(code));
    if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() {
        let seconds = failure.retry_after_secs().unwrap_or(RETRY_AFTER_SECS.into());
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let challenge = failure.challenge().filter(|_| api.access.bearer.is_some());
    if let Some(Ok(challenge)) = challenge.map(HeaderValue::try_from) {
        headers.insert(header::WWW_AUTHENTICATE, challenge);
    }
    if let Failure::Method { allowed } = failure
        && let Ok(allowed) = HeaderValue::from_str(allowed)
    {
        headers.insert(header::ALLOW, allowed);
    }
    response
}

/// Writes an error in the form of the management API: `{code, httpStatusCode, message, details}`. The code is a number from the
/// versions of 2025 on.
fn management_error(error: &ErrorBody, status: StatusCode, version: Option<&str>) -> Value {
    let ErrorBody { error_code, tracking_id, message, .. } = error;
    let is_number = version.and_then(|version| version.split('-').next()).is_some_and(|year| year >= "2025");
    let code = if is_number { json!(error_code) } else { json!(error_code.to_string()) };
    let details = format!("tracking ID {tracking_id}");
    let status = status.as_u16().to_string();
    json!({
        "code": code, "httpStatusCode": status, "message": message, "details": details, "trackingId": tracking_id,
    })
}

/// Creates a reply with a JSON body.
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
