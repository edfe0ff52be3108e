//! Encodes values.

use bytes::{BufMut, BytesMut};

use super::{
    code,
    value::{Entries, Value},
};

/// The reasons why a value or frame cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The elements of an array are compound, or of several types.
    #[error("an array of different or compound values")]
    Array,
    /// The length of a decimal number is not 4, 8 or 16 bytes.
    #[error("a decimal number of a width that there is not")]
    Decimal,
    /// The frame exceeds the receiver's maximum frame size.
    #[error("frame of {size} bytes, the receiver takes {limit}")]
    FrameTooLarge {
        /// The size of the frame in bytes.
        size: usize,
        /// The receiver's maximum in bytes.
        limit: usize,
    },
    /// A symbol that is not ASCII.
    #[error("a symbol that is not ASCII")]
    Symbol,
    /// A value or frame exceeds 4 GiB.
    #[error("longer than AMQP allows")]
    TooLarge,
}

/// Appends a value.
pub(super) fn put_value(value: &Value, out: &mut BytesMut) -> Result<(), EncodeError> {
    match value {
        Value::Array(values) => put_array(values, out),
        Value::Described(described) => {
            out.put_u8(code::DESCRIBED);
            put_value(&described.0, out)?;
            put_value(&described.1, out)
        }
        Value::List(values) if values.is_empty() => {
            out.put_u8(code::LIST0);
            Ok(())
        }
        Value::List(values) => {
            let mut content = BytesMut::new();
            values.iter().try_for_each(|value| put_value(value, &mut content))?;
            put_compound([code::LIST8, code::LIST32], values.len(), &content, out)
        }
        Value::Map(pairs) => {
            let mut content = BytesMut::new();
            for (key, value) in pairs {
                put_value(key, &mut content)?;
                put_value(value, &mut content)?;
            }
            put_compound([code::MAP8, code::MAP32], pairs.len() * 2, &content, out)
        }
        simple => match short_form(simple) {
            Some((code, bytes)) => {
                out.put_u8(code);
                out.put_slice(&bytes);
                Ok(())
            }
            None => {
                out.put_u8(array_code(simple)?);
                put_content(simple, out)
            }
        },
    }
}

/// Returns the code and the content of the short encoding, for values that have one.
fn short_form(value: &Value) -> Option<(u8, Vec<u8>)> {
    let short = |code, byte: u8| Some((code, vec![byte]));
    match value {
        Value::Null => Some((code::NULL, Vec::new())),
        Value::Bool(true) => Some((code::TRUE, Vec::new())),
        Value::Bool(false) => Some((code::FALSE, Vec::new())),
        Value::UInt(0) => Some((code::UINT0, Vec::new())),
        Value::ULong(0) => Some((code::ULONG0, Vec::new())),
        Value::UInt(number) => short(code::SMALL_UINT, u8::try_from(*number).ok()?),
        Value::ULong(number) => short(code::SMALL_ULONG, u8::try_from(*number).ok()?),
        Value::Int(number) => short(code::SMALL_INT, i8::try_from(*number).ok()?.to_be_bytes()[0]),
        Value::Long(number) => short(code::SMALL_LONG, i8::try_from(*number).ok()?.to_be_bytes()[0]),
        Value::Binary(bytes) => short_variable(code::BINARY8, bytes),
        Value::String(text) => short_variable(code::STRING8, text.as_bytes()),
        Value::Symbol(text) if text.is_ascii() => short_variable(code::SYMBOL8, text.as_bytes()),
        _ => None,
    }
}

fn short_variable(code: u8, bytes: &[u8]) -> Option<(u8, Vec<u8>)> {
    let length = u8::try_from(bytes.len()).ok()?;
    let mut content = Vec::with_capacity(bytes.len() + 1);
    content.push(length);
    content.extend_from_slice(bytes);
    Some((code, content))
}

/// Appends an array. All elements use the one encoding of their type that holds every value of it.
fn put_array(values: &[Value], out: &mut BytesMut) -> Result<(), EncodeError> {
    let element = values.first().map_or(Ok(code::NULL), array_code)?;
    let mut content = BytesMut::new();
    content.put_u8(element);
    for value in values {
        if array_code(value)? != element {
            return Err(EncodeError::Array);
        }
        put_content(value, &mut content)?;
    }
    put_compound([code::ARRAY8, code::ARRAY32], values.len(), &content, out)
}

/// Returns the code of the encoding that holds every value of the type.
fn array_code(value: &Value) -> Result<u8, EncodeError> {
    Ok(match value {
        Value::Binary(_) => code::BINARY32,
        Value::Bool(_) => code::BOOL,
        Value::Byte(_) => code::BYTE,
        Value::Char(_) => code::CHAR,
        Value::Decimal(bytes) => match bytes.len() {
            4 => code::DECIMAL32,
            8 => code::DECIMAL64,
            16 => code::DECIMAL128,
            _ => return Err(EncodeError::Decimal),
        },
        Value::Double(_) => code::DOUBLE,
        Value::Float(_) => code::FLOAT,
        Value::Int(_) => code::INT,
        Value::Long(_) => code::LONG,
        Value::Short(_) => code::SHORT,
        Value::String(_) => code::STRING32,
        Value::Symbol(_) => code::SYMBOL32,
        Value::Timestamp(_) => code::TIMESTAMP,
        Value::UByte(_) => code::UBYTE,
        Value::UInt(_) => code::UINT,
        Value::ULong(_) => code::ULONG,
        Value::UShort(_) => code::USHORT,
        Value::Uuid(_) => code::UUID,
        Value::Array(_) | Value::Described(_) | Value::List(_) | Value::Map(_) | Value::Null => {
            return Err(EncodeError::Array);
        }
    })
}

