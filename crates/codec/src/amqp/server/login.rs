//! From the first byte to the exchange of opens: with SASL (§5.3) or without.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{FrameWriter, ServerError};
use crate::amqp::{
    AmqpError, Close, DecodeError, EncodeError, MIN_MAX_FRAME, Open, Performative, Protocol, SaslCode,
    SaslFrame, SaslInit, condition, decode_frame, decode_protocol, decode_sasl, encode_protocol, encode_sasl,
};

/// More challenges than any mechanism has: TPM takes three, or a few more when a client splits its keys.
const MAX_CHALLENGES: usize = 16;

/// Bounds of a login, and the content of the server's open.
#[derive(Debug, Clone)]
pub struct LoginConfig {
    /// The server's container ID.
    pub container_id: &'static str,
    /// Bytes of a SASL frame from the client.
    pub max_sasl_frame: usize,
    /// Bytes of the client's open; before it no size is agreed upon.
    pub max_open_frame: usize,
    /// Bytes of a frame after the opens, in either direction.
    pub max_frame: usize,
    /// Sessions at once.
    pub max_sessions: u16,
    /// The longest silence of the client.
    pub idle_timeout: Duration,
}

/// A client that has not authenticated yet.
#[derive(Debug)]
pub struct Login {
    config: LoginConfig,
    mechanisms: Vec<&'static str>,
    /// Whether the mechanisms were offered.
    has_offered: bool,
    challenges: usize,
}

/// How the client begins.
#[derive(Debug, Clone, PartialEq)]
pub enum LoginStart {
    /// Without SASL; continued with [`Login::skip_sasl`].
    Bare,
    /// With a mechanism that it was offered; continued with [`Login::challenge`], [`Login::accept`] or [`Login::refuse`].
    Sasl(SaslInit),
}

/// A client that has authenticated, or connects without SASL, and has to open the connection.
#[derive(Debug)]
pub struct Opening {
    config: LoginConfig,
    /// Whether the client's header of AMQP was received.
    has_header: bool,
}

impl Login {
    /// Begins a login with these mechanisms, the preferred one first.
    pub fn new(mechanisms: Vec<&'static str>, config: LoginConfig) -> Login {
        Login { config, mechanisms, has_offered: false, challenges: 0 }
    }

    /// Takes the client's first header and frame out of `input`; returns `None` if more is needed.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<LoginStart>, ServerError> {
        if !self.has_offered {
            match header(input, output, Protocol::Sasl)? {
                None => return Ok(None),
                Some(Protocol::Amqp) => return Ok(Some(LoginStart::Bare)),
                Some(Protocol::Sasl) => self.offer_mechanisms(output)?,
            }
        }
        match decode_sasl(input, self.config.max_sasl_frame)? {
            None => Ok(None),
            Some(SaslFrame::Init(init)) if self.mechanisms.contains(&init.mechanism.as_str()) => {
                Ok(Some(LoginStart::Sasl(init)))
            }
            Some(SaslFrame::Init(init)) => {
                let name = init.mechanism;
                Err(refused(format!("the SASL mechanism {name:?} is not offered to this client"), output))
            }
            Some(_) => Err(ServerError::violation(condition::NOT_ALLOWED, "SASL begins with an init")),
        }
    }

    /// Puts a challenge of at most about 490 bytes, to fit a frame of 512 bytes. A client with which a mechanism does not come
    /// to an end is refused.
    pub fn challenge(&mut self, challenge: Bytes, output: &mut BytesMut) -> Result<(), ServerError> {
        self.challenges += 1;
        if self.challenges > MAX_CHALLENGES {
            return Err(refused("more steps than any SASL mechanism has".to_owned(), output));
        }
        put_sasl(&SaslFrame::Challenge(challenge), output)
    }

    /// Takes the response to a challenge out of `input`; returns `None` if more is needed.
    pub fn receive_response(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, ServerError> {
        match decode_sasl(input, self.config.max_sasl_frame)? {
            None => Ok(None),
            Some(SaslFrame::Response(response)) => Ok(Some(response)),
            Some(_) => Err(ServerError::violation(condition::NOT_ALLOWED, "a challenge wants a response")),
        }
    }

    /// Reports to the client that it is authenticated.
    pub fn accept(self, output: &mut BytesMut) -> Result<Opening, ServerError> {
        put_sasl(&SaslFrame::Outcome(SaslCode::Ok), output)?;
        Ok(Opening { config: self.config, has_header: false })
    }

    /// Reports to the client that it is refused. The stream is to be closed then.
    pub fn refuse(self, code: SaslCode, output: &mut BytesMut) -> Result<(), ServerError> {
        put_sasl(&SaslFrame::Outcome(code), output)
    }

    /// Continues with a client that connects without SASL. It learns of a refusal from [`Opening::refuse`] only.
    pub fn skip_sasl(self, output: &mut BytesMut) -> Opening {
        encode_protocol(Protocol::Amqp, output);
        Opening { config: self.config, has_header: true }
    }

    fn offer_mechanisms(&mut self, output: &mut BytesMut) -> Result<(), ServerError> {
        self.has_offered = true;
        encode_protocol(Protocol::Sasl, output);
        let mechanisms = self.mechanisms.iter().map(ToString::to_string).collect();
        put_sasl(&SaslFrame::Mechanisms(mechanisms), output)
    }
}

