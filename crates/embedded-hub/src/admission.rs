//! Letting a device in, over whatever transport: what it shows is compared with what the hub knows of it.

use std::sync::Arc;

use model::{DeviceId, Timestamp};
use wire::topics::DeviceFilter;

use crate::{
    access::{Denied, admit_certificate},
    connections::Live,
    device_link::DeviceLink,
    failure::HubFailure,
    hub::Hub,
};

/// What a device shows to prove who it is.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The leaf of the certificates that it proved to hold in the TLS handshake, in DER.
    Certificate(&'a [u8]),
    /// A shared access token.
    Token(&'a str),
}

/// Why a device is not let in.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// It did not prove itself.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The hub cannot tell.
    #[error(transparent)]
    Hub(#[from] HubFailure),
}

impl<'a> Proof<'a> {
    /// What somebody shows: a token counts before a certificate.
    pub fn shown(token: Option<&'a str>, leaf: Option<&'a [u8]>) -> Option<Proof<'a>> {
        token.map(Proof::Token).or(leaf.map(Proof::Certificate))
    }
}

impl Hub {
    /// Lets a device in; tells when its token runs out. Certificates do not.
    pub(crate) fn admit(
        &self,
        id: &DeviceId,
        proof: Option<Proof>,
    ) -> Result<Option<Timestamp>, NotAdmitted> {
        let proof = proof.ok_or(Denied::NoCredentials)?;
        let identity = self.core.storage.read(|rows| rows.identity(id))?;
        match proof {
            Proof::Certificate(leaf) => {
                admit_certificate(leaf, identity.as_ref().ok_or(Denied::UnknownDevice)?)?;
                Ok(None)
            }
            Proof::Token(token) => {
                Ok(Some(self.core.authorizer.admit_device(token, id, identity.as_ref(), self.now())?))
            }
        }
    }

    /// Lets a device connect; an older connection of the same device ends.
    pub(crate) async fn connect(
        &self,
        id: DeviceId,
        proof: Option<Proof<'_>>,
        line: impl DeviceLink,
    ) -> Result<Arc<Live>, NotAdmitted> {
        // In turn with changes: a device that is disabled while it connects must not stay connected.
        let turn = self.turn(&id).await;
        let expires = self.admit(&id, proof)?;
        let (live, older) = self.core.connections.open(id, Box::new(line), self.now(), expires);
        drop(turn);
        if let Some(older) = older {
            // Its end may take a while to be noticed, and what it had in hand is for the new one.
            self.return_messages(&older).await;
        }
        tracing::debug!(device.id = %live.id, "connected");
        Ok(live)
    }

    /// Notes that a connected device wants these from now on.
    pub(crate) async fn listen(&self, live: &Arc<Live>, filter: DeviceFilter) {
        live.subscribe(filter);
        match filter {
            DeviceFilter::Devicebound => self.deliver(live).await,
            DeviceFilter::Methods => self.core.connections.listening.notify_waiters(),
            DeviceFilter::Desired | DeviceFilter::TwinReplies => {}
        }
    }

    /// Lets go of a connection that has ended.
    pub(crate) async fn disconnected(&self, live: &Arc<Live>) {
        self.core.connections.ended(live, self.now());
        self.return_messages(live).await;
        tracing::debug!(device.id = %live.id, "disconnected");
    }
}
