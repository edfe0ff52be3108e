//! Frames of the SASL layer (§5.3.3).

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{
    decode::{DecodeError, Reader},
    encode::{EncodeError, FieldsOut},
    fields::{Fields, Name},
    value::Value,
};

/// A frame of the SASL negotiation.
#[derive(Clone, PartialEq, Eq)]
pub enum SaslFrame {
    /// The server's challenge.
    Challenge(Bytes),
    /// The client's choice of a mechanism.
    Init(SaslInit),
    /// The mechanisms that the server offers, in its order of preference.
    Mechanisms(Vec<String>),
    /// The outcome of the negotiation.
    Outcome(SaslCode),
    /// The client's response to a challenge.
    Response(Bytes),
}

/// A client's choice of a mechanism.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslInit {
    /// The name of the mechanism.
    pub mechanism: String,
    /// The initial response.
    pub initial_response: Option<Bytes>,
    /// The host name that the client addresses. SDKs send other things here, too.
    pub hostname: Option<String>,
}

/// The outcome of the negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SaslCode {
    /// The client is authenticated.
    Ok = 0,
    /// Authentication failed.
    Auth = 1,
    /// The server failed.
    System = 2,
    /// The server failed, and a retry will not help.
    SystemPermanent = 3,
    /// The server failed temporarily.
    SystemTemporary = 4,
}

impl SaslFrame {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<SaslFrame, DecodeError> {
        let descriptor = reader.descriptor()?;
        let mut fields = reader.list()?;
        let frame = match u8::try_from(descriptor) {
            Ok(MECHANISMS) => SaslFrame::Mechanisms(names(&mut fields)?),
            Ok(INIT) => {
                let Name(mechanism) = fields.required("mechanism")?;
                SaslFrame::Init(SaslInit {
                    mechanism,
                    initial_response: fields.next()?,
                    hostname: fields.next()?,
                })
            }
            Ok(CHALLENGE) => SaslFrame::Challenge(fields.required("challenge")?),
            Ok(RESPONSE) => SaslFrame::Response(fields.required("response")?),
            Ok(OUTCOME) => {
                let code = SaslCode::from_byte(fields.required("code")?)?;
                fields.skip(1)?; // additional-data
                SaslFrame::Outcome(code)
            }
            _ => return Err(DecodeError::Descriptor),
        };
        fields.end()?;
        Ok(frame)
    }

    pub(super) fn put(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        let mut fields = FieldsOut::new();
        let descriptor = match self {
            SaslFrame::Mechanisms(names) => {
                let names = names.iter().map(|name| Value::Symbol(name.clone()));
                fields.put(Some(Value::Array(names.collect())))?;
                MECHANISMS
            }
            SaslFrame::Init(init) => {
                fields.put(Some(Value::name(&init.mechanism)))?;
                fields.put(init.initial_response.clone())?.put(init.hostname.as_deref())?;
                INIT
            }
            SaslFrame::Challenge(bytes) => {
                fields.put(Some(bytes.clone()))?;
                CHALLENGE
            }
            SaslFrame::Response(bytes) => {
                fields.put(Some(bytes.clone()))?;
                RESPONSE
            }
            SaslFrame::Outcome(code) => {
                fields.put(Some(*code as u8))?;
                OUTCOME
            }
        };
        fields.finish(descriptor, out)
    }
}

/// Reads a field of several symbols. A single symbol may stand without an array (§1.4).
fn names(fields: &mut Fields<'_>) -> Result<Vec<String>, DecodeError> {
    let values = match fields.required("sasl-server-mechanisms")? {
        Value::Array(values) => values,
        value => vec![value],
    };
    let name = |value| match value {
        Value::Symbol(name) => Ok(name),
        _ => Err(DecodeError::ArrayOf),
    };
    values.into_iter().map(name).collect()
}

impl SaslCode {
    fn from_byte(byte: u8) -> Result<SaslCode, DecodeError> {
        Ok(match byte {
            0 => SaslCode::Ok,
            1 => SaslCode::Auth,
            2 => SaslCode::System,
            3 => SaslCode::SystemPermanent,
            4 => SaslCode::SystemTemporary,
            _ => return Err(DecodeError::Range("SASL code")),
        })
    }
}

/// Hides the initial response, which holds a password or a token.
impl fmt::Debug for SaslInit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SaslInit")
            .field("mechanism", &self.mechanism)
            .field("initial_response", &self.initial_response.as_ref().map(|_| "(hidden)"))
            .field("hostname", &self.hostname)
            .finish()
    }
}

/// Hides challenges and responses.
impl fmt::Debug for SaslFrame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaslFrame::Challenge(_) => formatter.write_str("Challenge(hidden)"),
            SaslFrame::Init(init) => init.fmt(formatter),
            SaslFrame::Mechanisms(names) => formatter.debug_tuple("Mechanisms").field(names).finish(),
            SaslFrame::Outcome(code) => formatter.debug_tuple("Outcome").field(code).finish(),
            SaslFrame::Response(_) => formatter.write_str("Response(hidden)"),
        }
    }
}

const MECHANISMS: u8 = 0x40;
const INIT: u8 = 0x41;
const CHALLENGE: u8 = 0x42;
const RESPONSE: u8 = 0x43;
const OUTCOME: u8 = 0x44;
