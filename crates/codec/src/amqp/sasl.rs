//! The frames of the SASL layer (§5.3.3).

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::decode::{DecodeError, Reader};
use super::encode::{EncodeError, FieldsOut};
use super::fields::{Fields, Name};
use super::value::Value;

/// What is said before the client is let in.
#[derive(Clone, PartialEq, Eq)]
pub enum SaslFrame {
    /// The server asks.
    Challenge(Bytes),
    /// The client chooses.
    Init(SaslInit),
    /// What the server offers, in its order of preference.
    Mechanisms(Vec<String>),
    /// The server's verdict.
    Outcome(SaslCode),
    /// The client answers.
    Response(Bytes),
}

/// The mechanism that a client chose.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslInit {
    /// Its name.
    pub mechanism: String,
    /// What the client says first.
    pub initial_response: Option<Bytes>,
    /// Whom the client means to speak to. SDKs put all kinds of things here.
    pub hostname: Option<String>,
}

/// The server's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SaslCode {
    /// Welcome.
    Ok = 0,
    /// The credentials are wrong.
    Auth = 1,
    /// The server fails.
    System = 2,
    /// The server fails, and will until someone mends it.
    SystemPermanent = 3,
    /// The server fails for the moment.
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

/// A field of several symbols may hold one of them without an array (§1.4).
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

/// Shows no response: it holds a password or a token.
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

/// Shows neither challenges nor responses.
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
