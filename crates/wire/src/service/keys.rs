//! Replacement of symmetric keys, an addition of Muster.

use model::{KeySelection, KeySlot, KeyStanding};
use serde_json::{Value, json};

use super::members::{self, BodyError, Members};

const SELECTIONS: [(&str, KeySelection); 3] = [
    ("primary", KeySelection::One(KeySlot::Primary)),
    ("secondary", KeySelection::One(KeySlot::Secondary)),
    ("both", KeySelection::Both),
];

/// Parses the keys to replace: `{"keys": "primary" | "secondary" | "both"}`. There is no default, since a device can no
/// longer register with a replaced key.
pub fn parse_key_selection(body: &[u8]) -> Result<KeySelection, BodyError> {
    let body = members::parse_json(body)?;
    let body = Members::of_body(&body)?;
    body.required("keys", body.word("keys", &SELECTIONS)?)
}

/// Writes the key that a device used last: `{"slot": "primary" | "secondary", "isReplaced": false}`.
pub(super) fn key_standing_json(standing: KeyStanding) -> Value {
    let (slot, is_replaced) = match standing {
        KeyStanding::Current(slot) => (slot, false),
        KeyStanding::Replaced(slot) => (slot, true),
    };
    json!({"slot": slot.name(), "isReplaced": is_replaced})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_selections_are_parsed_and_required() {
        let read = |body: &str| parse_key_selection(body.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(read(r#"{"keys": "Primary"}"#), Ok(KeySelection::One(KeySlot::Primary)));
        assert_eq!(read(r#"{"keys": "secondary"}"#), Ok(KeySelection::One(KeySlot::Secondary)));
        assert_eq!(read(r#"{"keys": "both"}"#), Ok(KeySelection::Both));
        assert_eq!(read("{}"), Err("keys: is missing".to_owned()));
        assert_eq!(read(r#"{"keys": ""}"#), Err("keys: is missing".to_owned()));
        assert_eq!(
            read(r#"{"keys": "all"}"#),
            Err("keys: must be one of primary, secondary, both".to_owned())
        );
        assert_eq!(read("[]"), Err("request body: must be a JSON object".to_owned()));
        assert!(read("").unwrap_err().contains("not valid JSON"));
    }
}
