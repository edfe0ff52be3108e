//! The values that AMQP carries (§1.6).

use bytes::Bytes;

/// Any AMQP value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Up to 4,096 values of one simple type.
    Array(Vec<Value>),
    /// Bytes.
    Binary(Bytes),
    /// True or false.
    Bool(bool),
    /// 8 bits, signed.
    Byte(i8),
    /// A Unicode character.
    Char(char),
    /// A decimal number of 4, 8 or 16 bytes, as it stands on the wire.
    Decimal(Bytes),
    /// A value with a descriptor.
    Described(Box<(Value, Value)>),
    /// IEEE 754, 64 bits.
    Double(f64),
    /// IEEE 754, 32 bits.
    Float(f32),
    /// 32 bits, signed.
    Int(i32),
    /// Values in order.
    List(Vec<Value>),
    /// 64 bits, signed.
    Long(i64),
    /// Pairs in order; keys are not checked to be different.
    Map(Vec<(Value, Value)>),
    /// Nothing.
    Null,
    /// 16 bits, signed.
    Short(i16),
    /// Text.
    String(String),
    /// A name out of a restricted set; ASCII.
    Symbol(String),
    /// Milliseconds since 1970, UTC.
    Timestamp(i64),
    /// 8 bits.
    UByte(u8),
    /// 32 bits.
    UInt(u32),
    /// 64 bits.
    ULong(u64),
    /// 16 bits.
    UShort(u16),
    /// RFC 4122, in network order.
    Uuid([u8; 16]),
}

impl Value {
    /// A name as a symbol; one that is not ASCII as a string, in which form alone it can have come.
    pub(super) fn name(name: &str) -> Value {
        if name.is_ascii() { Value::Symbol(name.to_owned()) } else { Value::String(name.to_owned()) }
    }

    /// The text of a string or symbol.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) | Value::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// The number, whatever its width, or the number that a text spells: clients differ in what they send.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Byte(number) => Some((*number).into()),
            Value::Short(number) => Some((*number).into()),
            Value::Int(number) => Some((*number).into()),
            Value::Long(number) => Some(*number),
            Value::UByte(number) => Some((*number).into()),
            Value::UShort(number) => Some((*number).into()),
            Value::UInt(number) => Some((*number).into()),
            Value::ULong(number) => i64::try_from(*number).ok(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::String(text)
    }
}

/// A map from names to values, in the order of the wire: annotations, application properties, a link's properties and
/// an error's details. Whether the names are strings or symbols on the wire follows from where the map stands.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Entries(Vec<(String, Value)>);

impl Entries {
    /// Without entries.
    pub const fn new() -> Entries {
        Entries(Vec::new())
    }

    /// The value of the first entry with this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The text of the first entry with this name, when it is a string or symbol.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_text)
    }

    /// With one more entry.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Entries {
        self.insert(name, value);
        self
    }

    /// Adds an entry at the end.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl FromIterator<(String, Value)> for Entries {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Entries {
        Entries(entries.into_iter().collect())
    }
}
