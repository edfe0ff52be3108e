//! Why connections end.

use std::fmt::Display;

use super::buffered::Broken;
use crate::refused::Refused;

/// Why a connection ended. `R` are the reasons of its protocol.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End<R> {
    /// The stream cannot be used any more.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// No frame came for longer than the client may be silent.
    #[error("timed out waiting for {0}")]
    IdleTimeout(&'static str),
    /// The client did not log in in time.
    #[error("timed out waiting for {0}")]
    LoginTimeout(&'static str),
    /// Code of the service panicked.
    #[error("a session panicked")]
    Panicked,
    /// The protocol, or the service, ended it.
    #[error("{0}")]
    Protocol(R),
    /// The server shuts down.
    #[error("shutdown")]
    Shutdown,
    /// An unproven client sent a large message, and could not prove who it is.
    #[error("more than an unproven client may send")]
    TooLarge,
}

/// A reason of one protocol to end a connection.
pub(crate) trait CloseReason: Display + Send + Sync {
    /// Returns the reason under which the refusal is counted and reported; `None` if the client was not refused, or a
    /// service judged it.
    fn refused(&self) -> Option<Refused>;

    /// Returns whether the login of the client was refused.
    fn is_login_refusal(&self) -> bool;
}

impl<R: CloseReason> End<R> {
    /// Returns the reason under which the refusal is counted and reported; `None` if the client was not refused, or a
    /// service judged it.
    pub(super) fn refused(&self) -> Option<Refused> {
        match self {
            End::Broken(Broken::Slow) => Some(Refused::PacketTimeout),
            End::LoginTimeout(_) => Some(Refused::LoginTimeout),
            End::Protocol(reason) => reason.refused(),
            End::TooLarge => Some(Refused::TooLarge),
            End::Broken(Broken::HungUp | Broken::Io(_) | Broken::Unread)
            | End::IdleTimeout(_)
            | End::Panicked
            | End::Shutdown => None,
        }
    }

    /// Returns whether the login of the client was refused.
    pub(super) fn is_login_refusal(&self) -> bool {
        matches!(self, End::Protocol(reason) if reason.is_login_refusal())
    }
}
