//! Linked hubs for people.

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

/// One line per hub.
pub fn of_links(links: &[Value]) -> Table {
    let mut table =
        new(&["hub", "location", "weight", "new devices", "origin", "circuit", "since", "last error"]);
    for link in links {
        table.add_row([
            text(link, "/name"),
            text(link, "/location"),
            text(link, "/allocationWeight"),
            yes_or_no(link, "/applyAllocationPolicy"),
            text(link, "/origin"),
            text(link, "/health/circuit"),
            seconds(&text(link, "/health/since")),
            text(link, "/health/lastError/message"),
        ]);
    }
    if let Some(weights) = table.column_mut(2) {
        weights.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One line per thing that is known of a hub.
pub fn of_link(link: &Value) -> Table {
    let mut table = new(&["hub", &text(link, "/name")]);
    let way = match link.get("embedded").and_then(Value::as_bool) {
        Some(true) => "embedded in the service".to_owned(),
        _ => text(link, "/connectionString"),
    };
    let error = format!("{} {}", text(link, "/health/lastError/at"), text(link, "/health/lastError/message"));
    for (name, value) in [
        ("way", way),
        ("location", text(link, "/location")),
        ("weight", text(link, "/allocationWeight")),
        ("new devices", yes_or_no(link, "/applyAllocationPolicy")),
        ("most devices", text(link, "/maxDevices")),
        ("origin", text(link, "/origin")),
        ("circuit", text(link, "/health/circuit")),
        ("since", text(link, "/health/since")),
        ("tried again", text(link, "/health/retryAt")),
        ("last error", error.trim().to_owned()),
    ] {
        if !value.is_empty() {
            table.add_row([name, &value]);
        }
    }
    table
}

fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header);
    table
}

/// A text or a number; nothing when it is not there.
fn text(link: &Value, pointer: &str) -> String {
    match link.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

fn yes_or_no(link: &Value, pointer: &str) -> String {
    let word = match link.pointer(pointer).and_then(Value::as_bool) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    word.to_owned()
}

/// An instant without its fraction.
fn seconds(instant: &str) -> String {
    instant.split_once('.').map_or(instant.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}
