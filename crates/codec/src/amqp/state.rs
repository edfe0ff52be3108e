//! Errors and the states of deliveries (§2.8.14, §3.4).

use bytes::BytesMut;

use super::decode::{DecodeError, Reader};
use super::encode::{EncodeError, FieldsOut, Names};
use super::fields::{Field, Name};
use super::value::{Entries, Value};

/// The conditions of errors that are said here.
pub mod condition {
    /// The connection is closed by an operator (§2.8.16).
    pub const CONNECTION_FORCED: &str = "amqp:connection:forced";
    /// Bytes that are no frame (§2.8.16).
    pub const FRAMING_ERROR: &str = "amqp:connection:framing-error";
    /// Bytes that are a frame but not what they should be (§2.8.15).
    pub const DECODE_ERROR: &str = "amqp:decode-error";
    /// Something went wrong here (§2.8.15).
    pub const INTERNAL_ERROR: &str = "amqp:internal-error";
    /// A field has a value that is not taken (§2.8.15).
    pub const INVALID_FIELD: &str = "amqp:invalid-field";
    /// The client asks for what it must not have (§2.8.15).
    pub const NOT_ALLOWED: &str = "amqp:not-allowed";
    /// Nothing has this address (§2.8.15).
    pub const NOT_FOUND: &str = "amqp:not-found";
    /// This is not done here (§2.8.15).
    pub const NOT_IMPLEMENTED: &str = "amqp:not-implemented";
    /// Something else must come first (§2.8.15).
    pub const PRECONDITION_FAILED: &str = "amqp:precondition-failed";
    /// More than the peer may have (§2.8.15).
    pub const RESOURCE_LIMIT_EXCEEDED: &str = "amqp:resource-limit-exceeded";
    /// The client has not proved that it may (§2.8.15).
    pub const UNAUTHORIZED_ACCESS: &str = "amqp:unauthorized-access";
    /// A handle that no link has (§2.8.17).
    pub const UNATTACHED_HANDLE: &str = "amqp:session:unattached-handle";
    /// A handle that a link has already (§2.8.17).
    pub const HANDLE_IN_USE: &str = "amqp:session:handle-in-use";
    /// More transfers than the session's window (§2.8.17).
    pub const WINDOW_VIOLATION: &str = "amqp:session:window-violation";
    /// The server gave the link up for a while; the client may attach again.
    pub const DETACH_FORCED: &str = "amqp:link:detach-forced";
    /// More deliveries than the link's credit (§2.8.18).
    pub const TRANSFER_LIMIT_EXCEEDED: &str = "amqp:link:transfer-limit-exceeded";
    /// A message longer than the link takes (§2.8.18).
    pub const MESSAGE_SIZE_EXCEEDED: &str = "amqp:link:message-size-exceeded";
}

/// Why something was refused or ended.
#[derive(Debug, Clone, PartialEq)]
pub struct AmqpError {
    /// One of [`condition`], or one that Azure made up.
    pub condition: String,
    /// For people; Azure puts JSON here.
    pub description: Option<String>,
    /// More of it.
    pub details: Entries,
}

impl AmqpError {
    /// An error with a description.
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

/// How a delivery stands, as its receiver sees it.
#[derive(Debug, Clone, PartialEq)]
pub enum DeliveryState {
    /// It was taken.
    Accepted,
    /// It was not taken, but may be taken when it comes again.
    Modified {
        /// The failed delivery counts.
        delivery_failed: bool,
        /// It shall not come to this receiver again.
        undeliverable_here: bool,
    },
    /// A part has arrived.
    Received {
        /// The section that is being received.
        section: u32,
        /// Bytes of it.
        offset: u64,
    },
    /// It is invalid.
    Rejected(Option<AmqpError>),
    /// It was not looked at.
    Released,
}

impl DeliveryState {
    /// Whether the receiver is done with it (§3.4).
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
