//! The way to a client from outside its connection: a bounded queue of messages, and the request to close.
//!
//! A tokio channel would allocate 2 KB for each idle connection; this queue allocates when it is used.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use wire::mqtt::QoS;

use super::session::Close;

/// Puts messages into the queue of one client. Clones share the queue.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// The connection is closed or closing.
    #[error("the client is gone")]
    Closed,
    /// The client does not take messages as fast as they come.
    #[error("the client has too many messages waiting")]
    Full,
}

/// A message to the client.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
    pub(super) token: u64,
}

#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
    /// For the connection: something to send, or to close.
    news: Notify,
    /// For waiting publishers: there may be room.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Outgoing>,
    close: Option<Close>,
}

impl Outbox {
    pub(super) fn new(capacity: usize) -> (Outbox, Queued) {
        let shared = Shared { capacity, state: Mutex::default(), news: Notify::new(), room: Notify::new() };
        let outbox = Outbox { shared: Arc::new(shared) };
        (outbox.clone(), Queued { outbox })
    }

    /// Queues a message for the client. `token` comes back with [`super::MqttSession::acknowledged`] when the
    /// client has acknowledged a QoS 1 message; with QoS 0 it is ignored. QoS 2 is sent as QoS 1.
    pub fn try_publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        qos: QoS,
        token: u64,
    ) -> Result<(), OutboxError> {
        let message = Outgoing { topic: topic.into(), payload: payload.into(), qos, token };
        self.push(message).map_err(|(error, _)| error)
    }

    /// Queues a message, waiting for room. Not to be awaited inside a session's methods: there is no room
    /// until they return.
    pub async fn publish(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
        qos: QoS,
        token: u64,
    ) -> Result<(), OutboxError> {
        let mut message = Outgoing { topic: topic.into(), payload: payload.into(), qos, token };
        loop {
            let mut room = pin!(self.shared.room.notified());
            room.as_mut().enable(); // before looking, or room made in between would go unnoticed
            message = match self.push(message) {
                Ok(()) => return Ok(()),
                Err((OutboxError::Closed, _)) => return Err(OutboxError::Closed),
                Err((OutboxError::Full, message)) => message,
            };
            room.await;
        }
    }

    /// Closes the connection after what is queued and may be sent now. The first reason counts.
    pub fn close(&self, close: Close) {
        self.state().close.get_or_insert(close);
        self.shared.news.notify_one();
        self.shared.room.notify_waiters();
    }

    /// Whether the connection is closed or closing.
    pub fn is_closed(&self) -> bool {
        self.state().close.is_some()
    }

    fn push(&self, message: Outgoing) -> Result<(), (OutboxError, Outgoing)> {
        let mut state = self.state();
        if state.close.is_some() {
            return Err((OutboxError::Closed, message));
        }
        if state.queue.len() >= self.shared.capacity {
            return Err((OutboxError::Full, message));
        }
        state.queue.push_back(message);
        drop(state);
        self.shared.news.notify_one();
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The connection's end of the queue. When it is dropped, nothing more is taken.
#[derive(Debug)]
pub(super) struct Queued {
    outbox: Outbox,
}

impl Queued {
    /// Resolves when there was news since the last call.
    pub(super) async fn news(&self) {
        self.outbox.shared.news.notified().await;
    }

    /// The next message, if `may_send` lets it pass; later ones wait behind it.
    pub(super) fn pop_if(&self, may_send: impl FnOnce(&Outgoing) -> bool) -> Option<Outgoing> {
        let mut state = self.outbox.state();
        if !state.queue.front().is_some_and(may_send) {
            return None;
        }
        let message = state.queue.pop_front();
        if state.queue.is_empty() {
            state.queue = VecDeque::new(); // an idle connection keeps no memory for it
        }
        drop(state);
        self.outbox.shared.room.notify_waiters();
        message
    }

    /// The reason to close, if there is one.
    pub(super) fn closing(&self) -> Option<Close> {
        self.outbox.state().close.clone()
    }

    /// Drops what is queued and refuses what comes.
    pub(super) fn end(&self) {
        self.outbox.close(Close::because("the connection ended"));
        self.outbox.state().queue = VecDeque::new();
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.end();
    }
}
