//! Who may call which route, decided before any handler runs.

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
    access::Denied,
    admission::{NotAdmitted, Proof},
    config::Right,
    hub::Hub,
};

use super::{answer::Refusal, named::Named, routes::Access};

/// What stands before one route.
#[derive(Clone)]
pub struct Guard {
    /// The hub that is asked.
    pub hub: Hub,
    /// Who may use the route.
    pub access: Access,
}

/// The device of the path, which has proved that it is the one.
#[derive(Clone)]
pub struct Asking(pub DeviceId);

/// Lets a request through to its route if it shows what the route demands.
pub async fn admit(State(Guard { hub, access }): State<Guard>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let admitted = match access {
        Access::Policy(rights) => admit_policy(&hub, &head, rights).map_err(NotAdmitted::Denied),
        Access::Device => match Named::from_request_parts(&mut head, &hub).await {
            Ok(Named(id)) => admit_device(&hub, &mut head, id),
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
        Err(NotAdmitted::Denied(denied)) => {
            tracing::debug!(%denied, method = %head.method, path = head.uri.path(), "refused");
            Refusal::unauthorized(&hub).into_response()
        }
        Err(NotAdmitted::Hub(failure)) => Refusal::new(&hub, &failure).into_response(),
    }
}

fn admit_policy(hub: &Hub, head: &Parts, rights: &[Right]) -> Result<(), Denied> {
    let token = head.headers.get(AUTHORIZATION).ok_or(Denied::NoCredentials)?;
    let token = token.to_str().map_err(|_| Denied::NoCredentials)?;
    let path = percent_decode_str(head.uri.path()).decode_utf8_lossy();
    let policy = hub.core.authorizer.admit_caller(token, &path, hub.now())?;
    if rights.iter().any(|right| policy.allows(*right)) { Ok(()) } else { Err(Denied::Right) }
}

fn admit_device(hub: &Hub, head: &mut Parts, id: DeviceId) -> Result<(), NotAdmitted> {
    // A token that is not ASCII proves nothing, and no certificate stands in for it.
    let token = head.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
    let leaf = head.extensions.get::<Peer>().and_then(|peer| peer.certificates.first());
    hub.admit(&id, Proof::shown(token, leaf.map(AsRef::as_ref)))?;
    head.extensions.insert(Asking(id));
    Ok(())
}

impl FromRequestParts<Hub> for Asking {
    type Rejection = Refusal;

    /// The guard put it there; on a route that is not for devices there is none.
    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Asking, Refusal> {
        parts.extensions.get::<Asking>().cloned().ok_or_else(|| Refusal::unauthorized(hub))
    }
}
