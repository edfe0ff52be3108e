//! The server's side of a connection as state machines, without IO.
//!
//! [`Login`] and [`Opening`] take the first bytes of a client up to its open, [`Sessions`] the frames after that. They append
//! their answers to a buffer, and return as events what the program has to decide; the program passes its answers back in.
//! None of them reads a clock: where time matters, it is an argument.
//!
//! Not supported: sessions that the server begins, links that are resumed, transactions.

mod link;
mod login;
mod receiving;
mod sending;
mod session;
mod sessions;
mod writer;

#[cfg(test)]
mod tests;

pub use link::{Delivery, DeliveryRef, Direction, LinkId, LinkRequest, Settled, Verdict};
pub use login::{Login, LoginConfig, LoginStart, Opening};
pub use sending::Sent;
pub use sessions::{PendingAttach, SessionEvent, SessionLimits, Sessions};
pub use writer::FrameWriter;

use super::{AmqpError, DecodeError, EncodeError, SaslCode};

/// Why a connection cannot continue.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ServerError {
    /// The client sent bytes that cannot be decoded.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The client is refused in the SASL layer, and was sent the outcome.
    #[error("refused by SASL ({code:?}): {reason}")]
    SaslRefused {
        /// The outcome that the client was sent.
        code: SaslCode,
        /// The reason.
        reason: String,
    },
    /// An answer to the client has no form on the wire.
    #[error("a frame to the client has no form on the wire: {0}")]
    Unsendable(#[from] EncodeError),
    /// The client is refused after its open, with a close that has this error.
    #[error("not let in: {0}")]
    Unwelcome(AmqpError),
    /// The client broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(AmqpError),
}

impl ServerError {
    fn violation(condition: &'static str, description: &'static str) -> ServerError {
        ServerError::Violation(AmqpError::new(condition, description))
    }
}
