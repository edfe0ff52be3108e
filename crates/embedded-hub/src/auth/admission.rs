//! Admits devices, over any transport: compares their credentials with the registry.

use std::sync::Arc;

use model::{DeviceId, Timestamp};
use wire::topics::DeviceFilter;

use crate::{
    auth::{AccessDenied, admit_certificate},
    connections::{DeviceLink, LiveConnection},
    failure::HubFailure,
    hub::Hub,
};

/// The credentials that a device presents.
#[derive(Clone, Copy)]
pub enum Proof<'a> {
    /// The leaf certificate, in DER, whose key it proved to hold in the TLS handshake.
    Certificate(&'a [u8]),
    /// A shared access token.
    Token(&'a str),
}

/// Why a device is not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// Its credentials were refused.
    #[error(transparent)]
    Denied(#[from] AccessDenied),
    /// The hub failed.
    #[error(transparent)]
    Hub(#[from] HubFailure),
}

impl<'a> Proof<'a> {
    /// Creates the proof from what a client presents: a token takes precedence over a certificate.
    pub fn new(token: Option<&'a str>, leaf: Option<&'a [u8]>) -> Option<Proof<'a>> {
        token.map(Proof::Token).or(leaf.map(Proof::Certificate))
    }
}

impl Hub {
    /// Checks the credentials of a device; returns when its token expires. Certificates do not expire.
    pub(crate) fn admit(
        &self,
        id: &DeviceId,
        proof: Option<Proof>,
    ) -> Result<Option<Timestamp>, AdmissionError> {
        let proof = proof.ok_or(AccessDenied::NoCredentials)?;
        let identity = self.core.storage.read(|rows| rows.identity(id))?;
        match proof {
            Proof::Certificate(leaf) => {
                admit_certificate(leaf, identity.as_ref().ok_or(AccessDenied::UnknownDevice)?)?;
                Ok(None)
            }
            Proof::Token(token) => {
                Ok(Some(self.core.authorizer.admit_device(token, id, identity.as_ref(), self.now())?))
            }
        }
    }

    /// Connects a device; ends an older connection of it.
    pub(crate) async fn connect(
        &self,
        id: DeviceId,
        proof: Option<Proof<'_>>,
        link: impl DeviceLink,
    ) -> Result<Arc<LiveConnection>, AdmissionError> {
        // Under the lock: a device that is disabled while it connects must not stay connected.
        let device_lock = self.lock_device(&id).await;
        let expires = self.admit(&id, proof)?;
        let (live, older) = self.core.connections.open(id, Box::new(link), self.now(), expires);
        drop(device_lock);
        if let Some(older) = older {
            // Its end may be noticed late, and the messages that it holds are for the new one.
            self.return_messages(&older).await;
        }
        tracing::debug!(device.id = %live.id, "connected");
        Ok(live)
    }

    /// Subscribes a connected device to a kind of messages.
    pub(crate) async fn subscribe_device(&self, live: &Arc<LiveConnection>, filter: DeviceFilter) {
        live.subscribe(filter);
        match filter {
            DeviceFilter::Devicebound => self.deliver(live).await,
            DeviceFilter::Methods => self.core.connections.methods_subscribed.notify_waiters(),
            DeviceFilter::Desired | DeviceFilter::TwinReplies => {}
        }
    }

    /// Removes a connection that has ended.
    pub(crate) async fn disconnected(&self, live: &Arc<LiveConnection>) {
        self.core.connections.remove(live, self.now());
        self.return_messages(live).await;
        tracing::debug!(device.id = %live.id, "disconnected");
    }
}
