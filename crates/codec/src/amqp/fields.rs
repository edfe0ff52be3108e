//! Composite values (§1.4): lists with typed fields.

use bytes::Bytes;

use super::{
    decode::{DecodeError, Reader},
    value::{Entries, Value},
};

/// The fields of a composite value, in order. Absent trailing fields count as null (§1.4).
pub(super) struct Fields<'a> {
    count: usize,
    reader: Reader<'a>,
}

impl<'a> Fields<'a> {
    pub(super) fn new(count: usize, reader: Reader<'a>) -> Fields<'a> {
        Fields { count, reader }
    }

    /// Reads the next field; `None` if it is null or absent.
    pub(super) fn next<T: Field>(&mut self) -> Result<Option<T>, DecodeError> {
        match self.present()? {
            Some(reader) => T::read(reader).map(Some),
            None => Ok(None),
        }
    }

    /// Reads the next field, which is mandatory.
    pub(super) fn required<T: Field>(&mut self, name: &'static str) -> Result<T, DecodeError> {
        self.next()?.ok_or(DecodeError::Missing(name))
    }

    /// Reads the next field, or returns its default.
    pub(super) fn or<T: Field>(&mut self, absent: T) -> Result<T, DecodeError> {
        Ok(self.next()?.unwrap_or(absent))
    }

    /// Skips fields.
    pub(super) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        for _ in 0..count {
            if let Some(reader) = self.present()? {
                reader.skip()?;
            }
        }
        Ok(())
    }

    /// Checks that all fields were read.
    pub(super) fn end(self) -> Result<(), DecodeError> {
        if self.count == 0 && self.reader.is_empty() { Ok(()) } else { Err(DecodeError::Count) }
    }

    fn present(&mut self) -> Result<Option<&mut Reader<'a>>, DecodeError> {
        if self.count == 0 {
            return Ok(None);
        }
        self.count -= 1;
        Ok(if self.reader.null() { None } else { Some(&mut self.reader) })
    }
}

/// A type of fields.
pub(super) trait Field: Sized {
    /// Reads a value that is not null.
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

/// Implements [`Field`] for a simple type.
macro_rules! simple_field {
    ($($type:ty = $variant:ident),* $(,)?) => {$(
        impl Field for $type {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let code = reader.byte()?;
                match reader.simple(code)? {
                    Value::$variant(value) => Ok(value),
                    _ => Err(DecodeError::Code(code)),
                }
            }
        }
    )*};
}

simple_field!(
    bool = Bool,
    u8 = UByte,
    u16 = UShort,
    u32 = UInt,
    u64 = ULong,
    String = String,
    Bytes = Binary,
);

impl Field for Value {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.value()
    }
}

impl Field for Entries {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.entries()
    }
}

/// A field of type symbol. Strings are accepted, too: some clients send them.
pub(super) struct Name(pub(super) String);

impl Field for Name {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = reader.byte()?;
        match reader.simple(code)? {
            Value::Symbol(text) | Value::String(text) => Ok(Name(text)),
            _ => Err(DecodeError::Code(code)),
        }
    }
}

/// A point in time, in milliseconds since 1970.
pub(super) struct Millis(pub(super) i64);

impl Field for Millis {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let code = reader.byte()?;
        match reader.simple(code)? {
            Value::Timestamp(millis) => Ok(Millis(millis)),
            _ => Err(DecodeError::Code(code)),
        }
    }
}
