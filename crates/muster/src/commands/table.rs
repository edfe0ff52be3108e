//! How tables are made of the service's replies.

use comfy_table::{Table, presets};
use serde_json::Value;

/// An empty table.
pub fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// A text or a number; nothing when it is not there.
pub fn text(shown: &Value, pointer: &str) -> String {
    match shown.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// An instant without its fraction.
pub fn seconds(instant: &str) -> String {
    instant.split_once('.').map_or(instant.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}
