//! Refusals below the services: each is counted and logged in one place, and shown to an observer.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;

use crate::peer::Peer;
use crate::refused::Refused;

/// A connection, login or request that was refused before a service judged it.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// Why.
    pub reason: Refused,
    /// The same with what was wrong in this case. It may quote the peer, and never a secret.
    pub detail: String,
    /// Who was refused. Its certificates are what the client showed: when the handshake refused them, the leaf alone, without
    /// proof that the client holds its key.
    pub peer: &'a Peer,
    /// Who the client said that it is, as its endpoint noted it: see [`crate::Standing::note_login`].
    pub login: Option<Arc<str>>,
}

/// Learns of refusals below the services, after they are counted and logged.
#[async_trait]
pub trait RefusalObserver: Send + Sync + 'static {
    /// A client was refused. Called in the task of its connection, which holds its place until this returns.
    async fn refused(&self, refusal: Refusal<'_>);
}

impl Peer {
    /// Counts, logs and reports a refusal. Every refusal below the services after a connection has its place comes through
    /// here, so that none lacks one of the three.
    pub async fn refuse(&self, reason: Refused, detail: impl Display + Send) {
        self.standing.count(reason);
        self.report_refusal(reason, detail).await;
    }

    /// Counts, logs and reports a connection that did not come through its handshake.
    pub(crate) async fn refuse_handshake(&self, error: &io::Error) {
        let reason = Refused::of(error);
        if reason == Refused::Left {
            // Health checks and port scanners; nothing was shown that could be refused.
            self.standing.count(reason);
            tracing::debug!(peer.addr = %self.addr, %error, "the client left during the handshake");
            return;
        }
        self.standing.count_refusal();
        self.refuse(reason, error).await;
    }

    /// Logs and reports a refusal that is counted elsewhere.
    pub(crate) async fn report_refusal(&self, reason: Refused, detail: impl Display + Send) {
        let (login, detail) = (self.standing.login(), detail.to_string());
        let (addr, server_name) = (self.addr, self.server_name.as_deref());
        tracing::info!(peer.addr = %addr, reason = reason.name(), error = detail, login = login.as_deref(), server_name, "connection refused");
        if let Some(observer) = self.standing.observer() {
            observer.refused(Refusal { reason, detail, peer: self, login }).await;
        }
    }
}
