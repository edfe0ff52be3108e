//! JSON as bytes: in ASCII for clients that decode it byte by byte, and with a byte order mark from editors that write one.

use std::fmt::Write;

/// Returns the same JSON value with every character that is not ASCII escaped as `\\uXXXX`. Such characters occur only
/// within strings. The SDK for Node decodes MQTT payloads as ASCII, and other characters crash its process.
pub fn ascii_json(json: Vec<u8>) -> Vec<u8> {
    if json.is_ascii() {
        return json;
    }
    let text = String::from_utf8_lossy(&json);
    let mut ascii = String::with_capacity(text.len() * 2);
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii.into_bytes()
}

/// Returns a JSON text without the byte order mark that editors on Windows write, and RFC 8259 §8.1 forbids.
pub fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn other_characters_are_escaped() {
        let text = json!({"ä": "10 °C, 😀"}).to_string();
        assert_eq!(ascii_json(text.into()), br#"{"\u00e4":"10 \u00b0C, \ud83d\ude00"}"#);
    }

    proptest! {
        #[test]
        fn escaping_preserves_the_value(name in ".{0,20}", text in ".{0,40}") {
            let value = json!({name: [text]});
            let ascii = ascii_json(value.to_string().into());
            prop_assert!(ascii.is_ascii());
            prop_assert_eq!(serde_json::from_slice::<Value>(&ascii).unwrap(), value);
        }
    }
}
