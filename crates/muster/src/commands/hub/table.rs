//! Tables of linked hubs.

use serde_json::Value;

use crate::commands::table::{Table, seconds, text};

/// Makes a table with one row per hub.
pub fn of_links(links: &[Value]) -> Table {
    let mut table =
        Table::new(&["hub", "location", "weight", "new devices", "origin", "circuit", "since", "last error"]);
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
    table.right(&[2])
}

/// Makes a table with one row per property of a hub.
pub fn of_link(link: &Value) -> Table {
    let mut table = Table::new(&["hub", &text(link, "/name")]);
    let access = match link.get("embedded").and_then(Value::as_bool) {
        Some(true) => "embedded in the service".to_owned(),
        _ => text(link, "/connectionString"),
    };
    let error = format!("{} {}", text(link, "/health/lastError/at"), text(link, "/health/lastError/message"));
    for (name, value) in [
        ("access", access),
        ("location", text(link, "/location")),
        ("weight", text(link, "/allocationWeight")),
        ("new devices", yes_or_no(link, "/applyAllocationPolicy")),
        ("max devices", text(link, "/maxDevices")),
        ("origin", text(link, "/origin")),
        ("circuit", text(link, "/health/circuit")),
        ("since", text(link, "/health/since")),
        ("next try", text(link, "/health/retryAt")),
        ("full since", text(link, "/health/fullAt")),
        ("last error", error.trim().to_owned()),
    ] {
        if !value.is_empty() {
            table.add_row([name, value.as_str()]);
        }
    }
    table
}

fn yes_or_no(link: &Value, pointer: &str) -> String {
    let word = match link.pointer(pointer).and_then(Value::as_bool) {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    word.to_owned()
}
