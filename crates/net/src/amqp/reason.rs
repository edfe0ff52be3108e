//! Why AMQP connections end.

use std::borrow::Cow;

use codec::amqp::{AmqpError, DecodeError, EncodeError, SaslCode, condition, server::ServerError};

use crate::{
    connection::{CloseReason, End},
    refused::Refused,
};

const TOO_LARGE: &str = "the client must show who it is before it sends this much";

/// Why the protocol or its service ended a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Reason {
    /// The service closed it.
    #[error("closed: {0}")]
    Closed(AmqpError),
    #[error("the client closed it{}", .0.as_ref().map(|error| format!(": {}", error.condition)).unwrap_or_default())]
    ClosedByClient(Option<AmqpError>),
    #[error(transparent)]
    Protocol(#[from] ServerError),
    /// The service refused the client in the SASL layer.
    #[error("refused by SASL ({code:?}): {}", .reason.as_deref().unwrap_or("by the service"))]
    SaslRefused { code: SaslCode, reason: Option<Cow<'static, str>> },
}

impl Reason {
    /// Returns the error that the client's close gets.
    pub(super) fn error_for_client(end: &End<Reason>) -> Option<AmqpError> {
        let error = |condition, text: &dyn ToString| Some(AmqpError::new(condition, text.to_string()));
        let reason = match end {
            End::Protocol(reason) => reason,
            End::Broken(_) => return None,
            End::Panicked => return error(condition::INTERNAL_ERROR, &"internal error"),
            End::Shutdown => return error(condition::CONNECTION_FORCED, &"the server is shutting down"),
            End::IdleTimeout(_) | End::LoginTimeout(_) => {
                return error(condition::RESOURCE_LIMIT_EXCEEDED, end);
            }
            End::TooLarge => return error(condition::RESOURCE_LIMIT_EXCEEDED, &TOO_LARGE),
        };
        match reason {
            Reason::ClosedByClient(_) | Reason::SaslRefused { .. } => None,
            Reason::Closed(error) => Some(error.clone()),
            Reason::Protocol(ServerError::SaslRefused { .. }) => None,
            Reason::Protocol(ServerError::Unwelcome(error) | ServerError::Violation(error)) => {
                Some(error.clone())
            }
            Reason::Protocol(ServerError::Malformed(
                DecodeError::FrameHeader | DecodeError::TooLarge { .. },
            )) => error(condition::FRAMING_ERROR, reason),
            Reason::Protocol(ServerError::Malformed(_)) => error(condition::DECODE_ERROR, reason),
            Reason::Protocol(ServerError::Unsendable(_)) => {
                error(condition::INTERNAL_ERROR, &"internal error")
            }
        }
    }
}

impl CloseReason for Reason {
    fn refused(&self) -> Option<Refused> {
        match self {
            Reason::SaslRefused { reason: Some(_), .. }
            | Reason::Protocol(ServerError::SaslRefused { .. } | ServerError::Unwelcome(_)) => {
                Some(Refused::Login)
            }
            Reason::Protocol(ServerError::Malformed(_) | ServerError::Violation(_)) => {
                Some(Refused::Protocol)
            }
            Reason::Closed(_)
            | Reason::ClosedByClient(_)
            | Reason::Protocol(ServerError::Unsendable(_))
            | Reason::SaslRefused { reason: None, .. } => None,
        }
    }

    fn is_login_refusal(&self) -> bool {
        matches!(self, Reason::SaslRefused { .. } | Reason::Protocol(ServerError::SaslRefused { .. }))
    }
}

impl From<Reason> for End<Reason> {
    fn from(reason: Reason) -> End<Reason> {
        End::Protocol(reason)
    }
}

impl From<ServerError> for End<Reason> {
    fn from(error: ServerError) -> End<Reason> {
        Reason::Protocol(error).into()
    }
}

impl From<DecodeError> for End<Reason> {
    fn from(error: DecodeError) -> End<Reason> {
        ServerError::Malformed(error).into()
    }
}

impl From<EncodeError> for End<Reason> {
    fn from(error: EncodeError) -> End<Reason> {
        ServerError::Unsendable(error).into()
    }
}
