//! Authorizes requests before their handlers run.

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{header::AUTHORIZATION, request::Parts};
use model::DeviceId;
use net::{Peer, Purpose};
use percent_encoding::percent_decode_str;

use crate::{
    auth::{AccessDenied, AdmissionError, Proof},
    config::Right,
    hub::Hub,
};

use super::{path::PathDeviceId, response::Refusal, routes::Access};

/// The access rule of one route.
#[derive(Clone)]
pub struct Guard {
    /// The hub.
    pub hub: Hub,
    /// Who may use the route.
    pub access: Access,
}

/// The device of the path, which is authenticated.
#[derive(Clone)]
pub struct AuthenticatedDevice(pub DeviceId);

/// Passes a request on if its credentials allow the route.
pub async fn admit(State(Guard { hub, access }): State<Guard>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let admitted = match access {
        Access::Policy(rights) => admit_policy(&hub, &head, rights).map_err(AdmissionError::Denied),
        Access::Device => match PathDeviceId::from_request_parts(&mut head, &hub).await {
            Ok(PathDeviceId(id)) => admit_device(&hub, &mut head, id),
            Err(refusal) => return refusal.into_response(),
        },
    };
    match admitted {
        Ok(()) => {
            if let Some(peer) = head.extensions.get::<Peer>() {
                peer.standing.mark_proven(Purpose::Hub);
            }
            next.run(Request::from_parts(head, body)).await
        }
        Err(AdmissionError::Denied(denied)) => {
            tracing::debug!(%denied, method = %head.method, path = head.uri.path(), "refused");
            Refusal::unauthorized(&hub).into_response()
        }
        Err(AdmissionError::Hub(failure)) => Refusal::new(&hub, &failure).into_response(),
    }
}

fn admit_policy(hub: &Hub, head: &Parts, rights: &[Right]) -> Result<(), AccessDenied> {
    let token = head.headers.get(AUTHORIZATION).ok_or(AccessDenied::NoCredentials)?;
    let token = token.to_str().map_err(|_| AccessDenied::NoCredentials)?;
    let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
    let policy = hub.core.authorizer.admit_caller(token, &path, hub.now())?;
    if rights.iter().any(|right| policy.allows(*right)) { Ok(()) } else { Err(AccessDenied::Right) }
}

fn admit_device(hub: &Hub, head: &mut Parts, id: DeviceId) -> Result<(), AdmissionError> {
    // A token that is not ASCII is invalid, and a certificate does not replace it.
    let token = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let leaf = head.extensions.get::<Peer>().and_then(|peer| peer.certificates.first());
    hub.admit(&id, Proof::new(token, leaf.map(AsRef::as_ref)))?;
    head.extensions.insert(AuthenticatedDevice(id));
    Ok(())
}

impl FromRequestParts<Hub> for AuthenticatedDevice {
    type Rejection = Refusal;

    /// Returns the device that [`admit`] authenticated; a route that is not for devices has none.
    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<AuthenticatedDevice, Refusal> {
        parts.extensions.get::<AuthenticatedDevice>().cloned().ok_or_else(|| Refusal::unauthorized(hub))
    }
}