/// Appends the content that follows the code of [`array_code`].
fn put_content(value: &Value, out: &mut BytesMut) -> Result<(), EncodeError> {
    match value {
        Value::Binary(bytes) => return put_variable(bytes, out),
        Value::String(text) => return put_variable(text.as_bytes(), out),
        Value::Symbol(text) if text.is_ascii() => return put_variable(text.as_bytes(), out),
        Value::Symbol(_) => return Err(EncodeError::Symbol),
        Value::Bool(truth) => out.put_u8(u8::from(*truth)),
        Value::Byte(number) => out.put_i8(*number),
        Value::Char(character) => out.put_u32(u32::from(*character)),
        Value::Decimal(bytes) => out.put_slice(bytes),
        Value::Double(number) => out.put_f64(*number),
        Value::Float(number) => out.put_f32(*number),
        Value::Int(number) => out.put_i32(*number),
        Value::Long(number) | Value::Timestamp(number) => out.put_i64(*number),
        Value::Short(number) => out.put_i16(*number),
        Value::UByte(number) => out.put_u8(*number),
        Value::UInt(number) => out.put_u32(*number),
        Value::ULong(number) => out.put_u64(*number),
        Value::UShort(number) => out.put_u16(*number),
        Value::Uuid(bytes) => out.put_slice(bytes),
        Value::Array(_) | Value::Described(_) | Value::List(_) | Value::Map(_) | Value::Null => {
            return Err(EncodeError::Array);
        }
    }
    Ok(())
}

fn put_variable(bytes: &[u8], out: &mut BytesMut) -> Result<(), EncodeError> {
    out.put_u32(u32::try_from(bytes.len()).map_err(|_| EncodeError::TooLarge)?);
    out.put_slice(bytes);
    Ok(())
}

fn put_compound(
    [short, long]: [u8; 2],
    count: usize,
    content: &[u8],
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    if let (Ok(count), Ok(size)) = (u8::try_from(count), u8::try_from(content.len() + 1)) {
        out.put_slice(&[short, size, count]);
    } else {
        out.put_u8(long);
        out.put_u32(u32::try_from(content.len() + 4).map_err(|_| EncodeError::TooLarge)?);
        out.put_u32(u32::try_from(count).map_err(|_| EncodeError::TooLarge)?);
    }
    out.put_slice(content);
    Ok(())
}

/// Appends a descriptor; the caller appends the value.
pub(super) fn put_descriptor(descriptor: u8, out: &mut BytesMut) {
    out.put_slice(&[code::DESCRIBED, code::SMALL_ULONG, descriptor]);
}

/// The encoding of a map's names.
#[derive(Clone, Copy)]
pub(super) enum Names {
    Strings,
    Symbols,
}

impl Names {
    /// Returns the map as a value.
    pub(super) fn map(self, entries: &Entries) -> Value {
        let name = |name: &str| match self {
            Names::Strings => Value::String(name.to_owned()),
            Names::Symbols => Value::name(name),
        };
        Value::Map(entries.iter().map(|(key, value)| (name(key), value.clone())).collect())
    }
}

/// Collects the fields of a composite value. Trailing nulls are omitted.
pub(super) struct FieldsOut {
    content: BytesMut,
    count: usize,
    /// Pending nulls, written only if another field follows.
    nulls: usize,
}

impl FieldsOut {
    pub(super) fn new() -> FieldsOut {
        FieldsOut { content: BytesMut::new(), count: 0, nulls: 0 }
    }

    /// Adds a field; `None` is null.
    pub(super) fn put(&mut self, value: Option<impl Into<Value>>) -> Result<&mut Self, EncodeError> {
        match value.map(Into::into) {
            None | Some(Value::Null) => self.nulls += 1,
            Some(value) => put_value(&value, self.present())?,
        }
        Ok(self)
    }

    /// Adds fields that this crate never sets, as nulls.
    pub(super) fn skip(&mut self, count: usize) -> &mut Self {
        self.nulls += count;
        self
    }

    /// Returns the buffer for the next field.
    pub(super) fn present(&mut self) -> &mut BytesMut {
        for _ in 0..self.nulls {
            self.content.put_u8(code::NULL);
        }
        self.count += self.nulls + 1;
        self.nulls = 0;
        &mut self.content
    }

    /// Appends the descriptor and the list of fields.
    pub(super) fn finish(&self, descriptor: u8, out: &mut BytesMut) -> Result<(), EncodeError> {
        put_descriptor(descriptor, out);
        if self.count == 0 {
            out.put_u8(code::LIST0);
            return Ok(());
        }
        put_compound([code::LIST8, code::LIST32], self.count, &self.content, out)
    }
}

/// Conversions of fields to values.
macro_rules! into_value {
    ($($type:ty = $variant:ident),* $(,)?) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value)
            }
        }
    )*};
}

into_value!(
    bool = Bool,
    i32 = Int,
    i64 = Long,
    u8 = UByte,
    u16 = UShort,
    u32 = UInt,
    u64 = ULong,
    bytes::Bytes = Binary,
);
