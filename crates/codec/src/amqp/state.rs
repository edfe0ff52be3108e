//! Errors and delivery states (§2.8.14, §3.4).

use std::fmt;

use bytes::BytesMut;

use super::{
    decode::{DecodeError, Reader},
    encode::{EncodeError, FieldsOut, Names},
    fields::{Field, Name},
    value::{Entries, Value},
};

/// The error conditions in use.
pub mod condition {
    /// An operator forced the connection to close (§2.8.16).
    pub const CONNECTION_FORCED: &str = "amqp:connection:forced";
    /// The peer sent bytes that are not a frame (§2.8.16).
    pub const FRAMING_ERROR: &str = "amqp:connection:framing-error";
    /// A frame could not be decoded (§2.8.15).
    pub const DECODE_ERROR: &str = "amqp:decode-error";
    /// An internal error occurred (§2.8.15).
    pub const INTERNAL_ERROR: &str = "amqp:internal-error";
    /// A field has an invalid value (§2.8.15).
    pub const INVALID_FIELD: &str = "amqp:invalid-field";
    /// The peer requested something that is not allowed (§2.8.15).
    pub const NOT_ALLOWED: &str = "amqp:not-allowed";
    /// The address does not exist (§2.8.15).
    pub const NOT_FOUND: &str = "amqp:not-found";
    /// The peer requested a feature that is not implemented (§2.8.15).
    pub const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
    /// A precondition is not met (§2.8.15).
    pub const PRECONDITION_FAILED: &str = "amqp:precondition-failed";
    /// The peer exceeded its resource limit (§2.8.15).
    pub const RESOURCE_LIMIT_EXCEEDED: &str = "amqp:resource-limit-exceeded";
    /// The client is not authorized (§2.8.15).
    pub const UNAUTHORIZED_ACCESS: &str = "amqp:unauthorized-access";
    /// The handle belongs to no link (§2.8.17).
    pub const UNATTACHED_HANDLE: &str = "amqp:session:unattached-handle";
    /// The handle is in use (§2.8.17).
    pub const HANDLE_IN_USE: &str = "amqp:session:handle-in-use";
    /// The peer exceeded the session's incoming window (§2.8.17).
    pub const WINDOW_VIOLATION: &str = "amqp:session:window-violation";
    /// The link was detached temporarily; the client may attach again (§2.8.18).
    pub const DETACH_FORCED: &str = "amqp:link:detach-forced";
    /// The peer exceeded the link credit (§2.8.18).
    pub const TRANSFER_LIMIT_EXCEEDED: &str = "amqp:link:transfer-limit-exceeded";
    /// The message exceeds the link's maximum size (§2.8.18).
    pub const MESSAGE_SIZE_EXCEEDED: &str = "amqp:link:message-size-exceeded";
}

/// The reason of a refusal or of an end.
#[derive(Debug, Clone, PartialEq)]
pub struct AmqpError {
    /// One of [`condition`], or a condition outside of the standard.
    pub condition: String,
    /// The description; Azure's services put JSON into it.
    pub description: Option<String>,
    /// Additional details.
    pub details: Entries,
}

impl AmqpError {
    /// Creates an error with a description.
    pub fn new(condition: impl Into<String>, description: impl Into<String>) -> AmqpError {
        AmqpError {
            condition: condition.into(),
            description: Some(description.into()),
            details: Entries::new(),
        }
    }

    pub(super) fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut fields = FieldsOut::new();
        fields.put(Some(Value::name(&self.condition)))?;
        fields.put(self.description.as_deref())?;
        fields.put((!self.details.is_empty()).then(|| Names::Symbols.map(&self.details)))?;
        fields.finish(ERROR, out)
    }
}

impl fmt::Display for AmqpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.condition, self.description.as_deref().unwrap_or_default())
    }
}

impl Field for AmqpError {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.descriptor()? != u64::from(ERROR) {
            return Err(DecodeError::Descriptor);
        }
        let mut fields = reader.list()?;
        let Name(condition) = fields.required("condition")?;
        let error = AmqpError { condition, description: fields.next()?, details: fields.or(Entries::new())? };
        fields.end()?;
        Ok(error)
    }
}

/// The state of a delivery at its receiver.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryState {
    /// The delivery was accepted.
    Accepted,
    /// The delivery was not processed and may be re-sent, to this receiver or another.
    Modified {
        /// Whether to count the delivery as failed.
        delivery_failed: bool,
        /// Whether this receiver must not get it again.
        undeliverable_here: bool,
    },
    /// A part of the delivery was received.
    Received {
        /// The number of the section in progress.
        section: u32,
        /// The offset in that section, in bytes.
        offset: u64,
    },
    /// The delivery is invalid.
    Rejected(Option<AmqpError>),
    /// The delivery was not and will not be processed.
    Released,
}

impl DeliveryState {
    /// Returns whether the state is terminal (§3.4).
    pub fn is_final(&self) -> bool {
        !matches!(self, DeliveryState::Received { .. })
    }

    pub(super) fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut fields = FieldsOut::new();
        let descriptor = match self {
            DeliveryState::Received { section, offset } => {
                fields.put(Some(*section))?.put(Some(*offset))?;
                RECEIVED
            }
            DeliveryState::Accepted => ACCEPTED,
            DeliveryState::Rejected(error) => {
                if let Some(error) = error {
                    error.put(fields.present())?;
                }
                REJECTED
            }
            DeliveryState::Released => RELEASED,
            DeliveryState::Modified { delivery_failed, undeliverable_here } => {
                fields.put(Some(*delivery_failed))?.put(Some(*undeliverable_here))?;
                MODIFIED
            }
        };
        fields.finish(descriptor, out)
    }
}

impl Field for DeliveryState {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let descriptor = reader.descriptor()?;
        let mut fields = reader.list()?;
        let state = match u8::try_from(descriptor) {
            Ok(RECEIVED) => DeliveryState::Received {
                section: fields.required("section-number")?,
                offset: fields.required("section-offset")?,
            },
            Ok(ACCEPTED) => DeliveryState::Accepted,
            Ok(REJECTED) => DeliveryState::Rejected(fields.next()?),
            Ok(RELEASED) => DeliveryState::Released,
            Ok(MODIFIED) => {
                let delivery_failed = fields.or(false)?;
                let undeliverable_here = fields.or(false)?;
                fields.skip(1)?; // message-annotations
                DeliveryState::Modified { delivery_failed, undeliverable_here }
            }
            _ => return Err(DecodeError::Descriptor),
        };
        fields.end()?;
        Ok(state)
    }
}

const ERROR: u8 = 0x1d;
const RECEIVED: u8 = 0x23;
const ACCEPTED: u8 = 0x24;
const REJECTED: u8 = 0x25;
const RELEASED: u8 = 0x26;
const MODIFIED: u8 = 0x27;
