//! Refusals below the services: each is counted, logged and reported to an observer here.

use std::{fmt::Display, io, sync::Arc};

use async_trait::async_trait;

use crate::{peer::Peer, refused::Refused};

/// A connection, login or request that was refused before a service judged it.
#[derive(Debug)]
pub struct Refusal<'a> {
    /// The reason.
    pub reason: Refused,
    /// The reason with its details. It may quote the peer, but no secret.
    pub detail: String,
    /// The refused peer. Its certificates are what the client presented: if the handshake refused them, the leaf alone, without
    /// proof that the client holds its key.
    pub peer: &'a Peer,
    /// The name that the client gave: see [`crate::Standing::note_login`].
    pub login: Option<Arc<str>>,
}

/// Receives refusals below the services, after they are counted and logged.
#[async_trait]
pub trait RefusalObserver: Send + Sync + 'static {
    /// Handles a refusal. Called in the task of its connection, which holds its permit until this returns.
    async fn refused(&self, refusal: Refusal<'_>);
}

impl Peer {
    /// Counts, logs and reports a refusal. Every refusal below the services of a connection with a permit uses this, so that none
    /// lacks one of the three.
    pub async fn refuse(&self, reason: Refused, detail: impl Display + Send) {
        self.standing.count(reason);
        self.report_refusal(reason, detail).await;
    }

    /// Counts, logs and reports a connection whose handshake failed.
    pub(crate) async fn refuse_handshake(&self, error: &io::Error) {
        let reason = Refused::of(error);
        if reason == Refused::Left {
            // Health checks and port scanners; they presented nothing that could be refused.
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
