//! Protocol headers and frames over a byte stream.

use std::borrow::Cow;

use bytes::BytesMut;
use codec::amqp::{
    AmqpError, Close, DecodeError, DeliveryState, Detach, Disposition, EncodeError, End as EndFrame, Entries,
    Frame, Performative, Protocol, SaslCode, SaslFrame, condition, decode_frame, decode_protocol,
    decode_sasl, encode_frame, encode_protocol, encode_sasl,
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffered::{Broken, Buffered};
use crate::limits::Limits;
use crate::refused::Refused;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("closed: {} ({})", .0.condition, .0.description.as_deref().unwrap_or_default())]
    Closed(AmqpError),
    #[error("the client closed it{}", .0.as_ref().map(|error| format!(": {}", error.condition)).unwrap_or_default())]
    ClosedByClient(Option<AmqpError>),
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    #[error("a connection's code panicked")]
    Panicked,
    #[error("refused by SASL ({code:?}): {}", .reason.as_deref().unwrap_or("by the service"))]
    Refused { code: SaslCode, reason: Option<Cow<'static, str>> },
    #[error("shutdown")]
    Shutdown,
    #[error("timed out waiting for {0}")]
    TimedOut(&'static str),
    #[error("more than an unproven client may send")]
    TooLarge,
    #[error("not let in: {} ({})", .0.condition, .0.description.as_deref().unwrap_or_default())]
    Unwelcome(AmqpError),
    #[error("something for the client has no form on the wire: {0}")]
    Unsendable(#[from] EncodeError),
    #[error("protocol violation: {} ({})", .0.condition, .0.description.as_deref().unwrap_or_default())]
    Violation(AmqpError),
}

impl End {
    /// The client breaks the protocol.
    pub(super) fn violation(condition: &'static str, description: &'static str) -> End {
        End::Violation(AmqpError::new(condition, description))
    }

    /// Why the client was refused; `None` where it was not, or where a service has judged it.
    pub(super) fn refused(&self) -> Option<Refused> {
        match self {
            End::Broken(Broken::Slow) => Some(Refused::PacketTimeout),
            End::TimedOut(LOGIN) => Some(Refused::LoginTimeout),
            End::Refused { reason: Some(_), .. } | End::Unwelcome(_) => Some(Refused::Login),
            End::TooLarge => Some(Refused::TooLarge),
            End::Malformed(_) | End::Violation(_) => Some(Refused::Protocol),
            End::Broken(Broken::HungUp | Broken::Io(_) | Broken::Unread)
            | End::Closed(_)
            | End::ClosedByClient(_)
            | End::Panicked
            | End::Refused { .. }
            | End::Shutdown
            | End::TimedOut(_)
            | End::Unsendable(_) => None,
        }
    }

    /// What an open connection's client is told at the end.
    pub(super) fn told(&self) -> Option<AmqpError> {
        let error = |condition, text: &dyn ToString| Some(AmqpError::new(condition, text.to_string()));
        match self {
            End::Broken(_) | End::Refused { .. } => None,
            End::Closed(reason) | End::Unwelcome(reason) | End::Violation(reason) => Some(reason.clone()),
            End::ClosedByClient(_) => None,
            End::Malformed(DecodeError::FrameHeader | DecodeError::TooLarge { .. }) => {
                error(condition::FRAMING_ERROR, self)
            }
            End::Malformed(_) => error(condition::DECODE_ERROR, self),
            End::Panicked | End::Unsendable(_) => error(condition::INTERNAL_ERROR, &"internal error"),
            End::Shutdown => error(condition::CONNECTION_FORCED, &"the server is shutting down"),
            End::TimedOut(_) => error(condition::RESOURCE_LIMIT_EXCEEDED, self),
            End::TooLarge => error(condition::RESOURCE_LIMIT_EXCEEDED, &TOO_LARGE),
        }
    }
}

const TOO_LARGE: &str = "the client must show who it is before it sends this much";

/// What is waited for first.
pub(super) const LOGIN: &str = "the client to log in";

/// Where frames to the client are put.
pub(super) struct Output<'a> {
    bytes: &'a mut BytesMut,
    pub(super) max_frame: usize,
}

impl Output<'_> {
    /// Adds a frame to what the next flush writes. An error whose words do not fit into a frame that the client takes goes
    /// without them.
    pub(super) fn put(&mut self, channel: u16, performative: Performative) -> Result<(), End> {
        let mut frame = Frame { channel, performative: Some(performative) };
        match encode_frame(&frame, self.max_frame, self.bytes) {
            Err(too_large @ EncodeError::FrameTooLarge { .. }) => {
                let error = frame.performative.as_mut().and_then(error_in).ok_or(too_large)?;
                *error = AmqpError { description: None, details: Entries::new(), ..error.clone() };
                Ok(encode_frame(&frame, self.max_frame, self.bytes)?)
            }
            written => Ok(written?),
        }
    }
}

