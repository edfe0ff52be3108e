//! Frames to the client.

use bytes::BytesMut;

use crate::amqp::{
    AmqpError, Close, DeliveryState, Detach, Disposition, EncodeError, End, Entries, Frame, Performative,
    encode_frame,
};

/// Appends frames to a buffer.
pub struct FrameWriter<'a> {
    buffer: &'a mut BytesMut,
    max_frame: usize,
}

impl FrameWriter<'_> {
    /// Appends to `buffer` frames of at most `max_frame` bytes.
    pub fn new(buffer: &mut BytesMut, max_frame: usize) -> FrameWriter<'_> {
        FrameWriter { buffer, max_frame }
    }

    /// Returns how many bytes a frame may have.
    pub fn max_frame(&self) -> usize {
        self.max_frame
    }

    /// Appends a frame. An error in it whose description does not fit is sent without one.
    pub fn put(&mut self, channel: u16, performative: Performative) -> Result<(), EncodeError> {
        let mut frame = Frame { channel, performative: Some(performative) };
        match encode_frame(&frame, self.max_frame, self.buffer) {
            Err(too_large @ EncodeError::FrameTooLarge { .. }) => {
                let error = frame.performative.as_mut().and_then(error_in).ok_or(too_large)?;
                *error = AmqpError { description: None, details: Entries::new(), ..error.clone() };
                encode_frame(&frame, self.max_frame, self.buffer)
            }
            written => written,
        }
    }

    /// Appends a frame without content, which keeps the connection alive (§2.4.5).
    pub fn put_heartbeat(&mut self) -> Result<(), EncodeError> {
        encode_frame(&Frame { channel: 0, performative: None }, self.max_frame, self.buffer)
    }
}

/// Returns the error that a frame reports.
fn error_in(performative: &mut Performative) -> Option<&mut AmqpError> {
    match performative {
        Performative::Detach(Detach { error, .. })
        | Performative::End(End { error })
        | Performative::Close(Close { error }) => error.as_mut(),
        Performative::Disposition(Disposition { state: Some(DeliveryState::Rejected(error)), .. }) => {
            error.as_mut()
        }
        _ => None,
    }
}
