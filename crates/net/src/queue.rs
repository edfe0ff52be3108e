//! The way to a client from outside its connection: a bounded queue, and the request to close.
//!
//! A tokio channel would allocate 2 KB for each idle connection; this queue allocates when it is used.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

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

/// The outer end: takes what is for the client (`T`), and why to close (`C`). Clones share the queue.
#[derive(Debug)]
pub(crate) struct Queue<T, C> {
    shared: Arc<Shared<T, C>>,
}

/// The connection's end. When it is dropped, nothing more is taken.
#[derive(Debug)]
pub(crate) struct Queued<T, C> {
    shared: Arc<Shared<T, C>>,
}

#[derive(Debug)]
struct Shared<T, C> {
    capacity: usize,
    state: Mutex<State<T, C>>,
    /// For the connection: something to send, or to close.
    news: Notify,
    /// For those who wait outside: there may be room.
    room: Notify,
}

#[derive(Debug)]
struct State<T, C> {
    waiting: VecDeque<T>,
    closed: bool,
    reason: Option<C>,
}

/// Both ends of a queue.
pub(crate) fn queue<T, C>(capacity: usize) -> (Queue<T, C>, Queued<T, C>) {
    let state = Mutex::new(State { waiting: VecDeque::new(), closed: false, reason: None });
    let shared = Arc::new(Shared { capacity, state, news: Notify::new(), room: Notify::new() });
    (Queue { shared: Arc::clone(&shared) }, Queued { shared })
}

impl<T, C> Queue<T, C> {
    /// Queues something, if there is room.
    pub(crate) fn try_push(&self, item: T) -> Result<(), OutboxError> {
        self.push_within(self.shared.capacity, item).map_err(|(error, _)| error)
    }

    /// Queues something, waiting for room.
    pub(crate) async fn push(&self, mut item: T) -> Result<(), OutboxError> {
        loop {
            let mut room = pin!(self.shared.room.notified());
            room.as_mut().enable(); // before looking, or room made in between would go unnoticed
            item = match self.push_within(self.shared.capacity, item) {
                Ok(()) => return Ok(()),
                Err((OutboxError::Closed, _)) => return Err(OutboxError::Closed),
                Err((OutboxError::Full, item)) => item,
            };
            room.await;
        }
    }

    /// Queues something that is bounded elsewhere; dropped when the connection is over.
    pub(crate) fn push_always(&self, item: T) {
        // An error means that there is nobody to tell any more.
        let _ = self.push_within(usize::MAX, item);
    }

    fn push_within(&self, capacity: usize, item: T) -> Result<(), (OutboxError, T)> {
        let mut state = self.shared.state();
        if state.closed {
            return Err((OutboxError::Closed, item));
        }
        if state.waiting.len() >= capacity {
            return Err((OutboxError::Full, item));
        }
        state.waiting.push_back(item);
        drop(state);
        self.shared.news.notify_one();
        Ok(())
    }

    /// Closes the connection after what is queued and may be sent now. The first reason counts.
    pub(crate) fn close(&self, reason: C) {
        self.shared.close(Some(reason));
    }

    /// Whether the connection is closed or closing.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.state().closed
    }
}

impl<T, C> Clone for Queue<T, C> {
    fn clone(&self) -> Self {
        Queue { shared: Arc::clone(&self.shared) }
    }
}

impl<T, C: Clone> Queued<T, C> {
    /// Resolves when there was news since the last call.
    pub(crate) async fn news(&self) {
        self.shared.news.notified().await;
    }

    /// The first of what is queued, if it passes; the others wait behind it.
    pub(crate) fn pop_if(&self, may_go: impl FnOnce(&T) -> bool) -> Option<T> {
        self.take(|waiting| waiting.front().is_some_and(may_go).then_some(0))
    }

    /// The first that passes, wherever it stands.
    pub(crate) fn pop_first(&self, may_go: impl FnMut(&T) -> bool) -> Option<T> {
        self.take(|waiting| waiting.iter().position(may_go))
    }

    fn take(&self, position: impl FnOnce(&VecDeque<T>) -> Option<usize>) -> Option<T> {
        let mut state = self.shared.state();
        let position = position(&state.waiting)?;
        let item = state.waiting.remove(position);
        if state.waiting.is_empty() {
            state.waiting = VecDeque::new(); // an idle connection keeps no memory for it
        }
        drop(state);
        self.shared.room.notify_waiters();
        item
    }

    /// The reason to close, if there is one.
    pub(crate) fn closing(&self) -> Option<C> {
        self.shared.state().reason.clone()
    }
}

impl<T, C> Queued<T, C> {
    /// Drops what is queued and refuses what comes.
    pub(crate) fn end(&self) {
        self.shared.close(None);
        self.shared.state().waiting = VecDeque::new();
    }
}

impl<T, C> Drop for Queued<T, C> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T, C> Shared<T, C> {
    fn close(&self, reason: Option<C>) {
        let mut state = self.state();
        state.closed = true;
        state.reason = state.reason.take().or(reason);
        drop(state);
        self.news.notify_one();
        self.room.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State<T, C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
