//! Messages (§3.2): the sections in the payload of a delivery.

use std::fmt;

use bytes::{Bytes, BytesMut};

use super::{
    decode::{DecodeError, Reader},
    encode::{EncodeError, FieldsOut, Names, put_descriptor, put_value},
    fields::{Field, Fields, Millis, Name},
    value::{Entries, Value},
};

/// A message. Header, delivery annotations and footer are skipped: they are for intermediaries.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// The message annotations, whose names are symbols.
    pub annotations: Entries,
    /// The properties that the standard defines.
    pub properties: Properties,
    /// The application properties.
    pub application: Entries,
    /// The body.
    pub body: Body,
}

/// The body of a message.
#[derive(Clone, Default, PartialEq)]
pub enum Body {
    /// No body section. The standard requires one; SDKs leave it out.
    #[default]
    Absent,
    /// One or more data sections.
    Data(Vec<Bytes>),
    /// One value section.
    Value(Value),
}

/// The properties of a message (§3.2.4).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties {
    /// The message ID.
    pub message_id: Option<MessageId>,
    /// The identity of the sender.
    pub user_id: Option<Bytes>,
    /// The address of the destination.
    pub to: Option<String>,
    /// The subject.
    pub subject: Option<String>,
    /// The address for replies.
    pub reply_to: Option<String>,
    /// The ID of the related message.
    pub correlation_id: Option<MessageId>,
    /// The media type of the data.
    pub content_type: Option<String>,
    /// The encoding of the data.
    pub content_encoding: Option<String>,
    /// The expiry time, in milliseconds since 1970.
    pub absolute_expiry_time_ms: Option<i64>,
    /// The creation time, in milliseconds since 1970.
    pub creation_time_ms: Option<i64>,
}

/// A message ID, in any of its four types (§3.2.11 to 14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageId {
    /// Bytes.
    Binary(Bytes),
    /// Text.
    String(String),
    /// A number.
    ULong(u64),
    /// RFC 4122, in network order.
    Uuid([u8; 16]),
}

impl Body {
    /// Creates a body with one data section.
    pub fn of(bytes: impl Into<Bytes>) -> Body {
        Body::Data(vec![bytes.into()])
    }

    /// Returns the bytes of all data sections, or of a string, symbol or binary value; `None` for other values.
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Body::Absent => Some(Bytes::new()),
            Body::Data(sections) => Some(match sections.as_slice() {
                [one] => one.clone(),
                several => several.concat().into(),
            }),
            Body::Value(Value::Binary(bytes)) => Some(bytes.clone()),
            Body::Value(value) => value.as_text().map(|text| Bytes::copy_from_slice(text.as_bytes())),
        }
    }
}

impl Message {
    /// Decodes the payload of a whole delivery. Sections must be in the standard's order; only data sections may repeat.
    pub fn decode(payload: &[u8]) -> Result<Message, DecodeError> {
        let mut message = Message::default();
        let mut reader = Reader::new(payload);
        let mut last = 0;
        while !reader.is_empty() {
            let descriptor = reader.descriptor()?;
            if descriptor < last || (descriptor == last && descriptor != u64::from(DATA)) {
                return Err(DecodeError::Section);
            }
            last = descriptor;
            match u8::try_from(descriptor) {
                Ok(HEADER | DELIVERY_ANNOTATIONS | FOOTER) => reader.skip()?,
                Ok(MESSAGE_ANNOTATIONS) => message.annotations = reader.entries()?,
                Ok(PROPERTIES) => message.properties = read_properties(reader.list()?)?,
                Ok(APPLICATION_PROPERTIES) => message.application = reader.entries()?,
                Ok(DATA) => message.body.push(Bytes::read(&mut reader)?),
                Ok(VALUE) if message.body == Body::Absent => {
                    message.body = Body::Value(reader.value()?);
                }
                _ => return Err(DecodeError::Descriptor),
            }
        }
        Ok(message)
    }

