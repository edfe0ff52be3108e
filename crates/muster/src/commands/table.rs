//! How tables are made of the service's replies.

use std::fmt::Display;

use comfy_table::{CellAlignment, presets};
use model::PeerText;
use serde_json::Value;

use crate::output::SafeTable;

/// The longest cell. `--json` shows what is longer.
const MAX_CELL_BYTES: usize = 1000;

/// A table whose cells are escaped.
pub struct Table(comfy_table::Table);

impl Table {
    /// An empty table.
    pub fn new(header: &[&str]) -> Table {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(header.iter().map(cell));
        Table(table)
    }

    /// Adds a row.
    pub fn add_row(&mut self, cells: impl IntoIterator<Item: Display>) {
        self.0.add_row(cells.into_iter().map(cell));
    }

    /// The same with these columns aligned to the right, as numbers are.
    pub fn right(mut self, columns: &[usize]) -> Table {
        for column in columns {
            if let Some(column) = self.0.column_mut(*column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self
    }
}

impl SafeTable for Table {
    fn drawn(&self) -> String {
        self.0.to_string()
    }
}

/// Reports of fleets: their cells are numbers and names that we parsed.
impl SafeTable for comfy_table::Table {
    fn drawn(&self) -> String {
        self.to_string()
    }
}

fn cell(text: impl Display) -> String {
    PeerText::new(text, MAX_CELL_BYTES).into_string()
}

/// A text or a number; nothing when it is not there.
pub fn text(shown: &Value, pointer: &str) -> String {
    shown.pointer(pointer).map(word).unwrap_or_default()
}

/// A text or a number; nothing for null.
pub fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// An instant without its fraction.
pub fn seconds(instant: &str) -> String {
    instant.split_once('.').map_or(instant.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}
