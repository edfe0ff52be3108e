//! Decodes values.

use bytes::Bytes;

use super::{
    code,
    fields::Fields,
    value::{Entries, Value},
};

/// The reasons why bytes are not a valid AMQP frame or message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The elements of an array are compound, or of an encoding without bytes.
    #[error("an array of values that are not taken")]
    ArrayOf,
    /// The type code is unknown, or not allowed at this place.
    #[error("type code {0:#04x} is unknown or out of place")]
    Code(u8),
    /// The count or size of a list or map does not fit its content.
    #[error("a list or map of the wrong size")]
    Count,
    /// Values are nested deeper than the limit of 8.
    #[error("values are nested too deep")]
    Depth,
    /// The descriptor is unknown, or not allowed at this place.
    #[error("unknown descriptor, or one out of place")]
    Descriptor,
    /// The frame's data offset or type is wrong (§2.3.1).
    #[error("malformed frame header")]
    FrameHeader,
    /// A mandatory field is missing.
    #[error("the field {0:?} is missing")]
    Missing(&'static str),
    /// A string is not UTF-8, or a symbol not ASCII.
    #[error("a string is not UTF-8, or a symbol not ASCII")]
    NotText,
    /// The first bytes are not a known protocol header (§2.2).
    #[error("not the header of AMQP 1.0.0 or its SASL layer")]
    Protocol,
    /// A message's sections are out of order (§3.2).
    #[error("a message section out of order")]
    Section,
    /// The frame exceeds the maximum frame size.
    #[error("frame of {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The announced size in bytes.
        size: usize,
        /// The maximum in bytes.
        limit: usize,
    },
    /// A frame or section holds more than 4,096 values.
    #[error("too many values")]
    TooMany,
    /// Bytes follow the content of the frame.
    #[error("trailing bytes")]
    TrailingBytes,
    /// The content exceeds the frame.
    #[error("a value is longer than the frame")]
    Truncated,
    /// A number is out of the range of its field.
    #[error("{0} out of range")]
    Range(&'static str),
}

