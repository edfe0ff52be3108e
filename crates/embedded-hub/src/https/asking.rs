//! The device that asks.

use axum::extract::FromRequestParts;
use http::{header::AUTHORIZATION, request::Parts};
use model::DeviceId;
use net::Peer;

use crate::{
    admission::{NotAdmitted, Proof},
    hub::Hub,
    rest::{Named, Refusal},
};

/// The device of the path, which has proved that it is the one.
pub struct Asking(pub DeviceId);

impl FromRequestParts<Hub> for Asking {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, hub: &Hub) -> Result<Asking, Refusal> {
        let Named(id) = Named::from_request_parts(parts, hub).await?;
        // A token that is no text proves nothing, and no certificate stands in for it.
        let token = parts.headers.get(AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let leaf = parts.extensions.get::<Peer>().and_then(|peer| peer.certificates.first());
        match hub.admit(&id, Proof::shown(token, leaf.map(AsRef::as_ref))) {
            Ok(_) => Ok(Asking(id)),
            Err(NotAdmitted::Denied(denied)) => {
                tracing::debug!(%denied, device.id = %id, path = parts.uri.path(), "refused");
                Err(Refusal::unauthorized(hub))
            }
            Err(NotAdmitted::Hub(failure)) => Err(Refusal::new(hub, &failure)),
        }
    }
}
