//! JSON text that is passed on unparsed.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

/// JSON that passes from a device to its webhook or back, kept as text. Clones share the text.
///
/// A tree of small numbers takes thirty times the length of its text. Nothing here reads the value, so it stays text, and a peer
/// can make it take no more memory than it sends. It was validated on receipt, so that it can be parsed when it is shown.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub struct RawJson(Arc<RawValue>);

impl RawJson {
    /// Accepts JSON text that can also be parsed as a value: no number is out of range, no surrogate is unpaired, and there are at
    /// most 127 levels. The error says what is wrong.
    pub fn new(raw: Box<RawValue>) -> Result<RawJson, String> {
        serde_json::from_str::<Readable>(raw.get()).map_err(|error| error.to_string())?;
        Ok(RawJson(Arc::from(compact(raw))))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        self.0.get()
    }

    /// Parses the value, which takes up to thirty times the memory of the text.
    pub fn to_value(&self) -> Value {
        // Text from the store was validated before it was written.
        serde_json::from_str(self.as_str()).unwrap_or_default()
    }
}

/// Compares the texts, without white space between tokens: a device that repeats a request sends the same text.
impl PartialEq for RawJson {
    fn eq(&self, other: &RawJson) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for RawJson {}

impl From<&Value> for RawJson {
    fn from(value: &Value) -> RawJson {
        // Serializing a value cannot fail.
        RawJson(
            serde_json::value::to_raw_value(value)
                .map_or_else(|_| Arc::from(RawValue::NULL.to_owned()), Arc::from),
        )
    }
}

impl<'de> Deserialize<'de> for RawJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| RawJson(Arc::from(compact(raw))))
    }
}

/// Removes white space between tokens.
fn compact(raw: Box<RawValue>) -> Box<RawValue> {
    let (mut in_string, mut is_escaped) = (false, false);
    let keep = |letter: &char| {
        let ends_escape = std::mem::take(&mut is_escaped);
        match letter {
            '"' if !ends_escape => in_string = !in_string,
            '\\' if in_string && !ends_escape => is_escaped = true,
            _ => {}
        }
        in_string || !matches!(letter, ' ' | '\t' | '\n' | '\r')
    };
    let text: String = raw.get().chars().filter(keep).collect();
    if text.len() == raw.get().len() { raw } else { RawValue::from_string(text).unwrap_or(raw) }
}

/// Validates JSON without keeping it.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Readable)
    }
}

impl<'de> Visitor<'de> for Readable {
    type Value = Readable;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Readable, A::Error> {
        while items.next_element::<Readable>()?.is_some() {}
        Ok(Readable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Readable, A::Error> {
        while members.next_entry::<Readable, Readable>()?.is_some() {}
        Ok(Readable)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<RawJson, String> {
        let raw: Box<RawValue> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        RawJson::new(raw)
    }

    #[test]
    fn what_cannot_be_read_as_a_value_is_refused() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for (text, is_taken) in [
            (r#"{"a":[1,-2,3.5,"é",null,true,{}]}"#, true),
            ("18446744073709551616", true),
            (r#""\ud83d\ude00""#, true),
            (r#""\ud800""#, false),
            (r#"{"\ud800":1}"#, false),
            ("1e999", false),
            (&deep(127), true),
            (&deep(128), false),
            (&deep(40_000), false),
            ("{", false),
        ] {
            let parsed = parse(text);
            assert_eq!(parsed.is_ok(), is_taken, "{text}");
            assert_eq!(serde_json::from_str::<Value>(text).is_ok(), is_taken, "{text}");
            if let Ok(raw) = parsed {
                assert_eq!(raw.to_value(), serde_json::from_str::<Value>(text).unwrap());
                assert_eq!(raw.as_str(), text);
            }
        }
    }

    #[test]
    fn white_space_makes_no_difference() {
        let spaced = " { \"a b\" :\t[ 1 , \"c \\\" d\\\\\" ]\r\n} ";
        assert_eq!(parse(spaced).unwrap().as_str(), r#"{"a b":[1,"c \" d\\"]}"#);
    }

    /// The text is all that is kept, and stored documents hold it as it is.
    #[test]
    fn costs_its_length_and_is_shared() {
        let text = format!("[{}1]", "1,".repeat(48 * 1024 - 2));
        let raw = parse(&text).unwrap();
        assert_eq!(size_of_val(&*raw.0), text.len());
        assert!(Arc::ptr_eq(&raw.0, &raw.clone().0));
        let stored = serde_json::to_vec(&raw).unwrap();
        assert_eq!(stored, text.as_bytes());
        assert_eq!(serde_json::from_slice::<RawJson>(&stored).unwrap(), raw);
    }

    proptest! {
        #[test]
        fn takes_just_what_can_be_read_as_a_value(text in "[\\[\\]{}\",:0-9eE.+\\-a-z\\\\u \n]{0,40}") {
            prop_assert_eq!(parse(&text).is_ok(), serde_json::from_str::<Value>(&text).is_ok(), "{}", text);
        }
    }
}
