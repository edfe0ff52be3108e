//! How a service reaches a client from outside its connection: a bounded queue, and the request to close.
//!
//! A tokio channel would allocate 2 KB for each idle connection; this queue allocates when it is used.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

/// Why a message was not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboxError {
    /// The connection is closed or closing.
    #[error("the client is disconnected")]
    Closed,
    /// The client does not take messages as fast as they come.
    #[error("the client has too many messages waiting")]
    Full,
}

/// The end of the service: takes items for the client (`T`), and the reason to close (`C`). Clones share the queue.
#[derive(Debug)]
pub(crate) struct Queue<T, C> {
    shared: Arc<Shared<T, C>>,
}

/// The end of the connection. When it is dropped, the queue is closed.
#[derive(Debug)]
pub(crate) struct QueueReader<T, C> {
    shared: Arc<Shared<T, C>>,
}

#[derive(Debug)]
struct Shared<T, C> {
    capacity: usize,
    state: Mutex<State<T, C>>,
    /// Wakes the connection: there is something to send, or a reason to close.
    changed: Notify,
    /// Wakes tasks that wait in [`Queue::push`].
    has_room: Notify,
}

#[derive(Debug)]
struct State<T, C> {
    waiting: VecDeque<T>,
    closed: bool,
    reason: Option<C>,
}

/// Makes a queue of at most `capacity` items, and returns both ends.
pub(crate) fn queue<T, C>(capacity: usize) -> (Queue<T, C>, QueueReader<T, C>) {
    let state = Mutex::new(State { waiting: VecDeque::new(), closed: false, reason: None });
    let shared = Arc::new(Shared { capacity, state, changed: Notify::new(), has_room: Notify::new() });
    (Queue { shared: Arc::clone(&shared) }, QueueReader { shared })
}

impl<T, C> Queue<T, C> {
    /// Queues an item, if there is room.
    pub(crate) fn try_push(&self, item: T) -> Result<(), OutboxError> {
        self.push_within(self.shared.capacity, item).map_err(|(error, _)| error)
    }

    /// Queues an item, waiting for room.
    pub(crate) async fn push(&self, mut item: T) -> Result<(), OutboxError> {
        loop {
            let mut has_room = pin!(self.shared.has_room.notified());
            has_room.as_mut().enable(); // before looking, or room made in between would go unnoticed
            item = match self.push_within(self.shared.capacity, item) {
                Ok(()) => return Ok(()),
                Err((OutboxError::Closed, _)) => return Err(OutboxError::Closed),
                Err((OutboxError::Full, item)) => item,
            };
            has_room.await;
        }
    }

    /// Queues an item whose number is bounded elsewhere; dropped if the connection is over.
    pub(crate) fn push_always(&self, item: T) {
        // An error means that the connection is over.
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
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Closes the connection after the items that may be sent now. The first reason counts.
    pub(crate) fn close(&self, reason: C) {
        self.shared.close(Some(reason));
    }

    /// Returns whether the connection is closed or closing.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.state().closed
    }
}

impl<T, C> Clone for Queue<T, C> {
    fn clone(&self) -> Self {
        Queue { shared: Arc::clone(&self.shared) }
    }
}

impl<T, C: Clone> QueueReader<T, C> {
    /// Waits for an item or a reason to close that came since the last call.
    pub(crate) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    /// Takes the first item if it can be sent; the others wait behind it.
    pub(crate) fn pop_if(&self, can_send: impl FnOnce(&T) -> bool) -> Option<T> {
        self.take(|waiting| waiting.front().is_some_and(can_send).then_some(0))
    }

    /// Takes the first item that can be sent, at any position.
    pub(crate) fn pop_first(&self, can_send: impl FnMut(&T) -> bool) -> Option<T> {
        self.take(|waiting| waiting.iter().position(can_send))
    }

    fn take(&self, position: impl FnOnce(&VecDeque<T>) -> Option<usize>) -> Option<T> {
        let mut state = self.shared.state();
        let position = position(&state.waiting)?;
        let item = state.waiting.remove(position);
        if state.waiting.is_empty() {
            state.waiting = VecDeque::new(); // an idle connection keeps no memory for it
        }
        drop(state);
        self.shared.has_room.notify_waiters();
        item
    }

    /// Returns the reason to close, if there is one.
    pub(crate) fn close_reason(&self) -> Option<C> {
        self.shared.state().reason.clone()
    }
}

impl<T, C> QueueReader<T, C> {
    /// Closes the queue and drops its items.
    pub(crate) fn end(&self) {
        self.shared.close(None);
        self.shared.state().waiting = VecDeque::new();
    }
}

impl<T, C> Drop for QueueReader<T, C> {
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
        self.changed.notify_one();
        self.has_room.notify_waiters();
    }

    fn state(&self) -> MutexGuard<'_, State<T, C>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
