//! Packets over a byte stream.

use codec::mqtt::{DecodeError, EncodeError, Packet, decode, encode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::session::{Close, ConnectRefusal};
use crate::buffered::{Broken, Buffered};
use crate::limits::Limits;
use crate::refused::Refused;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error(transparent)]
    Broken(#[from] Broken),
    #[error("{}", .0.reason)]
    Closed(Close),
    #[error("DISCONNECT")]
    Disconnected,
    #[error(transparent)]
    Malformed(DecodeError),
    #[error("a session panicked")]
    Panicked,
    #[error("refused: {0}")]
    Refused(ConnectRefusal),
    #[error("shutdown")]
    Shutdown,
    #[error("timed out waiting for {0}")]
    TimedOut(&'static str),
    #[error("a packet to the client has no form on the wire: {0}")]
    Unsendable(EncodeError),
    #[error("more than an unproven client may send")]
    TooLarge,
    #[error("protocol violation: {0}")]
    Violation(&'static str),
}

impl End {
    /// Why the client was refused; `None` where it was not, or where a service has judged it.
    pub(super) fn refused(&self) -> Option<Refused> {
        match self {
            End::Broken(Broken::Slow) => Some(Refused::PacketTimeout),
            End::TimedOut(CONNECT) => Some(Refused::LoginTimeout),
            End::Refused(refusal) if refusal.reason.is_some() => Some(Refused::Login),
            End::TooLarge => Some(Refused::TooLarge),
            End::Malformed(_) | End::Violation(_) => Some(Refused::Protocol),
            End::Closed(close) if close.is_violation => Some(Refused::Protocol),
            End::Broken(Broken::HungUp | Broken::Io(_) | Broken::Unread)
            | End::Closed(_)
            | End::Disconnected
            | End::Panicked
            | End::Refused(_)
            | End::Shutdown
            | End::TimedOut(_)
            | End::Unsendable(_) => None,
        }
    }
}

/// What is waited for first.
pub(super) const CONNECT: &str = "CONNECT";

pub(super) struct Frames<S> {
    bytes: Buffered<S>,
    max_packet: usize,
}

impl<S> Frames<S> {
    pub(super) fn new(stream: S, limits: &Limits) -> Frames<S> {
        let bytes = Buffered::new(stream, limits.packet_timeout, limits.mqtt.write_timeout);
        Frames { bytes, max_packet: limits.mqtt.max_packet_before_connect }
    }

    /// Takes packets of this size from here on.
    pub(super) fn allow(&mut self, max_packet: usize) {
        self.max_packet = max_packet;
    }

    /// Whether a packet of this size would be taken now.
    pub(super) fn allows(&self, max_packet: usize) -> bool {
        self.max_packet >= max_packet
    }

    /// The next packet that has already arrived completely.
    pub(super) fn decoded(&mut self) -> Result<Option<Packet>, End> {
        let packet = decode(&mut self.bytes.input, self.max_packet).map_err(End::Malformed)?;
        if packet.is_some() {
            self.bytes.took_packet();
        }
        Ok(packet)
    }

    /// Adds a packet to what the next flush writes.
    pub(super) fn put(&mut self, packet: &Packet) -> Result<(), End> {
        encode(packet, &mut self.bytes.output).map_err(End::Unsendable)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Frames<S> {
    /// The next packet.
    pub(super) async fn next(&mut self) -> Result<Packet, End> {
        loop {
            if let Some(packet) = self.decoded()? {
                return Ok(packet);
            }
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
