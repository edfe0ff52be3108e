//! The usage report, an addition of Muster: the number of operations by day and kind.

use model::UsageRow;
use serde_json::Value;

use super::members::Object;

/// Writes `{"usage": [{"day", "kind", "count"}], "total"}`.
pub fn usage_json(rows: &[UsageRow]) -> Value {
    let row = |row: &UsageRow| {
        let mut json = Object::default();
        json.put("day", row.day.to_string()).put("kind", row.kind.name()).put("count", row.count);
        json.into_value()
    };
    let total = rows.iter().fold(0u64, |total, row| total.saturating_add(row.count));
    let mut json = Object::default();
    json.put("usage", rows.iter().map(row).collect::<Vec<_>>()).put("total", total);
    json.into_value()
}
