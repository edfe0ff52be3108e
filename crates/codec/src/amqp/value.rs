//! AMQP values (§1.6).

use bytes::Bytes;

/// Any AMQP value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An array of up to 4,096 values of one simple type.
    Array(Vec<Value>),
    /// Bytes.
    Binary(Bytes),
    /// A boolean.
    Bool(bool),
    /// An 8-bit signed integer.
    Byte(i8),
    /// A Unicode character.
    Char(char),
    /// A decimal number of 4, 8 or 16 bytes, in its encoded form.
    Decimal(Bytes),
    /// A value with a descriptor (§1.1.2).
    Described(Box<(Value, Value)>),
    /// A 64-bit IEEE 754 number.
    Double(f64),
    /// A 32-bit IEEE 754 number.
    Float(f32),
    /// A 32-bit signed integer.
    Int(i32),
    /// A list.
    List(Vec<Value>),
    /// A 64-bit signed integer.
    Long(i64),
    /// A map, in order; keys may repeat.
    Map(Vec<(Value, Value)>),
    /// The absent value.
    Null,
    /// A 16-bit signed integer.
    Short(i16),
    /// Text.
    String(String),
    /// A symbol: ASCII text out of a restricted set.
    Symbol(String),
    /// A point in time, in milliseconds since 1970, UTC.
    Timestamp(i64),
    /// An 8-bit unsigned integer.
    UByte(u8),
    /// A 32-bit unsigned integer.
    UInt(u32),
    /// A 64-bit unsigned integer.
    ULong(u64),
    /// A 16-bit unsigned integer.
    UShort(u16),
    /// A UUID (RFC 4122) in network byte order.
    Uuid([u8; 16]),
}

impl Value {
    /// Returns a name as a symbol, or as a string if it is not ASCII.
    pub(super) fn name(name: &str) -> Value {
        if name.is_ascii() { Value::Symbol(name.to_owned()) } else { Value::String(name.to_owned()) }
    }

    /// Returns the text of a string or symbol.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::String(text) | Value::Symbol(text) => Some(text),
            _ => None,
        }
    }

    /// Returns an integer of any width, or the integer that a text spells: clients differ in the type they send.
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
    /// Creates an empty map.
    pub const fn new() -> Entries {
        Entries(Vec::new())
    }

    /// Returns the value of the first entry with this name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns the text of the first entry with this name, if it is a string or symbol.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_text)
    }

    /// Returns the map with one more entry.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Entries {
        self.insert(name, value);
        self
    }

    /// Appends an entry.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.push((name.into(), value.into()));
    }

    /// Returns whether the map is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl FromIterator<(String, Value)> for Entries {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(entries: I) -> Entries {
        Entries(entries.into_iter().collect())
    }
}