/// What is wrong, in a frame that says so.
fn error_in(performative: &mut Performative) -> Option<&mut AmqpError> {
    match performative {
        Performative::Detach(Detach { error, .. })
        | Performative::End(EndFrame { error })
        | Performative::Close(Close { error }) => error.as_mut(),
        Performative::Disposition(Disposition { state: Some(DeliveryState::Rejected(error)), .. }) => {
            error.as_mut()
        }
        _ => None,
    }
}

pub(super) struct Frames<S> {
    bytes: Buffered<S>,
    /// The longest frame that is taken.
    max_frame: usize,
    /// The longest frame that the client takes.
    clients_max_frame: usize,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S, limits: &Limits) -> Frames<S> {
        Frames {
            bytes: Buffered::new(stream, limits.packet_timeout, limits.amqp.write_timeout),
            max_frame: limits.amqp.max_sasl_frame,
            clients_max_frame: codec::amqp::MIN_MAX_FRAME as usize,
        }
    }

    /// Takes longer frames from here on.
    pub(super) fn take_up_to(&mut self, max_frame: usize) {
        self.max_frame = max_frame;
    }

    /// Sends longer frames from here on.
    pub(super) fn send_up_to(&mut self, max_frame: usize) {
        self.clients_max_frame = max_frame;
    }

    /// The next frame that has already arrived completely.
    pub(super) fn decoded(&mut self) -> Result<Option<Frame>, End> {
        let frame = decode_frame(&mut self.bytes.input, self.max_frame)?;
        if frame.is_some() {
            self.bytes.took_packet();
        }
        Ok(frame)
    }

    pub(super) fn output(&mut self) -> Output<'_> {
        Output { bytes: &mut self.bytes.output, max_frame: self.clients_max_frame }
    }

    pub(super) fn put_protocol(&mut self, protocol: Protocol) {
        encode_protocol(protocol, &mut self.bytes.output);
    }

    pub(super) fn put_sasl(&mut self, frame: &SaslFrame) -> Result<(), End> {
        Ok(encode_sasl(frame, self.clients_max_frame, &mut self.bytes.output)?)
    }

    /// Adds an empty frame, which says no more than that we are here.
    pub(super) fn put_heartbeat(&mut self) -> Result<(), End> {
        let empty = Frame { channel: 0, performative: None };
        Ok(encode_frame(&empty, self.clients_max_frame, &mut self.bytes.output)?)
    }

    /// Whether something waits for the next flush.
    pub(super) fn has_output(&self) -> bool {
        !self.bytes.output.is_empty()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The next protocol header.
    pub(super) async fn protocol(&mut self) -> Result<Protocol, End> {
        self.next_of(|input, _| decode_protocol(input)).await
    }

    /// The next frame of the SASL layer.
    pub(super) async fn sasl(&mut self) -> Result<SaslFrame, End> {
        self.next_of(decode_sasl).await
    }

    /// The next frame.
    pub(super) async fn frame(&mut self) -> Result<Frame, End> {
        self.next_of(decode_frame).await
    }

    async fn next_of<T>(
        &mut self,
        decode: impl Fn(&mut BytesMut, usize) -> Result<Option<T>, DecodeError>,
    ) -> Result<T, End> {
        loop {
            if let Some(decoded) = decode(&mut self.bytes.input, self.max_frame)? {
                self.bytes.took_packet();
                return Ok(decoded);
            }
            self.flush().await?;
            self.fill().await?;
        }
    }

    /// Waits for bytes. Nothing is lost when the future is dropped.
    pub(super) async fn fill(&mut self) -> Result<(), End> {
        Ok(self.bytes.fill().await?)
    }

    /// Writes what was put.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        Ok(self.bytes.flush().await?)
    }

    /// Flushes before the output gets large.
    pub(super) async fn flush_if_large(&mut self) -> Result<(), End> {
        Ok(self.bytes.flush_if_large().await?)
    }

    /// Writes what was put and says farewell.
    pub(super) async fn finish(self) {
        self.bytes.finish().await;
    }
}