/// Reads values from a slice, which it consumes.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    depth: u8,
    /// The number of values that may still be built.
    budget: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, depth: 0, budget: MAX_VALUES }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Takes the rest of the slice.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.bytes)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    /// Reads a length or a count of one or four bytes.
    fn length(&mut self, width: Width) -> Result<usize, DecodeError> {
        match width {
            Width::One => self.byte().map(usize::from),
            Width::Four => {
                let length = u32::from_be_bytes(self.fixed()?);
                usize::try_from(length).map_err(|_| DecodeError::Truncated)
            }
        }
    }

    fn variable(&mut self, width: Width) -> Result<&'a [u8], DecodeError> {
        let length = self.length(width)?;
        self.take(length)
    }

    /// Consumes the next value if it is null, and returns whether it was.
    pub(super) fn null(&mut self) -> bool {
        let null = self.bytes.first() == Some(&code::NULL);
        if null {
            self.bytes = &self.bytes[1..];
        }
        null
    }

    /// Reads the descriptor of a described value, in its numeric form: no implementation tried sends the symbolic one. The
    /// value follows.
    pub(super) fn descriptor(&mut self) -> Result<u64, DecodeError> {
        if self.byte()? != code::DESCRIBED {
            return Err(DecodeError::Descriptor);
        }
        let code = self.byte()?;
        match self.simple(code) {
            Ok(Value::ULong(descriptor)) => Ok(descriptor),
            _ => Err(DecodeError::Descriptor),
        }
    }

    /// Reads a list as the fields of a composite value.
    pub(super) fn list(&mut self) -> Result<Fields<'a>, DecodeError> {
        let code = self.byte()?;
        let (count, content) = self.compound(code, [code::LIST0, code::LIST8, code::LIST32])?;
        Ok(Fields::new(count, content))
    }

    /// Reads the count and the content of a compound value. An element takes at least one byte, which bounds the count by the
    /// length of the content.
    fn compound(
        &mut self,
        code: u8,
        [empty, short, long]: [u8; 3],
    ) -> Result<(usize, Reader<'a>), DecodeError> {
        if code == empty {
            return Ok((0, self.within(&[])?));
        }
        let width = match code {
            _ if code == short => Width::One,
            _ if code == long => Width::Four,
            _ => return Err(DecodeError::Code(code)),
        };
        let mut content = Reader { bytes: self.variable(width)?, depth: self.depth, budget: self.budget };
        let count = content.length(width).map_err(|_| DecodeError::Count)?;
        if count > content.bytes.len() {
            return Err(DecodeError::Count);
        }
        Ok((count, self.within(content.bytes)?))
    }

    fn within(&self, bytes: &'a [u8]) -> Result<Reader<'a>, DecodeError> {
        if self.depth >= MAX_DEPTH {
            return Err(DecodeError::Depth);
        }
        Ok(Reader { bytes, depth: self.depth + 1, budget: self.budget })
    }

    /// Skips one value. A described value counts as two values, which avoids recursion.
    pub(super) fn skip(&mut self) -> Result<(), DecodeError> {
        let mut pending = 1usize;
        while pending > 0 {
            let code = self.byte()?;
            match code >> 4 {
                0x0 if code == code::DESCRIBED => pending += 2,
                0x4 => {}
                0x5 => drop(self.take(1)?),
                0x6 => drop(self.take(2)?),
                0x7 => drop(self.take(4)?),
                0x8 => drop(self.take(8)?),
                0x9 => drop(self.take(16)?),
                0xa | 0xc | 0xe => drop(self.variable(Width::One)?),
                0xb | 0xd | 0xf => drop(self.variable(Width::Four)?),
                _ => return Err(DecodeError::Code(code)),
            }
            pending -= 1;
        }
        Ok(())
    }

    /// Reads a map whose keys are names. Drops entries with other keys: annotations may have numbers.
    pub(super) fn entries(&mut self) -> Result<Entries, DecodeError> {
        if self.null() {
            return Ok(Entries::new());
        }
        let code = self.byte()?;
        let mut entries = Entries::new();
        for (key, value) in self.pairs(code)? {
            if let Value::String(name) | Value::Symbol(name) = key {
                entries.insert(name, value);
            }
        }
        Ok(entries)
    }

    fn pairs(&mut self, code: u8) -> Result<Vec<(Value, Value)>, DecodeError> {
        // Maps have no encoding for "empty"; LIST0 is a list.
        if code == code::LIST0 {
            return Err(DecodeError::Code(code));
        }
        let (count, mut content) = self.compound(code, [code::LIST0, code::MAP8, code::MAP32])?;
        if count % 2 != 0 {
            return Err(DecodeError::Count);
        }
        let mut pairs = Vec::new();
        for _ in 0..count / 2 {
            pairs.push((content.value()?, content.value()?));
        }
        self.finish(content)?;
        Ok(pairs)
    }

    /// Ends a compound value: checks that its content was read to the end, and charges the values built.
    fn finish(&mut self, content: Reader<'_>) -> Result<(), DecodeError> {
        self.budget = content.budget;
        if content.is_empty() { Ok(()) } else { Err(DecodeError::Count) }
    }

    /// Reads any value.
    pub(super) fn value(&mut self) -> Result<Value, DecodeError> {
        self.budget = self.budget.checked_sub(1).ok_or(DecodeError::TooMany)?;
        let code = self.byte()?;
        match code {
            code::DESCRIBED => self.described(),
            code::LIST0 | code::LIST8 | code::LIST32 => {
                let (count, mut content) = self.compound(code, [code::LIST0, code::LIST8, code::LIST32])?;
                let mut values = Vec::new();
                for _ in 0..count {
                    values.push(content.value()?);
                }
                self.finish(content)?;
                Ok(Value::List(values))
            }
            code::MAP8 | code::MAP32 => self.pairs(code).map(Value::Map),
            code::ARRAY8 | code::ARRAY32 => self.array(code).map(Value::Array),
            _ => self.simple(code),
        }
    }

    fn described(&mut self) -> Result<Value, DecodeError> {
        let mut content = self.within(self.bytes)?;
        let described = (content.value()?, content.value()?);
        (self.bytes, self.budget) = (content.bytes, content.budget);
        Ok(Value::Described(Box::new(described)))
    }

    /// Reads the elements of an array, which share one type code (§1.6.25).
    fn array(&mut self, code: u8) -> Result<Vec<Value>, DecodeError> {
        let (count, mut content) = self.compound(code, [code::LIST0, code::ARRAY8, code::ARRAY32])?;
        let element = content.byte().map_err(|_| DecodeError::Count)?;
        if count > 0 && matches!(element >> 4, 0x0 | 0x4 | 0xc..=0xf) {
            return Err(DecodeError::ArrayOf);
        }
        let mut values = Vec::new();
        for _ in 0..count {
            content.budget = content.budget.checked_sub(1).ok_or(DecodeError::TooMany)?;
            values.push(content.simple(element)?);
        }
        self.finish(content)?;
        Ok(values)
    }

    /// Reads a value that contains no other values.
    pub(super) fn simple(&mut self, code: u8) -> Result<Value, DecodeError> {
        Ok(match code {
            code::NULL => Value::Null,
            code::TRUE => Value::Bool(true),
            code::FALSE => Value::Bool(false),
            code::BOOL => Value::Bool(boolean(self.byte()?)?),
            code::UBYTE => Value::UByte(self.byte()?),
            code::USHORT => Value::UShort(u16::from_be_bytes(self.fixed()?)),
            code::UINT => Value::UInt(u32::from_be_bytes(self.fixed()?)),
            code::SMALL_UINT => Value::UInt(self.byte()?.into()),
            code::UINT0 => Value::UInt(0),
            code::ULONG => Value::ULong(u64::from_be_bytes(self.fixed()?)),
            code::SMALL_ULONG => Value::ULong(self.byte()?.into()),
            code::ULONG0 => Value::ULong(0),
            code::BYTE => Value::Byte(i8::from_be_bytes(self.fixed()?)),
            code::SHORT => Value::Short(i16::from_be_bytes(self.fixed()?)),
            code::INT => Value::Int(i32::from_be_bytes(self.fixed()?)),
            code::SMALL_INT => Value::Int(i8::from_be_bytes(self.fixed()?).into()),
            code::LONG => Value::Long(i64::from_be_bytes(self.fixed()?)),
            code::SMALL_LONG => Value::Long(i8::from_be_bytes(self.fixed()?).into()),
            code::FLOAT => Value::Float(f32::from_be_bytes(self.fixed()?)),
            code::DOUBLE => Value::Double(f64::from_be_bytes(self.fixed()?)),
            code::DECIMAL32 => Value::Decimal(Bytes::copy_from_slice(self.take(4)?)),
            code::DECIMAL64 => Value::Decimal(Bytes::copy_from_slice(self.take(8)?)),
            code::DECIMAL128 => Value::Decimal(Bytes::copy_from_slice(self.take(16)?)),
            code::CHAR => {
                let scalar = u32::from_be_bytes(self.fixed()?);
                Value::Char(char::from_u32(scalar).ok_or(DecodeError::NotText)?)
            }
            code::TIMESTAMP => Value::Timestamp(i64::from_be_bytes(self.fixed()?)),
            code::UUID => Value::Uuid(self.fixed()?),
            code::BINARY8 => Value::Binary(Bytes::copy_from_slice(self.variable(Width::One)?)),
            code::BINARY32 => Value::Binary(Bytes::copy_from_slice(self.variable(Width::Four)?)),
            code::STRING8 => Value::String(text(self.variable(Width::One)?)?),
            code::STRING32 => Value::String(text(self.variable(Width::Four)?)?),
            code::SYMBOL8 => Value::Symbol(symbol(self.variable(Width::One)?)?),
            code::SYMBOL32 => Value::Symbol(symbol(self.variable(Width::Four)?)?),
            _ => return Err(DecodeError::Code(code)),
        })
    }
}

fn boolean(byte: u8) -> Result<bool, DecodeError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Range("boolean")),
    }
}

fn text(bytes: &[u8]) -> Result<String, DecodeError> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| DecodeError::NotText)
}

fn symbol(bytes: &[u8]) -> Result<String, DecodeError> {
    if bytes.is_ascii() { text(bytes) } else { Err(DecodeError::NotText) }
}

#[derive(Clone, Copy)]
enum Width {
    One,
    Four,
}

/// The maximum depth of nested values; SDKs send at most 4.
const MAX_DEPTH: u8 = 8;

/// The maximum number of values in one frame or message section. A value takes up to 32 times its encoded size in memory.
const MAX_VALUES: usize = 4096;
