//! Messages to a device, which it requests one by one and settles by their locks.

use axum::{body::Body, extract::State, response::Response};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{CONTENT_TYPE, ETAG},
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use wire::hub::{APPLICATION_HEADER, SYSTEM_HEADERS, quoted};

use crate::{
    hub::Hub,
    messages::{LeasedMessage, Settlement},
    rest::{AuthenticatedDevice, PathParams, answer, nothing},
};

const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The lock token in a path.
#[derive(Deserialize)]
pub struct Lock {
    lock: String,
}

/// `GET /devices/{id}/messages/devicebound`: returns the oldest queued message, or 204.
pub async fn receive(State(hub): State<Hub>, AuthenticatedDevice(id): AuthenticatedDevice) -> Response {
    hub.note_activity_of(&id);
    let leased = hub.lease_message(&id).await;
    answer(&hub, leased.map(|leased| leased.map_or_else(nothing, response)))
}

/// `DELETE /devices/{id}/messages/devicebound/{lock}`: completes a message; with `reject` in the query, rejects it.
pub async fn settle(
    State(hub): State<Hub>,
    AuthenticatedDevice(id): AuthenticatedDevice,
    PathParams(Lock { lock }): PathParams<Lock>,
    uri: Uri,
) -> Response {
    hub.note_activity_of(&id);
    let names = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split('=').next());
    let rejected = names.into_iter().any(|name| name == "reject");
    let settlement = if rejected { Settlement::Rejected } else { Settlement::Completed };
    answer(&hub, hub.settle_leased(&id, &lock, settlement).await.map(|()| nothing()))
}

/// `POST /devices/{id}/messages/devicebound/{lock}/abandon`: requeues a message.
pub async fn abandon(
    State(hub): State<Hub>,
    AuthenticatedDevice(id): AuthenticatedDevice,
    PathParams(Lock { lock }): PathParams<Lock>,
) -> Response {
    hub.note_activity_of(&id);
    answer(&hub, hub.settle_leased(&id, &lock, Settlement::Abandoned).await.map(|()| nothing()))
}

/// Returns a message: its content as the body, its properties as headers.
fn response(leased: LeasedMessage) -> Response {
    let LeasedMessage { token, waiting } = leased;
    let message = waiting.message;
    let mut headers = HeaderMap::new();
    for (name, value) in &message.system {
        if let Some((header, _)) = SYSTEM_HEADERS.iter().find(|(_, short)| short == name) {
            put(&mut headers, header, value);
        }
    }
    message.application.iter().for_each(|(name, value)| {
        put(&mut headers, &format!("{APPLICATION_HEADER}{name}"), value);
    });
    put(&mut headers, "iothub-sequencenumber", &waiting.sequence.to_string());
    put(&mut headers, "iothub-deliverycount", &waiting.returns.to_string());
    put(&mut headers, "iothub-enqueuedtime", &waiting.times.enqueued_at.to_string());
    put(&mut headers, "iothub-expiry", &waiting.times.expires_at.to_string());
    put(&mut headers, ETAG.as_str(), &quoted(&token));
    headers.insert(CONTENT_TYPE, OCTETS);
    let mut response = Response::new(Body::from(message.body));
    *response.headers_mut() = headers;
    response
}

/// Adds a header; characters that headers cannot have are percent-encoded.
fn put(headers: &mut HeaderMap, name: &str, value: &str) {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let name = name.parse().or_else(|_| encoded(name).parse::<HeaderName>());
    let value = HeaderValue::from_str(value).or_else(|_| HeaderValue::from_str(&encoded(value)));
    if let (Ok(name), Ok(value)) = (name, value) {
        headers.append(name, value);
    }
}