impl Opening {
    /// Takes the client's open out of `input`; returns `None` if more is needed. A client that does not take frames of the size
    /// that every peer must take (§2.7.1) is refused.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Open>, ServerError> {
        if !self.has_header {
            match header(input, output, Protocol::Amqp)? {
                None => return Ok(None),
                Some(Protocol::Sasl) => return Err(DecodeError::Protocol.into()),
                Some(Protocol::Amqp) => encode_protocol(Protocol::Amqp, output),
            }
            self.has_header = true;
        }
        let Some(frame) = decode_frame(input, self.config.max_open_frame)? else { return Ok(None) };
        let Some(Performative::Open(open)) = frame.performative else {
            return Err(DecodeError::Descriptor.into());
        };
        if open.max_frame_size >= MIN_MAX_FRAME {
            return Ok(Some(open));
        }
        let error = AmqpError::new(condition::INVALID_FIELD, "max-frame-size must be at least 512");
        Err(self.refuse(MIN_MAX_FRAME as usize, error, output))
    }

    /// Returns how many bytes a frame to the client may have.
    pub fn client_max_frame(&self, open: &Open) -> usize {
        usize::try_from(open.max_frame_size).unwrap_or(usize::MAX).min(self.config.max_frame)
    }

    /// Puts the server's open.
    pub fn accept(&self, client_max_frame: usize, output: &mut BytesMut) -> Result<(), EncodeError> {
        FrameWriter::new(output, client_max_frame).put(0, Performative::Open(self.server_open()))
    }

    /// Puts the server's open, and a close with `error`; returns what the connection ends with.
    pub fn refuse(&self, client_max_frame: usize, error: AmqpError, output: &mut BytesMut) -> ServerError {
        let close = Performative::Close(Close { error: Some(error.clone()) });
        let put = self
            .accept(client_max_frame, output)
            .and_then(|()| FrameWriter::new(output, client_max_frame).put(0, close));
        put.map_or_else(ServerError::Unsendable, |()| ServerError::Unwelcome(error))
    }

    fn server_open(&self) -> Open {
        Open {
            container_id: self.config.container_id.into(),
            hostname: None,
            max_frame_size: u32::try_from(self.config.max_frame).unwrap_or(u32::MAX),
            channel_max: self.config.max_sessions.saturating_sub(1),
            // A peer announces half of what it tolerates (§2.4.5).
            idle_timeout_ms: u32::try_from(self.config.idle_timeout.as_millis() / 2).ok(),
        }
    }
}

/// Takes the client's protocol header. A client that speaks another protocol is sent the `expected` header (§2.2).
fn header(
    input: &mut BytesMut,
    output: &mut BytesMut,
    expected: Protocol,
) -> Result<Option<Protocol>, DecodeError> {
    decode_protocol(input).inspect_err(|_| encode_protocol(expected, output))
}

fn put_sasl(frame: &SaslFrame, output: &mut BytesMut) -> Result<(), ServerError> {
    Ok(encode_sasl(frame, MIN_MAX_FRAME as usize, output)?)
}

/// Reports to the client that it is refused, and returns why.
fn refused(reason: String, output: &mut BytesMut) -> ServerError {
    let code = SaslCode::Auth;
    match put_sasl(&SaslFrame::Outcome(code), output) {
        Ok(()) => ServerError::SaslRefused { code, reason },
        Err(error) => error,
    }
}
