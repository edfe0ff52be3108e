//! The device API over HTTPS.
//!
//! Three calls (device API, `RuntimeRegistration`):
//! `PUT /{idScope}/registrations/{registrationId}/register`,
//! `GET /{idScope}/registrations/{registrationId}/operations/{operationId}`,
//! `POST /{idScope}/registrations/{registrationId}`.

mod reply;
mod route;

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::State,
    response::Response,
};
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use net::{Peer, Transport};
use wire::{MAX_BODY_BYTES, device::DeviceAddress};

use self::route::{Route, Verb};
use crate::{
    DeviceApi,
    call::{Caller, MAX_UNPROVEN_BODY_BYTES, api_version, evidence},
    client::Client,
    error::{CallError, ErrorContext},
};

pub(crate) fn router(api: DeviceApi) -> Router {
    // One handler: paths begin with a parameter, and `route` parses the rest.
    Router::new().fallback(handle).with_state(api)
}

async fn handle(State(api): State<DeviceApi>, request: Request<Body>) -> Response {
    let peer = request.extensions().get::<Peer>();
    // The registration that the path names, whatever else is wrong with it.
    let address = DeviceAddress::at_start_of(request.uri().path());
    let context = peer.map_or_else(ErrorContext::default, |peer| ErrorContext::new(peer, address.as_ref()));
    if let (Some(peer), Some(address)) = (peer, &address) {
        peer.standing.note_login(&address.to_string());
    }
    match call(&api, request).await {
        Ok(response) => response,
        Err(error) => {
            let body = api.refusal(Transport::Https, &error, &context).await;
            reply::error(&error, &body, error.retry_after_secs(api.timing.retry_after_secs))
        }
    }
}

async fn call(api: &DeviceApi, request: Request<Body>) -> Result<Response, CallError> {
    let route = Route::parse(request.method(), request.uri().path())?;
    let peer = peer(&request)?;
    let token = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let version = route::api_version_text(request.uri().query().unwrap_or(""));
    let agent = request.headers().get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    let caller = Caller {
        api_version: api_version(&version)?,
        client: Client::of(agent.unwrap_or_default(), &version),
        evidence: evidence(peer, token)?,
        address: peer.addr.ip(),
        transport: Transport::Https,
        standing: peer.standing.clone(),
        scope: route.scope,
        registration_id: route.registration_id,
    };
    // Read also where it has no meaning: a connection with an unread body cannot be kept alive, and Node polls with a body.
    let body = body(api, &caller, request).await?;
    match route.verb {
        Verb::Register => Ok(reply::registering(&caller, api.register(&caller, &body).await?)),
        Verb::Poll(operation_id) => Ok(reply::operation(api.poll(&caller, &operation_id).await?)),
        Verb::LookUp => Ok(reply::ok(&api.look_up(&caller, &body).await?)),
    }
}

fn peer(request: &Request<Body>) -> Result<&Peer, CallError> {
    let peer = request.extensions().get::<Peer>();
    peer.ok_or_else(|| provisioning::Error::Broken("a request without its peer".into()).into())
}

/// Reads the body of a request; one that is long or of unknown length only once the caller is verified.
async fn body(api: &DeviceApi, caller: &Caller, request: Request<Body>) -> Result<bytes::Bytes, CallError> {
    let is_small = request.body().size_hint().upper().is_some_and(|most| most <= MAX_UNPROVEN_BODY_BYTES);
    if !is_small && !caller.standing.is_proven() {
        api.prove(caller).await?;
    }
    match Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(CallError::TooLarge),
        Err(error) => Err(CallError::Cut(error.to_string())),
    }
}
