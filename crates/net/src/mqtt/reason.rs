//! Why MQTT connections end.

use codec::mqtt::{DecodeError, EncodeError};

use super::session::{Close, ConnectRefusal};
use crate::{
    connection::{CloseReason, End},
    refused::Refused,
};

/// Why the protocol or its session ended a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    /// The service closed it.
    #[error("{}", .0.reason)]
    Closed(Close),
    #[error("DISCONNECT")]
    Disconnected,
    #[error(transparent)]
    Malformed(DecodeError),
    /// The login of the client was refused.
    #[error("refused: {0}")]
    Refused(ConnectRefusal),
    #[error("a packet to the client has no form on the wire: {0}")]
    Unsendable(EncodeError),
    #[error("protocol violation: {0}")]
    Violation(&'static str),
}

impl CloseReason for Reason {
    fn refused(&self) -> Option<Refused> {
        match self {
            Reason::Closed(close) if close.is_violation => Some(Refused::Protocol),
            Reason::Malformed(_) | Reason::Violation(_) => Some(Refused::Protocol),
            Reason::Refused(refusal) if refusal.reason.is_some() => Some(Refused::Login),
            Reason::Closed(_) | Reason::Disconnected | Reason::Refused(_) | Reason::Unsendable(_) => None,
        }
    }

    fn is_login_refusal(&self) -> bool {
        matches!(self, Reason::Refused(_))
    }
}

impl From<Reason> for End<Reason> {
    fn from(reason: Reason) -> End<Reason> {
        End::Protocol(reason)
    }
}

impl From<DecodeError> for End<Reason> {
    fn from(error: DecodeError) -> End<Reason> {
        Reason::Malformed(error).into()
    }
}

impl From<EncodeError> for End<Reason> {
    fn from(error: EncodeError) -> End<Reason> {
        Reason::Unsendable(error).into()
    }
}