    /// Encodes the payload of a delivery. [`Message::decode`] returns an equal message, except for an absent body, which
    /// becomes an empty data section: the standard requires a body.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = BytesMut::new();
        put_entries(&self.annotations, Names::Symbols, MESSAGE_ANNOTATIONS, &mut out)?;
        if self.properties != Properties::default() {
            put_properties(&self.properties, &mut out)?;
        }
        put_entries(&self.application, Names::Strings, APPLICATION_PROPERTIES, &mut out)?;
        match &self.body {
            Body::Absent => put_data(&Bytes::new(), &mut out)?,
            Body::Data(sections) => sections.iter().try_for_each(|bytes| put_data(bytes, &mut out))?,
            Body::Value(value) => {
                put_descriptor(VALUE, &mut out);
                put_value(value, &mut out)?;
            }
        }
        Ok(out.freeze())
    }
}

impl Body {
    fn push(&mut self, bytes: Bytes) {
        match self {
            Body::Data(sections) => sections.push(bytes),
            Body::Absent | Body::Value(_) => *self = Body::of(bytes),
        }
    }
}

fn put_entries(
    entries: &Entries,
    names: Names,
    descriptor: u8,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if entries.is_empty() {
        return Ok(());
    }
    put_descriptor(descriptor, out);
    put_value(&names.map(entries), out)
}

fn put_data(bytes: &Bytes, out: &mut BytesMut) -> Result<(), EncodeError> {
    put_descriptor(DATA, out);
    put_value(&Value::Binary(bytes.clone()), out)
}

fn read_properties(mut fields: Fields<'_>) -> Result<Properties, DecodeError> {
    let name = |field: Option<Name>| field.map(|Name(name)| name);
    let millis = |field: Option<Millis>| field.map(|Millis(millis)| millis);
    let properties = Properties {
        message_id: fields.next()?,
        user_id: fields.next()?,
        to: fields.next()?,
        subject: fields.next()?,
        reply_to: fields.next()?,
        correlation_id: fields.next()?,
        content_type: name(fields.next()?),
        content_encoding: name(fields.next()?),
        absolute_expiry_time_ms: millis(fields.next()?),
        creation_time_ms: millis(fields.next()?),
    };
    fields.skip(3)?; // group-id, group-sequence, reply-to-group-id
    fields.end()?;
    Ok(properties)
}

fn put_properties(properties: &Properties, out: &mut BytesMut) -> Result<(), EncodeError> {
    let symbol = |name: &Option<String>| name.as_deref().map(Value::name);
    let id = |id: &Option<MessageId>| id.clone().map(MessageId::into_value);
    let mut fields = FieldsOut::new();
    fields.put(id(&properties.message_id))?.put(properties.user_id.clone())?;
    fields.put(properties.to.as_deref())?.put(properties.subject.as_deref())?;
    fields.put(properties.reply_to.as_deref())?.put(id(&properties.correlation_id))?;
    fields.put(symbol(&properties.content_type))?.put(symbol(&properties.content_encoding))?;
    fields.put(properties.absolute_expiry_time_ms.map(Value::Timestamp))?;
    fields.put(properties.creation_time_ms.map(Value::Timestamp))?;
    fields.finish(PROPERTIES, out)
}

impl MessageId {
    fn into_value(self) -> Value {
        match self {
            MessageId::Binary(bytes) => Value::Binary(bytes),
            MessageId::String(text) => Value::String(text),
            MessageId::ULong(number) => Value::ULong(number),
            MessageId::Uuid(bytes) => Value::Uuid(bytes),
        }
    }
}

impl Field for MessageId {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.value()? {
            Value::Binary(bytes) => Ok(MessageId::Binary(bytes)),
            Value::String(text) => Ok(MessageId::String(text)),
            Value::ULong(number) => Ok(MessageId::ULong(number)),
            Value::Uuid(bytes) => Ok(MessageId::Uuid(bytes)),
            _ => Err(DecodeError::Range("message-id")),
        }
    }
}

/// Shows only the length of data, which may contain keys, and hides values, which may be tokens.
impl fmt::Debug for Body {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Absent => formatter.write_str("Absent"),
            Body::Data(sections) => {
                write!(formatter, "Data({} bytes)", sections.iter().map(Bytes::len).sum::<usize>())
            }
            Body::Value(_) => formatter.write_str("Value(hidden)"),
        }
    }
}

const HEADER: u8 = 0x70;
const DELIVERY_ANNOTATIONS: u8 = 0x71;
const MESSAGE_ANNOTATIONS: u8 = 0x72;
const PROPERTIES: u8 = 0x73;
const APPLICATION_PROPERTIES: u8 = 0x74;
const DATA: u8 = 0x75;
const VALUE: u8 = 0x77;
const FOOTER: u8 = 0x78;
