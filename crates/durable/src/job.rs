//! One queued write: what to run, and where its outcome goes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusqlite::Connection;

use crate::database::WriteError;

/// A write of any type, as the writer thread sees it: run once, then finished once with the outcome of its batch.
pub(crate) trait Job: Send {
    /// Runs the closure. A panic undoes the write: one caller's mistake must not end the service.
    fn run(&mut self, connection: &Connection) -> Effect;

    /// Sends the outcome to the caller. `Err` holds the reason why nothing of the batch is on disk.
    fn finish(self: Box<Self>, batch: Result<(), &str>);
}

/// What the writer thread must do with the changes of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Keep,
    Undo,
}

/// The only [`Job`]: a closure, its outcome once it ran, and the reply to the caller.
pub(crate) struct Write<T, E, F, R> {
    state: State<T, E, F>,
    reply: R,
}

enum State<T, E, F> {
    Waiting(F),
    Ran(Result<T, E>),
    Panicked,
}

impl<T, E, F, R> Write<T, E, F, R> {
    pub(crate) fn new(write: F, reply: R) -> Write<T, E, F, R> {
        Write { state: State::Waiting(write), reply }
    }
}

impl<T, E, F, R> Job for Write<T, E, F, R>
where
    F: FnOnce(&Connection) -> Result<T, E> + Send,
    R: FnOnce(Result<T, WriteError<E>>) + Send,
    T: Send,
    E: Send,
{
    fn run(&mut self, connection: &Connection) -> Effect {
        // `Panicked` is what stays behind when the closure does not return.
        let State::Waiting(write) = std::mem::replace(&mut self.state, State::Panicked) else {
            return Effect::Undo;
        };
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| write(connection))) else {
            return Effect::Undo;
        };
        let effect = if outcome.is_ok() { Effect::Keep } else { Effect::Undo };
        self.state = State::Ran(outcome);
        effect
    }

    fn finish(self: Box<Self>, batch: Result<(), &str>) {
        let outcome = match (batch, self.state) {
            (Err(reason), _) => Err(WriteError::Lost(reason.to_owned())),
            (Ok(()), State::Ran(Ok(value))) => Ok(value),
            (Ok(()), State::Ran(Err(refusal))) => Err(WriteError::Refused(refusal)),
            (Ok(()), State::Panicked) => Err(WriteError::Lost("the write panicked".to_owned())),
            (Ok(()), State::Waiting(_)) => Err(WriteError::Lost("the write was never run".to_owned())),
        };
        (self.reply)(outcome);
    }
}
